"""What the build scripts choose follows the machine that they build for. Nothing is compiled
for another one here."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import subprocess
import sys
from pathlib import Path

import dockerfile
import pytest
from product import ROOT

sys.path.insert(0, str(ROOT / "deployment/build"))
import archive as archiver

specification = importlib.util.spec_from_file_location(
    "fetch_onnxruntime", ROOT / "host/tools/fetch-onnxruntime.py"
)
fetch_onnxruntime = importlib.util.module_from_spec(specification)
# Its named tuples look themselves up.
sys.modules["fetch_onnxruntime"] = fetch_onnxruntime
specification.loader.exec_module(fetch_onnxruntime)

# As ELF headers number them.
NUMBERS = {"x86_64": 62, "aarch64": 183, "riscv64": 243}


def program(machine: str) -> bytes:
    header = bytearray(64)
    header[:7] = b"\x7fELF\x02\x01\x01"
    header[18:20] = NUMBERS[machine].to_bytes(2, "little")
    return bytes(header)


def parts(folder: Path, binary: bytes, library: bytes) -> Path:
    for name, content in (
        ("fastsentiment", binary),
        ("libonnxruntime.so", library),
        ("fastsentiment_guest.wasm", b"\0asm"),
        ("licences/onnxruntime-LICENSE.txt", b"MIT"),
        ("licences/rust-crates.txt", b"serde"),
        ("fastsentiment.cdx.json", EMPTY),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


EMPTY = (
    b'{"components": [], "dependencies": [{"ref": "fastsentiment", "dependsOn": []}]}'
)


def archived(folder: Path, binary: bytes, library: bytes):
    script = ROOT / "deployment/build/archive.py"
    made = parts(folder / "built", binary, library)
    command = [sys.executable, script, made, ROOT / "model/default", folder / "out"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_archive_is_named_after_the_machine_that_it_is_for(
    machine: str, tmp_path: Path
):
    done = archived(tmp_path, program(machine), program(machine))
    assert done.returncode == 0, done.stderr
    [made] = (tmp_path / "out").glob("*.tar.gz")
    assert made.name.endswith(f"-linux-{machine}.tar.gz")


@pytest.mark.parametrize(
    ("binary", "library", "message"),
    [
        (program("aarch64"), program("x86_64"), "is not for aarch64"),
        (program("x86_64"), program("aarch64"), "is not for x86_64"),
        (program("riscv64"), program("riscv64"), "for x86_64 or aarch64"),
        (b"\xcf\xfa\xed\xfe" + bytes(60), program("aarch64"), "not a Linux program"),
        (b"", b"", "not a Linux program"),
    ],
)
def test_an_archive_of_parts_for_different_machines_is_refused(
    binary: bytes, library: bytes, message: str, tmp_path: Path
):
    done = archived(tmp_path, binary, library)
    assert done.returncode == 1
    assert message in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_onnx_runtime_is_fetched_for_the_machine(
    machine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("ORT_DYLIB_PATH", raising=False)
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(sys, "argv", ["fetch-onnxruntime.py", str(tmp_path)])
    fetch_onnxruntime.main()
    library = tmp_path / "libonnxruntime.so"
    assert archiver.machine_of(library) == machine
    pinned = fetch_onnxruntime.BUILDS["Linux", machine].library_sha256
    assert hashlib.sha256(library.read_bytes()).hexdigest() == pinned


def test_a_machine_without_a_pinned_library_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("ORT_DYLIB_PATH", raising=False)
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    monkeypatch.setattr(sys, "argv", ["fetch-onnxruntime.py", str(tmp_path)])
    with pytest.raises(SystemExit, match="riscv64"):
        fetch_onnxruntime.main()


def test_the_image_has_the_directories_that_the_dockerfile_copies_on_arm64(
    built: Path, tmp_path: Path
):
    # Debian for arm64 has its loader in /lib, so nothing there is linked to /lib64.
    fake = tmp_path / "bin/ldd"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\n/usr/bin/ldd "$@" | grep -v /lib64/\n')
    fake.chmod(0o755)
    root = tmp_path / "root"
    script = ROOT / "deployment/build/root.sh"
    subprocess.run(
        ["sh", script, built, ROOT / "model/default", root],
        env={**os.environ, "PATH": f"{fake.parent}:{os.environ['PATH']}"},
        check=True,
    )
    assert not list((root / "lib64").iterdir())
    for instruction in dockerfile.stages()[-1].instructions:
        if instruction.flags.get("from") == "root":
            for source in instruction.words[:-1]:
                assert (root / source.removeprefix("/root-of-image/")).exists(), source
