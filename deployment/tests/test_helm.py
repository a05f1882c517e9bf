"""Renders the chart with Helm's own engine, and compares it with what kustomize renders."""

from __future__ import annotations

import json
import platform
import re
from pathlib import Path

import pytest
import yaml
from manifests import COMBINED, EVERY, PASSWORD, ROLLOUT, of_kind
from product import ROOT, VERSION

try:
    import helm_python as helm
except ImportError:
    if platform.machine() == "x86_64":
        raise
    # requirements-test.txt leaves it out.
    pytest.skip("helm-python-sdk has no wheel for arm64", allow_module_level=True)

CHART = ROOT / "deployment/helm/fastsentiment"
KUBERNETES = ROOT / "deployment/kubernetes"
NAMESPACE = "fastsentiment"
PLAIN = {"redis": {"enabled": True, "password": "development"}}
MONITORED = {"monitoring": {"enabled": True}}
PRODUCTION = {
    "image": {"repository": "registry.example.com/fastsentiment"},
    "autoscaling": {"minReplicas": 3, "maxReplicas": 20},
    "spread": "DoNotSchedule",
    "redis": {"enabled": True, "password": PASSWORD},
}
DEVELOPMENT = {
    **PLAIN,
    "image": {"tag": "latest", "pullPolicy": "IfNotPresent"},
    "options": {"FASTSENTIMENT_LOG": "info,fastsentiment=debug"},
    "resources": {"requests": {"cpu": "100m"}},
    "autoscaling": {"minReplicas": 1, "maxReplicas": 2},
}
# The values that make each kustomization.
VALUES = {
    "base": {},
    ".": PLAIN,
    "overlays/development": DEVELOPMENT,
    "overlays/fleet": {
        **PLAIN,
        "rollout": {
            "enabled": True,
            "file": (KUBERNETES / "overlays/fleet/rollout.toml").read_text(),
        },
    },
    "overlays/image-volume": {
        **PLAIN,
        "guestImage": {"reference": "registry.example.com/sentiment/guest:1"},
    },
    "overlays/production": PRODUCTION,
    "overlays/queue-depth": {**PLAIN, "autoscaling": {"queueTexts": "8"}},
    "external": {
        **MONITORED,
        "priorityClassName": "fastsentiment",
        "redis": {
            "external": {
                "url": "rediss://redis.example.com:6379",
                "cidrs": ["192.0.2.0/24"],
            }
        },
    },
    "exposed": {
        **PLAIN,
        **MONITORED,
        "autoscaling": {"queueTexts": "8"},
        "gateway": {"enabled": True},
        "ingress": {"enabled": True},
        "priorityClassName": "fastsentiment",
    },
    "keda": {
        **PRODUCTION,
        **MONITORED,
        # Its numbers are those of the component.
        "autoscaling": {"keda": {"enabled": True}},
    },
    "keda-development": {**DEVELOPMENT, "autoscaling": {"keda": {"enabled": True}}},
    "secured": {
        **PRODUCTION,
        "apiKeys": {"existingSecret": "fastsentiment-api-keys"},
        "tls": {"existingSecret": "fastsentiment-tls"},
        "redis": {**PRODUCTION["redis"], "cacheKeySecret": "fastsentiment-cache-key"},
    },
    "fleet-production": {
        **PRODUCTION,
        **MONITORED,
        "rollout": {
            "enabled": True,
            "file": ROLLOUT["rollout.toml"],
            "files": {"cosign.pub": ROLLOUT["cosign.pub"]},
        },
    },
}
# Its guest is a file beside the kustomization, which values could not hold.
NOT_IN_THE_CHART = {"overlays/swap-volume"}
# The order of these lists means nothing.
UNORDERED = {"env", "metrics", "volumeMounts", "volumes"}


@pytest.fixture(scope="module")
def chart():
    with helm.Chart.load(CHART) as chart:
        yield chart


def rendered(chart, values: dict) -> list[dict]:
    files = chart.render(values, name="any", namespace=NAMESPACE)
    return [
        each
        for text in files.values()
        for each in yaml.safe_load_all(text)
        if each is not None
    ]


def comparable(objects: list[dict]) -> dict[tuple[str, str], dict]:
    """Objects by kind and name, without what differs on purpose."""
    text = json.dumps(objects)
    for name in [*of_kind(objects, "ConfigMap"), *of_kind(objects, "Secret")]:
        # kustomize restarts pods by a digest in the name of what they refer to.
        text = text.replace(f'"{name}"', f'"{re.sub(r"-[a-z0-9]{10}$", "", name)}"')
    found = {}
    for each in json.loads(text):
        metadata = each["metadata"]
        # Helm is given the namespace when it installs.
        metadata.pop("namespace", None)
        if each["kind"] == "Deployment":
            of_pods = each["spec"]["template"]["metadata"]
            annotations = of_pods.get("annotations", {})
            # Helm restarts pods by annotations.
            kept = {k: v for k, v in annotations.items() if "checksum/" not in k}
            of_pods["annotations"] = kept
        if each["kind"] != "Namespace":
            found[each["kind"], metadata["name"]] = ordered(each)
    return found


