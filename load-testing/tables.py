#!/usr/bin/env python3
"""Writes the tables of RESULTS.md, between their markers, from the records in results/.

With --check it writes nothing, and fails if a table differs from its record. Uses only
Python's standard library.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from records import DEPLOYMENTS, HERE, MODELS, PEERS, SCENARIOS, Record, load

PAGE = HERE / "RESULTS.md"
MARKED = re.compile(
    r"(?P<begin><!-- table: (?P<name>\w+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL
)
NOTHING = "–"


def number(value: float | None) -> str:
    """Rounded to about three significant digits."""
    if value is None:
        return NOTHING
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3f}"


def ratio(record: Record, name: str) -> str:
    """A value with the range of its rounds in brackets."""
    if record.get(name) is None:
        return NOTHING
    value, least, most = (record.get(name + end) for end in ("", "_min", "_max"))
    if least is None or least == most:
        return number(value)
    return f"{number(value)} ({number(least)}–{number(most)})"


def table(heads: Iterable[str], rows: Iterable[Iterable[str]], words: int = 1) -> str:
    """A Markdown table. The first `words` columns hold text, the others numbers."""
    heads = list(heads)
    lines = [heads, ["---"] * words + ["---:"] * (len(heads) - words), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def origin(record: Record) -> str:
    text = (
        f"`{record.command()}` on {record.date}, commit {record.commit}, "
        f"{record.minutes:.0f} minutes: {record.where()}.\n"
    )
    if record.quick():
        text += (
            "\n**A quick run, with seconds for each scenario. It shows that the bench "
            "works; its figures are not results.**\n"
        )
    return text + "\n"


# ---- make bench-peers ----


def peers_origin(record: Record) -> str:
    rows = []
    for peer, name in PEERS.items():
        if versions := record.facts.get(f"peers_{peer}"):
            rows.append(f"- {name}: {versions}\n")
    for model, name in MODELS.items():
        others = ratio(record, f"peers_{model}_others_cores")
        if others != NOTHING:
            rows.append(f"- cores that other processes used, {name}: {others}\n")
    return origin(record) + "".join(rows)


def beside(record: Record, what: str, measure: str) -> str:
    """One figure of every server, and the ratios."""
    rows, peers = [], record.peers()
    for model, model_name in MODELS.items():
        for scenario, scenario_name in SCENARIOS.items():
            ours = record.ours(model, scenario, what)
            if ours is None:
                continue
            row = [model_name, scenario_name, number(ours)]
            row += [number(record.best(model, scenario, peer, what)) for peer in peers]
            name = f"peers_{model}_{scenario}_{measure}_over"
            row += [ratio(record, f"{name}_{peer}") for peer in peers]
            rows.append(row)
    heads = ["model", "", "FastSentiment", *peers.values()]
    heads += [f"FastSentiment / {name}" for name in peers]
    return table(heads, rows, words=2)


def peers_throughput(record: Record) -> str:
    return beside(record, "texts_per_s", "texts_per_s")


def peers_p99(record: Record) -> str:
    return beside(record, "p99_ms", "p99")


def peers_cpu(record: Record) -> str:
    return beside(record, "cpu_s_per_1000_texts", "cpu_per_text")


def servers(record: Record) -> dict[str, str]:
    found = {"fastsentiment": "FastSentiment"}
    for peer, name in PEERS.items():
        found |= {f"{peer}_{kind}": f"{name}, {kind}" for kind in DEPLOYMENTS}
    return found | {name: name for name in record.running()}


def peers_memory(record: Record) -> str:
    rows = []
    for model, model_name in MODELS.items():
        row = [model_name]
        for server in servers(record):
            pss = number(record.get(f"peers_{model}_{server}_pss_mib"))
            rss = number(record.get(f"peers_{model}_{server}_rss_mib"))
            row.append(f"{pss} ({rss})" if pss != NOTHING else NOTHING)
        if row[1] != NOTHING:
            rows.append(row)
    return table(["model", *servers(record).values()], rows)


def peers_answers(record: Record) -> str:
    """How far scores are from FastSentiment's, and from those of the same text in a
    request of its own."""
    rows = []
    for model, model_name in MODELS.items():
        for server, server_name in servers(record).items():
            name = f"peers_{model}_{server}"
            row = [model_name, server_name]
            for what in ("score", "beside_others"):
                value = record.get(f"{name}_{what}_difference_millionths")
                row.append(f"{value / 1e6:.1e}" if value else number(value))
            if row[2] != NOTHING:
                rows.append(row)
    heads = ["model", "server", "from FastSentiment", "with other texts in the request"]
    return table(heads, rows, words=2)


def peers_all(record: Record) -> str:
    figures = ("texts_per_s", "p50_ms", "p95_ms", "p99_ms", "cpu_s_per_1000_texts")
    rows = []
    for model, model_name in MODELS.items():
        for scenario, scenario_name in SCENARIOS.items():
            for server, server_name in servers(record).items():
                name = f"peers_{model}_{scenario}_{server}"
                if record.get(f"{name}_texts_per_s") is not None:
                    values = [number(record.get(f"{name}_{what}")) for what in figures]
                    rows.append([model_name, scenario_name, server_name, *values])
    heads = ["model", "", "server", "texts/s", "p50 ms", "p95 ms", "p99 ms"]
    return table([*heads, "CPU s per 1,000 texts"], rows, words=3)


# ---- The other benches ----


def serve(record: Record) -> str:
    figures = ("texts_per_s", "p50_ms", "p99_ms", "server_cpu_s_per_1000_texts")
    ratios = ("cpu_over_raw_all_cores", "throughput_over_raw", "over_bare_hyper")
    rows = []
    for model, model_name in MODELS.items():
        for scenario, scenario_name in SCENARIOS.items():
            name = f"{model}_{scenario}"
            if record.get(f"{name}_texts_per_s") is not None:
                values = [number(record.get(f"{name}_{what}")) for what in figures]
                values += [ratio(record, f"{name}_{what}") for what in ratios]
                rows.append([model_name, scenario_name, *values])
    heads = ["model", "", "texts/s", "p50 ms", "p99 ms", "CPU s per 1,000 texts"]
    heads += ["CPU over ONNX Runtime", "throughput over ONNX Runtime"]
    heads += ["requests per CPU second over bare hyper"]
    return origin(record) + table(heads, rows, words=2)


def named(record: Record, names: dict[str, str]) -> str:
    """A table with a row for each figure of `names` that the record has."""
    rows = []
    for name, words in names.items():
        if record.get(name) is not None:
            rows.append([words, ratio(record, name)])
    return origin(record) + table(["", ""], rows)


def swap(record: Record) -> str:
    names = {
        "swap_swaps": "swaps, 50 per second",
        "swap_answers": "requests answered during the swaps",
        "swap_failed_requests": "failed requests",
        "swap_steady_p50_ms": "p50 before the swaps, ms",
        "swap_swapping_p50_ms": "p50 during the swaps, ms",
        "swap_steady_p99_ms": "p99 before the swaps, ms",
        "swap_swapping_p99_ms": "p99 during the swaps, ms",
        "swap_p99_over_steady": "p99 during / before the swaps",
        "swap_longest_gap_over_steady": "longest gap between answers, during / before the swaps",
        "swap_activation_p50_ms": "activating a known version, p50 ms",
        "swap_activation_p99_ms": "activating a known version, p99 ms",
        "swap_rss_after_all_over_first": "memory after all swaps / after the first 50 swaps",
        "swap_unseen_live_after_s": "new guest compiled and live after, s",
        "swap_unseen_live_after_under_load_s": "new guest compiled and live under full load after, s",
        "swap_unseen_p99_over_steady": "p99 while a new guest compiles / just after",
    }
    return named(record, names)


def overload(record: Record) -> str:
    names = {
        "overload_saturated_texts_per_s": "throughput at saturation, texts/s",
        "overload_offered_over_saturated": "offered load / throughput at saturation",
        "overload_goodput_over_saturated": "goodput / throughput at saturation",
        "overload_goodput_over_saturated_for_core_second": (
            "the same ratio per core-second left by the client"
        ),
        "overload_answers_200": "answered requests (200)",
        "overload_answered_p50_ms": "p50 of answered requests, ms",
        "overload_answered_p99_ms": "p99 of answered requests, ms",
        "overload_refused_count": "refused requests (503)",
        "overload_refused_p50_ms": "p50 of refusals, ms",
        "overload_refused_p99_ms": "p99 of refusals, ms",
        "overload_timed_out_504_count": "timed-out requests (504)",
    }
    return named(record, names)


def faults(record: Record) -> str:
    columns = {
        "requests": "requests",
        "failed_requests": "failed",
        "p99_ms": "p99 ms",
        "p99_over_before": "p99 / without the fault",
        "noticed_after_s": "change noticed after, s",
        "out_of_use_after_s": "guest demoted after, s",
    }
    end = "_failed_requests"
    phases = [name.removesuffix(end) for name in record.figures if name.endswith(end)]
    rows = []
    for phase in phases:
        words = phase.removeprefix("fault_").replace("_", " ")
        values = [number(record.get(f"{phase}_{what}")) for what in columns]
        rows.append([words, *values])
    # Earlier records lack the client.
    client = record.facts.get("faults_client")
    by = f"Client: {client}.\n\n" if client else ""
    return origin(record) + by + table(["fault", *columns.values()], rows)


TABLES: dict[str, tuple[str, Callable[[Record], str]]] = {
    "peers": ("peers", peers_origin),
    "peers_throughput": ("peers", peers_throughput),
    "peers_p99": ("peers", peers_p99),
    "peers_cpu": ("peers", peers_cpu),
    "peers_memory": ("peers", peers_memory),
    "peers_answers": ("peers", peers_answers),
    "peers_all": ("peers", peers_all),
    "serve": ("serve", serve),
    "swap": ("swap", swap),
    "overload": ("overload", overload),
    "faults": ("faults", faults),
}


def render(page: str, records: dict[str, Record]) -> str:
    """The page with new tables."""

    def replaced(found: re.Match) -> str:
        bench, write = TABLES[found["name"]]
        if bench in records:
            text = write(records[bench])
        else:
            text = f"Not measured yet: run `make bench-{bench}`.\n"
        return f"{found['begin']}\n{text}\n{found['end']}"

    return MARKED.sub(replaced, page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare")
    parser.add_argument("--page", type=Path, default=PAGE)
    arguments = parser.parse_args()
    page = arguments.page.read_text(encoding="utf-8")
    made = render(page, load())
    if not arguments.check:
        arguments.page.write_text(made, encoding="utf-8")
    elif made != page:
        sys.exit(f"{PAGE.name} differs from the records in results/: run `make charts`")


if __name__ == "__main__":
    main()
