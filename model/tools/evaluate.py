"""Measures a model on labelled texts, as FastSentiment answers them.

The texts are scored by `fastsentiment predict`, so that what is measured is what is
served. The data is a tab-separated file with a header and the columns `text` (or
`sentence`) and `label`; a label is one of the model's names, or its index.
"""

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from figures import Bin, accuracy, calibration_error, confusion, macro_f1, reliability

BINARY = Path(__file__).resolve().parents[2] / "target" / "release" / "fastsentiment"
TEXT_COLUMNS = ("text", "sentence")
LABEL_COLUMN = "label"

Scores = dict[str, float]


class EvaluationError(Exception):
    """Why there is no result, in words for whoever ran the evaluation."""


@dataclass(frozen=True)
class Data:
    """Texts and what people said of them, in the file's order."""

    column: str
    texts: list[str]
    labels: list[str]


@dataclass(frozen=True)
class Result:
    """A model's answers to labelled texts; `actual` and `found` are labels' names."""

    model: str
    actual: list[str]
    scores: list[Scores]

    @cached_property
    def found(self) -> list[str]:
        return [max(scores, key=scores.__getitem__) for scores in self.scores]

    @cached_property
    def bins(self) -> list[Bin]:
        right = [a == f for a, f in zip(self.actual, self.found, strict=True)]
        return reliability([max(scores.values()) for scores in self.scores], right)


