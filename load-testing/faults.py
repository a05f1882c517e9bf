#!/usr/bin/env python3
"""Measures what clients notice of faults: Redis that hangs, dies and comes back, and
guests that are invalid, trap, or never answer.

    python3 load-testing/faults.py [--seconds 10] [--users 10] [--model DIR]

Starts Redis and a server, and runs load.js with k6 once for each fault, which it injects
under load. Prints each result as a line `figure <name> <value>`. Exits with 1 if a
request failed or a fault had no effect.

Needs k6, redis-server, `make build`, and the guest from the host's tests that misbehaves
on command:

    cargo build --profile guest --target wasm32-wasip2 -p fastsentiment-hostile-guest
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from harness import (
    HOSTILE,
    NEED_K6,
    ROOT,
    Redis,
    Run,
    Server,
    k6,
    run_script,
    serving,
    wait_until,
)

LOAD = Path(__file__).with_name("load.js")
ANSWERED = 'fastsentiment_http_requests_total{route="/predict",status="200"}'
BREAKER = 'fastsentiment_redis_breaker_open{operation="read"}'
DEMOTIONS = "fastsentiment_version_falls_total"
# `--guest-timeout-ms` of the server: how long a text waits for a guest that hangs.
HANG_MS = 1000


class Faults:
    def __init__(self, server: Server, redis: Redis, options: argparse.Namespace):
        self.server, self.redis, self.options = server, redis, options
        self.before: dict[str, float] = {}
        self.problems: list[str] = []

    def figure(self, name: str, value: float) -> None:
        print(f"figure fault_{name} {value:.6g}", flush=True)

    def expect(self, holds: bool, problem: str) -> None:
        if not holds:
            self.problems.append(problem)

    def phase(
        self,
        name: str,
        fault: Callable[[], None] = lambda: None,
        *,
        then: Callable[[], None] = lambda: None,
        before: str | None = None,
        **environment: object,
    ) -> None:
        """Runs load.js and calls `fault` once the server answers requests. `then` waits
        for the server's reaction. `before` names the phase without a fault to compare
        this one with."""
        answered = self.server.metric(ANSWERED)
        runs: list[Run] = []
        settings = {
            "URL": self.server.url,
            "USERS": self.options.users,
            "RAMP": "0s",
            "DURATION": f"{self.options.seconds}s",
            # `report` judges the run, so no threshold of the script may fail.
            "MAX_FAILED": 1,
            "P99_MS": 1e9,
            "HIT_TOLERANCE": 1,
            # The baseline warms the cache for the phases that are compared with it.
            "WARM": int(before is None),
            **environment,
        }
        load = threading.Thread(target=lambda: runs.append(run_script(LOAD, settings)))
        self.load = load
        load.start()
        try:
            # The first requests warm the cache.
            enough = answered + 50 + 2 * self.options.users
            wait_until(
                "requests are answered",
                lambda: not load.is_alive() or self.server.metric(ANSWERED) > enough,
            )
            time.sleep(self.options.seconds / 10)
            fault()
            self.expect(load.is_alive(), f"{name}: the load ended before the fault")
            then()
        finally:
            load.join()
        self.report(name, runs[0], before)

    def report(self, name: str, run: Run, before: str | None) -> None:
        if run.code != 0:
            self.problems.append(f"{name}: {LOAD.name} exited with {run.code}")
            print(run.output, file=sys.stderr)
            return
        failed = run.metrics["http_req_failed{name:predict}"]["passes"]
        failed_checks = run.metrics["checks"]["fails"]
        p99 = run.metrics["http_req_duration{name:predict}"]["p(99)"]
        self.before[name] = p99
        self.figure(f"{name}_requests", run.metrics["http_reqs{name:predict}"]["count"])
        self.figure(f"{name}_failed_requests", failed)
        self.figure(f"{name}_cache_hits", run.metrics["cache_hits"]["value"])
        self.figure(f"{name}_p99_ms", p99)
        if before is not None:
            self.figure(f"{name}_p99_over_before", p99 / self.before[before])
        self.expect(failed == 0, f"{name}: {failed:.0f} requests failed")
        self.expect(failed_checks == 0, f"{name}: {failed_checks:.0f} checks failed")

    # ---- Redis ----

    def redis_faults(self) -> None:
        def inject(name: str, fault: Callable[[], None], breaker: int) -> None:
            def noticed() -> None:
                # This may outlast the load: the longer Redis was away, the less often
                # the server tries it.
                what = f"the server notices: {name}"
                took = wait_until(what, lambda: self.server.metric(BREAKER) == breaker)
                self.figure(f"{name}_noticed_after_s", took)

            self.phase(name, fault, then=noticed, before="redis_healthy")

        self.phase("redis_healthy")
        inject("redis_stopped", lambda: self.redis.signal(signal.SIGSTOP), 1)
        inject("redis_continued", lambda: self.redis.signal(signal.SIGCONT), 0)
        inject("redis_killed", self.redis.kill, 1)
        # Redis restarts empty.
        inject("redis_restarted", self.redis.start, 0)

    # ---- Guests ----

    def guest_faults(self, folder: Path) -> None:
        hostile = HOSTILE.read_bytes()
        good = self.server.live()
        orders = {"traps": "do panic: as ordered", "hangs": "do loop: forever"}
        files = {name: folder / f"{name}.txt" for name in orders}
        for name, order in orders.items():
            lines = [f"Film number {number} was a delight." for number in range(5)]
            files[name].write_text("\n".join([*lines, order, ""]))
        # All texts are new, so every request reaches the guest.
        common = {"HIT_SHARE": 0, "WARM": 0}
        texts = files["traps"]

        self.phase("guest_healthy", TEXTS_FILE=texts, **common)

        def refused() -> None:
            answer = self.server.admin("POST", "/versions?activate=true", b"no guest")
            self.expect(answer.status == 422, f"guest_refused: {answer.body}")

        name, before = "guest_refused", "guest_healthy"
        self.phase(name, refused, before=before, TEXTS_FILE=texts, **common)
        for name in orders:
            # The server may have to wait for two timeouts, one after the other.
            longer = 2 * HANG_MS // 1000 if name == "hangs" else 0
            duration = f"{self.options.seconds + longer}s"
            settings = {**common, "TEXTS_FILE": files[name], "DURATION": duration}
            self.demotion(f"guest_{name}", hostile, settings)
        self.expect(self.server.live() == good, "the good guest is not live again")

    def demotion(self, name: str, guest: bytes, settings: dict) -> None:
        """Activates a guest that passes every test and then fails under load, and waits
        until the server demotes it."""
        demoted = self.server.metric(DEMOTIONS)
        known = self.server.admin("POST", "/versions", guest).json()["version"]["guest"]
        activate = f"/versions/{known}/activate?force=true"

        def activated() -> None:
            answer = self.server.admin("POST", activate)
            done = answer.status == 200 and answer.json()["changed"]
            self.expect(done, f"{name}: {answer.body}")

        def noticed() -> None:
            # Only requests reveal that the guest is bad, so waiting ends with the load.
            is_demoted = lambda: self.server.metric(DEMOTIONS) == demoted + 1
            what = "the server demotes the guest"
            took = wait_until(what, lambda: is_demoted() or not self.load.is_alive())
            self.expect(is_demoted(), f"{name}: the load ended before the demotion")
            self.figure(f"{name}_out_of_use_after_s", took)
            self.expect(self.server.live() != known, f"{name}: the guest is still live")

        self.phase(name, activated, then=noticed, before="guest_healthy", **settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--seconds", type=int, default=10, help="for each fault [10]")
    parser.add_argument("--users", type=int, default=10, help="virtual users [10]")
    parser.add_argument("--model", type=Path, default=ROOT / "model/default")
    options = parser.parse_args()
    program = k6()
    if program is None:
        sys.exit(NEED_K6)
    if not HOSTILE.is_file():
        sys.exit(
            f"{HOSTILE} does not exist: see the top of faults.py for how to build it"
        )
    version = subprocess.check_output([program, "version"], text=True)
    # It prints `k6 v0.47.0 (...)`.
    print(f"fact faults_client {' '.join(version.split()[:2])}", flush=True)
    with Redis() as redis, tempfile.TemporaryDirectory() as folder:
        arguments = [
            *("--model", options.model),
            *("--redis-url", f"redis://127.0.0.1:{redis.port}"),
            # No cache in memory: the server looks every known text up in Redis.
            *("--cache-mib", "0"),
            *("--guest-timeout-ms", str(HANG_MS)),
        ]
        with serving(*arguments) as server:
            faults = Faults(server, redis, options)
            faults.redis_faults()
            faults.guest_faults(Path(folder))
    for problem in faults.problems:
        print(f"FAULT {problem}")
    sys.exit(bool(faults.problems))


if __name__ == "__main__":
    main()
