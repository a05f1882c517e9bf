"""What the tests of the scripts have in common."""

from __future__ import annotations

import json
import re
import unittest
from collections.abc import Iterator
from pathlib import Path

from harness import HERE, Run, run_script, tools
from tests.stand_in import Behaviour, StandIn

# k6's, which the stand-in uses as well.
CROSSED, INVALID, EXCEPTION = 99, 104, 107
ANYTHING = HERE / "tests/scripts/anything.js"


class ScriptTest(unittest.TestCase):
    """What is tested is tested with all that can run the scripts: k6, if it is
    installed, and the stand-in for it."""

    def each(self, script: str | Path, **environment: object) -> Iterator[Run]:
        """Runs a script with one tool after the other."""
        for tool in tools().values():
            yield run_script(tool, HERE / script, environment)

    def each_on(
        self, behaviour: Behaviour, script: str | Path, **environment: object
    ) -> Iterator[Run]:
        """The same, each with a server of its own that behaves so."""
        for tool in tools().values():
            with StandIn(behaviour) as server:
                where = {"URL": server.url, "ADMIN_URL": server.url}
                yield run_script(tool, HERE / script, {**where, **environment})

    def passes(self, run: Run) -> None:
        self.assertEqual((run.code, crossed(run)), (0, set()), run.said)

    def crosses(self, run: Run, *metrics: str) -> None:
        """It fails, by the thresholds on just these metrics."""
        self.assertEqual((run.code, crossed(run)), (CROSSED, set(metrics)), run.said)

    def stops(self, run: Run, code: int, reason: str) -> None:
        self.assertEqual(run.code, code, run.said)
        self.assertRegex(run.said, reason)


def crossed(run: Run) -> set[str]:
    """The metrics, or parts of them, whose thresholds did not hold."""
    own = re.findall(r"^threshold crossed: (\S+): ", run.said, re.MULTILINE)
    of_k6 = re.search(r"thresholds on metrics '([^']*)' have been crossed", run.said)
    return set(own) | set(of_k6[1].split(", ") if of_k6 else [])


def options(thresholds: dict | None = None, **scenario: object) -> str:
    return json.dumps({"scenarios": {"only": scenario}, "thresholds": thresholds or {}})
