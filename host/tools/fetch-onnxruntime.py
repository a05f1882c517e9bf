#!/usr/bin/env python3
"""Downloads the ONNX Runtime library to where the binary looks for it.

    fetch-onnxruntime.py DIR        writes DIR/libonnxruntime.so (macOS: .dylib)

The library comes from ONNX Runtime's own Python package, which contains the plain C
library; the server uses no Python at run time. Both the package and the library are
pinned by digest: an existing library is checked, and replaced if it is not the pinned
one.

If ORT_DYLIB_PATH is set, that library is used and nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

VERSION = "1.32.0"


class Build(NamedTuple):
    """The package of one platform, and the library in it."""

    platform: str
    wheel_sha256: str
    member: str
    library: str
    library_sha256: str


LINUX = (f"onnxruntime/capi/libonnxruntime.so.{VERSION}", "libonnxruntime.so")
MACOS = (f"onnxruntime/capi/libonnxruntime.{VERSION}.dylib", "libonnxruntime.dylib")
# Licences that have to accompany the library: the new file name, and the name in the
# package.
LICENCES = {
    "onnxruntime-LICENSE.txt": "onnxruntime/LICENSE",
    "onnxruntime-ThirdPartyNotices.txt": "onnxruntime/ThirdPartyNotices.txt",
}

# Keyed by system and machine, as Python's `platform` module names them.
BUILDS = {
    ("Linux", "x86_64"): Build(
        "manylinux_2_28_x86_64",
        "02ea12a28c069ea8510093d95a7f6ff8126bfd9fc5c0d3381c03b80fb2b424ba",
        *LINUX,
        "6c1585d1bbf45b0712ea4a21b705c5fcb4ba04ff2e30f1fbf81a49faf658638f",
    ),
    ("Linux", "aarch64"): Build(
        "manylinux_2_28_aarch64",
        "54d02baff2df38777b4c3cc7af326406fe8b8a48f54720f4c446d2d327920a79",
        *LINUX,
        "49852228a93995158b2a813d4df487d47a1b76b0eaa894507ef49e91b6d7954a",
    ),
    ("Darwin", "arm64"): Build(
        "macosx_14_0_arm64",
        "27bf5dad46355a8a435c9c4e1556464d99ca834ea44e0f452909712068b8821b",
        *MACOS,
        "fa585fabbea65b823b9a8f7e27d46aee3989d1be7e36b528203d3a1fd613aae7",
    ),
}

# The packages for all versions of Python contain the same library. One version is fixed
# here, so that the digests do not depend on the Python that runs this script.
PYTHON = ("--python-version", "3.13", "--implementation", "cp", "--abi", "cp313")


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: fetch-onnxruntime.py DIR")
    directory = Path(sys.argv[1])
    named = os.environ.get("ORT_DYLIB_PATH")
    if named:
        print(f"ONNX Runtime: {named} (from ORT_DYLIB_PATH)")
        return
    build = BUILDS.get((platform.system(), platform.machine()))
    if build is None:
        sys.exit(
            f"no ONNX Runtime is pinned for {platform.system()} on {platform.machine()}: "
            "install 1.24 or newer and name its library in ORT_DYLIB_PATH"
        )
    library = directory / build.library
    complete = all((directory / name).is_file() for name in LICENCES)
    if complete and library.is_file() and sha256(library) == build.library_sha256:
        return
    directory.mkdir(parents=True, exist_ok=True)
    # Inside the target directory, so that moving it into place is a rename.
    with tempfile.TemporaryDirectory(
        prefix=".onnxruntime-", dir=directory
    ) as temporary:
        work = Path(temporary)
        wheel = download(build, work)
        with zipfile.ZipFile(wheel) as package:
            unpacked = unpack(package, build.member, work / "library", 0o755)
            licences = {
                name: unpack(package, member, work / name, 0o644)
                for name, member in LICENCES.items()
            }
        if sha256(unpacked) != build.library_sha256:
            sys.exit(f"{build.member} in {wheel.name} is not the pinned library")
        # The library last: once it exists, everything is complete.
        for name, licence in licences.items():
            os.replace(licence, directory / name)
        os.replace(unpacked, library)
    print(f"ONNX Runtime {VERSION}: {library}")


def sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def unpack(package: zipfile.ZipFile, member: str, file: Path, mode: int) -> Path:
    with package.open(member) as source, file.open("wb") as target:
        shutil.copyfileobj(source, target)
    file.chmod(mode)
    return file


def download(build: Build, work: Path) -> Path:
    requirement = work / "requirement.txt"
    requirement.write_text(
        f"onnxruntime=={VERSION} --hash=sha256:{build.wheel_sha256}\n"
    )
    command = [
        *pip(work),
        *("download", "--quiet", "--disable-pip-version-check", "--no-deps"),
        *("--only-binary=:all:", "--require-hashes", "--requirement", requirement),
        *("--platform", build.platform, *PYTHON, "--dest", work),
    ]
    if subprocess.run(command, check=False).returncode != 0:
        sys.exit(
            f"onnxruntime {VERSION} could not be downloaded with pip (see above). Without "
            "the network, name a library of ONNX Runtime 1.24 or newer in ORT_DYLIB_PATH"
        )
    return next(work.glob("onnxruntime-*.whl"))


def pip(work: Path) -> list[str | Path]:
    """The command that runs pip: this Python's own, or one from a temporary venv."""
    if has_pip(sys.executable):
        return [sys.executable, "-m", "pip"]
    python = work / "venv" / "bin" / "python"
    made = subprocess.run(
        [sys.executable, "-m", "venv", work / "venv"], capture_output=True, check=False
    )
    if made.returncode != 0 or not has_pip(python):
        sys.exit(
            "Python's pip is needed to download ONNX Runtime, and neither it nor venv is "
            "installed: on Debian, `apt-get install python3-venv`"
        )
    return [python, "-m", "pip"]


def has_pip(python: str | Path) -> bool:
    command = [python, "-m", "pip", "--version"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    main()
