"""Checks without Docker that everything the Dockerfile refers to exists."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import dockerfile
from product import ROOT, VERSION, options


def test_every_base_is_a_stage_or_has_a_version():
    names = []
    for stage in dockerfile.stages():
        tag = stage.base.rpartition(":")[2]
        pinned = re.search(r"\d+\.\d+\.\d+", tag)
        assert stage.base in [*names, "scratch"] or pinned, stage.base
        names.append(stage.name)


def test_what_is_copied_is_in_the_context_or_in_a_stage(context: Path):
    names = []
    for stage in dockerfile.stages():
        for instruction in stage.instructions:
            if instruction.name != "COPY":
                continue
            *sources, _ = instruction.words
            stage_named = instruction.flags.get("from")
            if stage_named:
                assert stage_named in names, instruction
            else:
                for source in sources:
                    assert (context / source).exists(), (
                        f"{source} is not in the context"
                    )
        names.append(stage.name)


def test_the_scripts_that_are_run_are_there_and_know_what_they_are_asked():
    for stage in dockerfile.stages():
        for instruction in stage.instructions:
            words = " ".join(instruction.words)
            for script, rest in re.findall(r"(deployment/build/\S+)([^&]*)", words):
                if instruction.name != "RUN":
                    continue
                text = (ROOT / script).read_text()
                name = Path(script).name
                usage = re.search(rf"^#? +{name} (.*)$", text, re.MULTILINE)
                assert usage, f"{script} does not say how it is used"
                if name == "compile.sh":
                    assert f"{name} {rest.split()[0]}" in text, words
                else:
                    assert len(rest.split()) == len(usage[1].split()), words


def test_the_context_holds_neither_builds_nor_secrets(context: Path):
    for name in ("target", "deployment/kubernetes", ".git", "model/train"):
        assert not (context / name).exists(), name
    assert not dockerfile.in_context(ROOT / "target/release/fastsentiment")
    assert not dockerfile.in_context(ROOT / "model/.venv/bin/python")
    assert dockerfile.in_context(ROOT / "model/mine/model.onnx")


def test_the_skeleton_is_a_workspace_with_the_same_dependencies(
    context: Path, tmp_path: Path
):
    script = context / "deployment/build/skeleton.py"
    for _ in range(2):
        subprocess.run(["python3", script, context, tmp_path / "out"], check=True)
    out = tmp_path / "out"
    subprocess.run(["cargo", "fetch", "--locked"], cwd=context, check=True)
    tree = ["cargo", "tree", "--locked", "--offline", "--workspace", "--prefix", "none"]
    trees = [
        subprocess.run(tree, cwd=folder, check=True, capture_output=True, text=True)
        for folder in (context, out)
    ]
    names = [re.sub(r" \(/.*", "", shown.stdout) for shown in trees]
    assert names[0] == names[1]
    assert (out / "rust-toolchain.toml").read_text() == (
        context / "rust-toolchain.toml"
    ).read_text()
    # It has no real sources, so a changed source does not change it.
    sources = [
        f for f in out.rglob("*.rs") if f.read_text() not in ("", "fn main() {}\n")
    ]
    assert not sources


def test_the_image_is_all_of_the_root_that_was_laid_out_and_nothing_twice(image: Path):
    prefix = "/root-of-image/"
    copied = []
    for instruction in dockerfile.stages()[-1].instructions:
        if instruction.name != "COPY":
            continue
        *sources, target = instruction.words
        for source in sources:
            at = image / source.removeprefix(prefix)
            assert at.exists(), source
            # Nothing is renamed: the tests run what was laid out.
            expected = f"/{source.removeprefix(prefix)}"
            if at.is_file():
                assert f"{target}{at.name}" == expected, instruction
            else:
                assert target == expected, instruction
            copied += [f for f in [at, *at.rglob("*")] if f.is_file()]
    assert sorted(copied) == sorted(f for f in image.rglob("*") if f.is_file())


def test_what_the_image_says_of_itself_is_true(image: Path):
    final = dockerfile.stages()[-1]
    assert f"org.opencontainers.image.version={VERSION}" in final.last("LABEL")
    [user] = final.last("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert f":{user}:" in (image / "etc/passwd").read_text()
    binary, serve = dockerfile.command()
    assert (image / binary.lstrip("/")).is_file()
    variables = {option.variable for option in options(serve)}
    assert dockerfile.environment().keys() <= variables
    [port] = final.last("EXPOSE")
    assert dockerfile.environment()["FASTSENTIMENT_LISTEN"].endswith(f":{port}")
    assert final.last("STOPSIGNAL") == ["SIGTERM"]
