"""What the tests of the deployment share: the image's root file system, made once."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from product import ROOT, TARGET


def run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make build` has compiled, as compile.sh collects it."""
    out = tmp_path_factory.mktemp("built")
    run("sh", ROOT / "deployment/build/compile.sh", "collect", TARGET, out)
    return out


@pytest.fixture(scope="session")
def image(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root file system of the image, with the default model."""
    # Below a folder that only its owner can enter, nobody else could run it.
    root = tmp_path_factory.mktemp("image") / "root"
    for folder in [root.parent, *list(root.parents)[1:3]]:
        folder.chmod(0o755)
    script = ROOT / "deployment/build/root.sh"
    run("sh", script, built, ROOT / "model/default", root)
    return root
