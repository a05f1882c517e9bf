"""Measures a model as the server runs it: accuracy, agreement, independence, time.

Command line: `python -m train.evaluate --model DIR --data DIR [--float FILE]`,
where FILE is the same model in fp32 (the tool leaves it in its work folder).
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from train import data

SHAPES = ((1, 16), (1, 128), (8, 32))
BATCH_SIZE = 32
# Both are far below what a client sees (four digits) and above the noise of fp32 sums.
SAME_SCORE = 1e-6


@dataclass(frozen=True)
class Report:
    """Figures on the dev split; scores are those of POSITIVE."""

    name: str
    accuracy: float
    agreement: float
    flipped: int
    mean_difference: float
    max_difference: float
    # Largest change of a score when the text shares a padded batch with 31 others.
    batch_difference: float
    milliseconds: tuple[float, ...]
    megabytes: float

    @property
    def batch_invariant(self) -> bool:
        return self.batch_difference <= SAME_SCORE

    def missed(self) -> list[str]:
        """The bars for shipping that this model misses."""
        checks = {
            "accuracy >= 90.0 %": self.accuracy >= 0.90,
            "agreement with own fp32 >= 99.5 %": self.agreement >= 0.995,
            "mean score difference <= 0.005": self.mean_difference <= 0.005,
            "file <= 35 MB": self.megabytes <= 35,
        }
        return [bar for bar, met in checks.items() if not met]

    HEADER = (
        "| way | accuracy | agreement with own fp32 | mean / max score difference | alone or in a batch: max difference "
        "| "
        + " | ".join(f"{b} x {n}, ms" for b, n in SHAPES)
        + " | MB |\n|---"
        + "|---" * (5 + len(SHAPES))
        + "|"
    )

    def row(self) -> str:
        """One line of the table in the model card."""
        cells = [
            self.name,
            f"{self.accuracy:.2%}",
            f"{self.agreement:.2%} ({self.flipped} flipped)",
            f"{self.mean_difference:.5f} / {self.max_difference:.4f}",
            f"{self.batch_difference:.1e}",
            *(f"{ms:.2f}" for ms in self.milliseconds),
            f"{self.megabytes:.1f}",
        ]
        return "| " + " | ".join(cells) + " |"


def positive_score(logits: np.ndarray) -> np.ndarray:
    """Probability of POSITIVE, float64 [texts]."""
    logits = logits.astype(np.float64)
    return 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))


def session(model: Path | bytes) -> onnxruntime.InferenceSession:
    """A session with the options of the server."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    source = str(model) if isinstance(model, Path) else model
    return onnxruntime.InferenceSession(
        source, options, providers=["CPUExecutionProvider"]
    )


def run(model: onnxruntime.InferenceSession, rows: list[list[int]]) -> np.ndarray:
    """Logits of one padded batch."""
    ids, mask = data.pad(rows)
    return model.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0]


def alone(model: onnxruntime.InferenceSession, dataset: data.Dataset) -> np.ndarray:
    """Logits of every text, one per run and without padding."""
    return np.concatenate([run(model, [row]) for row in dataset.ids])


def in_batches(
    model: onnxruntime.InferenceSession, dataset: data.Dataset, seed: int
) -> np.ndarray:
    """Logits of every text, in random batches of 32 padded to the longest."""
    logits = np.zeros((len(dataset.ids), 2), dtype=np.float32)
    order = np.random.default_rng(seed).permutation(len(dataset.ids))
    for start in range(0, len(order), BATCH_SIZE):
        rows = order[start : start + BATCH_SIZE]
        logits[rows] = run(model, [dataset.ids[i] for i in rows])
    return logits


def time_shape(
    model: onnxruntime.InferenceSession, batch: int, length: int, seconds: float = 1.5
) -> float:
    """Median milliseconds of a run on random ids."""
    ids = np.random.default_rng(0).integers(1000, 30000, (batch, length))
    feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        model.run(["logits"], feed)
        times.append(time.perf_counter() - start)
    return float(np.median(times) * 1000)


def measure(
    name: str,
    model: Path | bytes,
    dataset: data.Dataset,
    float_scores: np.ndarray | None = None,
    timed: bool = True,
) -> Report:
    """All figures of one model; `float_scores` are those of its own fp32 (default: itself)."""
    served = session(model)
    scores = positive_score(alone(served, dataset))
    batched = [positive_score(in_batches(served, dataset, seed)) for seed in range(3)]
    reference = scores if float_scores is None else float_scores
    difference = np.abs(scores - reference)
    flipped = int(((scores > 0.5) != (reference > 0.5)).sum())
    size = model.stat().st_size if isinstance(model, Path) else len(model)
    return Report(
        name=name,
        accuracy=float(((scores > 0.5) == (dataset.labels == 1)).mean()),
        agreement=1 - flipped / len(scores),
        flipped=flipped,
        mean_difference=float(difference.mean()),
        max_difference=float(difference.max()),
        batch_difference=max(float(np.abs(b - scores).max()) for b in batched),
        milliseconds=tuple(
            time_shape(served, *shape) if timed else float("nan") for shape in SHAPES
        ),
        megabytes=size / 1e6,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--model",
        type=Path,
        required=True,
        help="folder with model.onnx and tokenizer.json",
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with SST-2's dev.tsv"
    )
    parser.add_argument("--float", type=Path, help="the same model in fp32, as ONNX")
    arguments = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(arguments.model / "tokenizer.json"))
    dataset = data.encode(*data.read_split(arguments.data, "dev"), tokenizer)
    scores = None
    print(Report.HEADER)
    if arguments.float:
        scores = positive_score(alone(session(arguments.float), dataset))
        print(measure("own fp32", arguments.float, dataset).row())
    report = measure("model.onnx", arguments.model / "model.onnx", dataset, scores)
    print(report.row())
    print(
        f"batch_invariant: {report.batch_invariant}; missed bars: {report.missed() or 'none'}"
    )
    if report.missed():
        raise SystemExit(1)


if __name__ == "__main__":
    main()