def read_data(file: Path) -> Data:
    with file.open(encoding="utf-8", newline="") as lines:
        # Quotation marks are text here, not quoting.
        rows = list(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    header = rows[0] if rows else []
    column = next((name for name in TEXT_COLUMNS if name in header), None)
    if column is None or LABEL_COLUMN not in header:
        raise EvaluationError(
            f"{file}: the first line must name the columns `text` and `label`, with a "
            "tab between them"
        )
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise EvaluationError(
                f"{file}, line {number}: {len(row)} columns, but the header has "
                f"{len(header)}"
            )
    if not rows[1:]:
        raise EvaluationError(f"{file}: there are no texts")
    text, label = header.index(column), header.index(LABEL_COLUMN)
    return Data(
        column, [row[text] for row in rows[1:]], [row[label] for row in rows[1:]]
    )


def read_labels(model: Path) -> list[str]:
    """The model's labels, by their index."""
    try:
        config = json.loads((model / "config.json").read_text(encoding="utf-8"))
        names = config["id2label"]
        return [str(names[str(i)]) for i in range(len(names))]
    except (OSError, ValueError, KeyError) as error:
        raise EvaluationError(f"{model} states no labels: {error}") from error


def names_of(labels: Sequence[str], known: Sequence[str]) -> list[str]:
    """Names for `labels`, each of which is a name or an index."""
    by_index = {str(i): name for i, name in enumerate(known)}
    for number, label in enumerate(labels, start=2):
        if label not in known and label not in by_index:
            raise EvaluationError(
                f"line {number}: {label!r} is not a label of the model, which are "
                f"{', '.join(known)}"
            )
    return [label if label in known else by_index[label] for label in labels]


def predict(binary: Path, model: Path, file: Path, column: str) -> list[Scores]:
    """The scores of every row of `file`, by label."""
    command = [str(binary), "predict", "--model", str(model), "--file", str(file)]
    command += [
        "--format",
        "tsv",
        "--quoting",
        "none",
        "--column",
        column,
        "--out",
        "-",
    ]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except OSError as error:
        raise EvaluationError(f"{binary} cannot be run: {error}") from error
    if done.returncode != 0:
        raise EvaluationError(done.stderr.decode(errors="replace").strip())
    output = done.stdout.decode().splitlines()
    header, *rows = csv.reader(output, delimiter="\t", quoting=csv.QUOTE_NONE)
    # If the file has a column of one of these names, all new ones have a prefix.
    prefixes = ("predicted_score_", "score_")
    prefix = next(p for p in prefixes if any(name.startswith(p) for name in header))
    places = [i for i, name in enumerate(header) if name.startswith(prefix)]
    return [
        {header[i].removeprefix(prefix): float(row[i]) for i in places} for row in rows
    ]


def evaluate(binary: Path, model: Path, file: Path) -> Result:
    data = read_data(file)
    actual = names_of(data.labels, read_labels(model))
    return Result(str(model), actual, predict(binary, model, file, data.column))


def report(result: Result) -> str:
    """What was found about one model, as text."""
    lines = [
        result.model,
        f"  texts                       {len(result.actual)}",
        f"  accuracy                    {accuracy(result.actual, result.found):.4f}",
        f"  macro F1                    {macro_f1(result.actual, result.found):.4f}",
        f"  expected calibration error  {calibration_error(result.bins):.4f}",
        "",
        *confusion_lines(result),
        "",
        "  confidence      texts   mean confidence   accuracy",
    ]
    for one in result.bins:
        if one.count:
            lines.append(
                f"  {one.low:.1f} to {one.high:.1f}  {one.count:>8}  {one.confidence:>16.3f}"
                f"  {one.accuracy:>9.3f}"
            )
    return "\n".join(lines)


def confusion_lines(result: Result) -> list[str]:
    counts = confusion(result.actual, result.found)
    labels = sorted({*result.actual, *result.found})
    width = max(10, *(len(label) + 2 for label in labels))
    lines = ["  rows: label in the data; columns: label found"]
    lines.append("  " + " " * width + "".join(f"{label:>{width}}" for label in labels))
    for actual in labels:
        cells = "".join(f"{counts[actual, found]:>{width}}" for found in labels)
        lines.append(f"  {actual:<{width}}{cells}")
    return lines


def agreement(one: Result, other: Result) -> str:
    """How far two models agree, as text."""
    pairs = list(zip(one.scores, other.scores, strict=True))
    lines = [
        f"{one.model} and {other.model}",
        f"  equal labels                {accuracy(one.found, other.found):.4f}",
    ]
    if set(pairs[0][0]) == set(pairs[0][1]):
        differences = [max(abs(a[label] - b[label]) for label in a) for a, b in pairs]
        lines += [
            f"  mean score difference       {sum(differences) / len(differences):.4f}",
            f"  largest score difference    {max(differences):.4f}",
        ]
    both = list(zip(one.actual, one.found, other.found, strict=True))
    lines += [
        f"  only the first is right     {sum(a == f != o for a, f, o in both)}",
        f"  only the second is right    {sum(a == o != f for a, f, o in both)}",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--model", type=Path, required=True, metavar="DIR", help="the model to measure"
    )
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="FILE",
        help="tab-separated file with the columns `text` and `label`",
    )
    parser.add_argument(
        "--against", type=Path, metavar="DIR", help="a second model to compare with"
    )
    parser.add_argument(
        "--picture", type=Path, metavar="FILE", help="draw the figures, as SVG"
    )
    parser.add_argument(
        "--min-accuracy",
        type=float,
        metavar="X",
        help="exit with 1 if the accuracy is under X, such as 0.9",
    )
    parser.add_argument(
        "--binary",
        type=Path,
        default=BINARY,
        metavar="FILE",
        help="the fastsentiment command (default: %(default)s)",
    )
    arguments = parser.parse_args()
    models = [arguments.model, *([arguments.against] if arguments.against else [])]
    try:
        results = [evaluate(arguments.binary, m, arguments.data) for m in models]
    except (EvaluationError, OSError, UnicodeError) as error:
        sys.exit(f"evaluate.py: {error}")
    print("\n\n".join(report(result) for result in results))
    if arguments.against:
        print("\n" + agreement(*results))
    if arguments.picture:
        # Only a picture needs the package that draws it.
        from picture import draw

        draw(results, arguments.picture)
    found = accuracy(results[0].actual, results[0].found)
    if arguments.min_accuracy is not None and found < arguments.min_accuracy:
        sys.exit(f"evaluate.py: the accuracy is under {arguments.min_accuracy}")


if __name__ == "__main__":
    main()
