"""Where a model comes from, and which of its files are needed.

This module must not know how files are downloaded, or what happens to them later.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from export import hub
from export.errors import ExportError
from export.graph import external_files
from export.terminal import say

CONFIG = "config.json"
# The files of all kinds of tokenizer that Transformers can convert.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "bpe.codes",
    "sentencepiece.bpe.model",
    "sentencepiece.model",
    "spiece.model",
    "spm.model",
)
LICENCE_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE")
# In order of preference; an index stands for the parts that it lists.
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
PARTS = {
    "model.safetensors.index.json": re.compile(r"model-\d+-of-\d+\.safetensors"),
    "pytorch_model.bin.index.json": re.compile(r"pytorch_model-\d+-of-\d+\.bin"),
}
# Where Optimum and its users put the graph.
GRAPHS = ("onnx/model.onnx", "model.onnx")


@dataclass(frozen=True)
class Source:
    """A model's files, on this machine."""

    name: str
    directory: Path
    revision: str | None = None
    licence: str | None = None

    @property
    def graph(self) -> Path:
        """The model's own graph; `choose` made sure that it exists."""
        return self.directory / next(
            name for name in GRAPHS if (self.directory / name).is_file()
        )

    def describe(self) -> str:
        """Name and revision, in words."""
        return f"{self.name} ({self.revision or 'a local directory'})"


def obtain(model: str, revision: str | None, onnx: bool, cache: Path) -> Source:
    """Uses a local directory as it is; anything else is looked up on the hub."""
    directory = Path(model)
    if directory.is_dir():
        if revision is not None:
            raise ExportError(f"{model} is a directory: it has no revisions")
        names = (file.relative_to(directory) for file in directory.rglob("*"))
        choose(model, {name.as_posix() for name in names}, onnx)
        return Source(directory.resolve().name, directory)
    if model.startswith((".", "/", "~")) or model.count("/") > 1:
        raise ExportError(f"there is no directory {model}")
    repository = hub.find(model, revision)
    names = choose(repository.id, set(repository.files), onnx)
    say(f"{repository.id} at {repository.commit}: {len(names)} files")
    directory = hub.fetch(repository, names, cache)
    found = Source(repository.id, directory, repository.commit, repository.licence)
    if onnx:
        hub.fetch(repository, graph_data(found, set(repository.files)), cache)
    return found


def choose(model: str, files: set[str], onnx: bool) -> list[str]:
    """The files that are needed, out of all files."""
    if CONFIG not in files:
        raise ExportError(f"{model} has no {CONFIG}: it is not a Transformers model")
    chosen = [CONFIG]
    tokenizer = [name for name in TOKENIZER_FILES if name in files]
    if not tokenizer:
        raise ExportError(
            f"{model} has no tokenizer: none of {listed(TOKENIZER_FILES)}"
        )
    chosen += tokenizer
    chosen += graph(model, files) if onnx else weights(model, files)
    return chosen + [name for name in LICENCE_FILES if name in files]


def weights(model: str, files: set[str]) -> list[str]:
    """The files with the weights for PyTorch."""
    for name in WEIGHTS:
        if name not in files:
            continue
        part = PARTS.get(name)
        return [name, *(sorted(filter(part.fullmatch, files)) if part else ())]
    hint = "; it has an ONNX file: try ONNX=1" if files & set(GRAPHS) else ""
    raise ExportError(f"{model} has no PyTorch weights{hint}")


def graph(model: str, files: set[str]) -> list[str]:
    """The file with the ONNX graph, which names the files of its weights."""
    for name in GRAPHS:
        if name in files:
            return [name]
    raise ExportError(
        f"{model} has no ONNX file ({listed(GRAPHS)}): try without ONNX=1"
    )


def graph_data(source: Source, files: set[str]) -> list[str]:
    """The files with the weights of the ONNX graph, out of all files."""
    beside = source.graph.parent.relative_to(source.directory)
    names = [(beside / name).as_posix() for name in external_files(source.graph)]
    for name in names:
        if name not in files:
            raise ExportError(
                f"{source.name} has no {name}, and the weights of its graph should be "
                "there"
            )
    return names


def listed(names: Iterable[str]) -> str:
    return ", ".join(names)
