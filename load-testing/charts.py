#!/usr/bin/env python3
"""Draws the charts of RESULTS.md from the records in results/, as SVG.

The same records give the same files. Needs the packages in requirements.txt. `--png DIR`
also writes the charts as PNG.
"""

import argparse
from collections.abc import Callable
from math import ceil, floor, log10
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from records import HERE, PEERS, Record, load
from tables import number

CHARTS = HERE / "charts"

# From the palette of Okabe and Ito, which colour-blind readers can tell apart.
COLOURS = {"fastsentiment": "#0072b2", "onnxruntime": "#e69f00", "torch": "#999999"}
NAMES = {"fastsentiment": "FastSentiment", **PEERS}
# Short enough to fit below a group of bars.
MODELS = {
    "default": "included\nint8",
    "full_int8": "DistilBERT\nint8",
    "full_fp32": "DistilBERT\nfp32",
}
SCENARIOS = {
    "misses_c10": "new texts",
    "mix95_c10": "95 % known texts",
    "hits_c10": "known texts",
}
WIDTH = 0.27

STYLE = {
    # Keeps the ids in a file the same in every run.
    "svg.hashsalt": "fastsentiment",
    # Text stays text, not outlines: smaller files, and readers can search them.
    "svg.fonttype": "none",
    "font.family": ["sans-serif"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "figure.facecolor": "white",
}


def finish(figure: Figure, record: Record, title: str, top: float) -> Figure:
    """Adds the title, and below the chart the machine and the date."""
    machine = record.machine
    text = f"{machine['cores']} cores of an {machine['cpu']}, {record.date}"
    if record.quick():
        text += "; a quick run, not a result"
    figure.tight_layout(rect=(0, 0.035, 1, top))
    figure.suptitle(title, size=11, x=0.01, ha="left", weight="bold")
    figure.text(0.99, 0.01, text, ha="right", va="bottom", size=7, color="#666666")
    return figure


def short(value: float) -> str:
    """A label no wider than a bar."""
    return f"{value / 1000:.2g} k" if value >= 1000 else number(value)


def bars(axes: Axes, places: list[float], values: list[float], **style: object) -> None:
    drawn = axes.bar(places, values, WIDTH * 0.94, **style)
    axes.bar_label(drawn, [short(value) for value in values], size=6.5, padding=1)


def decades(axes: Axes, values: list[float]) -> None:
    """A logarithmic axis from one power of ten to another. The start of the axis decides
    how long the bars are, so it must not depend on the data more than that."""
    least, most = floor(log10(min(values) / 2)), ceil(log10(max(values) * 1.3))
    axes.set_yscale("log")
    axes.set_ylim(10.0**least, 10.0**most)
    ticks = [10.0**power for power in range(least, most + 1)]
    axes.set_yticks(ticks, [f"{tick:,g}" for tick in ticks])


def beside(record: Record, what: str, title: str, label: str) -> Figure | None:
    """A panel for each scenario, with a group for each model and a bar for each server."""

    def value(model: str, scenario: str, server: str) -> float | None:
        if server == "fastsentiment":
            return record.ours(model, scenario, what)
        return record.best(model, scenario, server, what)

    models = [model for model in MODELS if value(model, "misses_c10", "fastsentiment")]
    if not models:
        return None
    figure, panels = plt.subplots(1, len(SCENARIOS), figsize=(9.6, 3.7), sharey=True)
    everything = []
    for axes, (scenario, name) in zip(panels, SCENARIOS.items(), strict=True):
        axes.set_title(f"{name}, 10 clients", size=9)
        for at, model in enumerate(models):
            found = {server: value(model, scenario, server) for server in NAMES}
            found = {server: height for server, height in found.items() if height}
            first = at - WIDTH * (len(found) - 1) / 2
            for offset, (server, height) in enumerate(found.items()):
                bars(axes, [first + offset * WIDTH], [height], color=COLOURS[server])
            everything += found.values()
        axes.set_xticks(range(len(models)), [MODELS[model] for model in models])
        axes.tick_params(axis="x", length=0)
        axes.set_xlim(-0.6, len(models) - 0.4)
    decades(panels[0], everything)
    panels[0].set_ylabel(f"{label} (log scale)")
    keys = [Patch(color=COLOURS[server], label=NAMES[server]) for server in NAMES]
    finish(figure, record, title, top=0.94)
    figure.legend(handles=keys, ncols=3, loc="upper right", frameon=False)
    return figure


def throughput(record: Record) -> Figure | None:
    title = "Throughput: more is better"
    return beside(record, "texts_per_s", title, "texts per second")


def p99(record: Record) -> Figure | None:
    title = "99th percentile of latency: less is better"
    return beside(record, "p99_ms", title, "milliseconds")


def cpu(record: Record) -> Figure | None:
    title = "CPU time per text: less is better"
    what = "cpu_s_per_1000_texts"
    return beside(record, what, title, "CPU seconds of the server\nper 1,000 texts")


def pairs(
    record: Record,
    title: str,
    label: str,
    groups: dict[str, str],
    sides: dict[str, tuple[str, str]],
    logarithmic: bool = False,
) -> Figure | None:
    """A group for each percentile, with a bar for each side. `sides` gives the name and
    colour of each; the figures are named `<side>_<group>`."""
    figure, axes = plt.subplots(figsize=(5.4, 3.4))
    first = (len(sides) - 1) / 2
    everything = []
    for offset, (side, (name, colour)) in enumerate(sides.items()):
        values = [record.get(f"{side}_{group}") for group in groups]
        if all(values):
            places = [at + (offset - first) * WIDTH for at in range(len(groups))]
            bars(axes, places, values, color=COLOURS[colour], label=name)
            everything += values
    if not everything:
        plt.close(figure)
        return None
    axes.set_xticks(range(len(groups)), list(groups.values()))
    axes.tick_params(axis="x", length=0)
    axes.margins(y=0.1)
    axes.set_ylabel(label)
    if logarithmic:
        decades(axes, everything)
        axes.set_ylabel(f"{label} (log scale)")
    finish(figure, record, title, top=0.9)
    place = {"loc": "upper right", "bbox_to_anchor": (1, 0.95)}
    figure.legend(ncols=len(sides), frameon=False, **place)
    return figure


LATENCIES = {"p50_ms": "p50", "p95_ms": "p95", "p99_ms": "p99"}


def swap(record: Record) -> Figure | None:
    sides = {
        "swap_steady": ("before", "torch"),
        "swap_swapping": ("during 50 swaps per second", "fastsentiment"),
    }
    title = "Latency before and during swaps, 16 clients"
    return pairs(record, title, "milliseconds", LATENCIES, sides)


def overload(record: Record) -> Figure | None:
    sides = {
        "overload_answered": ("answered", "fastsentiment"),
        "overload_refused": ("refused (503)", "torch"),
    }
    title = "Latency at four times the capacity"
    return pairs(record, title, "milliseconds", LATENCIES, sides, logarithmic=True)


DRAWN: dict[str, tuple[str, Callable[[Record], Figure | None]]] = {
    "throughput": ("peers", throughput),
    "p99": ("peers", p99),
    "cpu": ("peers", cpu),
    "swap": ("swap", swap),
    "overload": ("overload", overload),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--png", type=Path, metavar="DIR")
    arguments = parser.parse_args()
    plt.rcParams.update(STYLE)
    records = load()
    CHARTS.mkdir(exist_ok=True)
    for name, (bench, draw) in DRAWN.items():
        figure = draw(records[bench]) if bench in records else None
        if figure is None:
            continue
        figure.savefig(CHARTS / f"{name}.svg", metadata={"Date": None})
        if arguments.png:
            arguments.png.mkdir(parents=True, exist_ok=True)
            figure.savefig(arguments.png / f"{name}.png", dpi=110)
        plt.close(figure)


if __name__ == "__main__":
    main()
