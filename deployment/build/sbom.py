#!/usr/bin/env python3
"""Writes what the product consists of, as a CycloneDX document (an SBOM).

    sbom.py built BUILT                writes BUILT/fastsentiment.cdx.json: the binary, the
                                       guest, their crates, and ONNX Runtime
    sbom.py image BUILT MODEL ROOT     writes ROOT/app/fastsentiment.cdx.json, with the
                                       model and the Debian packages in ROOT

The crates are those whose licences licences.py collects. Procedural macros, and what only
they use, run while the product is compiled and are not part of it; their scope is
`excluded`. The same files give the same document.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import licences
from licences import ROOT

NAME = "fastsentiment.cdx.json"
PRODUCT, GUEST = "fastsentiment", "fastsentiment-guest"
STANDARD_LIBRARY = "rust-standard-library"


def main() -> None:
    match sys.argv[1:]:
        case ["built", built]:
            write(built_parts(Path(built)), Path(built) / NAME)
        case ["image", built, model, root]:
            document = with_model(read(Path(built)), Path(model))
            add(document, debian_packages(Path(root)))
            write(document, Path(root) / "app" / NAME)
        case _:
            sys.exit("usage: sbom.py built BUILT | sbom.py image BUILT MODEL ROOT")


def read(built: Path) -> dict[str, Any]:
    return json.loads((built / NAME).read_text("utf-8"))


def text(document: dict[str, Any]) -> str:
    document["components"].sort(key=lambda each: each["bom-ref"])
    document["dependencies"].sort(key=lambda each: each["ref"])
    return json.dumps(document, indent=1) + "\n"


def write(document: dict[str, Any], file: Path) -> None:
    file.write_text(text(document), "utf-8")


def built_parts(built: Path) -> dict[str, Any]:
    """What compile.sh has built."""
    products = [
        licences.graph(product, platform or licences.host())
        for product, platform in licences.PRODUCTS
    ]
    version = products[0].packages[products[0].root]["version"]
    components = {}
    dependencies = {}
    for graph in products:
        linked = reached(graph)
        for identity in graph.packages.keys() - graph.own:
            part = crate(graph.packages[identity], identity in linked)
            known = components.setdefault(part["bom-ref"], part)
            # One product may link what the other's macros use.
            if "scope" not in part:
                known.pop("scope", None)
            used = dependencies.setdefault(part["bom-ref"], set())
            used |= {purl(graph.packages[i]) for i in graph.uses[identity]}
        name = graph.packages[graph.root]["name"]
        # The workspace's own crates are part of the product.
        own = graph.uses.keys() & graph.own
        used = {i for o in own for i in graph.uses[o]} - graph.own
        dependencies[name] = {purl(graph.packages[i]) for i in used}
        dependencies[name].add(STANDARD_LIBRARY)
    runtime = onnx_runtime(built)
    dependencies[PRODUCT] |= {GUEST, runtime["bom-ref"]}
    licence = [{"license": {"id": "MIT"}}]
    guest = {
        "type": "application",
        "bom-ref": GUEST,
        "name": GUEST,
        "version": version,
        "licenses": licence,
        "hashes": hashes(built / "fastsentiment_guest.wasm"),
    }
    standard_library = {
        "type": "library",
        "bom-ref": STANDARD_LIBRARY,
        "name": STANDARD_LIBRARY,
        "version": licences.output("rustc", "--version").split()[1],
        "licenses": [{"expression": "MIT OR Apache-2.0"}],
    }
    product = {
        "type": "application",
        "bom-ref": PRODUCT,
        "name": PRODUCT,
        "version": version,
        "licenses": licence,
        "hashes": hashes(built / "fastsentiment"),
    }
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": product},
        "components": [*components.values(), guest, standard_library, runtime],
        "dependencies": [
            {"ref": ref, "dependsOn": sorted(used)}
            for ref, used in dependencies.items()
        ],
    }


def reached(graph: licences.Graph) -> set[str]:
    """The packages that are linked, without procedural macros."""
    found: set[str] = set()
    open_ids = [graph.root]
    while open_ids:
        identity = open_ids.pop()
        kinds = {k for t in graph.packages[identity]["targets"] for k in t["kind"]}
        if identity not in found and "proc-macro" not in kinds:
            found.add(identity)
            open_ids += graph.uses[identity]
    return found


def purl(package: dict) -> str:
    return f"pkg:cargo/{package['name']}@{package['version']}"


def crate(package: dict, linked: bool) -> dict[str, Any]:
    part: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl(package),
        "name": package["name"],
        "version": package["version"],
        "purl": purl(package),
    }
    if not linked:
        part["scope"] = "excluded"
    if package["license"]:
        # Older crates separate alternatives with a slash.
        expression = package["license"].replace("/", " OR ")
        part["licenses"] = [{"expression": expression}]
    else:
        part["licenses"] = [{"license": {"name": "licences/rust-crates.txt"}}]
    checksum = checksums().get((package["name"], package["version"]))
    if checksum:
        part["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package["repository"]:
        source = {"type": "vcs", "url": package["repository"]}
        part["externalReferences"] = [source]
    return part


@functools.cache
def checksums() -> dict[tuple[str, str], str]:
    """The digests of the crates' packages, by name and version."""
    locked = tomllib.loads((ROOT / "Cargo.lock").read_text("utf-8"))["package"]
    return {
        (package["name"], package["version"]): package["checksum"]
        for package in locked
        if "checksum" in package
    }


