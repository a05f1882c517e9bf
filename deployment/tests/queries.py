"""The queries of the Grafana dashboard and of the alerts, and the metrics in the table of
monitoring/README.md. A test of the host compares that table with a running server."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import yaml
from product import ROOT, need

MONITORING = ROOT / "deployment/monitoring"
DASHBOARD = MONITORING / "grafana/dashboards/fastsentiment.json"
ALERTS = MONITORING / "alerts.yaml"
RULE = ROOT / "deployment/kubernetes/components/monitoring/rule.yaml"

FUNCTIONS = {
    "avg_over_time",
    "changes",
    "histogram_quantile",
    "increase",
    "last_over_time",
    "rate",
    "time",
}
AGGREGATIONS = {"count", "max", "sum"}
OPERATORS = {"and", "group_left"}
# Labels that Prometheus adds to each series; those of pods come from its operator.
OF_THE_TARGET = {"instance", "job", "namespace", "pod"}
SUFFIXES = {"_bucket": {"le"}, "_sum": set(), "_count": set()}


def promtool(*arguments: str | Path, cwd: Path | None = None) -> None:
    """Runs promtool, which must find nothing wrong."""
    ran = subprocess.run(
        [need("promtool"), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


class Metric(NamedTuple):
    kind: str
    labels: set[str]


class Query(NamedTuple):
    where: str
    expression: str
    # The text shown with its result: Grafana's `{{label}}`, or an alert's annotations.
    legend: str


def drawn() -> list[Query]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [
        Query(panel["title"], target["expr"], target["legendFormat"])
        for panel in panels
        for target in panel["targets"]
    ]


def watched() -> list[Query]:
    [group] = yaml.safe_load(ALERTS.read_text())["groups"]
    return [
        Query(rule["alert"], rule["expr"], " ".join(rule["annotations"].values()))
        for rule in group["rules"]
    ]


def documented(page: Path = MONITORING / "README.md") -> dict[str, Metric]:
    """The table of metrics, plus `up`, which Prometheus adds."""
    found = {"up": Metric("gauge", set())}
    for line in page.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| `") and len(cells) == 5:
            name, kind, _, labels, _ = cells
            found[name.strip("`")] = Metric(kind, set(re.findall(r"`(\w+)`", labels)))
    return found


def faults(query: Query, metrics: dict[str, Metric]) -> list[str]:
    """The errors in the names that a query uses."""
    found = []
    # Remove strings and durations, whose words are not names.
    expression = re.sub(r'"[^"]*"', '""', query.expression)
    expression = re.sub(r"\[[^\]]*\]", "[]", expression)
    labels = set(OF_THE_TARGET)
    selector = r"([a-z_][a-z0-9_]*)\s*(\{[^}]*\})?(\[\])?"
    named = {
        keyword: {
            word
            for group in re.findall(rf"\b{keyword} \(([^)]*)\)", expression)
            for word in re.findall(r"\w+", group)
        }
        for keyword in ("by", "without", "on")
    }
    without_groups = re.sub(r"\b(?:by|without|on) \([^)]*\)", "", expression)
    for match in re.finditer(selector, without_groups):
        name, matchers, ranged = match.groups()
        if name in FUNCTIONS | AGGREGATIONS | OPERATORS:
            continue
        own = selected(name, metrics)
        if own is None:
            found.append(f"{name} is no metric")
            continue
        kind, its_labels = own
        labels |= its_labels
        asked = set(re.findall(r"(\w+)\s*(?:=|!)", matchers or ""))
        found += [f"{name} has no {label}" for label in asked - its_labels]
        before = without_groups[: match.start()].rstrip()
        grows = bool(ranged) and before.endswith(("rate(", "increase("))
        if (kind == "counter") != grows:
            found.append(f"{name} is a {kind}")
    shown = set(re.findall(r"\{\{\s*(?:\$labels\.)?([a-z]\w*)\s*\}\}", query.legend))
    lost = shown & named["without"]
    # `without` keeps the other labels, and `by` only its own; `group_left` keeps those of
    # the series before it.
    aggregated = expression.split("group_left")[0]
    if re.search(r"\b(?:count|max|sum)\b(?! without)", aggregated):
        lost = shown - named["by"]
    found += [f"{label} is not kept" for label in lost]
    asked = shown.union(*named.values())
    found += [f"nothing has {label}" for label in asked - labels]
    return [f"{query.where}: {fault}" for fault in found]


def selected(name: str, metrics: dict[str, Metric]) -> Metric | None:
    """The metric of a series; the series of a histogram are counters."""
    if (metric := metrics.get(name)) and metric.kind != "histogram":
        return Metric(metric.kind, metric.labels | OF_THE_TARGET)
    for suffix, more in SUFFIXES.items():
        base = metrics.get(name.removesuffix(suffix))
        if name.endswith(suffix) and base and base.kind == "histogram":
            return Metric("counter", base.labels | more | OF_THE_TARGET)
    return None
