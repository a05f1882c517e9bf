#!/usr/bin/env python3
"""Writes the licences of all Rust code that is compiled into the product.

    licences.py DIR     writes DIR/rust-crates.txt and DIR/rust-standard-library.html

`cargo metadata` lists the crates, and the licence texts come with their sources. A few
crates leave the text out. If their licence has a standard text, that is used; a crate
without any text fails the build.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

# Each product and the platform that it is compiled for; `None` is this machine.
PRODUCTS = [("fastsentiment", None), ("fastsentiment-guest", "wasm32-wasip2")]
ROOT = Path(__file__).parents[2]
# Build dependencies whose contents become part of the product.
EMBEDDED = {"utoipa-swagger-ui-vendored"}
TEXTS = re.compile(r"(licen[cs]e|copying|notice|unlicense|copyright)", re.IGNORECASE)


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: licences.py DIR")
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    crates = {}
    for product, platform in PRODUCTS:
        crates.update(crates_of(product, platform or host()))
    (out / "rust-crates.txt").write_text(document(list(crates.values())), "utf-8")
    library = Path(output("rustc", "--print", "sysroot").strip())
    shutil.copyfile(
        library / "share/doc/rust/COPYRIGHT-library.html",
        out / "rust-standard-library.html",
    )


def output(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def host() -> str:
    return re.findall(r"^host: (.*)$", output("rustc", "-vV"), re.MULTILINE)[0]


class Graph(NamedTuple):
    """The packages that a product is made of, and what each of them uses, by id."""

    packages: dict[str, dict]
    uses: dict[str, list[str]]
    # The packages of this workspace.
    own: set[str]
    root: str


def graph(product: str, platform: str) -> Graph:
    metadata = json.loads(
        output(
            *("cargo", "metadata", "--locked", "--format-version", "1"),
            *("--filter-platform", platform),
        )
    )
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    own = set(metadata["workspace_members"])
    [root] = [i for i in own if packages[i]["name"] == product]
    uses = {}
    open_ids = [root]
    while open_ids:
        identity = open_ids.pop()
        if identity in uses:
            continue
        uses[identity] = [
            dependency["pkg"]
            for dependency in nodes[identity]["deps"]
            # Not test dependencies, and usually not build dependencies.
            if None in {kind["kind"] for kind in dependency["dep_kinds"]}
            or dependency["name"].replace("_", "-") in EMBEDDED
        ]
        open_ids += uses[identity]
    return Graph({i: packages[i] for i in uses}, uses, own, root)


def crates_of(product: str, platform: str) -> dict[str, dict]:
    """The packages linked into a product, by id, without those of this workspace."""
    found = graph(product, platform)
    return {i: crate for i, crate in found.packages.items() if i not in found.own}


def texts_of(package: dict) -> list[str]:
    """The licence texts in a package's directory and in its licence directories."""
    folder = Path(package["manifest_path"]).parent
    files = [file for file in sorted(folder.iterdir()) if TEXTS.match(file.name)]
    named = package["license_file"]
    if named:
        files.append(folder / named)
    for inner in [file for file in files if file.is_dir()]:
        files.extend(sorted(inner.iterdir()))
    texts = {}
    for archive in (
        sorted(folder.glob("res/*.zip")) if package["name"] in EMBEDDED else []
    ):
        texts |= texts_in(archive)
    for file in files:
        # Not source files that happen to have such a name.
        if file.is_file() and file.suffix.lower() not in {".rs", ".json", ".toml"}:
            texts[os.fspath(file.resolve())] = file.read_text("utf-8", "replace")
    given = (text.replace("\r\n", "\n").strip() for text in texts.values())
    return list(dict.fromkeys(given))


def texts_in(archive: Path) -> dict[str, str]:
    """The licence texts at the top level of an archive that a package contains."""
    with zipfile.ZipFile(archive) as entries:
        names = [name for name in entries.namelist() if name.count("/") == 1]
        return {
            f"{archive}/{name}": entries.read(name).decode()
            for name in names
            if TEXTS.match(name.split("/")[1])
        }


def common_text(crate: dict, crates: list[dict], texts: dict[str, list[str]]) -> str:
    """A licence text for a crate that comes without one: the text of another crate from
    the same repository and authors, or a standard text with this crate's authors."""
    whose = ("license", "repository", "authors")
    for other in crates:
        if crate["repository"] and all(other[key] == crate[key] for key in whose):
            for text in texts[other["id"]]:
                return text
    offered = re.split(r" OR |/", crate["license"] or "")
    for licence in ("Apache-2.0 WITH LLVM-exception", "Apache-2.0"):
        same = [other for other in crates if other["license"] == licence]
        given = [text for other in same for text in texts[other["id"]]]
        if licence in offered and given:
            return given[0]
    if "MIT" in offered:
        # This project's own licence is the same, except for the copyright holder.
        authors = ", ".join(crate["authors"]) or f"the authors of {crate['name']}"
        mit = (ROOT / "LICENSE").read_text("utf-8").strip()
        return re.sub(r"Copyright .*", lambda _: f"Copyright {authors}", mit)
    sys.exit(
        f"{crate['name']} {crate['version']} ({crate['license']}) has no licence text; "
        "add its location to licences.py"
    )


def document(crates: list[dict]) -> str:
    crates.sort(key=lambda crate: (crate["name"], crate["version"]))
    texts = {crate["id"]: texts_of(crate) for crate in crates}
    for crate in crates:
        if not texts[crate["id"]]:
            texts[crate["id"]] = [common_text(crate, crates, texts)]
    used_by = defaultdict(list)
    for crate in crates:
        for text in texts[crate["id"]]:
            used_by[text].append(f"{crate['name']} {crate['version']}")
    lines = ["The crates that are compiled into FastSentiment, and their licences.", ""]
    for crate in crates:
        lines.append(
            f"  {crate['name']} {crate['version']}: "
            f"{crate['license'] or 'see its text below'}"
            f"{', ' + crate['repository'] if crate['repository'] else ''}"
        )
    for text, names in sorted(used_by.items(), key=lambda item: item[1]):
        lines += ["", "=" * 80, ", ".join(names), "=" * 80, "", text]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
