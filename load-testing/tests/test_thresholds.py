"""Scripts fail when they should: on a server that does not behave, and on none. And
what runs them where there is no k6 knows what it does not know."""

from __future__ import annotations

import json
import socket
import tempfile
import unittest
from pathlib import Path

from harness import HERE, STAND_IN, run_script
from tests.stand_in import PROBLEM, Behaviour, StandIn
from tests.support import ANYTHING, CROSSED, EXCEPTION, INVALID, ScriptTest, options

# A second of load, the least that k6 has, and no limit on time.
SHORT = {"USERS": 2, "RAMP": "0s", "DURATION": "1s", "P99_MS": 1e6, "HOT_TEXTS": 50}
OVERLOAD = {
    "TEXTS": 2,
    "RATE": 200,
    "VUS": 10,
    "DURATION_S": 1,
    "CAPACITY_S": 1,
    "PAUSE_S": 1,
    "AFTER_S": 1,
    "HOT_TEXTS": 50,
    "REFUSAL_MS": 1e6,
    "MAX_OVER_USUAL": 1e6,
    # The stand-in of the server has no bound to what it can do.
    "MIN_OFFERED": 0,
    "MIN_GOODPUT": 0,
}
TEN_TIMES = {
    "executor": "constant-arrival-rate",
    "rate": 10,
    "timeUnit": "1s",
    "duration": "1s",
    "preAllocatedVUs": 5,
    "maxVUs": 5,
}


class Load(ScriptTest):
    def load(self, behaviour: Behaviour, **environment: object):
        return self.each_on(behaviour, "load.js", **{**SHORT, **environment})

    def test_a_server_that_behaves(self) -> None:
        for run in self.load(Behaviour()):
            self.passes(run)
            self.assertGreater(run.metrics["http_reqs{name:predict}"]["count"], 20)
            self.assertEqual(run.metrics["http_req_failed"]["passes"], 0)
            hits = run.metrics["cache_hits"]["value"]
            self.assertAlmostEqual(hits, 0.95, delta=0.02)

    def test_failed_requests(self) -> None:
        for run in self.load(Behaviour(status=500), WARM=0):
            self.crosses(run, "http_req_failed{name:predict}", "checks")

    def test_some_failed_requests(self) -> None:
        for run in self.load(Behaviour(refuse_every=10), WARM=0, HIT_TOLERANCE=1):
            self.crosses(run, "http_req_failed{name:predict}", "checks")
        more = {"MAX_FAILED": 0.2, "HIT_TOLERANCE": 1}
        for run in self.load(Behaviour(refuse_every=10), WARM=0, **more):
            self.passes(run)

    def test_another_share_of_the_cache(self) -> None:
        for hits in (0.8, 1):
            for run in self.load(Behaviour(hits=hits)):
                self.crosses(run, "cache_hits")
        for run in self.load(Behaviour(hits=0.5), HIT_SHARE=0.5, TEXTS=4):
            self.passes(run)

    def test_answers_that_do_not_say_who_made_them(self) -> None:
        for run in self.load(Behaviour(names_guest=False)):
            self.crosses(run, "checks")

    def test_latency(self) -> None:
        for run in self.load(Behaviour(), P99_MS=0.001):
            self.crosses(run, "http_req_duration{name:predict}")

    def test_the_known_texts_have_to_be_answered(self) -> None:
        for run in self.load(Behaviour(status=500)):
            self.stops(run, EXCEPTION, "the known texts were not answered")

    def test_settings_that_are_none(self) -> None:
        for run in self.load(Behaviour(), USERS="many"):
            self.stops(
                run, EXCEPTION, "USERS must be a number of 0 or more, not .*many"
            )


class NoServer(ScriptTest):
    def test_every_script_says_so(self) -> None:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
            for script in ("load.js", "swap.js", "overload.js"):
                guests = {"GUEST_A": HERE / "load.js", "GUEST_B": HERE / "swap.js"}
                for run in self.each(script, URL=url, ADMIN_URL=url, **guests):
                    self.stops(run, EXCEPTION, f"no server is ready at {url}")