def onnx_runtime(built: Path) -> dict[str, Any]:
    script = (ROOT / "host/tools/fetch-onnxruntime.py").read_text("utf-8")
    version = re.findall(r'^VERSION = "(.*)"$', script, re.MULTILINE)[0]
    name = f"pkg:github/microsoft/onnxruntime@v{version}"
    return {
        "type": "library",
        "bom-ref": name,
        "name": "onnxruntime",
        "version": version,
        "purl": name,
        "licenses": [{"license": {"id": "MIT"}}],
        "hashes": hashes(built / "libonnxruntime.so"),
    }


def with_model(document: dict[str, Any], model: Path) -> dict[str, Any]:
    files = [
        {
            "type": "file",
            "bom-ref": f"model/default/{file.name}",
            "name": file.name,
            "hashes": hashes(file),
        }
        for file in sorted(model.iterdir())
        # Dot files and directories are not part of a model.
        if file.is_file() and not file.name.startswith(".")
    ]
    graph = hashes(model / "model.onnx")
    part = {
        "type": "machine-learning-model",
        "bom-ref": "model/default",
        # Where it is, in the image and in the archive.
        "name": "model/default",
        # Models have no version numbers.
        "version": f"sha256:{graph[0]['content']}",
        "hashes": graph,
        "components": files,
    }
    if (model / "LICENSE").is_file():
        part["licenses"] = [{"license": {"name": "model/default/LICENSE"}}]
    add(document, [part])
    return document


def debian_packages(root: Path) -> list[dict[str, Any]]:
    """The packages in the image, from the records that root.sh has kept."""
    parts = []
    release = dict(
        line.replace('"', "").split("=", 1)
        for line in (root / "etc/os-release").read_text("utf-8").splitlines()
        if "=" in line
    )
    distribution = f"{release['ID']}-{release.get('VERSION_ID', 'unstable')}"
    for record in sorted((root / "var/lib/dpkg/status.d").iterdir()):
        lines = record.read_text("utf-8").splitlines()
        fields = dict(line.split(": ", 1) for line in lines if re.match(r"\S+: ", line))
        name, version = fields["Package"], fields["Version"]
        escaped = version.replace("+", "%2B").replace(":", "%3A")
        identity = (
            f"pkg:deb/{release['ID']}/{name.replace('+', '%2B')}@{escaped}"
            f"?arch={fields['Architecture']}&distro={distribution}"
        )
        parts.append(
            {
                "type": "library",
                "bom-ref": identity,
                "name": name,
                "version": version,
                "purl": identity,
            }
        )
    return parts


def add(document: dict[str, Any], parts: list[dict[str, Any]]) -> None:
    """Adds what the product uses."""
    document["components"] += parts
    refs = [part["bom-ref"] for part in parts]
    [product] = [d for d in document["dependencies"] if d["ref"] == PRODUCT]
    product["dependsOn"] = sorted({*product["dependsOn"], *refs})


def hashes(file: Path) -> list[dict[str, str]]:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return [{"alg": "SHA-256", "content": digest}]


if __name__ == "__main__":
    main()
