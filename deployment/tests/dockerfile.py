"""Parses the Dockerfile and .dockerignore, as far as this repository's files need."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
from pathlib import Path
from typing import NamedTuple

from product import ROOT


class Instruction(NamedTuple):
    name: str
    flags: dict[str, str]
    words: list[str]


class Stage(NamedTuple):
    base: str
    name: str | None
    instructions: list[Instruction]

    def last(self, name: str) -> list[str]:
        return [i.words for i in self.instructions if i.name == name][-1]


def instructions() -> list[Instruction]:
    text = (ROOT / "Dockerfile").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)
    found = []
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if not line.strip():
            continue
        name, rest = line.split(None, 1)
        flags = {}
        while rest.startswith("--"):
            flag, rest = rest.split(None, 1)
            key, _, value = flag[2:].partition("=")
            flags[key] = value
        if rest.startswith("["):
            words = json.loads(rest)
        elif name == "HEALTHCHECK":
            kind, command = rest.split(None, 1)
            assert kind == "CMD", line
            words = json.loads(command)
        else:
            words = shlex.split(rest)
        found.append(Instruction(name, flags, words))
    return found


def stages() -> list[Stage]:
    arguments: dict[str, str] = {}
    found: list[Stage] = []
    for instruction in instructions():
        if instruction.name == "ARG":
            arguments.update(word.split("=", 1) for word in instruction.words)
        expanded = instruction._replace(
            words=[
                re.sub(r"\$\{(\w+)\}", lambda m: arguments[m[1]], word)
                for word in instruction.words
            ]
        )
        if instruction.name == "FROM":
            base, *named = expanded.words
            found.append(Stage(base, named[1] if named else None, []))
        elif found:
            found[-1].instructions.append(expanded)
    return found


def environment() -> dict[str, str]:
    """The environment variables that the image sets."""
    words = [w for i in stages()[-1].instructions if i.name == "ENV" for w in i.words]
    return dict(word.split("=", 1) for word in words)


def command() -> list[str]:
    """The command that a container runs by default."""
    final = stages()[-1]
    return [*final.last("ENTRYPOINT"), *final.last("CMD")]


def in_context(path: Path) -> bool:
    """Whether a file is sent to the builder: the last matching pattern decides."""
    inside = True
    relative = path.relative_to(ROOT)
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        included, pattern = line.startswith("!"), line.removeprefix("!")
        prefixes = [
            Path(*relative.parts[:length])
            for length in range(1, len(relative.parts) + 1)
        ]
        if pattern.startswith("**/"):
            fits = any(fnmatch.fnmatch(part, pattern[3:]) for part in relative.parts)
        else:
            # Unlike in fnmatch, an asterisk of Docker does not match a slash.
            depth = pattern.count("/") + 1
            fits = any(
                len(prefix.parts) == depth and fnmatch.fnmatch(str(prefix), pattern)
                for prefix in prefixes
            )
        if fits:
            inside = included
    return inside