class Swap(ScriptTest):
    def swap(self, behaviour: Behaviour, **environment: object):
        """With files for guests that are none, which the stand-in does not mind."""
        guests = {"GUEST_A": HERE / "load.js", "GUEST_B": HERE / "swap.js"}
        fast = {"SWAPS_PER_SECOND": 20, "MIN_SWAPS": 3, **SHORT, **guests}
        return self.each_on(behaviour, "swap.js", **{**fast, **environment})

    def test_a_server_that_behaves(self) -> None:
        for run in self.swap(Behaviour()):
            self.passes(run)
            self.assertGreaterEqual(run.metrics["swaps"]["count"], 3)

    def test_answers_of_another_guest_than_they_say(self) -> None:
        for run in self.swap(Behaviour(lies=True)):
            self.assertEqual(run.code, CROSSED, run.said)
            self.assertRegex(run.said, "checks")

    def test_too_few_swaps(self) -> None:
        for run in self.swap(Behaviour(), MIN_SWAPS=1000):
            self.crosses(run, "swaps")

    def test_guests_that_can_not_be_told_apart(self) -> None:
        for run in self.swap(Behaviour(), GUEST_B=HERE / "load.js"):
            self.stops(run, EXCEPTION, "can not be told apart: both have POSITIVE")


class Overload(ScriptTest):
    def overload(self, behaviour: Behaviour, **environment: object):
        return self.each_on(behaviour, "overload.js", **{**OVERLOAD, **environment})

    def test_a_server_that_behaves(self) -> None:
        for run in self.overload(Behaviour(refuse_beside=True)):
            self.passes(run)
            # Refusals are answers.
            self.assertGreater(run.metrics["refused"]["count"], 0)
            self.assertEqual(run.metrics["http_req_failed"]["passes"], 0)

    def test_one_that_never_refuses(self) -> None:
        for run in self.overload(Behaviour()):
            self.crosses(run, "refused")

    def test_refusals_without_what_belongs_to_them(self) -> None:
        for without in (
            {"retry_after": False},
            {"problem": {**PROBLEM, "status": 500}},
        ):
            for run in self.overload(Behaviour(refuse_beside=True, **without)):
                self.crosses(run, "checks")

    def test_other_answers(self) -> None:
        # More than what `setup` asks alone; what comes alone afterwards must not be
        # refused either.
        for run in self.overload(Behaviour(refuse_every=21)):
            self.crosses(run, "checks", "http_req_failed")

    def test_slow_refusals_and_too_little_offered_and_answered(self) -> None:
        limits = {"REFUSAL_MS": 0.001, "MIN_OFFERED": 1000, "MIN_GOODPUT": 1000}
        for run in self.overload(Behaviour(refuse_beside=True), **limits):
            shares = ("offered_over_capacity", "goodput_over_capacity")
            self.crosses(run, "refusal_duration", *shares)


