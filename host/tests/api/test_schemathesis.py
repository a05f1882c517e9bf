"""Schemathesis against a running server: some thousand requests, good ones and bad."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATIENCE, RELEASE, Listener, Server

HERE = Path(__file__).parent
GUESTS = ["fastsentiment_guest.wasm", "fastsentiment_lexicon.wasm"]
# What is tried of an operation, where schemathesis.toml says nothing else; most have
# no more than a few requests that differ. And what it takes for the test to count.
EXAMPLES, AT_LEAST = 100, {"main": 1500, "admin": 800}


@pytest.mark.parametrize("name", ["main", "admin"])
def test_nothing_but_what_is_documented_happens(
    server: Server, name: str, tmp_path: Path
) -> None:
    listener: Listener = getattr(server, name)
    components = [RELEASE / guest for guest in GUESTS if name == "admin"]
    # So that there is more than one version from the start.
    for component in components:
        added = listener.ask("POST", "/versions", component.read_bytes())
        assert added.status in {200, 201}, added
    guests = os.pathsep.join(map(str, components))
    headers = [f"--header={key}: {value}" for key, value in listener.headers.items()]
    command = [
        *(Path(sys.executable).with_name("schemathesis"),),
        *("--config-file", HERE / "schemathesis.toml"),
        *("run", f"{listener.url}/openapi.json", "--url", listener.url),
        *("--checks", "all", "--max-examples", str(EXAMPLES), "--seed", "1"),
        *("--continue-on-failure", "--no-color", *headers),
    ]
    ran = subprocess.run(
        command,
        cwd=tmp_path,  # where it leaves what it found
        env=os.environ
        | {"FASTSENTIMENT_GUESTS": guests, "PYTHONPATH": os.fspath(HERE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=10 * PATIENCE,
        check=False,
    )
    # Bodies can be long.
    said = "\n".join(line[:500] for line in ran.stdout.splitlines())
    assert ran.returncode == 0, said
    generated = re.search(r"([\d,]+) generated", said)
    assert generated, said
    assert int(generated[1].replace(",", "")) >= AT_LEAST[name], said
    print(generated[0])
