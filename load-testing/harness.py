"""What faults.py and the tests share: running the scripts, and servers to run them on.

Needs nothing but Python's standard library.
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
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

HERE = Path(__file__).parent
ROOT = HERE.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
RELEASE = TARGET / "release"
# A guest of the host's tests: texts that begin with `do` are orders to do harm.
HOSTILE = TARGET / "wasm32-wasip2/guest/fastsentiment_hostile_guest.wasm"
# How long anything may take before it counts as hung, in seconds.
PATIENCE = 120

STATISTICS = "min,avg,med,max,p(90),p(95),p(99)"
STAND_IN = ("node", str(HERE / "runner/run.js"))


def k6() -> tuple[str, ...] | None:
    """k6 itself, if it is installed; K6 in the environment says where it is."""
    binary = os.environ.get("K6") or shutil.which("k6")
    return (binary, "run", "--quiet", "--no-usage-report") if binary else None


def tools() -> dict[str, tuple[str, ...]]:
    """What can run the scripts here, the best first."""
    found = {}
    if own := k6():
        found["k6"] = own
    if shutil.which("node"):
        found["the stand-in"] = STAND_IN
    return found


class Run(NamedTuple):
    code: int
    said: str
    metrics: dict[str, dict[str, float]]


def run_script(
    tool: tuple[str, ...], script: Path, environment: dict[str, object]
) -> Run:
    """Runs a script to its end. Its metrics are there if it came that far."""
    settings = {name: str(value) for name, value in environment.items()}
    with tempfile.TemporaryDirectory() as folder:
        summary = Path(folder) / "summary.json"
        options = ["--summary-export", summary, "--summary-trend-stats", STATISTICS]
        done = subprocess.run(
            [*tool, *options, script],
            # Nothing of what is set here by chance.
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
        # Its last line is the one with the configuration file.
        said = ""
        while "\n  config " not in said and (line := process.stdout.readline()):
            said += line
        addresses = dict(re.findall(r"^  (\w+) +(http://[^/\s]+)/", said, re.MULTILINE))
        if not {"predict", "metrics"} <= addresses.keys():
            raise RuntimeError(f"the server did not start: {said}")
        self.url, self.admin_url = addresses["predict"], addresses["metrics"]

    def admin(self, method: str, path: str, body: bytes | None = None) -> Answer:
        address = self.admin_url.removeprefix("http://")
        connection = http.client.HTTPConnection(address, timeout=PATIENCE)
        headers = {"Content-Type": "application/wasm"} if body else {}
        connection.request(method, path, body, headers)
        with contextlib.closing(connection):
            answer = connection.getresponse()
            return Answer(answer.status, answer.read().decode())

    def live(self) -> str:
        """The guest that answers."""
        return self.admin("GET", "/versions").json()["live"]["guest"]

    def metric(self, name: str) -> float:
        """0 if there is none: a status, for one, has none before it was answered."""
        lines = self.admin("GET", "/metrics").body.splitlines()
        found = (line for line in lines if line.startswith(f"{name} "))
        return sum(float(line.rsplit(" ", 1)[1]) for line in found)


@contextlib.contextmanager
def serving(*arguments: str | Path) -> Iterator[Server]:
    """A server on ports of its own, with nothing of this machine's environment."""
    listeners = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
    model = () if "--model" in arguments else ("--model", ROOT / "model/default")
    process = subprocess.Popen(
        [RELEASE / "fastsentiment", "serve", *listeners, *model, *arguments],
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
    """A Redis that can be stopped and started again, on a port that stays the same."""

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
    """Waits until something holds; gives the time that it took, in seconds."""
    start = time.monotonic()
    while not holds():
        if time.monotonic() - start > PATIENCE:
            raise RuntimeError(f"in vain it was waited until {what}")
        time.sleep(0.02)
    return time.monotonic() - start
