"""Draws what evaluate.py finds. Needs matplotlib (load-testing/requirements.txt)."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from evaluate import Result
from figures import accuracy, confusion

# Without a date and with fixed ids, the same figures give the same file.
STYLE = {"svg.hashsalt": "fastsentiment", "font.size": 9}
COLOUR = "#0072b2"


def draw(results: Sequence[Result], file: Path) -> None:
    """One row for each model: reliability on the left, confusion on the right."""
    with plt.rc_context(STYLE):
        figure, rows = plt.subplots(
            len(results), 2, figsize=(8, 3.6 * len(results)), squeeze=False
        )
        for result, (left, right) in zip(results, rows, strict=True):
            _reliability(left, result)
            _confusion(right, result)
        figure.tight_layout()
        figure.savefig(file, format="svg", metadata={"Date": None})
        plt.close(figure)


def _reliability(axes: Axes, result: Result) -> None:
    bins = [one for one in result.bins if one.count]
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    axes.bar(
        [(one.low + one.high) / 2 for one in bins],
        [one.accuracy for one in bins],
        width=0.09,
        color=COLOUR,
    )
    for one in bins:
        axes.annotate(
            str(one.count),
            ((one.low + one.high) / 2, one.accuracy),
            ha="center",
            va="bottom",
        )
    axes.set(xlim=(0, 1), ylim=(0, 1.08), xlabel="confidence", ylabel="accuracy")
    axes.set_title(
        f"{result.model}: accuracy {accuracy(result.actual, result.found):.1%}"
    )


def _confusion(axes: Axes, result: Result) -> None:
    labels = sorted({*result.actual, *result.found})
    counts = confusion(result.actual, result.found)
    table = [[counts[actual, found] for found in labels] for actual in labels]
    axes.imshow(table, cmap="Blues")
    middle = max(map(max, table)) / 2
    for i, row in enumerate(table):
        for j, count in enumerate(row):
            colour = "white" if count > middle else "black"
            axes.text(j, i, str(count), ha="center", va="center", color=colour)
    places = range(len(labels))
    axes.set(xlabel="found", ylabel="label in the data")
    axes.set_xticks(places, labels)
    axes.set_yticks(places, labels)
