#!/usr/bin/env python3
"""Makes an archive of the server that runs wherever it is extracted.

    archive.py BUILT MODEL OUT

BUILT is the output of compile.sh, MODEL a model directory. The archive and its SHA-256
are written to the directory OUT. The same files give the same archive, byte for byte:
it contains nothing about this machine, and its only timestamp is SOURCE_DATE_EPOCH, or
otherwise the time of the last commit.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import sbom

ROOT = Path(__file__).parents[2]

# The machines that an ELF header can name, as `uname -m` does.
MACHINES = {62: "x86_64", 183: "aarch64"}

README = """\
FastSentiment {version}, for Linux on {machine}

    ./fastsentiment serve
    curl -s http://127.0.0.1:8000/predict \\
      -H 'Content-Type: application/json' -d '{{"text": ["What a wonderful day."]}}'

It needs Debian 12, or another system with glibc 2.34 and the libstdc++ of GCC 12 or
newer. The first start compiles the guest, which takes a few seconds, and keeps it in
~/.cache/fastsentiment. `./fastsentiment serve --help` describes all options.

LICENSE is FastSentiment's own licence. The licences of its dependencies are in
licences/, and that of the model is in model/default/. fastsentiment.cdx.json lists
everything in this archive and in the binary, in the format CycloneDX.
"""


def main() -> None:
    if len(sys.argv) != 4:
        sys.exit("usage: archive.py BUILT MODEL OUT")
    built, model, out = map(Path, sys.argv[1:])
    machine = machine_of(built / "fastsentiment")
    if machine_of(built / "libonnxruntime.so") != machine:
        sys.exit(f"{built}/libonnxruntime.so is not for {machine}, as the binary is")
    name = f"fastsentiment-{version()}-linux-{machine}"
    files = contents(built, model)
    files["README.txt"] = README.format(version=version(), machine=machine).encode()
    parts = sbom.with_model(sbom.read(built), model)
    files[sbom.NAME] = sbom.text(parts).encode()
    out.mkdir(parents=True, exist_ok=True)
    archive = out / f"{name}.tar.gz"
    archive.write_bytes(pack(name, files, commit_time()))
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    (out / f"{archive.name}.sha256").write_text(f"{digest}  {archive.name}\n")
    print(f"{archive}: {archive.stat().st_size / 1e6:.1f} MB, sha256 {digest}")


def machine_of(program: Path) -> str:
    """The machine that a program or a library was built for."""
    with program.open("rb") as file:
        header = file.read(20)
    known = MACHINES.get(int.from_bytes(header[18:20], "little"))
    if not header.startswith(b"\x7fELF") or known is None:
        sys.exit(
            f"{program} is not a Linux program for {' or '.join(MACHINES.values())}"
        )
    return known


def version() -> str:
    manifest = (ROOT / "Cargo.toml").read_text("utf-8")
    return re.findall(r'^version = "(.*)"$', manifest, re.MULTILINE)[0]


def commit_time() -> int:
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given:
        return int(given)
    command = ["git", "-C", ROOT, "log", "-1", "--format=%ct"]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        # There is no commit outside a checkout or without git.
        return 0
    return int(shown.stdout)


def contents(built: Path, model: Path) -> dict[str, bytes | Path]:
    """The files of the archive, by their paths in it."""
    names = ["fastsentiment", "fastsentiment_guest.wasm", "libonnxruntime.so"]
    files: dict[str, bytes | Path] = {name: built / name for name in names}
    files["LICENSE"] = ROOT / "LICENSE"
    for folder, source in [("licences", built / "licences"), ("model/default", model)]:
        for file in source.iterdir():
            # Dot files and directories are not part of a model.
            if file.is_file() and not file.name.startswith("."):
                files[f"{folder}/{file.name}"] = file
    for name in ("licences/onnxruntime-LICENSE.txt", "licences/rust-crates.txt"):
        if name not in files:
            sys.exit(f"{built / name} is missing")
    return files


def pack(name: str, files: dict[str, bytes | Path], time: int) -> bytes:
    packed = io.BytesIO()
    with (
        # Without a file name and a timestamp in the gzip header.
        gzip.GzipFile(
            fileobj=packed, mode="wb", filename="", mtime=0, compresslevel=9
        ) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for path, source in sorted(files.items()):
            content = source if isinstance(source, bytes) else source.read_bytes()
            entry = tarfile.TarInfo(f"{name}/{path}")
            entry.size = len(content)
            entry.mtime = time
            entry.mode = 0o755 if path == "fastsentiment" else 0o644
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


if __name__ == "__main__":
    main()
