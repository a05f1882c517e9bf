#!/usr/bin/env python3
"""Compares the answers of guests under the stock `wasmtime` command and in this host.

    compare_wasmtime.py WASMTIME MODEL COPY GUEST...

MODEL is a model directory. COPY is its copy with float inputs (`make model-cli`), in a
directory called `model`, because the command names a graph after its directory. Each
guest is run as a command, with texts as arguments and as lines, and its `predict` is
called directly. Labels have to be equal, and scores must not differ by more than 0.001.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

FASTSENTIMENT = Path("target/release/fastsentiment")
TOLERANCE = 1e-3
TEXTS = [
    "A warm, funny film.",
    "The plot makes no sense.",
    'Not what I would call "good"',
    "tr\u00e8s bien, \u5f88\u597d \U0001f600",
    "word " * 600,
    "",
]
# A score in the value format of `wasmtime run --invoke`.
SCORE = re.compile(r'\{label: ("(?:[^"\\]|\\.)*"), score: ([^},]+)\}')

Predictions = list[list[tuple[str, float]]]


def run(command: list[str | Path], lines: str = "") -> str:
    done = subprocess.run(
        command, input=lines, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))[:200]}\n{done.stderr.strip()}")
    return done.stdout


def from_json(output: str) -> Predictions:
    predictions = json.loads(output)["predictions"]
    return [[(one["label"], one["score"]) for one in scores] for scores in predictions]


def from_wave(output: str) -> Predictions:
    output = output.strip()
    if not (output.startswith("ok([[") and output.endswith("]])")):
        sys.exit(f"`predict` gave no answer: {output}")
    # These labels are plain words without brackets.
    lists = output.removeprefix("ok([[").removesuffix("]])").split("], [")
    return [
        [(json.loads(label), float(score)) for label, score in SCORE.findall(scores)]
        for scores in lists
    ]


def compare(what: str, found: Predictions, expected: Predictions) -> None:
    if len(expected) != len(TEXTS) or any(not scores for scores in expected):
        sys.exit(f"fastsentiment run-guest gave {len(expected)} answers: {expected}")
    labels = [[label for label, _ in scores] for scores in found]
    expected_labels = [[label for label, _ in scores] for scores in expected]
    if labels != expected_labels:
        sys.exit(f"{what}: the labels differ: {found}\ninstead of {expected}")
    difference = max(
        abs(score - wanted)
        for scores, wanteds in zip(found, expected, strict=True)
        for (_, score), (_, wanted) in zip(scores, wanteds, strict=True)
    )
    # Written so that NaN fails.
    if not difference <= TOLERANCE:
        sys.exit(f"{what}: scores differ by {difference:.2g}")
    print(f"{what}: {len(found)} answers, scores differ by {difference:.2g} at most")


def main() -> None:
    if len(sys.argv) < 5:
        sys.exit("usage: compare_wasmtime.py WASMTIME MODEL COPY GUEST...")
    wasmtime, model, copy, *guests = sys.argv[1:]
    if Path(copy).name != "model":
        sys.exit(
            f"{copy}: the directory must be called `model`, as guests name the graph"
        )
    cli: list[str | Path] = [
        wasmtime,
        "run",
        "-Snn",
        f"-Snn-graph=onnx::{copy}",
        "-Sconfig",
    ]
    cli += ["--dir", f"{copy}::/model"]
    lines = "".join(f"{text}\n" for text in TEXTS)
    call = f"predict({json.dumps(TEXTS, ensure_ascii=False)})"
    for guest in guests:
        name = Path(guest).stem
        own = [FASTSENTIMENT, "run-guest", "--guest", guest, "--model"]
        expected = from_json(run([*own, model, "--", *TEXTS]))
        found = {
            "fastsentiment, float inputs": from_json(run([*own, copy, "--", *TEXTS])),
            "wasmtime, arguments": from_json(run([*cli, guest, *TEXTS])),
            "wasmtime, lines": from_json(run([*cli, guest], lines)),
            "wasmtime, --invoke": from_wave(run([*cli, "--invoke", call, guest])),
        }
        for how, predictions in found.items():
            compare(f"{name}: {how}", predictions, expected)


if __name__ == "__main__":
    main()
