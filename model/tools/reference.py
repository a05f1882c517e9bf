"""The reference that FastSentiment's answers are held against.

Tokenises with Transformers' `AutoTokenizer` and runs the model with the Python
package of ONNX Runtime, one text a run, unpadded: nothing here is shared with the
product. Needs the packages of `model/requirements-test.txt`; PyTorch is not used.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from transformers import (
    AutoConfig,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)

# Model types that count positions from `pad_token_id + 1` on, as their
# `create_position_ids_from_input_ids` in Transformers does.
POSITIONS_AFTER_PADDING = {
    "camembert",
    "data2vec-text",
    "ibert",
    "layoutlmv3",
    "lilt",
    "longformer",
    "luke",
    "markuplm",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
}

# Ids are exact in float32, which some runtimes demand of every input.
INPUT_TYPES = {
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(float)": np.float32,
}

# The most tokens that the server runs, and how many it runs if the files state no limit.
LONGEST = 8192
DEFAULT_LIMIT = 512

EPILOG = """\
The texts are JSON Lines: one JSON string a line. So are the answers, in the order
of the texts. Of a file whose name ends in .tsv, the column `sentence` is read.

  $ printf '"Loved it."\\n"Awful."\\n' | reference.py --model model/default
  {"ids": [101, 3866, 2009, 1012, 102], "scores": {"NEGATIVE": 0.01, "POSITIVE": 0.99}}
  ...

`ids` are the token ids that the model saw, special tokens included; `scores` holds
every label in the model's own order, as the shortest decimals that give back the
float32 value. With --windows, an answer is a list of these, one for each window of
the text.
"""


@dataclass(frozen=True)
class Answer:
    """What the model says of one text."""

    ids: list[int]
    scores: dict[str, float]

    def to_dict(self) -> dict[str, object]:
        return {"ids": self.ids, "scores": self.scores}


class Reference:
    """A model directory as Hugging Face Optimum writes it, ready to answer."""

    def __init__(self, directory: Path) -> None:
        config = AutoConfig.from_pretrained(directory, local_files_only=True)
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            directory, local_files_only=True
        )
        self.limit = token_limit(config, self.tokenizer)
        self.labels = labels(config)
        self.independent_labels = (
            config.problem_type == "multi_label_classification" or len(self.labels) == 1
        )
        self.session = open_session(directory / "model.onnx")

    def answer(self, text: str) -> Answer:
        encoding = self.tokenizer(
            text,
            truncation=True,
            max_length=self.limit,
            padding=False,
            return_token_type_ids=True,
            return_attention_mask=True,
        )
        return self.run(dict(encoding))

    def windows(self, text: str) -> list[Answer]:
        """The answers of the text's windows, of which each shares a quarter of its
        tokens with the one before."""
        special = self.tokenizer.num_special_tokens_to_add()
        encoding = self.tokenizer(
            text,
            truncation=True,
            max_length=self.limit,
            stride=(self.limit - special) // 4,
            return_overflowing_tokens=True,
            padding=False,
            return_token_type_ids=True,
            return_attention_mask=True,
        )
        count = len(encoding["input_ids"])
        rows = [
            {name: encoding[name][row] for name in encoding} for row in range(count)
        ]
        return [self.run(row) for row in rows]

    def run(self, encoding: dict[str, list[int]]) -> Answer:
        feed = {
            graph_input.name: np.array(
                [encoding[graph_input.name]], dtype=INPUT_TYPES[graph_input.type]
            )
            for graph_input in self.session.get_inputs()
        }
        (logits,) = self.session.run(["logits"], feed)
        activation = sigmoid if self.independent_labels else softmax
        scores = activation(logits[0].astype(np.float64)).astype(np.float32)
        return Answer(
            ids=list(encoding["input_ids"]),
            scores={
                label: shortest_decimal(score)
                for label, score in zip(self.labels, scores, strict=True)
            },
        )


def labels(config: PreTrainedConfig) -> list[str]:
    """The labels in the model's order, as JSON has them: numbers occur."""
    names = (config.id2label[i] for i in range(len(config.id2label)))
    return [name if isinstance(name, str) else json.dumps(name) for name in names]


def token_limit(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> int:
    """The longest input in tokens, special tokens included."""
    limits = [tokenizer.model_max_length, LONGEST]
    positions = getattr(config, "max_position_embeddings", None)
    # XLNet has -1 for none.
    if positions is not None and positions > 0:
        if config.model_type in POSITIONS_AFTER_PADDING:
            positions -= config.pad_token_id + 1
        limits.append(positions)
    # Transformers' "no limit" is 1e30.
    limit = min(limits)
    return DEFAULT_LIMIT if limit == LONGEST and len(limits) == 2 else limit


def open_session(model: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def sigmoid(logits: np.ndarray) -> np.ndarray:
    # Written with tanh, which does not overflow for large negative logits.
    return 0.5 * (1.0 + np.tanh(0.5 * logits))


def shortest_decimal(value: np.float32) -> float:
    """The float whose `repr` is the shortest text that reads back as `value`."""
    return float(str(value))


def read_texts(source: str) -> Iterator[str]:
    """The texts of a file; `-` is JSON Lines on standard input."""
    return read_column(source) if source.endswith(".tsv") else read_lines(source)


def read_column(source: str) -> Iterator[str]:
    with open(source, encoding="utf-8", newline="\n") as lines:
        place = next(lines).rstrip("\n").split("\t").index("sentence")
        for line in lines:
            yield line.rstrip("\n").split("\t")[place]


def read_lines(source: str) -> Iterator[str]:
    with sys.stdin.buffer if source == "-" else open(source, "rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                text = json.loads(line)
            except ValueError as error:
                sys.exit(f"{source}, line {number}: not JSON: {error}")
            if not isinstance(text, str):
                sys.exit(f"{source}, line {number}: not a JSON string")
            yield text


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Answer texts as Transformers and ONNX Runtime would.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model",
        type=Path,
        required=True,
        metavar="DIR",
        help="model directory: config.json, tokenizer.json, model.onnx",
    )
    parser.add_argument(
        "--texts",
        default="-",
        metavar="FILE",
        help="file of texts; '-', the default, is standard input",
    )
    parser.add_argument(
        "--windows",
        action="store_true",
        help="answer each window of a text that is too long",
    )
    arguments = parser.parse_args()
    reference = Reference(arguments.model)
    for text in read_texts(arguments.texts):
        answer = (
            [window.to_dict() for window in reference.windows(text)]
            if arguments.windows
            else reference.answer(text).to_dict()
        )
        print(json.dumps(answer, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
