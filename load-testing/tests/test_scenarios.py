"""The scripts on the real server, for some seconds each. That they work is tested, and
that nothing fails; not how fast it is: other things go on on this machine."""

from __future__ import annotations

import re
import subprocess
import sys
import unittest
from pathlib import Path

from harness import HERE, RELEASE, serving
from tests.support import EXCEPTION, ScriptTest

ANY_LATENCY = {"P99_MS": 1e6, "REFUSAL_MS": 1e6, "MAX_OVER_USUAL": 1e6}
SWAPS = {"USERS": 3, "DURATION": "4s", "HOT_TEXTS": 100, "SWAPS_PER_SECOND": 5}
SWAPS["MIN_SWAPS"] = 3


class Load(ScriptTest):
    def test_known_and_new_texts(self) -> None:
        short = {"USERS": 4, "RAMP": "1s", "DURATION": "3s", "HOT_TEXTS": 100}
        for texts, share in ((1, 0.95), (8, 0.5)):
            with serving() as server:
                settings = {"URL": server.url, "TEXTS": texts, "HIT_SHARE": share}
                # Few requests, on a machine that is slow.
                settings["HIT_TOLERANCE"] = 0.1
                for run in self.each("load.js", **settings, **short, **ANY_LATENCY):
                    self.passes(run)
                    hits = run.metrics["cache_hits"]
                    asked = run.metrics["http_reqs{name:predict}"]["count"] * texts
                    self.assertEqual(hits["passes"] + hits["fails"], asked)
                    # The second run, whose seed is the same, asks for new texts too.
                    self.assertGreater(hits["fails"], 0)

    def test_texts_from_a_file(self) -> None:
        file = HERE / "write-corpus.js"
        with serving() as server:
            settings = {"USERS": 1, "RAMP": "0s", "DURATION": "1s", "HIT_SHARE": 1}
            settings |= {"URL": server.url, "TEXTS_FILE": file, "HIT_TOLERANCE": 0}
            for run in self.each("load.js", **settings, **ANY_LATENCY):
                self.passes(run)


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
            for run in self.each("swap.js", **where, **files, **SWAPS, **ANY_LATENCY):
                self.passes(run)
                self.assertEqual(server.live(), before)

    def test_a_guest_that_is_none_ends_it(self) -> None:
        with serving() as server:
            where = {"URL": server.url, "ADMIN_URL": server.admin_url}
            files = {"GUEST_A": HERE / "swap.js", "GUEST_B": HERE / "swap.js"}
            for run in self.each("swap.js", **where, **files, **SWAPS):
                self.stops(run, EXCEPTION, "422 .*the candidate was refused")


class Overload(ScriptTest):
    def test_more_than_it_can_do(self) -> None:
        # So small a server that there is something left for who asks.
        small = ["--workers", "1", "--queue-tokens", "1024"]
        with serving(*small) as server:
            settings = {"URL": server.url, "RATE": 100, "VUS": 40, "HOT_TEXTS": 100}
            # On a machine whose cores do other things, capacity and what is left of
            # it under overload say little.
            settings |= {"DURATION_S": 4, "CAPACITY_S": 2, "AFTER_S": 2, "PAUSE_S": 2}
            settings |= {"MIN_OFFERED": 1, "MIN_GOODPUT": 0.1}
            for run in self.each("overload.js", **settings, **ANY_LATENCY):
                self.passes(run)
                self.assertGreater(run.metrics["refused"]["count"], 0)


class Faults(unittest.TestCase):
    def test_no_request_fails(self) -> None:
        done = subprocess.run(
            [sys.executable, HERE / "faults.py", "--seconds", "3", "--users", "4"],
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
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
        # With Redis the texts are known, and without it they are not.
        self.assertGreater(figures["redis_healthy_cache_hits"], 0.9)
        healthy = figures["redis_healthy_cache_hits"]
        self.assertLess(figures["redis_killed_cache_hits"], healthy)


class Commands(unittest.TestCase):
    def test_faults_needs_a_guest_that_does_harm(self) -> None:
        done = subprocess.run(
            [sys.executable, HERE / "faults.py"],
            env={
                "CARGO_TARGET_DIR": "/nowhere",
                "PATH": str(Path(sys.executable).parent) + ":/usr/bin",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.returncode, 1)
        self.assertIn("fastsentiment_hostile_guest.wasm is not there", done.stderr)


if __name__ == "__main__":
    unittest.main()
