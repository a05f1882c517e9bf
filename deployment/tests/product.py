"""The product under test: its options, and running servers."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
VERSION = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"][
    "version"
]
# How long to wait for anything before the test fails, in seconds.
PATIENCE = 120


def need(tool: str) -> str:
    """The path of a program. Without it the test is skipped, or fails in CI (CI=true)."""
    found = shutil.which(tool)
    if found is None:
        skip(f"{tool} is not installed")
    return found


def lexicon() -> Path:
    """A small guest other than the default one."""
    built = TARGET / "release/fastsentiment_lexicon.wasm"
    if not built.exists():
        skip(f"{built} is missing: make examples")
    return built


def skip(missing: str) -> None:
    pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)


class Option(NamedTuple):
    flag: str
    variable: str
    default: str | None


def options(command: str) -> list[Option]:
    """The options that `fastsentiment COMMAND --help` lists."""
    binary = TARGET / "release/fastsentiment"
    shown = subprocess.run(
        [binary, command, "--help"],
        env={"COLUMNS": "10000"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    found = []
    for part in re.split(r"^ {2,6}(?=-)", shown, flags=re.MULTILINE)[1:]:
        part = " ".join(part.split())  # joins wrapped lines
        flag = re.search(r"--[a-z-]+", part)
        variable = re.search(r"\[env: (\w+)", part)
        default = re.search(r"\[default: ([^\]\s]+)\]", part)
        if flag and variable:
            found.append(Option(flag[0], variable[1], default and default[1]))
    assert len(found) > 1, shown
    return found


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: str


class Server:
    """A running `fastsentiment serve`."""

    def __init__(self, process: subprocess.Popen, began: float, wrapped: bool) -> None:
        self.process, self.began, self.wrapped = process, began, wrapped
        # The start-up block ends with the line about the configuration file.
        lines = [""]
        while not lines[-1].startswith("  config ") and (
            line := process.stdout.readline()
        ):
            lines.append(line)
        self.greeting = "".join(lines)
        ports = re.findall(r"https?://\S+:(\d+)/", self.greeting)
        assert ports, f"it did not start: {self.greeting}"
        self.port, self.admin_port = int(ports[0]), int(ports[-1])

    def ask(
        self, path: str, port: int, body: object = None, token: str | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        if body is None:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            connection.request("GET", path, headers=headers)
        else:
            header = {"Content-Type": "application/json"}
            connection.request("POST", path, json.dumps(body), header)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read().decode())

    def predict(self, *texts: str) -> Answer:
        answer = self.ask("/predict", self.port, {"text": texts})
        assert answer.status == 200, answer
        predictions = json.loads(answer.body)["predictions"]
        assert len(predictions) == len(texts), answer
        return answer

    def metrics(self) -> dict[str, float]:
        answer = self.ask("/metrics", self.admin_port)
        assert answer.status == 200, answer
        lines = [line for line in answer.body.splitlines() if not line.startswith("#")]
        return {
            name: float(value)
            for name, value in (line.rsplit(" ", 1) for line in lines)
        }

    @property
    def id(self) -> int:
        """The id of the server's process, not of the one that made its namespaces."""
        return children(self.process.pid)[0] if self.wrapped else self.process.pid

    def status(self) -> dict[str, str]:
        """The process's /proc/PID/status."""
        lines = Path(f"/proc/{self.id}/status").read_text().splitlines()
        return {
            name: value.strip()
            for name, value in (line.split(":", 1) for line in lines)
        }

    def terminate(self) -> int:
        """Asks it to stop, and waits for its exit code."""
        os.kill(self.id, signal.SIGTERM)
        return self.process.wait(PATIENCE)


def children(process: int) -> list[int]:
    try:
        listed = Path(f"/proc/{process}/task/{process}/children").read_text()
    except FileNotFoundError:  # it has ended
        return []
    return [int(child) for child in listed.split()]


@contextlib.contextmanager
def serving(
    command: list[str | Path], environment: dict[str, str], *, wrapped: bool = False
) -> Iterator[Server]:
    """A server on free ports, without this machine's environment variables."""
    environment = dict(environment)
    for name in ("FASTSENTIMENT_LISTEN", "FASTSENTIMENT_ADMIN_LISTEN"):
        if name in environment:
            environment[name] = environment[name].rsplit(":", 1)[0] + ":0"
        else:
            environment[name] = "127.0.0.1:0"
    began = time.monotonic()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        yield Server(process, began, wrapped)
    finally:
        # The wrapped process first: it would outlive its wrapper. Everything in its
        # namespace ends with it.
        for each in [*children(process.pid), process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        process.wait()
        process.stdout.close()
