"""Reads a model's tokenizer in any format, and writes it as `tokenizer.json`.

This module must not know anything about weights or graphs.
"""

import tempfile
from pathlib import Path

from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from export.errors import ExportError, first_line

FILE = "tokenizer.json"
SETTINGS = "tokenizer_config.json"


def load(directory: Path) -> PreTrainedTokenizerBase:
    """The tokenizer as Transformers reads it, converted from an old format if needed."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            directory, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:
        # Faulty files cause too many kinds of error to list.
        raise ExportError(
            f"Transformers cannot read the tokenizer: {first_line(error)}"
        ) from error
    if not tokenizer.is_fast:
        kind = type(tokenizer).__name__
        raise ExportError(
            f"{kind} cannot be converted to {FILE}: it has no fast version"
        )
    return tokenizer


def write(tokenizer: PreTrainedTokenizerBase, out: Path) -> None:
    """Writes `tokenizer.json` and its settings.

    The file is that of Transformers, which does not use the model's own as it is: it
    applies `tokenizer_config.json`, and what its class does to any file. Padding and
    truncation are dropped: these are left over from whatever wrote the model's file, and
    often fixed at some small length. The settings keep which end of a text is truncated.
    """
    with tempfile.TemporaryDirectory(dir=out.parent) as work:
        tokenizer.save_pretrained(work)
        (out / SETTINGS).write_bytes((Path(work) / SETTINGS).read_bytes())
        file = Tokenizer.from_file(str(Path(work) / FILE))
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
