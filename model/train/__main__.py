"""Makes the included model: `python -m train --data DIR --out DIR [--work DIR]`.

Steps: fine-tune the teacher on SST-2; let it label made-up texts; train the student on
them; calibrate; build and measure every way of quantising; write the one that ships,
with its card and checksums. Fails if the shipped file misses a bar. Each step leaves its
result in the work folder, and is not repeated if it is there.
"""

import argparse
import tempfile
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from train import (
    card,
    data,
    evaluate,
    finetune,
    graph,
    minilm,
    modeling,
    pool,
    publish,
    teacher,
    ways,
)

SEED = 0
# The hand-built fp32 graph and torch differ by the order of sums alone.
SAME_LOGITS = 1e-4
# What the teacher labels: phrases as they are, in parts that are kept as they are done, and
# made-up texts, of so many from each seed. Sentences by rule need no teacher.
PARTS, PART = 12, 2048
MADE_UP, MADE_UP_SEEDS = 2048, range(100, 190)
BY_RULE = 30_000
# Shorter phrases say little.
PHRASE_WORDS = 7
# The share of the teacher in the label of a phrase; the rest is what people said.
TEACHER_SHARE = 0.8

# The student learns SST-2's labels first, which is quick.
LABELS = finetune.Recipe(
    steps=1500,
    batch_size=64,
    learning_rate=1e-4,
    layer_decay=0.9,
    average_decay=0.995,
)
STUDENT = finetune.Recipe(
    steps=4000, batch_size=64, learning_rate=1.5e-4, layer_decay=0.9
)


def taught(work: Path, splits: data.Splits) -> data.Dataset:
    """Everything the student learns from, with the teacher's labels or those by rule."""
    tokenizer = minilm.tokenizer()
    labels = Labels(work, splits)
    parts = []
    for number, rows in enumerate(chosen_phrases(splits.train_texts)):
        phrases = data.Dataset(
            [splits.train.ids[row] for row in rows], splits.train.labels[rows]
        )
        found = TEACHER_SHARE * labels.of(f"phrases-{number}", phrases)
        found += (1 - TEACHER_SHARE) * phrases.labels
        parts.append(data.Dataset(phrases.ids, found))
    for seed in MADE_UP_SEEDS:
        texts = pool.from_phrases(splits.train_texts, MADE_UP, seed)
        unlabelled = [0.0] * MADE_UP
        natural = data.encode(texts, unlabelled, tokenizer)
        # SST-2's spelling must not be forgotten. The labels are the same.
        texts[::2] = map(pool.as_in_sst2, texts[::2])
        spelled = data.encode(texts, unlabelled, tokenizer)
        found = labels.of(f"made-up-{seed}", natural)
        parts.append(data.Dataset(spelled.ids, found))
    texts, found = zip(*pool.by_rule(BY_RULE, SEED), strict=True)
    parts.append(data.encode(texts, found, tokenizer))
    return data.Dataset(
        [ids for part in parts for ids in part.ids],
        np.concatenate([part.labels for part in parts]),
    )


def chosen_phrases(texts: list[str]) -> list[np.ndarray]:
    """Rows of the phrases that the teacher labels, in parts."""
    long = [i for i, text in enumerate(texts) if len(text.split()) >= PHRASE_WORDS]
    rows = np.random.default_rng(7).permutation(long)[: PARTS * PART]
    return np.split(rows, PARTS)


class Labels:
    """The teacher's labels; it is loaded, and trained, once one is missing."""

    def __init__(self, work: Path, splits: data.Splits) -> None:
        self.work, self.splits = work, splits

    @cached_property
    def model(self) -> teacher.Teacher:
        torch.manual_seed(SEED)
        model = teacher.load(minilm.tokenizer())
        run = finetune.Run(model, teacher.RECIPE, self.work / "teacher.pt")
        run.go(self.splits.train, self.splits.held_out)
        return model

    def of(self, name: str, texts: data.Dataset) -> np.ndarray:
        file = self.work / f"labels-{name}.npy"
        if not file.exists():
            np.save(file, teacher.probabilities(self.model, texts))
            print(file, flush=True)
        return np.load(file)


def trained_student(work: Path, splits: data.Splits) -> modeling.Classifier:
    """The fp32 classifier, with its temperature in the last layer."""
    torch.manual_seed(SEED)
    model = minilm.load()
    difference = minilm.verify(model)
    print(f"MiniLM as DistilBERT: largest difference {difference:.1e}", flush=True)
    finetune.Run(model, LABELS, work / "labels.pt").go(splits.train, splits.held_out)
    lessons = taught(work, splits)
    finetune.Run(model, STUDENT, work / "student.pt").go(lessons, splits.held_out)
    logits = finetune.predict(model, splits.held_out)
    temperature = finetune.temperature(logits, splits.held_out)
    print(f"temperature {temperature:.3f}", flush=True)
    with torch.no_grad():
        model.classifier.weight /= temperature
        model.classifier.bias /= temperature
    return model


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="folder with SST-2's train.tsv and dev.tsv",
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder to write the model to"
    )
    parser.add_argument(
        "--work",
        type=Path,
        default=Path(tempfile.gettempdir()) / "fastsentiment-train",
        help="folder for checkpoint and fp32 model (default: %(default)s)",
    )
    arguments = parser.parse_args()
    out, work = arguments.out, arguments.work
    out.mkdir(parents=True, exist_ok=True)
    work.mkdir(parents=True, exist_ok=True)

    splits = data.load(arguments.data, minilm.tokenizer())
    dev_set = splits.dev
    model = trained_student(work, splits)
    torch_logits = finetune.predict(model, dev_set)

    float_file = work / "float.onnx"
    float_file.write_bytes(
        graph.build(ways.float_weights(model), ways.FLOAT).SerializeToString()
    )
    logits = evaluate.alone(evaluate.session(float_file), dev_set)
    difference = float(np.abs(logits - torch_logits).max())
    assert difference < SAME_LOGITS, (
        f"the fp32 graph differs from torch by {difference}"
    )
    scores = evaluate.positive_score(logits)

    print(evaluate.Report.HEADER, flush=True)
    reports = [evaluate.measure("fp32", float_file, dev_set)]
    print(reports[0].row(), flush=True)
    contents = b""
    for way in ways.all_ways(model, splits.train):
        contents = graph.build(way.weights, way.scheme).SerializeToString()
        reports.append(evaluate.measure(way.name, contents, dev_set, scores))
        print(reports[-1].row(), flush=True)

    shipped = reports[-1]
    (out / "model.onnx").write_bytes(contents)
    publish.write_config(out, shipped.batch_invariant)
    publish.write_tokenizer(out)
    publish.verify_tokenizer(out, data.read_split(arguments.data, "dev")[0])
    publish.copy_licence(out)
    lessons = card.Lessons(
        phrases=len(splits.train.ids),
        phrases_taught=PARTS * PART,
        share=TEACHER_SHARE,
        made_up=MADE_UP * len(MADE_UP_SEEDS),
        by_rule=BY_RULE,
        held_out=len(splits.held_out.ids),
    )
    card.write(out, reports, lessons)
    publish.write_checksums(out)
    if shipped.missed():
        raise SystemExit(f"the shipped model misses: {', '.join(shipped.missed())}")
    print(f"{out}: batch_invariant {shipped.batch_invariant}, all bars met")


if __name__ == "__main__":
    main()
