"""The archive of `make dist`: it is reproducible, and runs where it is extracted."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from product import ROOT, VERSION, serving

sys.path.insert(0, str(ROOT / "deployment/build"))
import licences


def archive(built: Path, out: Path) -> Path:
    script = ROOT / "deployment/build/archive.py"
    command = [sys.executable, script, built, ROOT / "model/default", out]
    subprocess.run(command, check=True)
    [made] = out.glob("*.tar.gz")
    digest = hashlib.sha256(made.read_bytes()).hexdigest()
    assert (out / f"{made.name}.sha256").read_text() == f"{digest}  {made.name}\n"
    return made


@pytest.fixture(scope="module")
def packed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return archive(built, tmp_path_factory.mktemp("archive"))


def test_the_same_files_give_the_same_archive(
    packed: Path, built: Path, tmp_path: Path
):
    # Files with other times, created in another order.
    copied = tmp_path / "built"
    for file in sorted(built.rglob("*"), reverse=True):
        if file.is_file():
            target = copied / file.relative_to(built)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    assert archive(copied, tmp_path / "out").read_bytes() == packed.read_bytes()
    binary = copied / "fastsentiment"
    binary.write_bytes(binary.read_bytes() + b"another")
    assert archive(copied, tmp_path / "out").read_bytes() != packed.read_bytes()


def test_nothing_of_the_machine_is_in_it(packed: Path):
    with tarfile.open(packed) as opened:
        entries = opened.getmembers()
    assert packed.name.startswith(f"fastsentiment-{VERSION}-linux-")
    top = packed.name.removesuffix(".tar.gz")
    assert all(entry.name.startswith(f"{top}/") for entry in entries)
    assert {(e.uid, e.gid, e.uname, e.gname) for e in entries} == {(0, 0, "", "")}
    assert len({entry.mtime for entry in entries}) == 1
    assert {e.name for e in entries if e.mode & 0o111} == {f"{top}/fastsentiment"}


def test_it_runs_where_it_is_unpacked_with_nothing_around_it(
    packed: Path, tmp_path: Path
):
    with tarfile.open(packed) as opened:
        opened.extractall(tmp_path, filter="data")
    folder = tmp_path / packed.name.removesuffix(".tar.gz")
    binary = folder / "fastsentiment"
    home = {"HOME": str(tmp_path / "home")}
    predicted = subprocess.run(
        [binary, "predict", "What a wonderful day."],
        cwd="/",
        env=home,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    [[best, _]] = json.loads(predicted)["predictions"]
    assert best["label"] == "POSITIVE"
    with serving([binary, "serve"], home) as server:
        assert "compiled before" in server.greeting
        assert json.loads(server.predict("What a wonderful day.").body) == json.loads(
            predicted
        )
        assert server.terminate() == 0
    for name in (
        *("LICENSE", "README.txt", "model/default/LICENSE", "model/default/NOTICE"),
        *("licences/onnxruntime-LICENSE.txt", "licences/rust-crates.txt"),
        *("licences/onnxruntime-ThirdPartyNotices.txt",),
        *("licences/rust-standard-library.html",),
    ):
        assert (folder / name).stat().st_size > 500, name
    crates = (folder / "licences/rust-crates.txt").read_text()
    for name in ("wasmtime", "ort", "hyper", "tokenizers", "redis"):
        assert f"\n  {name} " in crates, name


def test_a_crate_without_the_text_of_its_licence_gets_it_or_stops_the_build():
    def crate(name: str, licence: str) -> dict:
        return {
            "id": name,
            "name": name,
            "version": "1.0.0",
            "license": licence,
            "authors": [],
            "repository": None,
        }

    one = crate("one", "Apache-2.0")
    texts = {"one": ["the text of Apache"], "two": []}
    for licence in ("Apache-2.0", "MIT OR Apache-2.0", "Zlib/Apache-2.0"):
        two = crate("two", licence)
        assert licences.common_text(two, [one, two], texts) == "the text of Apache"
    mit = licences.common_text(crate("two", "MIT"), [one], texts)
    assert "Permission is hereby granted" in mit
    assert "Copyright the authors of two" in mit
    with pytest.raises(SystemExit, match="two 1.0.0 .BSD-3-Clause."):
        licences.common_text(crate("two", "BSD-3-Clause"), [one], texts)
    twins = [
        crate(name, "BSD-3-Clause") | {"repository": "here"} for name in ("one", "two")
    ]
    assert licences.common_text(twins[1], twins, texts) == "the text of Apache"
