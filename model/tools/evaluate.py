"""Measures a running server on labelled sentences: accuracy, confusion, speed.

Needs nothing but Python's standard library. The data is a file as the GLUE
benchmark publishes SST-2: tab-separated columns `sentence` and `label`, label 1
for POSITIVE and 0 for NEGATIVE.
"""

import argparse
import json
import sys
import time
from collections import Counter
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

LABELS = ("NEGATIVE", "POSITIVE")
TEXTS_PER_REQUEST = 32
TIMEOUT_S = 120

Scores = dict[str, float]

EPILOG = """\
The last lines are figures for other programs to read, one a line:

  figure dev_accuracy 0.9105      share of sentences whose first label is right
  figure dev_texts_per_s 412.3    one connection, requests of 32 texts

and with --reference-scores also

  figure dev_agreement 1.0        share of sentences with the reference's label
  figure dev_max_difference 0.0   largest difference of a score

A file of reference scores comes from

  reference.py --model DIR --texts dev.tsv > scores.jsonl
"""


class EvaluationError(Exception):
    """Why there is no result, in words for whoever ran the evaluation."""


class Server:
    """One kept-alive connection to a FastSentiment server."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise EvaluationError(f"not an HTTP address: {url}")
        connect = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self.url = url
        self.path = parts.path.rstrip("/") + "/predict"
        self.connection = connect(parts.hostname, parts.port, timeout=TIMEOUT_S)

    def predict(self, texts: list[str]) -> list[Scores]:
        body = json.dumps({"text": texts}).encode()
        headers = {"Content-Type": "application/json"}
        try:
            self.connection.request("POST", self.path, body, headers)
            response = self.connection.getresponse()
            content = response.read().decode()
        except (OSError, HTTPException) as error:
            raise EvaluationError(f"{self.url} does not answer: {error}") from error
        if response.status != 200:
            raise EvaluationError(f"{self.url} answered {response.status}: {content}")
        return read_predictions(content, len(texts))


def read_predictions(content: str, count: int) -> list[Scores]:
    try:
        predictions = [
            {score["label"]: score["score"] for score in scores}
            for scores in json.loads(content)["predictions"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise EvaluationError(f"not a document of scores: {content[:200]}") from error
    if len(predictions) != count:
        raise EvaluationError(f"{len(predictions)} answers to {count} texts")
    return predictions


def read_data(file: Path) -> tuple[list[str], list[str]]:
    """The sentences of `file` and their labels' names."""
    header, *lines = file.read_text(encoding="utf-8").rstrip("\n").split("\n")
    if header.split("\t") != ["sentence", "label"]:
        raise EvaluationError(f"{file}: the columns must be `sentence` and `label`")
    sentences, labels = [], []
    for number, line in enumerate(lines, start=2):
        sentence, _, label = line.rpartition("\t")
        if label not in ("0", "1"):
            raise EvaluationError(f"{file}, line {number}: the label must be 0 or 1")
        sentences.append(sentence)
        labels.append(LABELS[int(label)])
    if not sentences:
        raise EvaluationError(f"{file}: no sentences")
    return sentences, labels


def read_reference(file: Path, count: int) -> list[Scores]:
    lines = file.read_text(encoding="utf-8").splitlines()
    if len(lines) != count:
        raise EvaluationError(f"{file}: {len(lines)} answers to {count} sentences")
    return [json.loads(line)["scores"] for line in lines]


def predict_all(server: Server, sentences: list[str]) -> list[Scores]:
    predictions = []
    for start in range(0, len(sentences), TEXTS_PER_REQUEST):
        predictions += server.predict(sentences[start : start + TEXTS_PER_REQUEST])
    return predictions


def top_label(scores: Scores) -> str:
    if set(scores) != set(LABELS):
        found = ", ".join(sorted(scores))
        raise EvaluationError(
            f"the model's labels are {found}, not {' and '.join(LABELS)}: "
            "this data can not measure it"
        )
    return max(scores, key=scores.__getitem__)


def print_confusion(labels: list[str], found: list[str]) -> None:
    counts = Counter(zip(labels, found, strict=True))
    print(f"{'':>12}{'':4}{'predicted':>12}")
    print(f"{'actual':>12}    " + "".join(f"{name:>12}" for name in LABELS))
    for actual in LABELS:
        row = "".join(f"{counts[actual, predicted]:>12}" for predicted in LABELS)
        print(f"{actual:>12}    {row}")


def share_equal(one: list[str], other: list[str]) -> float:
    return sum(a == b for a, b in zip(one, other, strict=True)) / len(one)


def largest_difference(one: list[Scores], other: list[Scores]) -> float:
    return max(
        abs(a[label] - b[label])
        for a, b in zip(one, other, strict=True)
        for label in LABELS
    )


def evaluate(url: str, data: Path, reference: Path | None) -> dict[str, float]:
    """Prints what was found, for people; gives it as figures."""
    sentences, labels = read_data(data)
    expected = read_reference(reference, len(sentences)) if reference else None
    started = time.perf_counter()
    predictions = predict_all(Server(url), sentences)
    seconds = time.perf_counter() - started
    found = [top_label(scores) for scores in predictions]
    figures = {
        "dev_accuracy": round(share_equal(labels, found), 4),
        "dev_texts_per_s": round(len(sentences) / seconds, 1),
    }
    print(f"{len(sentences)} sentences in {seconds:.1f} s")
    print_confusion(labels, found)
    if expected is not None:
        expected_labels = [top_label(scores) for scores in expected]
        figures["dev_agreement"] = round(share_equal(expected_labels, found), 4)
        figures["dev_max_difference"] = largest_difference(expected, predictions)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Measure a running FastSentiment server on labelled sentences.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--url", required=True, help="the server, such as http://127.0.0.1:8080"
    )
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="FILE",
        help="tab-separated file with the columns `sentence` and `label`",
    )
    parser.add_argument(
        "--reference-scores",
        type=Path,
        metavar="FILE",
        help="what reference.py wrote for the same sentences: compare with it",
    )
    parser.add_argument(
        "--min-accuracy",
        type=float,
        metavar="X",
        help="exit with 1 if the accuracy is under X, such as 0.9",
    )
    arguments = parser.parse_args()
    try:
        figures = evaluate(arguments.url, arguments.data, arguments.reference_scores)
    except (EvaluationError, OSError) as error:
        sys.exit(f"evaluate.py: {error}")
    for name, value in figures.items():
        print(f"figure {name} {value:g}")
    minimum = arguments.min_accuracy
    if minimum is not None and figures["dev_accuracy"] < minimum:
        sys.exit(f"evaluate.py: the accuracy is under {minimum}")


if __name__ == "__main__":
    main()
