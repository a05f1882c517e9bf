"""The scripts and faults.py against the real server, for a few seconds each. The tests
do not limit latency, since other processes share the machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import unittest

from harness import HERE, NEED_K6, RELEASE, serving
from tests.support import ScriptTest, needs_k6

ANY_LATENCY = {"P99_MS": 1e6, "REFUSAL_MS": 1e6, "MAX_OVER_USUAL": 1e6}
SWAPS = {"USERS": 3, "DURATION": "4s", "HOT_TEXTS": 100, "SWAPS_PER_SECOND": 5}
SWAPS["MIN_SWAPS"] = 3


class Load(ScriptTest):
    def test_known_and_new_texts(self) -> None:
        short = {"USERS": 4, "RAMP": "1s", "DURATION": "3s", "HOT_TEXTS": 100}
        for texts, share in ((1, 0.95), (8, 0.5)):
            with serving() as server:
                settings = {"URL": server.url, "TEXTS": texts, "HIT_SHARE": share}
                # A slow machine makes few requests, so the share varies more.
                settings |= {"HIT_TOLERANCE": 0.1, **short, **ANY_LATENCY}
                # In the second run, with the same seed, new texts must be new again.
                for _ in range(2):
                    run = self.run_script("load.js", **settings)
                    self.passes(run)
                    hits = run.metrics["cache_hits"]
                    asked = run.metrics["http_reqs{name:predict}"]["count"] * texts
                    self.assertEqual(hits["passes"] + hits["fails"], asked)
                    self.assertGreater(hits["fails"], 0)

    def test_texts_from_a_file(self) -> None:
        file = HERE / "write-corpus.js"
        with serving() as server:
            settings = {"USERS": 1, "RAMP": "0s", "DURATION": "1s", "HIT_SHARE": 1}
            settings |= {"URL": server.url, "TEXTS_FILE": file, "HIT_TOLERANCE": 0}
            self.passes(self.run_script("load.js", **settings, **ANY_LATENCY))


class Swap(ScriptTest):
    def test_two_guests_take_turns(self) -> None:
        guests = {"GUEST_A": "guest", "GUEST_B": "neutral"}
        files = {
            name: RELEASE / f"fastsentiment_{guest}.wasm"
            for name, guest in guests.items()
        }
        with serving() as server:
            before = server.live()
            where = {"URL": server.url, "ADMIN_URL": server.admin_url}
            run = self.run_script("swap.js", **where, **files, **SWAPS, **ANY_LATENCY)
            self.passes(run)
            self.assertEqual(server.live(), before)

    def test_an_invalid_guest_ends_the_run(self) -> None:
        with serving() as server:
            where = {"URL": server.url, "ADMIN_URL": server.admin_url}
            files = {"GUEST_A": HERE / "swap.js", "GUEST_B": HERE / "swap.js"}
            run = self.run_script("swap.js", **where, **files, **SWAPS)
            self.stops(run, "422 .*the candidate was refused")


class Overload(ScriptTest):
    def test_more_than_the_server_can_answer(self) -> None:
        # So small a server that k6 can overload it from the same machine.
        small = ["--workers", "1", "--queue-tokens", "1024"]
        with serving(*small) as server:
            settings = {"URL": server.url, "RATE": 100, "VUS": 40, "HOT_TEXTS": 100}
            settings |= {"DURATION_S": 4, "CAPACITY_S": 2, "AFTER_S": 2, "PAUSE_S": 2}
            # Loose, since other processes change the capacity during the run.
            settings |= {"MIN_OFFERED": 1, "MIN_GOODPUT": 0.1}
            run = self.run_script("overload.js", **settings, **ANY_LATENCY)
            self.passes(run)
            self.assertGreater(run.metrics["refused"]["count"], 0)


@needs_k6
class Faults(unittest.TestCase):
    def test_no_request_fails(self) -> None:
        done = subprocess.run(
            [sys.executable, HERE / "faults.py", "--seconds", "3", "--users", "4"],
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertRegex(done.stdout, r"(?m)^fact faults_client k6 v\d")
        found = re.findall(r"^figure fault_(\w+) (\S+)$", done.stdout, re.MULTILINE)
        figures = {name: float(value) for name, value in found}
        requests = {
            name.removesuffix("_requests"): value
            for name, value in figures.items()
            if name.endswith("_requests") and not name.endswith("_failed_requests")
        }
        self.assertEqual(
            set(requests),
            {
                *("redis_healthy", "redis_stopped", "redis_continued"),
                *("redis_killed", "redis_restarted"),
                *("guest_healthy", "guest_refused", "guest_traps", "guest_hangs"),
            },
        )
        for name, value in requests.items():
            self.assertGreater(value, 0)
            self.assertEqual(figures[f"{name}_failed_requests"], 0)
            self.assertIn(f"{name}_p99_ms", figures)
        # Without Redis, fewer texts come from the cache.
        self.assertGreater(figures["redis_healthy_cache_hits"], 0.9)
        healthy = figures["redis_healthy_cache_hits"]
        self.assertLess(figures["redis_killed_cache_hits"], healthy)


class Commands(unittest.TestCase):
    """What faults.py says when something that it needs is missing."""

    def faults(self, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, HERE / "faults.py"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def test_without_k6(self) -> None:
        with tempfile.TemporaryDirectory() as empty:
            done = self.faults(PATH=empty)
        self.assertEqual((done.returncode, done.stderr.strip()), (1, NEED_K6))

    def test_without_the_program_that_k6_names(self) -> None:
        done = self.faults(PATH=os.environ["PATH"], K6="/nowhere/k6")
        self.assertEqual(done.returncode, 1)
        self.assertIn("K6=/nowhere/k6 is not a program", done.stderr)

    def test_without_the_guest_that_misbehaves(self) -> None:
        # Any program will do for k6: it must not get as far as to run it.
        done = self.faults(
            PATH=os.environ["PATH"], K6=sys.executable, CARGO_TARGET_DIR="/nowhere"
        )
        self.assertEqual(done.returncode, 1)
        missing = "fastsentiment_hostile_guest.wasm does not exist"
        self.assertIn(missing, done.stderr)


if __name__ == "__main__":
    unittest.main()