def ordered(value: object, name: str = "") -> object:
    if isinstance(value, dict):
        return {key: ordered(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        items = [ordered(each) for each in value]
        return sorted(items, key=canonical) if name in UNORDERED else items
    return value


def canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def test_every_kustomization_can_be_had_from_the_chart():
    assert {*EVERY, *COMBINED} == VALUES.keys() | NOT_IN_THE_CHART


@pytest.mark.parametrize("name", VALUES)
def test_it_renders_what_kustomize_renders(chart, manifests, name: str):
    ours = comparable(rendered(chart, VALUES[name]))
    theirs = comparable(manifests[name])
    assert ours.keys() == theirs.keys()
    for key, each in theirs.items():
        assert ours[key] == each, key


def test_what_differs_is_noticed(chart, manifests):
    ours = comparable(rendered(chart, {**PLAIN, "spread": "DoNotSchedule"}))
    theirs = comparable(manifests["."])
    assert [key for key, each in theirs.items() if ours[key] != each] == [
        ("Deployment", "fastsentiment")
    ]


def annotations(objects: list[dict], deployment: str = "fastsentiment") -> dict:
    found = of_kind(objects, "Deployment")[deployment]
    return found["spec"]["template"]["metadata"].get("annotations", {})


def test_options_and_passwords_restart_pods_and_the_rollout_file_does_not(chart):
    fleet = {**PLAIN, "rollout": {"enabled": True}}
    before = rendered(chart, fleet)
    options = {"options": {"FASTSENTIMENT_LOG": "warn"}}
    assert annotations(rendered(chart, {**fleet, **options})) != annotations(before)
    other = {**fleet, "redis": {"enabled": True, "password": "another"}}
    for deployment in ("fastsentiment", "fastsentiment-redis"):
        after = annotations(rendered(chart, other), deployment)
        assert after != annotations(before, deployment)
    changed = {**PLAIN, "rollout": {"enabled": True, "file": "generation = 2\n"}}
    after = rendered(chart, changed)
    assert of_kind(after, "ConfigMap")["fastsentiment-rollout"]["data"] == {
        "rollout.toml": "generation = 2\n"
    }
    assert of_kind(after, "Deployment") == of_kind(before, "Deployment")


def test_a_fixed_number_of_pods(chart):
    objects = rendered(chart, {"replicas": 4, "autoscaling": {"enabled": False}})
    assert of_kind(objects, "Deployment")["fastsentiment"]["spec"]["replicas"] == 4
    assert not of_kind(objects, "HorizontalPodAutoscaler")


def test_a_secret_of_ones_own_is_used_and_none_is_made(chart):
    objects = rendered(chart, {"redis": {"enabled": True, "existingSecret": "mine"}})
    assert not of_kind(objects, "Secret")
    for each in of_kind(objects, "Deployment").values():
        [volume] = each["spec"]["template"]["spec"]["volumes"]
        assert volume["secret"]["secretName"] == "mine"


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"redis": {"enabled": True}}, "redis.password or redis.existingSecret"),
        (
            {"redis": {"enabled": True, "password": "a", "existingSecret": "b"}},
            "either redis.password or redis.existingSecret",
        ),
        (
            {**PLAIN, "redis": {**PLAIN["redis"], "external": {"url": "redis://a:1"}}},
            "either redis.enabled or redis.external.url",
        ),
        ({"redis": {"external": {"url": "redis://a:1"}}}, "redis.external.cidrs"),
        (
            {"rollout": {"enabled": True}, "guestImage": {"reference": "a:1"}},
            "either rollout.enabled or guestImage.reference",
        ),
        ({"redis": {"cacheKeySecret": "a"}}, "redis.enabled or redis.external.url"),
        ({"replica": 2}, "replica"),
        ({"autoscaling": {"cpu": 1400}}, "cpu"),
        ({"options": {"FASTSENTIMENT_WORKERS": 2}}, "FASTSENTIMENT_WORKERS"),
        ({"options": {"LOG": "info"}}, "LOG"),
    ],
)
def test_wrong_values_are_refused_by_name(chart, values: dict, fault: str):
    with pytest.raises(helm.HelmError, match=fault):
        rendered(chart, values)


def test_helm_finds_no_fault_in_it():
    report = helm.lint(CHART, {}, strict=True, kube_version="v1.27.0")
    assert report["errors"] == []
    assert [m for m in report["messages"] if m["severity"] > 1] == []


def test_it_has_the_version_of_the_repository(chart):
    assert chart.metadata["version"] == chart.metadata["appVersion"] == VERSION


def test_an_archive_of_it_has_the_alerts(chart, tmp_path: Path):
    """In the repository they are a link to those of deployment/monitoring."""
    archive = chart.save(tmp_path)
    with helm.Chart.load(archive) as packed:
        objects = rendered(packed, MONITORED)
    [rule] = of_kind(objects, "PrometheusRule").values()
    alerts = (ROOT / "deployment/monitoring/alerts.yaml").read_text()
    assert rule["spec"] == yaml.safe_load(alerts)
