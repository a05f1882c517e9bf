"""Checks compose.yaml and the files that it mounts against the Compose specification and
the real binary."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from importlib.metadata import files
from pathlib import Path

import containers
import dockerfile
import jsonschema
import pytest
import queries
import yaml
from product import ROOT, options

FOLDER = ROOT / "deployment"
MONITORING = FOLDER / "monitoring"


def interpolated(value: object) -> object:
    """The value with the defaults of all variables."""
    if isinstance(value, str):
        return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)
    if isinstance(value, list):
        return [interpolated(each) for each in value]
    if isinstance(value, dict):
        return {name: interpolated(each) for name, each in value.items()}
    return value


@pytest.fixture(scope="module")
def compose() -> dict:
    return interpolated(yaml.safe_load((FOLDER / "compose.yaml").read_text()))


def specification() -> jsonschema.Draft201909Validator:
    # The package of Docker Compose 1.29, for its schema only: it is not run, and its
    # dependencies are not installed. Version 2 accepts whatever this schema accepts.
    [schema] = [f for f in files("docker-compose") if f.name == "compose_spec.json"]
    return jsonschema.Draft201909Validator(json.loads(schema.read_text()))


def seconds(duration: str) -> int:
    assert duration.endswith("s"), duration
    return int(duration[:-1])


def test_it_is_what_the_specification_asks_for(compose: dict):
    schema = specification()
    schema.validate(compose)
    wrong = {**compose, "services": {"api": {"imagine": "fastsentiment"}}}
    assert list(schema.iter_errors(wrong))


@pytest.mark.parametrize("command", ["docker-compose", "docker compose"])
def test_docker_compose_reads_it(command: str):
    words = command.split()
    if (
        not shutil.which(words[0])
        or subprocess.run(
            [*words, "version"], capture_output=True, check=False
        ).returncode
    ):
        # Skipped in CI too: the schema has been checked above.
        pytest.skip(f"{command} is not installed")
    done = subprocess.run(
        [*words, "-f", FOLDER / "compose.yaml", "config", "-q"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_what_it_names_is_there(compose: dict):
    services = compose["services"]
    networks = {"default", *compose["networks"]}
    for name, service in services.items():
        assert set(service.get("depends_on", [])) <= services.keys()
        assert set(service.get("networks", [])) <= networks
        assert ("profiles" in service) == (name in ("prometheus", "grafana"))
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (FOLDER / source).exists(), volume
            else:
                assert source in compose["volumes"]
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")
    build = services["api"]["build"]
    context = (FOLDER / build["context"]).resolve()
    assert (context / "Dockerfile").is_file()
    declared = [i.words for i in dockerfile.instructions() if i.name == "ARG"]
    for name, value in build["args"].items():
        assert [f"{name}={value}"] in declared
        assert (context / value).is_dir()
    for name, service in services.items():
        if name != "api":
            assert re.search(r":v?\d+\.\d+", service["image"])


def test_what_serves_can_not_write_and_has_no_rights(compose: dict):
    for name in ("api", "redis"):
        service = compose["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["mem_limit"]
    assert compose["networks"]["cache"]["internal"] is True
    assert compose["services"]["redis"]["networks"] == ["cache"]


def test_the_server_is_where_it_says(compose: dict, image: Path, tmp_path: Path):
    service, redis = compose["services"]["api"], compose["services"]["redis"]
    variables = {**dockerfile.environment(), **service["environment"]}
    listen = variables["FASTSENTIMENT_LISTEN"].rpartition(":")[2]
    assert service["ports"] == [f"127.0.0.1:{listen}:{listen}"]
    known = {option.variable: option.default for option in options("serve")}
    drain = int(known["FASTSENTIMENT_DRAIN_MS"]) / 1000
    assert drain + 3 <= seconds(service["stop_grace_period"]) <= drain + 10
    assert variables["REDIS_URL"].endswith("@redis:6379")
    password = redis["environment"]["REDISCLI_AUTH"]
    assert f":{password}@" in variables["REDIS_URL"]
    with (
        containers.redis(redis["command"], password, tmp_path) as cache,
        containers.api(image, variables, cache) as server,
    ):
        containers.assert_keeps_nothing_and_forgets(cache)
        kind, check = redis["healthcheck"]["test"]
        assert kind == "CMD-SHELL"
        containers.assert_probe_tells_right_from_wrong(cache, ["sh", "-c", check])
        containers.assert_uses(server, cache)

        # Prometheus scrapes the right address, and Grafana draws existing metrics.
        scrape = yaml.safe_load((MONITORING / "prometheus.yaml").read_text())
        [job] = scrape["scrape_configs"]
        admin = variables["FASTSENTIMENT_ADMIN_LISTEN"].rpartition(":")[2]
        assert job["static_configs"] == [{"targets": [f"api:{admin}"]}]
        exported = {name.split("{")[0]: name for name in server.metrics()}
        drawn = [query.expression for query in queries.drawn()]
        assert len(drawn) > 20
        for expression in drawn:
            names = re.findall(r"(?:fastsentiment|process)_\w+", expression)
            assert names and set(names) <= exported.keys(), expression
        labelled = " ".join(server.metrics())
        for expression in drawn:
            for label in re.findall(r'\w+="/?\w+', expression):
                assert label in labelled, f"{label} of {expression}"


def test_grafana_finds_its_dashboard_and_its_data(compose: dict):
    [mounted] = compose["services"]["grafana"]["volumes"]
    source, target, _ = mounted.split(":")
    assert target == "/etc/grafana/provisioning"
    provider = yaml.safe_load(
        (MONITORING / "grafana/dashboards/provider.yaml").read_text()
    )
    [place] = [each["options"]["path"] for each in provider["providers"]]
    home = compose["services"]["grafana"]["environment"][
        "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"
    ]
    for path in (place, home):
        inside = Path(path).relative_to(target)
        assert (FOLDER / source / inside).exists(), path
    [data] = yaml.safe_load(
        (MONITORING / "grafana/datasources/prometheus.yaml").read_text()
    )["datasources"]
    port = compose["services"]["prometheus"]["ports"][0].rpartition(":")[2]
    assert data["url"] == f"http://prometheus:{port}"
    dashboard = json.loads(
        Path(FOLDER / source / Path(home).relative_to(target)).read_text()
    )
    for panel in dashboard["panels"]:
        assert panel["datasource"]["uid"] == data["uid"]
    [config, rules, _] = compose["services"]["prometheus"]["volumes"]
    path = config.split(":")[1]
    assert f"--config.file={path}" in compose["services"]["prometheus"]["command"]
    named = yaml.safe_load((MONITORING / "prometheus.yaml").read_text())["rule_files"]
    assert named == [Path(rules.split(":")[1]).name]
    assert Path(rules.split(":")[1]).parent == Path(path).parent
