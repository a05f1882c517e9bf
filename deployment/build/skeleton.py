#!/usr/bin/env python3
"""Copies a workspace without its sources, so that dependencies can be compiled.

    skeleton.py WORKSPACE OUT

OUT gets the manifests, the lock file, the settings of cargo and rustup, and an empty
source file for every target in a manifest. It changes only when a dependency does, and
so does an image layer that is built from it. The scripts that compile it (`compile.sh`
and `skeleton.py` itself) are copied too.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

ALSO = ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", ".cargo/config.toml"]


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit("usage: skeleton.py WORKSPACE OUT")
    workspace, out = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    listed = subprocess.run(
        ["cargo", "metadata", "--no-deps", "--offline", "--format-version", "1"],
        cwd=workspace,
        check=True,
        stdout=subprocess.PIPE,
    ).stdout
    tools = [f"deployment/build/{name}" for name in ("compile.sh", "skeleton.py")]
    for name in [*ALSO, *tools]:
        copy(workspace / name, out / name)
    for package in json.loads(listed)["packages"]:
        manifest = Path(package["manifest_path"])
        copy(manifest, out / manifest.relative_to(workspace))
        for target in package["targets"]:
            source = out / Path(target["src_path"]).relative_to(workspace)
            source.parent.mkdir(parents=True, exist_ok=True)
            library = {"lib", "rlib", "cdylib", "proc-macro"} & set(target["kind"])
            source.write_text("" if library else "fn main() {}\n")


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


if __name__ == "__main__":
    main()
