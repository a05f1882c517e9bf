#!/usr/bin/env python3
"""What clients notice of faults: a Redis that hangs, dies and comes back, and guests
that are no guests, trap, or never answer.

    python3 load-testing/faults.py [--seconds 10] [--users 10] [--model DIR]

Starts a Redis and a server of its own and loads it with load.js, once for each fault,
which comes about in the midst of that. Every result is a line `figure <name> <value>`.
Exits with 1 if a request failed, or if a fault was none. Runs k6; without it, the
stand-in of runner/, whose latencies say nothing.

Needs `make build`, redis-server, and the guest of the host's tests that does harm:

    cargo build --profile guest --target wasm32-wasip2 -p fastsentiment-hostile-guest
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from harness import (
    HOSTILE,
    ROOT,
    Redis,
    Run,
    Server,
    run_script,
    serving,
    tools,
    wait_until,
)

LOAD = Path(__file__).with_name("load.js")
ANSWERED = 'fastsentiment_http_requests_total{route="/predict",status="200"}'
BREAKER = 'fastsentiment_redis_breaker_open{operation="read"}'
FALLS = "fastsentiment_version_falls_total"
# A guest that never answers costs its texts this long: `--guest-timeout-ms`.
HANG_MS = 1000


class Faults:
    def __init__(self, server: Server, redis: Redis, options: argparse.Namespace):
        self.server, self.redis, self.options = server, redis, options
        self.name, self.tool = next(iter(tools().items()))
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
        """Loads the server, and has the fault come about once it is answering; `then`
        waits for what the server makes of it."""
        answered = self.server.metric(ANSWERED)
        runs: list[Run] = []
        settings = {
            "URL": self.server.url,
            "USERS": self.options.users,
            "RAMP": "0s",
            "DURATION": f"{self.options.seconds}s",
            # Judged here, and not by the script.
            "MAX_FAILED": 1,
            "P99_MS": 1e9,
            "HIT_TOLERANCE": 1,
            # What the server should know, it knows from the phase before.
            "WARM": int(before is None),
            **environment,
        }
        load = threading.Thread(
            target=lambda: runs.append(run_script(self.tool, LOAD, settings))
        )
        self.load = load
        load.start()
        try:
            # The first are those that make texts known.
            enough = answered + 50 + 2 * self.options.users
            wait_until(
                "requests are answered",
                lambda: not load.is_alive() or self.server.metric(ANSWERED) > enough,
            )
            time.sleep(self.options.seconds / 10)
            fault()
            self.expect(load.is_alive(), f"{name}: it came when the load had ended")
            then()
        finally:
            load.join()
        self.report(name, runs[0], before)

    def report(self, name: str, run: Run, before: str | None) -> None:
        if run.code != 0:
            self.problems.append(f"{name}: {LOAD.name} exits with {run.code}")
            print(run.said, file=sys.stderr)
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

    def of_redis(self) -> None:
        def meet(name: str, fault: Callable[[], None], breaker: int) -> None:
            def noticed() -> None:
                # It may take longer than the load: the longer Redis was away, the
                # less often it is looked for.
                what = f"the server notices: {name}"
                took = wait_until(what, lambda: self.server.metric(BREAKER) == breaker)
                self.figure(f"{name}_noticed_after_s", took)

            self.phase(name, fault, then=noticed, before="redis_healthy")

        self.phase("redis_healthy")
        meet("redis_stopped", lambda: self.redis.signal(signal.SIGSTOP), 1)
        meet("redis_continued", lambda: self.redis.signal(signal.SIGCONT), 0)
        meet("redis_killed", self.redis.kill, 1)
        # It comes back empty.
        meet("redis_restarted", self.redis.start, 0)

    # ---- Guests ----

    def of_guests(self, folder: Path) -> None:
        hostile = HOSTILE.read_bytes()
        good = self.server.live()
        orders = {"traps": "do panic: as it was told", "hangs": "do loop: for ever"}
        files = {name: folder / f"{name}.txt" for name in orders}
        for name, order in orders.items():
            lines = [f"Film number {number} was a delight." for number in range(5)]
            files[name].write_text("\n".join([*lines, order, ""]))
        # Every text is new, so that it gets to the guest.
        common = {"HIT_SHARE": 0, "WARM": 0}
        texts = files["traps"]

        self.phase("guest_healthy", TEXTS_FILE=texts, **common)

        def refused() -> None:
            answer = self.server.admin("POST", "/versions?activate=true", b"no guest")
            self.expect(answer.status == 422, f"guest_refused: {answer.body}")

        name, before = "guest_refused", "guest_healthy"
        self.phase(name, refused, before=before, TEXTS_FILE=texts, **common)
        for name in orders:
            # Two time-outs, one after the other, may be what it takes.
            longer = 2 * HANG_MS // 1000 if name == "hangs" else 0
            duration = f"{self.options.seconds + longer}s"
            settings = {**common, "TEXTS_FILE": files[name], "DURATION": duration}
            self.falls(f"guest_{name}", hostile, settings)
        self.expect(self.server.live() == good, "not the good guest is live")

    def falls(self, name: str, guest: bytes, settings: dict) -> None:
        """A guest passes every test, is made live, and turns out to be bad."""
        fallen = self.server.metric(FALLS)
        known = self.server.admin("POST", "/versions", guest).json()["version"]["guest"]
        activate = f"/versions/{known}/activate?force=true"

        def swap() -> None:
            answer = self.server.admin("POST", activate)
            done = answer.status == 200 and answer.json()["changed"]
            self.expect(done, f"{name}: {answer.body}")

        def gone() -> None:
            # Nothing but requests finds out what it is.
            fell = lambda: self.server.metric(FALLS) == fallen + 1
            what = "the server takes the guest out of use"
            took = wait_until(what, lambda: fell() or not self.load.is_alive())
            self.expect(fell(), f"{name}: it was not found out before the load ended")
            self.figure(f"{name}_out_of_use_after_s", took)
            self.expect(self.server.live() != known, f"{name}: it is live still")

        self.phase(name, swap, then=gone, before="guest_healthy", **settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--seconds", type=int, default=10, help="for each fault")
    parser.add_argument("--users", type=int, default=10, help="who ask all the time")
    parser.add_argument("--model", type=Path, default=ROOT / "model/default")
    options = parser.parse_args()
    if not tools():
        sys.exit("k6 or Node.js is needed to run load.js")
    if not HOSTILE.is_file():
        sys.exit(f"{HOSTILE} is not there: --help says how to build it")
    with Redis() as redis, tempfile.TemporaryDirectory() as folder:
        arguments = [
            *("--model", options.model),
            *("--redis-url", f"redis://127.0.0.1:{redis.port}"),
            # So that every known text is asked of Redis.
            *("--cache-mib", "0"),
            *("--guest-timeout-ms", str(HANG_MS)),
        ]
        with serving(*arguments) as server:
            faults = Faults(server, redis, options)
            print(f"by {faults.name}", flush=True)
            faults.of_redis()
            faults.of_guests(Path(folder))
    for problem in faults.problems:
        print(f"FAULT {problem}")
    sys.exit(bool(faults.problems))


if __name__ == "__main__":
    main()
