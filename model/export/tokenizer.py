"""Reads a model's tokenizer in whatever form it has, and writes it in one.

This module must not know anything of weights or graphs.
"""

import tempfile
from pathlib import Path

from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from export.errors import ExportError, first_line

FILE = "tokenizer.json"
SETTINGS = "tokenizer_config.json"


def load(directory: Path) -> PreTrainedTokenizerBase:
    """The tokenizer as Transformers understands it, converted if it is an old one."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            directory, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:
        # What the files may have wrong with them surfaces in too many ways to list.
        raise ExportError(
            f"Transformers can not read the tokenizer: {first_line(error)}"
        ) from error
    if not tokenizer.is_fast:
        kind = type(tokenizer).__name__
        raise ExportError(f"{kind} can not be converted to {FILE}: it has no fast form")
    return tokenizer


def write(tokenizer: PreTrainedTokenizerBase, source: Path, out: Path) -> None:
    """Writes `tokenizer.json` and the settings that belong to it.

    A file that the model brings is kept, but for padding and truncation: they are left
    over from whatever wrote it, and often fixed at some small length. Which end of a
    text is cut is kept in the settings.
    """
    with tempfile.TemporaryDirectory(dir=out.parent) as work:
        tokenizer.save_pretrained(work)
        (out / SETTINGS).write_bytes((Path(work) / SETTINGS).read_bytes())
        given = source / FILE
        file = Tokenizer.from_file(str(given if given.exists() else Path(work) / FILE))
    file.no_padding()
    file.no_truncation()
    file.save(str(out / FILE))


class TokenizerFile:
    """`tokenizer.json` as the server reads it."""

    def __init__(self, directory: Path, limit: int, truncation_side: str) -> None:
        self.tokenizer = Tokenizer.from_file(str(directory / FILE))
        self.tokenizer.enable_truncation(limit, direction=truncation_side)

    def ids(self, text: str) -> list[int]:
        """The ids of a text, special tokens included."""
        return self.tokenizer.encode(text).ids
