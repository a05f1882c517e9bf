"""Code that faults.py and the tests share: it runs the k6 scripts, and starts the servers
that they need.

Uses only Python's standard library.
"""

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
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
RELEASE = TARGET / "release"
# A guest from the host's tests. A text that begins with `do` makes it misbehave.
HOSTILE = TARGET / "wasm32-wasip2/guest/fastsentiment_hostile_guest.wasm"
# The longest that `wait_until` and admin requests wait, in seconds.
PATIENCE = 120

STATISTICS = "min,avg,med,max,p(90),p(95),p(99)"
NEED_K6 = (
    "k6 0.47 or newer is needed, as `k6` on PATH or at the path in K6: "
    "https://grafana.com/docs/k6/latest/set-up/install-k6/"
)


def k6() -> str | None:
    """The k6 program that K6 names, or `k6` on PATH; None if k6 is not installed."""
    named = os.environ.get("K6")
    found = shutil.which(named or "k6")
    if named and not found:
        sys.exit(f"K6={named} is not a program. {NEED_K6}")
    return found


class Run(NamedTuple):
    code: int
    output: str
    metrics: dict[str, dict[str, float]]


def run_script(script: Path, environment: dict[str, object]) -> Run:
    """Runs a script with k6. `metrics` stays empty if k6 ends before its summary."""
    settings = {name: str(value) for name, value in environment.items()}
    program = k6()
    if program is None:
        raise RuntimeError(NEED_K6)
    with tempfile.TemporaryDirectory() as folder:
        summary = Path(folder) / "summary.json"
        options = ["--summary-export", summary, "--summary-trend-stats", STATISTICS]
        done = subprocess.run(
            [program, "run", "--quiet", "--no-usage-report", *options, script],
            # Settings in the caller's environment must not reach the script.
            env={"PATH": os.environ["PATH"], "HOME": folder, **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        found = json.loads(summary.read_text()) if summary.exists() else {}
    return Run(done.returncode, done.stdout, found.get("metrics", {}))


class Answer(NamedTuple):
    status: int
    body: str

    def json(self) -> dict:
        return json.loads(self.body)


class Server:
    """A running `fastsentiment serve`."""

    def __init__(self, process: subprocess.Popen) -> None:
        # The line about the configuration file is the last that the server prints.
        printed = ""
        while "\n  config " not in printed and (line := process.stdout.readline()):
            printed += line
        addresses = dict(
            re.findall(r"^  (\w+) +(http://[^/\s]+)/", printed, re.MULTILINE)
        )
        if not {"predict", "metrics"} <= addresses.keys():
            raise RuntimeError(f"the server did not start: {printed}")
        self.url, self.admin_url = addresses["predict"], addresses["metrics"]
        self.pid = process.pid

    def admin(self, method: str, path: str, body: bytes | None = None) -> Answer:
        address = self.admin_url.removeprefix("http://")
        connection = http.client.HTTPConnection(address, timeout=PATIENCE)
        headers = {"Content-Type": "application/wasm"} if body else {}
        connection.request(method, path, body, headers)
        with contextlib.closing(connection):
            answer = connection.getresponse()
            return Answer(answer.status, answer.read().decode())

    def live(self) -> str:
        """The id of the live guest."""
        return self.admin("GET", "/versions").json()["live"]["guest"]

    def metric(self, name: str) -> float:
        """The value of a metric, or 0 while the server does not export it: a counter
        appears with its first event."""
        lines = self.admin("GET", "/metrics").body.splitlines()
        found = (line for line in lines if line.startswith(f"{name} "))
        return sum(float(line.rsplit(" ", 1)[1]) for line in found)


@contextlib.contextmanager
def serving(*arguments: str | Path) -> Iterator[Server]:
    """Runs a server on free ports, without the caller's environment."""
    listeners = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
    access = ["--admin-token-file", "none"]
    model = () if "--model" in arguments else ("--model", ROOT / "model/default")
    process = subprocess.Popen(
        [RELEASE / "fastsentiment", "serve", *listeners, *access, *model, *arguments],
        env={"FASTSENTIMENT_LOG": "error", "HOME": os.environ.get("HOME", "/tmp")},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Server(process)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


class Redis:
    """A Redis server that can be stopped and restarted on the same port."""

    def __init__(self) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = listener.getsockname()[1]
        self.folder = tempfile.TemporaryDirectory()
        self.start()

    def start(self) -> None:
        listen = ["--bind", "127.0.0.1", "--port", str(self.port)]
        self.process = subprocess.Popen(
            ["redis-server", *listen, "--save", "", "--dir", self.folder.name],
            stdout=subprocess.DEVNULL,
        )
        wait_until("Redis listens", self.listens)

    def listens(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
        except OSError:
            return False

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.folder.cleanup()


def wait_until(what: str, holds) -> float:
    """Waits until `holds()` is true. Returns how long that took, in seconds."""
    start = time.monotonic()
    while not holds():
        if time.monotonic() - start > PATIENCE:
            raise RuntimeError(f"gave up after {PATIENCE} s waiting until {what}")
        time.sleep(0.02)
    return time.monotonic() - start
