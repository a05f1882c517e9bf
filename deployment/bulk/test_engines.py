"""Scores a table with Ray Data and PySpark on this machine, while one of two servers, or the
job itself, is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pytest
import requests
import scoring
from product import PATIENCE, TARGET, free_port, need
from pyarrow import dataset, parquet

HERE = Path(__file__).parent
FILES, ROWS = 8, 1000
IDS = list(range(FILES * ROWS))
# The arguments that each has beside those of both.
JOBS = {
    "ray_data.py": lambda folder: [folder / "checkpoint", "--rows", str(ROWS)],
    "pyspark_job.py": lambda folder: [],
}


class Server:
    """A server that can be killed, and starts again at the same address."""

    def __init__(self) -> None:
        self.port, self.admin = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        environment = {
            "HOME": os.environ.get("HOME", "/"),
            "FASTSENTIMENT_LISTEN": f"127.0.0.1:{self.port}",
            "FASTSENTIMENT_ADMIN_LISTEN": f"127.0.0.1:{self.admin}",
            "FASTSENTIMENT_LOG": "warn",
            # So that the texts of one job are not all found by the next.
            "FASTSENTIMENT_CACHE_MIB": "0",
            # Leaves the engines some of the machine.
            "FASTSENTIMENT_WORKERS": "1",
        }
        self.process = subprocess.Popen(
            [TARGET / "release/fastsentiment", "serve"],
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        wait(self.ready)

    def ready(self) -> bool:
        assert self.process.poll() is None
        with contextlib.suppress(requests.ConnectionError):
            address = f"http://127.0.0.1:{self.admin}/health/ready"
            return requests.get(address, timeout=5).ok
        return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def scored(self) -> int:
        """Texts that it has scored since it was started."""
        page = requests.get(f"http://127.0.0.1:{self.admin}/metrics", timeout=5).text
        name = 'fastsentiment_computed_texts_total{outcome="ok"} '
        [value] = [line for line in page.splitlines() if line.startswith(name)]
        return int(value.removeprefix(name))


def wait(reached) -> None:
    end = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    made = [Server(), Server()]
    yield made
    for server in made:
        server.kill()


def scored_by(servers: list[Server]) -> int:
    """Texts that they have scored, when nothing is in flight any more."""
    before = -1
    while before != (now := sum(server.scored() for server in servers)):
        before = now
        time.sleep(1)
    return now


def text_of(number: int) -> str:
    kind = ("a delight", "a bore", "no longer than it had to be")[number % 3]
    return f"Film number {number} was {kind}."


@pytest.fixture
def table(tmp_path: Path) -> Path:
    folder = tmp_path / "table"
    folder.mkdir()
    for file in range(FILES):
        ids = IDS[file * ROWS : (file + 1) * ROWS]
        rows = {"id": ids, "text": [text_of(number) for number in ids], "rest": ids}
        parquet.write_table(pyarrow.table(rows), folder / f"{file}.parquet")
    return folder


def started(job: str, table: Path, servers: list[Server]) -> subprocess.Popen:
    if "spark" in job:
        need("java")
    folder = table.parent
    urls = [word for server in servers for word in ("--url", server.url)]
    words = [HERE / job, table, folder / "output", *JOBS[job](folder), *urls]
    environment = {
        **os.environ,
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
        # Nothing is sent, and nothing is written to the home directory.
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
    }
    return subprocess.Popen(
        [sys.executable, *words, "--tasks", "4"],
        env=environment,
        cwd=folder,
        # Whatever it starts can be ended with it.
        start_new_session=True,
    )


def written(table: Path) -> pyarrow.Table:
    """As any reader of Parquet sees the output."""
    return dataset.dataset(table.parent / "output", format="parquet").to_table()


def rows_so_far(table: Path) -> int:
    """The rows in complete files; Ray writes files in their place."""
    count = 0
    for file in (table.parent / "output").glob("**/*.parquet"):
        if "_temporary" not in file.parts:
            with contextlib.suppress(FileNotFoundError, pyarrow.ArrowInvalid):
                count += parquet.read_metadata(file).num_rows
    return count


def assert_every_row_has_one_score(table: Path, server: Server) -> None:
    rows = written(table).sort_by("id")
    assert rows["id"].to_pylist() == IDS
    assert rows["error"].null_count == len(IDS)
    # The scores are those of the rows' own texts.
    some = IDS[:: len(IDS) // 50]
    expected = scoring.score([text_of(number) for number in some], [server.url])
    found = rows.take(some)
    assert found["label"].to_pylist() == [answer.label for answer in expected]
    scores = [answer.score for answer in expected]
    assert found["score"].to_pylist() == pytest.approx(scores, abs=1e-4)


@pytest.mark.parametrize("job", JOBS)
def test_a_server_that_is_killed_costs_no_row(
    job: str, table: Path, servers: list[Server]
):
    process = started(job, table, servers)
    wait(lambda: servers[0].scored() > 500 or process.poll() is not None)
    servers[0].kill()
    wait(lambda: rows_so_far(table) > 0 or process.poll() is not None)
    assert process.poll() is None, "it ended too early for this test"
    servers[0].start()
    assert process.wait(PATIENCE) == 0
    assert servers[0].scored() > 0, "the server that came back was not used"
    assert_every_row_has_one_score(table, servers[1])


@pytest.mark.parametrize("job", JOBS)
def test_a_job_that_is_killed_goes_on_where_it_was(
    job: str, table: Path, servers: list[Server]
):
    process = started(job, table, servers)
    wait(lambda: rows_so_far(table) >= 2 * ROWS or process.poll() is not None)
    assert process.poll() is None, "it ended too early for this test"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = rows_so_far(table)
    before = scored_by(servers)
    assert started(job, table, servers).wait(PATIENCE) == 0
    again = scored_by(servers) - before
    # At most the part that was being finished is scored again, and replaced.
    assert again <= len(IDS) - kept + ROWS
    assert_every_row_has_one_score(table, servers[0])

    before = scored_by(servers)
    assert started(job, table, servers).wait(PATIENCE) == 0
    assert scored_by(servers) == before, "it scored rows again"
    assert_every_row_has_one_score(table, servers[0])
