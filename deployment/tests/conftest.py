"""Fixtures that the deployment tests share: Docker's build context, and the image's root
file system. Each is made once."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import dockerfile
import manifests as kubernetes
import pytest
from product import ROOT, TARGET


def run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"


def tracked() -> list[Path]:
    """The files of the repository, including new ones that are not committed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "-co", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    files = [ROOT / name for name in listed.split("\0") if name]
    return [file for file in files if file.is_file()]


@pytest.fixture(scope="session")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build context that Docker would be sent."""
    out = tmp_path_factory.mktemp("context")
    for file in tracked():
        if dockerfile.in_context(file):
            target = out / file.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    return out


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of `make build`, as compile.sh collects it."""
    out = tmp_path_factory.mktemp("built")
    run("sh", ROOT / "deployment/build/compile.sh", "collect", TARGET, out)
    return out


@pytest.fixture(scope="session")
def image(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root file system of the image, with the default model."""
    # Other users could not run it in a directory that only its owner can enter.
    root = tmp_path_factory.mktemp("image") / "root"
    for folder in [root.parent, *list(root.parents)[1:3]]:
        folder.chmod(0o755)
    script = ROOT / "deployment/build/root.sh"
    run("sh", script, built, ROOT / "model/default", root)
    return root


@pytest.fixture(scope="session")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict]]:
    """The rendered Kubernetes manifests, by the names in manifests.py."""
    return kubernetes.render(tmp_path_factory.mktemp("manifests"))
