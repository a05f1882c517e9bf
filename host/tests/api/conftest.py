"""What the tests of the API share: a running server, what it documents, a browser."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from browsing import chromium
from selenium import webdriver

ROOT = Path(__file__).parents[3]
RELEASE = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
# How long anything may take before it counts as hung, in seconds.
PATIENCE = 120
TOKEN = "0123456789abcdef"


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Listener:
    """One of a server's two listeners."""

    def __init__(self, name: str, port: int, headers: dict[str, str]) -> None:
        self.name, self.port, self.headers = name, port, headers
        self.url = f"http://127.0.0.1:{port}"

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=PATIENCE
        )
        try:
            connection.request(method, path, body, self.headers | (headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def document(self) -> dict[str, Any]:
        answer = self.ask("GET", "/openapi.json")
        assert answer.status == 200, answer
        assert answer.headers["content-type"] == "application/json"
        return json.loads(answer.body)


class Server(NamedTuple):
    main: Listener
    admin: Listener


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def running(folder: Path, *options: object) -> Iterator[Server]:
    """Starts a server with more options, which keeps its files in a folder."""
    main = Listener("main", free_port(), {})
    authorization = {"Authorization": f"Bearer {TOKEN}"}
    admin = Listener("admin", free_port(), authorization)
    command = [
        *(RELEASE / "fastsentiment", "serve"),
        *("--listen", f"127.0.0.1:{main.port}"),
        *("--admin-listen", f"127.0.0.1:{admin.port}"),
        *("--model", ROOT / "host/tests/fixtures/models/tiny-f32"),
        *("--artifacts", folder / "artifacts"),
        "--public-metrics",
        # Schemathesis makes many connections, and leaves them open.
        *("--idle-timeout-ms", "10000"),
        *map(str, options),
    ]
    environment = os.environ | {"FASTSENTIMENT_ADMIN_TOKEN": TOKEN}
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=output
        )
    try:
        until = time.monotonic() + PATIENCE
        while not is_ready(main):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        yield Server(main, admin)
        assert process.poll() is None, f"the server has ended:\n{log.read_text()}"
        assert "panic" not in log.read_text()
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("server")) as server:
        yield server


def is_ready(listener: Listener) -> bool:
    try:
        return listener.ask("GET", "/health/ready").status == 200
    except OSError:
        return False


@pytest.fixture(params=["main", "admin"])
def listener(request: pytest.FixtureRequest, server: Server) -> Listener:
    return getattr(server, request.param)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path) as driver:
        yield driver
