"""Writes the other files of a model directory, and moves it into place.

This module must not know how a graph is made, nor how it is checked.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from export.errors import ExportError
from export.source import CONFIG, LICENCE_FILES, Source
from reference import labels

SUMS = "SHA256SUMS"
GOLDEN = "golden.json"
# FastSentiment's own key in config.json, and a key that this program writes under it. A
# directory without it was not made by this program.
EXTENSION = "fastsentiment"
ORIGIN = "made_from"

CARD = """\
# {name}

Made by `make model` for FastSentiment. The labels are {labels}.

| | |
|---|---|
| source | {source} |
| revision | {revision} |
| licence | {licence} |
| graph from | {graph} |
| precision | {precision} |

## Checked against {original}

{checks}

`config.json` has `{extension}.batch_invariant` = {invariant}: {beside:.1e} is the largest
change of a score when texts were run in padded batches{alone}.
{int8}
The texts are those of `golden.json`. `sha256sum -c {sums}` checks whether the files have
changed since.
"""
INT8 = """
int8 is dynamic: weights are signed, with a scale per column; activations get their scale
from the text that is scored. Scores of other texts than these may change more: measure on
your own texts before you rely on it. Weights have 7 bits, so that sums do not saturate on
CPUs without VNNI.
"""


@dataclass(frozen=True)
class Facts:
    """The facts about an export, for its card and its configuration."""

    source: Source
    precision: str
    # Where the graph came from, and what it was compared with.
    graph: str
    original: str
    # The results of the comparison, one per line.
    checks: tuple[str, ...]
    # The largest change of a score next to other texts, and whether it is negligible.
    beside: float
    batch_invariant: bool


def write_config(
    facts: Facts,
    config: PreTrainedConfig,
    tokenizer: PreTrainedTokenizerBase,
    out: Path,
) -> None:
    """Writes config.json as Transformers does, plus what the guest needs to know."""
    values = config.to_dict()
    values["_name_or_path"] = facts.source.name
    values["model_type"] = config.model_type
    # Old files rely on default names in Transformers, which the server does not know.
    values["id2label"] = {str(i): name for i, name in enumerate(labels(config))}
    if values.get("pad_token_id") is None:
        values["pad_token_id"] = tokenizer.pad_token_id or 0
    values[EXTENSION] = {
        "batch_invariant": facts.batch_invariant,
        ORIGIN: {
            "source": facts.source.name,
            "revision": facts.source.revision,
            "precision": facts.precision,
        },
    }
    text = json.dumps(values, indent=2, sort_keys=True) + "\n"
    (out / CONFIG).write_text(text, encoding="utf-8")


def write_card(facts: Facts, config: PreTrainedConfig, out: Path) -> None:
    """Writes README.md, and copies the licence if the model has one."""
    source = facts.source
    text = CARD.format(
        name=source.name.rpartition("/")[2],
        labels=", ".join(labels(config)),
        source=source.name,
        revision=source.revision or "a local directory",
        licence=source.licence or "not stated: ask whoever made the model",
        graph=facts.graph,
        precision=facts.precision,
        original=facts.original,
        checks="\n".join(f"- {line}" for line in facts.checks),
        extension=EXTENSION,
        invariant=str(facts.batch_invariant).lower(),
        beside=facts.beside,
        alone="" if facts.batch_invariant else ", so the server runs each alone",
        int8=INT8 if facts.precision == "int8" else "",
        sums=SUMS,
    )
    (out / "README.md").write_text(text, encoding="utf-8")
    for name in LICENCE_FILES:
        if (source.directory / name).exists():
            shutil.copyfile(source.directory / name, out / name)


def write_checksums(out: Path) -> None:
    """Writes SHA256SUMS for all files except golden.json, which has digests of others."""
    lines = [f"{digest(out / name)}  {name}\n" for name in sorted(names(out))]
    (out / SUMS).write_text("".join(lines), encoding="utf-8")


def names(directory: Path) -> set[str]:
    """The files that have checksums."""
    return {file.name for file in directory.iterdir()} - {SUMS, GOLDEN}


def digest(file: Path) -> str:
    with file.open("rb") as contents:
        return hashlib.file_digest(contents, "sha256").hexdigest()


def made_here(directory: Path) -> bool:
    """Whether this program made the directory and nobody has changed it since."""
    try:
        config = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
        sums = (directory / SUMS).read_text(encoding="utf-8").splitlines()
        found = sorted(
            f"{digest(directory / name)}  {name}" for name in names(directory)
        )
        return ORIGIN in config[EXTENSION] and found == sorted(sums)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def ensure_replaceable(out: Path, force: bool) -> None:
    """Refuses to overwrite a directory that someone else has made or changed."""
    if os.path.lexists(out) and not force and not made_here(out):
        raise ExportError(
            f"{out} exists, and was not made by this command or has been changed since: "
            "FORCE=1 replaces it"
        )


@contextmanager
def staging(out: Path) -> Iterator[Path]:
    """A directory to write to, which replaces `out` if all goes well.

    It is next to `out`, so that it can be moved there in one step: a server that starts
    in the meantime finds either the old files or the new ones.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    made = out.with_name(f".{out.name}.new")
    with alone(out):
        # A run that was killed may have left one behind.
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir()
        try:
            yield made
            replace(made, out)
        finally:
            shutil.rmtree(made, ignore_errors=True)


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Keeps two runs from writing the same directory."""
    file = out.with_name(f".{out.name}.lock")
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ExportError(f"{out} is being made by another process") from error
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


def replace(made: Path, out: Path) -> None:
    """Moves a directory into the place of another."""
    old = out.with_name(f".{out.name}.old")
    remove(old)
    if os.path.lexists(out):
        out.rename(old)
    try:
        made.rename(out)
    except OSError:
        if os.path.lexists(old):
            old.rename(out)
        raise
    remove(old)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