class Reckoning(ScriptTest):
    """Metrics and thresholds mean the same to k6 and to the stand-in."""

    def anything(self, deed: str, thresholds: dict[str, list[str]]):
        written = options(thresholds, **TEN_TIMES)
        return self.each_on(Behaviour(), ANYTHING, OPTIONS=written, DEED=deed)

    def test_numbers(self) -> None:
        holding = {
            "a_counter": ["count>1"],
            "a_rate": ["rate>0.2", "rate<=0.5"],
            "a_trend": ["min==0", "p(99)>4", "avg<40"],
            "a_trend{parity:odd}": ["min==1"],
            "a_trend{parity:neither}": ["max==0"],
            "checks": ["rate>0.5"],
        }
        for run in self.anything("add numbers", holding):
            self.passes(run)
            # Ten are due; on a busy machine some may come too late.
            n = int(run.metrics["iterations"]["count"])
            self.assertGreater(n, 3)
            self.assertEqual(run.metrics["a_counter"]["count"], n / 2)
            trues = len(range(0, n, 4))
            self.assertEqual(run.metrics["a_rate"]["passes"], trues)
            self.assertEqual(run.metrics["a_rate"]["fails"], n - trues)
            self.assertAlmostEqual(run.metrics["a_rate"]["value"], trues / n)
            self.assertEqual(run.metrics["checks"]["passes"], n + 2)
            self.assertEqual(run.metrics["checks"]["fails"], n - 2)
            squares = [number * number for number in range(n)]
            trend = run.metrics["a_trend"]
            self.assertEqual((trend["min"], trend["max"]), (0, squares[-1]))
            self.assertAlmostEqual(trend["avg"], sum(squares) / n)
            at = 0.95 * (n - 1)
            below, above = squares[int(at)], squares[min(int(at) + 1, n - 1)]
            self.assertAlmostEqual(trend["p(95)"], below + (above - below) * (at % 1))

    def test_every_threshold_by_itself(self) -> None:
        broken = {
            "a_counter": ["count>100"],
            "a_rate": ["rate<0.2"],
            "a_trend": ["min==0", "med>1000"],
            "a_trend{parity:odd}": ["min<1"],
            "iterations": ["count==0"],
            "checks": ["rate==1"],
        }
        for run in self.anything("add numbers", broken):
            self.crosses(run, *broken)

    def test_headers(self) -> None:
        for run in self.anything("ask for another header", {"checks": ["rate==1"]}):
            self.passes(run)
            self.assertGreater(run.metrics["checks"]["passes"], 0)

    def test_a_script_that_throws_goes_on(self) -> None:
        for run in self.anything("fail", {"iterations": ["count>0"]}):
            self.passes(run)
            self.assertIn("as it was told", run.said)

    def test_thresholds_that_are_none(self) -> None:
        for thresholds in (
            {"no_such": ["count>1"]},
            {"a_rate": ["p(99)<1"]},
            {"a_trend": ["fast"]},
        ):
            for run in self.anything("add numbers", thresholds):
                self.assertEqual(run.code, INVALID, run.said)


class Unknown(unittest.TestCase):
    """What the stand-in does not know it refuses, and does not leave out."""

    def run_anything(self, written: str, deed: str = "add numbers"):
        with StandIn(Behaviour()) as server:
            environment = {"OPTIONS": written, "DEED": deed, "URL": server.url}
            return run_script(STAND_IN, ANYTHING, environment)

    def test_options(self) -> None:
        users = {"executor": "constant-vus", "vus": 1, "duration": "1s"}
        for written, reason in (
            (json.dumps({"vus": 1, "duration": "1s"}), "option `vus`"),
            (options(executor="shared-iterations", vus=1), "the executor shared-iter"),
            (options(**users, env={"A": "b"}), "option of constant-vus `env`"),
            (options(**{**users, "exec": "none"}), "no function none"),
            (options(**{**users, "duration": "soon"}), "not a length of time: soon"),
            (options(**{**users, "duration": "0.5s"}), "at least 1s"),
            (options(**{**users, "vus": 0.5}), "vus must be a whole number"),
            (
                options({"http_reqs": ["rate>1"]}, **users),
                "not a threshold for a counter",
            ),
        ):
            run = run_script(STAND_IN, ANYTHING, {"OPTIONS": written})
            self.assertEqual(run.code, INVALID, run.said)
            self.assertIn(reason, run.said)

    def test_what_a_script_asks_for(self) -> None:
        once = options({"checks": ["rate==1"]}, **TEN_TIMES)
        for deed, reason in (
            ("ask with another parameter", "the parameter of a request `redirects`"),
            ("look at what is not there", "an answer: `cookies`"),
        ):
            run = self.run_anything(once, deed)
            self.assertIn(reason, run.said)

    def test_modules_and_functions(self) -> None:
        for line in ("import ws from 'k6/ws';", "import { sleep } from 'k6';"):
            with tempfile.TemporaryDirectory(dir=HERE / "tests/scripts") as folder:
                script = Path(folder) / "script.js"
                script.write_text(f"{line}\nexport default () => {{}};\n")
                run = run_script(STAND_IN, script, {})
            self.assertEqual(run.code, EXCEPTION, run.said)

    def test_the_command_line(self) -> None:
        for tool in ([*STAND_IN, "--vus", "3"], [*STAND_IN, "-e", "NAME"]):
            run = run_script(tuple(tool), ANYTHING, {})
            self.assertEqual(run.code, INVALID, run.said)

    def test_it_says_what_it_is(self) -> None:
        run = self.run_anything(options(**TEN_TIMES))
        self.assertEqual(run.code, 0, run.said)
        self.assertIn("This is not k6", run.said)


if __name__ == "__main__":
    unittest.main()
