"""Checks the dashboard and the alerts against the metrics that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import queries
import yaml
from queries import MONITORING, Metric, Query


def test_every_query_asks_for_what_there_is():
    metrics = queries.documented()
    assert len(metrics) > 40
    for query in [*queries.drawn(), *queries.watched()]:
        assert queries.faults(query, metrics) == []


@pytest.mark.parametrize(
    ("expression", "legend", "fault"),
    [
        ("sum(rate(requests[5m]))", "", "requests is no metric"),
        ("sum(rate(took_seconds[5m]))", "", "took_seconds is no metric"),
        ("sum(rate(asked_total_count[5m]))", "", "asked_total_count is no metric"),
        ('sum(rate(asked_total{state="x"}[5m]))', "", "asked_total has no state"),
        ('sum(rate(asked_total{status!~"x"}[5m]))', "", None),
        ('sum(rate(asked_total{le="1"}[5m]))', "", "asked_total has no le"),
        ("sum(asked_total)", "", "asked_total is a counter"),
        ("rate(waiting[5m])", "", "waiting is a gauge"),
        ("sum by (state) (rate(asked_total[5m]))", "", "nothing has state"),
        ("sum by (status) (rate(asked_total[5m]))", "{{status}}", None),
        ("sum(rate(asked_total[5m]))", "{{status}}", "status is not kept"),
        ("sum without (le) (rate(asked_total[5m]))", "", "nothing has le"),
        (
            "sum without (status) (rate(asked_total[5m]))",
            "{{ $labels.status }}",
            "status is not kept",
        ),
        (
            "max without (status) (rate(asked_total[5m]))",
            "{{ $labels.job }}",
            None,
        ),
        ("up == 0 and on (job) last_over_time(waiting[1d])", "", None),
        ("up == 0 and on (jib) waiting", "", "nothing has jib"),
        ("up == 0 and on (job) wating", "", "wating is no metric"),
        (
            "waiting < on (job) group_left max by (job) (waiting)",
            "{{ $labels.instance }}",
            None,
        ),
        (
            "max by (job) (waiting) > on (job) group_left max by (job) (waiting)",
            "{{ $labels.instance }}",
            "instance is not kept",
        ),
        ("time() - waiting", "", None),
        ('up{job="here"} == 0', "", None),
        ("waiting", "{{ $labels.status }}", "nothing has status"),
        ("wating_texts{}", "", "wating_texts is no metric"),
        ("unknown_function(waiting)", "", "unknown_function is no metric"),
        ("sum by (le) (rate(took_seconds_bucket[5m]))", "", None),
        ("changes(waiting[5m]) > 2", "{{ $value }} of {{ $labels.job }}", None),
    ],
)
def test_a_wrong_name_is_found(expression: str, legend: str, fault: str | None):
    metrics = {
        "asked_total": Metric("counter", {"status"}),
        "took_seconds": Metric("histogram", set()),
        "waiting": Metric("gauge", set()),
        "up": Metric("gauge", set()),
    }
    found = queries.faults(Query("here", expression, legend), metrics)
    assert found == ([f"here: {fault}"] if fault else [])


def test_prometheus_takes_the_alerts_and_they_fire_when_they_should():
    for command in (
        ("check", "rules", "alerts.yaml"),
        ("check", "config", "prometheus.yaml"),
        ("test", "rules", "alerts.test.yaml"),
    ):
        queries.promtool(*command, cwd=MONITORING)


def test_prometheus_takes_what_grafana_asks(tmp_path: Path):
    rules = [
        # Grafana fills this in.
        {
            "record": f"query:{number}",
            "expr": query.expression.replace("$__rate_interval", "1m"),
        }
        for number, query in enumerate(queries.drawn())
    ]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "drawn", "rules": rules}]}))
    queries.promtool("check", "rules", path)


def test_every_alert_is_tried_and_says_what_to_do():
    [group] = yaml.safe_load(queries.ALERTS.read_text())["groups"]
    names = [rule["alert"] for rule in group["rules"]]
    tests = yaml.safe_load((MONITORING / "alerts.test.yaml").read_text())["tests"]
    well, wrong, *_ = tests
    assert [case["alertname"] for case in well["alert_rule_test"]] == names
    [fired] = wrong["promql_expr_test"]
    tried = " ".join(sample["labels"] for sample in fired["exp_samples"])
    for rule in group["rules"]:
        assert f'"{rule["alert"]}"' in tried
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"].keys() == {"summary", "description"}


def test_no_query_depends_on_the_name_of_a_job():
    for query in [*queries.drawn(), *queries.watched()]:
        assert not re.search(r"\bjob\s*(=|!)", query.expression), query.where


def test_the_operator_is_given_the_same_alerts(tmp_path: Path):
    rule = yaml.safe_load(queries.RULE.read_text())
    alerts = yaml.safe_load(queries.ALERTS.read_text())
    assert rule["spec"] == alerts, "run `make alerts`"
    # What the operator makes of it, Prometheus takes.
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(rule["spec"]))
    queries.promtool("check", "rules", path)


def test_panels_do_not_overlap():
    panels = json.loads(queries.DASHBOARD.read_text())["panels"]
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    numbers = [panel["id"] for panel in panels]
    assert len(numbers) == len(set(numbers))
