"""Builds the image with a real Docker and runs it, alone and with Compose, as the README
describes. `make test-image` runs this; `make test` does not, because it needs Docker.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import dockerfile
import engine
import pytest
import yaml
from engine import Engine
from product import PATIENCE, ROOT, VERSION, free_port
from test_image import MOST

COMPOSE = ROOT / "deployment/compose.yaml"
NAME = f"fastsentiment-test-{os.getpid()}"
OTHER_MODEL = "host/tests/fixtures/models/tiny-distilbert-5"
# As in the README, with everything removed that a server does not need.
CONFINED = [
    *("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
    *("--memory", "1g", "--cpus", "1"),
]
# The limit for the first answer, in seconds from the start of the container. The fastest
# of several starts has to meet it, so that a busy machine does not fail the test.
FIRST_ANSWER = 1.0
STARTS = 5


@pytest.fixture(scope="session")
def docker() -> Iterator[Engine]:
    redis = yaml.safe_load(COMPOSE.read_text())["services"]["redis"]["image"]
    bases = [dockerfile.stages()[0].base, redis]
    try:
        with engine.running(bases) as running:
            yield running
    except engine.Unavailable as reason:
        pytest.exit(f"the image cannot be tested: {reason}", returncode=1)


@pytest.fixture(scope="session")
def image(docker: Engine) -> Iterator[str]:
    began = time.monotonic()
    docker.build(NAME)
    print(f"\n`docker build` took {time.monotonic() - began:.0f} s")
    yield NAME
    docker.docker("image", "rm", NAME)


class Container:
    """A container that serves on a port of this machine, which Docker picks."""

    def __init__(self, docker: Engine, *arguments: str) -> None:
        self.docker = docker
        run = ["run", "--detach", "--publish", "127.0.0.1::8000"]
        self.id = docker.docker(*run, *arguments)

    def state(self) -> dict:
        return self.docker.inspect("container", self.id)["State"]

    def health(self) -> str:
        return self.state()["Health"]["Status"]

    def port(self) -> int:
        published = self.docker.docker("port", self.id, "8000/tcp")
        return int(published.splitlines()[0].rpartition(":")[2])

    def until_it_answers(self) -> float:
        port = self.port()
        text = "What a wonderful day."
        return until(lambda: ask(port, text)[0] == 200, pause=0.01)

    def logs(self) -> str:
        shown = self.docker.run(self.docker.client, "logs", self.id)
        return shown.stdout + shown.stderr


@contextlib.contextmanager
def container(docker: Engine, *arguments: str) -> Iterator[Container]:
    made = Container(docker, *arguments)
    try:
        yield made
    finally:
        docker.docker("rm", "--force", "--volumes", made.id)


def ask(port: int, *texts: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    with contextlib.closing(connection):
        header = {"Content-Type": "application/json"}
        connection.request("POST", "/predict", json.dumps({"text": texts}), header)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def predict(port: int, *texts: str) -> list[list[dict]]:
    status, body = ask(port, *texts)
    assert status == 200, body
    return json.loads(body)["predictions"]


def until(reached: Callable[[], bool], pause: float = 0.2) -> float:
    """Waits for a condition; gives the time, on the clock that Docker uses too."""
    end = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if reached():
                return time.time()
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(pause)


# ---- The image ----


def test_the_image_is_small_has_no_shell_and_says_what_it_is(
    docker: Engine, image: str
):
    built = docker.inspect("image", image)
    print(f"\nthe image has {built['Size'] / 1e6:.1f} MB")
    assert built["Size"] < MOST
    assert built["Config"]["User"] == "65532:65532"
    labels = built["Config"]["Labels"]
    assert labels["org.opencontainers.image.version"] == VERSION
    # Labels of the base image are not inherited.
    assert all(name.startswith("org.opencontainers.image.") for name in labels)
    shell = ["run", "--rm", "--entrypoint", "/bin/sh", image, "-c", "true"]
    refused = docker.run(docker.client, *shell, check=False)
    assert refused.returncode == 127, refused


def test_it_answers_within_a_second_of_the_start_of_its_container(
    docker: Engine, image: str
):
    took = []
    for _ in range(STARTS):
        with container(docker, *CONFINED, image) as started:
            answered = started.until_it_answers()
            began = datetime.fromisoformat(started.state()["StartedAt"])
            took.append(answered - began.timestamp())
            assert "compiled before" in started.logs()
    print(f"\nfirst answers after {', '.join(f'{each:.2f}' for each in took)} s")
    assert min(took) < FIRST_ANSWER


@pytest.mark.parametrize("cores", range(1, min(3, len(os.sched_getaffinity(0)) + 1)))
def test_it_takes_what_its_container_may_have(docker: Engine, image: str, cores: int):
    limits = ["--cpus", str(cores), "--memory", "900m"]
    found = docker.docker("run", "--rm", *CONFINED, *limits, image, "check")
    assert re.search(rf"workers +{cores},", found), found
    assert re.search(r"compiler +at most 450 MiB", found), found


def test_it_runs_without_rights_and_writes_nothing(docker: Engine, image: str):
    with container(docker, *CONFINED, image) as started:
        started.until_it_answers()
        listed = docker.docker("top", started.id, "-eo", "pid,uid,args")
        _, only = listed.splitlines()
        assert only.split()[1:] == ["65532", "/app/fastsentiment", "serve"]
        assert docker.docker("diff", started.id) == ""


def test_it_needs_no_network(docker: Engine, image: str):
    alone = [*CONFINED, "--network", "none"]
    said = docker.docker(
        "run", "--rm", *alone, image, "predict", "What a wonderful day."
    )
    assert json.loads(said)["predictions"][0][0]["label"] == "POSITIVE"
    with container(docker, *alone, "--health-interval", "1s", image) as started:
        until(lambda: started.health() == "healthy")


def test_the_health_check_follows_it_from_start_to_drain(docker: Engine, image: str):
    # More often than the image's default, so that the test is quick.
    often = ["--health-interval", "1s"]
    drain = ["--env", "FASTSENTIMENT_DRAIN_DELAY_MS=20000"]
    with container(docker, *CONFINED, *often, *drain, image) as started:
        assert started.health() == "starting"
        until(lambda: started.health() == "healthy")
        docker.docker("kill", "--signal", "TERM", started.id)
        until(lambda: started.health() == "unhealthy")
        # It still serves as before.
        predict(started.port(), "A fine day.")
        assert started.state()["Running"]


def test_sigterm_ends_it_when_what_is_in_flight_is_answered(docker: Engine, image: str):
    with container(docker, *CONFINED, image) as started:
        started.until_it_answers()
        connection = http.client.HTTPConnection(
            "127.0.0.1", started.port(), timeout=PATIENCE
        )
        with contextlib.closing(connection):
            # The body is sent after the signal.
            body = json.dumps({"text": ["What a wonderful day."]}).encode()
            connection.putrequest("POST", "/predict")
            connection.putheader("Content-Type", "application/json")
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders()
            time.sleep(0.5)
            docker.docker("kill", "--signal", "TERM", started.id)
            health = [
                docker.client,
                "exec",
                started.id,
                *dockerfile.stages()[-1].last("HEALTHCHECK"),
            ]
            until(lambda: docker.run(*health, check=False).returncode != 0)
            connection.send(body)
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            answer.read()
        began = time.monotonic()
        assert docker.docker("wait", started.id) == "0"
        print(f"\nit ended {time.monotonic() - began:.2f} s after the last answer")
        assert not started.state()["OOMKilled"]


def test_docker_stop_ends_it(docker: Engine, image: str):
    with container(docker, *CONFINED, image) as started:
        started.until_it_answers()
        began = time.monotonic()
        docker.docker("stop", "--time", "30", started.id)
        assert time.monotonic() - began < 10
        assert started.state()["ExitCode"] == 0


def test_another_model_is_baked_by_an_argument(docker: Engine, image: str):
    other = f"{NAME}-other"
    docker.build(other, MODEL=OTHER_MODEL)
    try:
        with container(docker, *CONFINED, other) as started:
            started.until_it_answers()
            assert len(predict(started.port(), "A fine day.")[0]) == 5
            assert "compiled before" in started.logs()
    finally:
        docker.docker("image", "rm", other)


# ---- Compose ----


def composes() -> list[list[str]]:
    """The installed versions of Docker Compose: 1, 2, or both."""
    known = [["docker-compose"], ["docker", "compose"]]
    return [words for words in known if engine.can(*words, "version")]


def test_compose_is_installed():
    assert composes(), "neither docker-compose nor Docker's plugin is installed"


@pytest.mark.parametrize("compose", composes(), ids=" ".join)
def test_compose_brings_it_up_with_redis(
    docker: Engine, image: str, compose: list[str], tmp_path: Path
):
    # With names of its own, so that it does not affect other containers.
    other = tmp_path / "names.yaml"
    other.write_text(yaml.safe_dump({"services": {"api": {"image": NAME}}}))
    port = free_port()
    docker.environment["API_PORT"] = str(port)
    command = [*compose, "--project-name", NAME, "--file", COMPOSE, "--file", other]

    def run(*words: str) -> str:
        return docker.run(*command, *words, timeout=engine.BUILDING).stdout

    def keys() -> int:
        return int(run("exec", "-T", "redis", "redis-cli", "dbsize").split()[-1])

    try:
        run("up", "--detach", "--build")
        until(lambda: ask(port, "A fine day.")[0] == 200)
        until(lambda: keys() >= 1)
        run("stop", "redis")
        predict(port, "A fine day.", "This text is new.")
        run("start", "redis")
        # Redis has kept nothing, and the server reconnects to it by itself.
        texts = iter(range(10**6))
        until(lambda: bool(predict(port, f"Text {next(texts)}.")) and keys() >= 1)
        run("stop", "api")
        labels = (f"project={NAME}", "service=api")
        filters = [f"--filter=label=com.docker.compose.{label}" for label in labels]
        [api] = docker.docker("ps", "--all", "--quiet", *filters).split()
        assert docker.inspect("container", api)["State"]["ExitCode"] == 0
    finally:
        run("down", "--volumes")
