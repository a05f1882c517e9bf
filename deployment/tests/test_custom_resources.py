"""Checks the resources that are not Kubernetes' own (of the Prometheus operator, KEDA and the
Gateway API) against types and validators that are generated from those projects' sources,
and their queries against the metrics that exist."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from pathlib import Path

import pytest
import queries
from manifests import COMBINED, container, of_kind
from product import TARGET, need

# Kept between runs.
FOLDER = TARGET / "custom-resources"
PACKAGES = [
    "@kubernetes-models/gateway-api@2.0.0",
    "@kubernetes-models/keda@2.0.0",
    "@kubernetes-models/prometheus-operator@6.0.0",
    "typescript@5.9.3",
]
# The package of each kind.
MODELS = {
    "HTTPRoute": "@kubernetes-models/gateway-api",
    "PodMonitor": "@kubernetes-models/prometheus-operator",
    "PrometheusRule": "@kubernetes-models/prometheus-operator",
    "ScaledObject": "@kubernetes-models/keda",
}
TYPES = "--noEmit --allowJs --checkJs --skipLibCheck --module nodenext --target es2022"


def ran(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=FOLDER, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def packages() -> None:
    need("node")
    FOLDER.mkdir(parents=True, exist_ok=True)
    options = ["--no-audit", "--no-fund", "--ignore-scripts", "--prefix", FOLDER]
    done = ran(need("npm"), "install", *options, *PACKAGES)
    assert done.returncode == 0, done.stderr


def faults(objects: list[dict]) -> str:
    """What is wrong with resources. The types know the fields that exist, and the
    validators which are required and what they may hold."""
    lines = []
    for each in objects:
        version, kind = each["apiVersion"], each["kind"]
        lines.append(f'import {{ {kind} }} from "{MODELS[kind]}/{version}/{kind}";')
        # Without those two, which a model adds to itself.
        rest = {k: v for k, v in each.items() if k not in ("apiVersion", "kind")}
        lines.append(f"new {kind}({json.dumps(rest)}).validate();")
    script = FOLDER / "check.mjs"
    script.write_text("\n".join(lines))
    types = ran("node", "node_modules/typescript/bin/tsc", *TYPES.split(), script)
    return types.stdout + ran("node", script).stderr


def custom(objects: list[dict]) -> list[dict]:
    return [each for each in objects if each["kind"] in MODELS]


@pytest.mark.usefixtures("packages")
def test_they_are_what_their_operators_expect(manifests):
    seen = {}
    for name in COMBINED:
        seen.update({each["kind"]: each for each in custom(manifests[name])})
    assert seen.keys() == MODELS.keys()
    assert faults(list(seen.values())) == ""


@pytest.mark.parametrize(
    ("kind", "path", "value", "fault"),
    [
        ("PodMonitor", ["selecter"], {}, "selecter"),
        ("PodMonitor", ["podMetricsEndpoints", 0, "prot"], "a", "prot"),
        ("PodMonitor", ["podMetricsEndpoints", 0, "port"], 8001, "port"),
        ("PrometheusRule", ["groups", 0, "rules", 0, "four"], "1m", "four"),
        ("PrometheusRule", ["groups", 0, "rules", 0, "for"], "soon", "for"),
        ("ScaledObject", ["minReplicas"], 2, "minReplicas"),
        ("ScaledObject", ["triggers", 0, "type"], None, "type"),
        ("HTTPRoute", ["rules", 0, "timeouts", "request"], "never", "request"),
        ("HTTPRoute", ["rules", 0, "backendRefs", 0, "prt"], 80, "prt"),
    ],
)
@pytest.mark.usefixtures("packages")
def test_what_they_do_not_expect_is_noticed(manifests, kind, path, value, fault):
    objects = [*manifests["exposed"], *manifests["keda"]]
    [wrong, *_] = [copy.deepcopy(o) for o in objects if o["kind"] == kind]
    *ways, last = path
    inner = wrong["spec"]
    for way in ways:
        inner = inner[way]
    inner[last] = value
    assert fault in faults([wrong])


def test_the_pods_are_scraped_where_they_export_metrics(manifests):
    for name in ("external", "exposed", "keda"):
        objects = manifests[name]
        [monitor] = of_kind(objects, "PodMonitor").values()
        pod = of_kind(objects, "Deployment")["fastsentiment"]["spec"]["template"]
        wanted = monitor["spec"]["selector"]["matchLabels"]
        assert wanted.items() <= pod["metadata"]["labels"].items()
        [endpoint] = monitor["spec"]["podMetricsEndpoints"]
        _, only = container(objects, "fastsentiment")
        [port] = [p for p in only["ports"] if p["name"] == endpoint["port"]]
        annotations = pod["metadata"]["annotations"]
        assert str(port["containerPort"]) == annotations["prometheus.io/port"]
        assert endpoint["path"] == annotations["prometheus.io/path"]


def test_keda_asks_for_a_metric_that_exists_in_the_namespace(manifests, tmp_path: Path):
    [scaled] = of_kind(manifests["keda"], "ScaledObject").values()
    [asked] = [t for t in scaled["spec"]["triggers"] if t["type"] == "prometheus"]
    query = queries.Query("keda", asked["metadata"]["query"], "")
    assert queries.faults(query, queries.documented()) == []
    namespace = scaled["metadata"]["namespace"]
    assert f'namespace="{namespace}"' in query.expression
    # One value, as KEDA demands, for all pods of this namespace together. It divides that
    # by the number of pods (AverageValue).
    assert asked["metricType"] == "AverageValue"
    series = "fastsentiment_queue_texts"
    test = {
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "15s",
                "input_series": [
                    {"series": f"{series}{labels}", "values": values}
                    for labels, values in (
                        (f'{{namespace="{namespace}",pod="a"}}', "10x40"),
                        (f'{{namespace="{namespace}",pod="b"}}', "20x40"),
                        ('{namespace="other",pod="c"}', "400x40"),
                    )
                ],
                "promql_expr_test": [
                    {
                        "expr": query.expression,
                        "eval_time": "5m",
                        "exp_samples": [{"labels": "{}", "value": 30}],
                    }
                ],
            }
        ],
    }
    path = tmp_path / "test.yaml"
    path.write_text(json.dumps(test))
    queries.promtool("test", "rules", path)
    # The threshold is that of the overlay which needs no KEDA.
    [scaler] = of_kind(
        manifests["overlays/queue-depth"], "HorizontalPodAutoscaler"
    ).values()
    [pods] = [m["pods"] for m in scaler["spec"]["metrics"] if m["type"] == "Pods"]
    assert pods["target"]["averageValue"] == asked["metadata"]["threshold"]
    assert re.search(rf"\b{pods['metric']['name']}\b", query.expression)
