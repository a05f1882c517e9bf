"""The list of parts (SBOM) of the archive and the image: it is valid CycloneDX, and complete
as far as the files themselves can tell."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tarfile
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from product import ROOT, VERSION
from test_archive import archive

sys.path.insert(0, str(ROOT / "deployment/build"))
import licences
import sbom

CARGO = "pkg:cargo/"


@pytest.fixture(scope="module")
def documents(
    built: Path, image: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict]:
    with tarfile.open(archive(built, tmp_path_factory.mktemp("sbom"))) as opened:
        [entry] = [e for e in opened if e.name.endswith(f"/{sbom.NAME}")]
        packed = json.load(opened.extractfile(entry))
    return {
        "archive": packed,
        "image": json.loads((image / "app" / sbom.NAME).read_text()),
    }


def fault(document: dict) -> object:
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    return validator.validate_str(json.dumps(document))


def crates(document: dict) -> dict[str, dict]:
    parts = {each["bom-ref"]: each for each in document["components"]}
    return {ref: each for ref, each in parts.items() if ref.startswith(CARGO)}


@pytest.mark.parametrize("name", ["archive", "image"])
def test_it_is_what_the_schema_expects(documents, name: str):
    document = documents[name]
    assert fault(document) is None
    for wrong in (
        {**document, "components": [{"type": "crate", "name": "serde"}]},
        {**document, "bomFormat": "SPDX"},
        {**document, "parts": []},
    ):
        assert fault(wrong) is not None


@pytest.mark.parametrize("name", ["archive", "image"])
def test_parts_are_named_once_and_have_a_version_and_a_licence(documents, name: str):
    document = documents[name]
    product = document["metadata"]["component"]
    assert product["version"] == VERSION
    refs = [each["bom-ref"] for each in document["components"]]
    assert len(refs) == len(set(refs))
    known = {*refs, product["bom-ref"]}
    reached, waiting = set(), [product["bom-ref"]]
    uses = {each["ref"]: each["dependsOn"] for each in document["dependencies"]}
    while waiting:
        ref = waiting.pop()
        assert ref in known, ref
        if ref not in reached:
            reached.add(ref)
            waiting += uses.get(ref, [])
    assert reached == known
    for each in document["components"]:
        assert each["version"], each
        # Debian's are in the packages' copyright files.
        assert each["bom-ref"].startswith("pkg:deb/") or each["licenses"], each
    for each in crates(document).values():
        [digest] = each["hashes"]
        assert re.fullmatch("[0-9a-f]{64}", digest["content"])


def test_every_crate_of_which_the_binaries_hold_a_trace_is_listed(
    documents, built: Path
):
    listed = crates(documents["archive"])
    linked = {ref for ref, each in listed.items() if each.get("scope") != "excluded"}
    seen = set()
    for file in ("fastsentiment", "fastsentiment_guest.wasm"):
        # Panics name their source files.
        pattern = rb"registry/src/[^/\0]+/([A-Za-z0-9_-]+)-(\d+\.\d+\.\d+[^/\0]*)/"
        found = set(re.findall(pattern, (built / file).read_bytes()))
        assert len(found) > 10, file
        seen |= {
            f"{CARGO}{name.decode()}@{version.decode()}" for name, version in found
        }
    assert len(seen) > 50
    assert seen <= linked, seen - linked


def test_what_only_tests_and_macros_use_is_told_from_what_is_linked(documents):
    listed = crates(documents["archive"])
    names = {each["name"]: each for each in listed.values()}
    for name in ("wasmtime", "ort", "hyper", "tokenizers", "redis", "axum"):
        assert "scope" not in names[name], name
    for name in ("serde_derive", "quote", "proc-macro2"):
        assert names[name]["scope"] == "excluded", name
    for name in ("rcgen", "proptest", "criterion", "fastsentiment-http"):
        assert name not in names, name
    # The same as those whose licences come along.
    expected = set()
    for product, platform in licences.PRODUCTS:
        found = licences.crates_of(product, platform or licences.host())
        expected |= {sbom.purl(crate) for crate in found.values()}
    assert listed.keys() == expected


def test_the_digests_are_those_of_the_files(documents, image: Path):
    app = image / "app"
    for document in documents.values():
        parts = {each["bom-ref"]: each for each in document["components"]}
        parts[sbom.PRODUCT] = document["metadata"]["component"]
        [runtime] = [each for ref, each in parts.items() if "onnxruntime" in ref]
        model = parts["model/default"]
        assert runtime["version"] in runtime["purl"]
        files = {
            "fastsentiment": parts[sbom.PRODUCT],
            "fastsentiment_guest.wasm": parts[sbom.GUEST],
            "libonnxruntime.so": runtime,
            "model/default/model.onnx": model,
            **{each["bom-ref"]: each for each in model["components"]},
        }
        for name, part in files.items():
            digest = hashlib.sha256((app / name).read_bytes()).hexdigest()
            assert part["hashes"] == [{"alg": "SHA-256", "content": digest}], name
        assert len(model["components"]) == len(list((app / "model/default").iterdir()))


def test_the_image_lists_its_debian_packages(documents, image: Path):
    found = {
        each["name"]: each
        for each in documents["image"]["components"]
        if each["bom-ref"].startswith("pkg:deb/debian/")
    }
    recorded = {path.name for path in (image / "var/lib/dpkg/status.d").iterdir()}
    assert found.keys() == recorded
    assert re.match(r"2\.\d+", found["libc6"]["version"])
    assert re.search(r"\?arch=\w+&distro=debian-\d+$", found["libc6"]["purl"])
    assert "%2B%2B" in found["libstdc++6"]["purl"]
    archived = json.dumps(documents["archive"])
    assert "pkg:deb/" not in archived
