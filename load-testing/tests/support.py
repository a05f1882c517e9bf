"""Code that the tests of the scripts share."""

from __future__ import annotations

import re
import unittest

from harness import HERE, NEED_K6, Run, k6, run_script
from tests.stand_in import Behaviour, StandIn

# Exit codes of k6: a threshold was crossed, or the script threw an exception.
CROSSED, EXCEPTION = 99, 107

needs_k6 = unittest.skipUnless(k6(), NEED_K6)


@needs_k6
class ScriptTest(unittest.TestCase):
    """Runs scripts with k6. Without k6 all tests of its subclasses are skipped."""

    def run_script(self, script: str, **environment: object) -> Run:
        return run_script(HERE / script, environment)

    def run_on(self, behaviour: Behaviour, script: str, **environment: object) -> Run:
        """Runs a script against a server that behaves like this."""
        with StandIn(behaviour) as server:
            where = {"URL": server.url, "ADMIN_URL": server.url}
            return self.run_script(script, **{**where, **environment})

    def passes(self, run: Run) -> None:
        self.assertEqual((run.code, crossed(run)), (0, set()), run.output)

    def crosses(self, run: Run, *metrics: str) -> None:
        """The run fails because of the thresholds on exactly these metrics."""
        self.assertEqual((run.code, crossed(run)), (CROSSED, set(metrics)), run.output)

    def stops(self, run: Run, reason: str) -> None:
        """The script throws an exception before or during `setup`."""
        self.assertEqual(run.code, EXCEPTION, run.output)
        self.assertRegex(run.output, reason)


def crossed(run: Run) -> set[str]:
    """The metrics, or parts of metrics, with a crossed threshold."""
    found = re.search(r"thresholds on metrics '([^']*)' have been crossed", run.output)
    return set(found[1].split(", ")) if found else set()
