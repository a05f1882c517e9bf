"""The scripts against stand-in servers: each passes when the server behaves, and fails
for the right reason when it does not."""

from __future__ import annotations

import socket
import unittest

from harness import HERE, Run
from tests.stand_in import PROBLEM, Behaviour
from tests.support import CROSSED, ScriptTest

# One second of load, k6's minimum, and no limit on latency.
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
    # The stand-in has no fixed capacity.
    "MIN_OFFERED": 0,
    "MIN_GOODPUT": 0,
}


class Load(ScriptTest):
    def load(self, behaviour: Behaviour, **environment: object) -> Run:
        return self.run_on(behaviour, "load.js", **{**SHORT, **environment})

    def test_a_server_that_behaves(self) -> None:
        run = self.load(Behaviour())
        self.passes(run)
        self.assertGreater(run.metrics["http_reqs{name:predict}"]["count"], 20)
        self.assertEqual(run.metrics["http_req_failed"]["passes"], 0)
        self.assertAlmostEqual(run.metrics["cache_hits"]["value"], 0.95, delta=0.02)

    def test_failed_requests(self) -> None:
        run = self.load(Behaviour(status=500), WARM=0)
        self.crosses(run, "http_req_failed{name:predict}", "checks")

    def test_some_failed_requests(self) -> None:
        settings = {"WARM": 0, "HIT_TOLERANCE": 1}
        run = self.load(Behaviour(refuse_every=10), **settings)
        self.crosses(run, "http_req_failed{name:predict}", "checks")
        run = self.load(Behaviour(refuse_every=10), **settings, MAX_FAILED=0.2)
        self.passes(run)

    def test_another_share_of_cached_texts(self) -> None:
        for hits in (0.8, 1):
            self.crosses(self.load(Behaviour(hits=hits)), "cache_hits")
        self.passes(self.load(Behaviour(hits=0.5), HIT_SHARE=0.5, TEXTS=4))

    def test_answers_without_the_name_of_the_guest(self) -> None:
        self.crosses(self.load(Behaviour(names_guest=False)), "checks")

    def test_latency(self) -> None:
        run = self.load(Behaviour(), P99_MS=0.001)
        self.crosses(run, "http_req_duration{name:predict}")

    def test_known_texts_that_are_not_answered(self) -> None:
        run = self.load(Behaviour(status=500))
        self.stops(run, "the known texts were not answered")

    def test_invalid_settings(self) -> None:
        run = self.load(Behaviour(), USERS="many")
        self.stops(run, "USERS must be a number, 0 or more, not .*many")


class NoServer(ScriptTest):
    def test_every_script_reports_it(self) -> None:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
            guests = {"GUEST_A": HERE / "load.js", "GUEST_B": HERE / "swap.js"}
            for script in ("load.js", "swap.js", "overload.js"):
                run = self.run_script(script, URL=url, ADMIN_URL=url, **guests)
                self.stops(run, f"no server is ready at {url}")


class Swap(ScriptTest):
    def swap(self, behaviour: Behaviour, **environment: object) -> Run:
        """Sends files that are no guests, which the stand-in accepts."""
        guests = {"GUEST_A": HERE / "load.js", "GUEST_B": HERE / "swap.js"}
        fast = {"SWAPS_PER_SECOND": 20, "MIN_SWAPS": 3, **SHORT, **guests}
        return self.run_on(behaviour, "swap.js", **{**fast, **environment})

    def test_a_server_that_behaves(self) -> None:
        run = self.swap(Behaviour())
        self.passes(run)
        self.assertGreaterEqual(run.metrics["swaps"]["count"], 3)

    def test_answers_from_another_guest_than_they_name(self) -> None:
        run = self.swap(Behaviour(lies=True))
        self.assertEqual(run.code, CROSSED, run.output)
        self.assertRegex(run.output, "checks")

    def test_too_few_swaps(self) -> None:
        self.crosses(self.swap(Behaviour(), MIN_SWAPS=1000), "swaps")

    def test_guests_that_cannot_be_told_apart(self) -> None:
        run = self.swap(Behaviour(), GUEST_B=HERE / "load.js")
        self.stops(run, "cannot be told apart: both answer with the labels POSITIVE")


class Overload(ScriptTest):
    def overload(self, behaviour: Behaviour, **environment: object) -> Run:
        return self.run_on(behaviour, "overload.js", **{**OVERLOAD, **environment})

    def test_a_server_that_behaves(self) -> None:
        run = self.overload(Behaviour(refuse_beside=True))
        self.passes(run)
        self.assertGreater(run.metrics["refused"]["count"], 0)
        # Refusals are not failures.
        self.assertEqual(run.metrics["http_req_failed"]["passes"], 0)

    def test_a_server_that_never_refuses(self) -> None:
        self.crosses(self.overload(Behaviour()), "refused")

    def test_malformed_refusals(self) -> None:
        for malformed in (
            {"retry_after": False},
            {"problem": {**PROBLEM, "status": 500}},
        ):
            run = self.overload(Behaviour(refuse_beside=True, **malformed))
            self.crosses(run, "checks")

    def test_refusals_without_overload(self) -> None:
        # `setup` sends 20 single requests that must not be refused. Of those that
        # `after` sends, some are.
        run = self.overload(Behaviour(refuse_every=21))
        self.crosses(run, "checks", "http_req_failed")

    def test_limits_that_no_server_keeps(self) -> None:
        limits = {
            "REFUSAL_MS": 0.001,
            "MIN_OFFERED": 1000,
            "MIN_GOODPUT": 1000,
            "MAX_OVER_USUAL": 0.001,
        }
        run = self.overload(Behaviour(refuse_beside=True), **limits)
        shares = ("offered_over_capacity", "goodput_over_capacity")
        self.crosses(run, "refusal_duration", "latency_over_usual", *shares)


if __name__ == "__main__":
    unittest.main()
