"""Writes and checks `golden.json`: what a model must answer to our own sentences.

The file lies next to the model that it belongs to. Its shape:

    {
      "model": {
        "limit": 512,                      tokens a text may have, special ones included
        "sha256": {"config.json": "...", "model.onnx": "...", ...}
      },
      "tolerance": 1e-05,                  largest difference of a score
      "answers": [
        {
          "name": "praise",                unique in the file
          "text": "An absolute ...",       or, for repetitive texts,
          "repeat": ["a", 100000],         the text is "a" written 100,000 times
          "ids": [101, ..., 102],          token ids, special ones included, truncated
          "scores": {"LABEL": 0.25, ...}   every label, in the model's order
        }, ...
      ]
    }

Each answer has either `text` or `repeat`. The file is pure ASCII: other characters
are written as JSON escapes, those beyond U+FFFF as surrogate pairs. Ids must be
equal, scores within the tolerance.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer

from reference import Answer, Reference
from texts import Sample, samples

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_MODEL = ROOT / "model" / "default"
MODEL_FILES = (
    "config.json",
    "model.onnx",
    "model.onnx_data",
    "tokenizer.json",
    "tokenizer_config.json",
)
# What float32 arithmetic in another order may change, with some room.
TOLERANCE = 1e-5
# The included model rounds activations to one of 256 levels. Another order of sums moves
# one over the edge to the next level now and then, which changes a score by more: by up
# to 0.0034 on these texts and 200 sentences, between an emulated Haswell (AVX2) and a
# processor with AVX-512 and AMX. Sums that saturate changed scores by up to 0.084.
INCLUDED_TOLERANCE = 0.02


class TokenizerFile:
    """`tokenizer.json` read by the tokenizers library alone, as the product does.

    Transformers rebuilds the tokenizer from its own class and
    `tokenizer_config.json`. A model directory whose two readings differ has no
    right answer, so golden answers are refused for it.
    """

    def __init__(self, directory: Path, reference: Reference) -> None:
        self.tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(
            reference.limit, direction=reference.tokenizer.truncation_side
        )

    def check(self, sample: Sample, answer: Answer) -> None:
        ids = self.tokenizer.encode(sample.text).ids
        if ids != answer.ids:
            sys.exit(
                f"{sample.name}: tokenizer.json gives the ids {ids[:20]}, but "
                f"Transformers gives {answer.ids[:20]}: does tokenizer_config.json "
                "lack `do_lower_case` or the right `tokenizer_class`?"
            )


def answers(directory: Path, reference: Reference) -> Iterator[tuple[Sample, Answer]]:
    tokenizer_file = TokenizerFile(directory, reference)
    for sample in samples(reference.limit):
        answer = reference.answer(sample.text)
        tokenizer_file.check(sample, answer)
        yield sample, answer


def write(directory: Path, tolerance: float | None) -> None:
    if tolerance is None:
        included = directory.resolve() == DEFAULT_MODEL
        tolerance = INCLUDED_TOLERANCE if included else TOLERANCE
    reference = Reference(directory)
    entries = [entry(*pair) for pair in answers(directory, reference)]
    document = (
        "{\n"
        '  "model": {\n'
        f'    "limit": {reference.limit},\n'
        f'    "sha256": {json.dumps(digests(directory))}\n'
        "  },\n"
        f'  "tolerance": {json.dumps(tolerance)},\n'
        '  "answers": [\n' + ",\n".join(entries) + "\n  ]\n"
        "}\n"
    )
    (directory / "golden.json").write_text(document, encoding="ascii", newline="\n")
    print(f"{directory / 'golden.json'}: {len(entries)} answers")


def entry(sample: Sample, answer: Answer) -> str:
    """One answer, one field a line."""
    fields = {
        "name": sample.name,
        "text": sample.unit,
        "ids": answer.ids,
        "scores": answer.scores,
    }
    if sample.count > 1:
        fields["repeat"] = [fields.pop("text"), sample.count]
    order = [
        key for key in ("name", "text", "repeat", "ids", "scores") if key in fields
    ]
    lines = (f'      "{key}": {json.dumps(fields[key])}' for key in order)
    return "    {\n" + ",\n".join(lines) + "\n    }"


def digests(directory: Path) -> dict[str, str]:
    return {
        name: hashlib.sha256((directory / name).read_bytes()).hexdigest()
        for name in MODEL_FILES
        if (directory / name).exists()
    }


def check(directory: Path) -> list[str]:
    """What no longer holds, in words; empty if all does."""
    golden = json.loads((directory / "golden.json").read_text(encoding="ascii"))
    if golden["model"]["sha256"] != digests(directory):
        return ["the model's files have changed since golden.json was written"]
    expected = {answer["name"]: answer for answer in golden["answers"]}
    found = {
        sample.name: (sample, answer)
        for sample, answer in answers(directory, Reference(directory))
    }
    if list(expected) != list(found):
        return ["the texts have changed since golden.json was written"]
    problems = []
    largest = 0.0
    for name, (sample, answer) in found.items():
        golden_answer = expected[name]
        unit, count = golden_answer.get("repeat", (golden_answer.get("text"), 1))
        if unit * count != sample.text:
            problems.append(f"{name}: the text has changed")
        if golden_answer["ids"] != answer.ids:
            problems.append(f"{name}: the ids differ")
        difference = score_difference(golden_answer["scores"], answer.scores)
        largest = max(largest, difference)
        if difference > golden["tolerance"]:
            problems.append(f"{name}: a score differs by {difference:.2g}")
    print(f"{directory}: {len(found)} answers, scores differ by {largest:.2g} at most")
    return problems


def score_difference(one: dict[str, float], other: dict[str, float]) -> float:
    if list(one) != list(other):
        return float("inf")
    return max(abs(one[label] - other[label]) for label in one)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Write golden.json next to a model, or check that it still holds.",
        epilog="The shape of the file is described at the top of this script.",
    )
    parser.add_argument(
        "models",
        nargs="*",
        type=Path,
        default=[DEFAULT_MODEL],
        metavar="DIR",
        help="model directories; model/default if none is given",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; exit with 1 if an answer differs from golden.json",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        metavar="X",
        help="difference of scores that golden.json is to allow "
        f"({TOLERANCE:g}; {INCLUDED_TOLERANCE:g} for model/default)",
    )
    arguments = parser.parse_args()
    problems = []
    for directory in arguments.models:
        if arguments.check:
            problems += [f"{directory}: {problem}" for problem in check(directory)]
        else:
            write(directory, arguments.tolerance)
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
