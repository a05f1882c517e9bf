"""Runs the export as a user does, and the real server on what comes out."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import unittest
import urllib.request
from pathlib import Path
from typing import Self

from export.tests.stand_in import StandIn

ROOT = Path(__file__).resolve().parents[3]
BINARY = ROOT / "target" / "release" / "fastsentiment"
FIXTURES = ROOT / "host" / "tests" / "fixtures" / "models"
DEFAULT_MODEL = ROOT / "model" / "default"
# For what takes seconds, on machines that do other things as well.
PATIENCE = 600


class ExportTest(unittest.TestCase):
    """A directory, a hub, and the command."""

    def setUp(self) -> None:
        work = tempfile.TemporaryDirectory()
        self.addCleanup(work.cleanup)
        self.work = Path(work.name)
        self.out = self.work / "out"
        self.hub = self.enterContext(StandIn())

    def command(self, model: str | Path, *options: str) -> list[str]:
        cache, out = self.work / "cache", self.out
        command = [sys.executable, "-m", "export", str(model)]
        return [*command, "--out", str(out), "--cache", str(cache), *options]

    def environment(self, **variables: str) -> dict[str, str]:
        """That of this process, with the stand-in for the hub and no token."""
        ours = {"HF_ENDPOINT": self.hub.url, "HF_HOME": str(self.work / "home")}
        modules = (ROOT / "model", ROOT / "model" / "tools")
        ours["PYTHONPATH"] = os.pathsep.join(map(str, modules))
        kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
        return kept | ours | variables

    def export(
        self, model: str | Path, *options: str, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(model, *options),
            env=self.environment(**variables),
            cwd=self.work,
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def succeed(self, model: str | Path, *options: str, **variables: str) -> str:
        """Runs the command; gives what it printed."""
        done = self.export(model, *options, **variables)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def fail_with(
        self, expected: str, model: str | Path, *options: str, **variables: str
    ) -> None:
        """Runs the command, which has to fail with one line and leave nothing."""
        before = self.out.exists()
        done = self.export(model, *options, **variables)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        last = done.stderr.strip().splitlines()[-1]
        self.assertTrue(last.startswith("error: "), done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        self.assertRegex(last, expected)
        self.assertEqual(self.out.exists(), before)

    def check_sums(self) -> None:
        """What `sha256sum -c` says of the directory."""
        command = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
        subprocess.run(command, cwd=self.out, check=True)


class Server:
    """The real server with a model, from `with` to its end."""

    def __init__(self, model: Path, work: Path) -> None:
        command = [str(BINARY), "serve", "--model", str(model)]
        command += ["--listen", "127.0.0.1:0", "--admin-listen", ""]
        command += ["--artifacts", str(work / "artifacts"), "--deadline-ms", "240000"]
        command += ["--guest-timeout-ms", "240000", "--prepare-timeout-ms", "240000"]
        kept = {
            k: v for k, v in os.environ.items() if not k.startswith("FASTSENTIMENT_")
        }
        self.process = subprocess.Popen(
            command, env=kept, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        assert self.process.stdout is not None
        # It says where it listens once it can answer.
        for line in self.process.stdout:
            if found := re.match(r"  predict +(http://[^/]*)/", line):
                self.url = found[1]
                return self
        raise AssertionError(f"the server ended with {self.process.wait()}")

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        with self.process:
            assert self.process.wait(timeout=PATIENCE) == 0

    def predict(self, texts: list[str]) -> list[dict[str, float]]:
        """The scores of each text, by label."""
        request = urllib.request.Request(
            f"{self.url}/predict",
            data=json.dumps({"text": texts}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            answers = json.load(response)["predictions"]
        return [{one["label"]: one["score"] for one in answer} for answer in answers]
