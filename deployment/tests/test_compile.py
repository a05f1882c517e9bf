"""Runs the instructions of the Dockerfile's `compile` stage without Docker, in a directory
of their own, with the real cargo."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import dockerfile
import pytest
from product import ROOT, TARGET, VERSION

# No optimisation: this tests which files are compiled, not how fast they run.
CHEAP = {
    "CARGO_PROFILE_RELEASE_OPT_LEVEL": "0",
    "CARGO_PROFILE_GUEST_OPT_LEVEL": "0",
    "CARGO_PROFILE_GUEST_LTO": "off",
    "CARGO_PROFILE_GUEST_CODEGEN_UNITS": "16",
}
# Kept between runs, so that dependencies are compiled only once, like Docker's layers.
FOLDER = TARGET / "compile-test"


@pytest.fixture(scope="module")
def compiled(context: Path) -> Path:
    """The files that the stage leaves in /built."""
    [stage] = [s for s in dockerfile.stages() if s.name == "compile"]
    workspace, built = FOLDER / "src", FOLDER / "built"
    for folder in (workspace, built):
        shutil.rmtree(folder, ignore_errors=True)
    variables = {**os.environ, **CHEAP, "DIST_TARGET_DIR": str(FOLDER / "target")}
    for step in stage.instructions:
        if step.name == "COPY" and step.flags.get("from") == "skeleton":
            script = ROOT / "deployment/build/skeleton.py"
            subprocess.run([sys.executable, script, context, workspace], check=True)
        elif step.name == "COPY":
            *sources, target = step.words
            for source in sources:
                copy_old(context / source, workspace / target)
        elif step.name == "RUN":
            words = [word.replace("/built", str(built)) for word in step.words]
            began = time.monotonic()
            subprocess.run(words, cwd=workspace, env=variables, check=True)
            print(f"{' '.join(step.words)}: {time.monotonic() - began:.0f} s")
    return built


def copy_old(origin: Path, target: Path) -> None:
    """Copies with old modification times: Docker keeps the times of the checkout, which
    are older than what was compiled from the skeleton."""
    if origin.is_file():
        target = target / origin.name if target.is_dir() else target
        shutil.copy(origin, target)
        os.utime(target, (0, 0))
        return
    target.mkdir(parents=True, exist_ok=True)
    for entry in origin.iterdir():
        copy_old(entry, target / entry.name)


def test_the_binary_is_compiled_of_the_sources(compiled: Path):
    shown = subprocess.run(
        [compiled / "fastsentiment", "--version"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert shown.startswith(f"fastsentiment {VERSION}")


def test_the_guest_is_compiled_of_the_sources(compiled: Path, tmp_path: Path):
    # Run by the optimised binary, because the other one compiles guests slowly.
    shown = subprocess.run(
        [
            *(TARGET / "release/fastsentiment", "predict", "What a wonderful day."),
            *("--guest", compiled / "fastsentiment_guest.wasm"),
            *("--model", ROOT / "model/default", "--artifacts", tmp_path),
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    [[best, _]] = json.loads(shown)["predictions"]
    assert best["label"] == "POSITIVE"
