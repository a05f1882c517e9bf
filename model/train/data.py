"""SST-2 as lists of token ids, and batches of similar length.

The data set carries no licence, so it is only read from a folder the caller
names; no sentence of it may end up in the repository.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

MAX_TOKENS = 512
# Whole sentences of the training split that no weight is learnt from, and how many words
# a phrase needs to pass for one.
HELD_OUT = 600
SENTENCE_WORDS = 8


@dataclass(frozen=True)
class Dataset:
    """Token ids (with [CLS] and [SEP]) and labels, float32 [texts].

    A label is the probability of POSITIVE: 0 or 1 where people gave it, anything
    between where a teacher did.
    """

    ids: list[list[int]]
    labels: np.ndarray


@dataclass(frozen=True)
class Batch:
    """`ids` int64 and `mask` bool, both [batch, sequence]; `labels` float32 [batch].

    `rows` are the positions of the texts in the data set.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    labels: torch.Tensor
    rows: np.ndarray


def read_split(data_dir: Path, split: str) -> tuple[list[str], list[int]]:
    """Reads `split`.tsv: a header line, then sentence, tab, label."""
    with (data_dir / f"{split}.tsv").open(encoding="utf-8", newline="") as file:
        # Quotation marks are text here, not CSV quoting.
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]
    return [row[0].strip() for row in rows], [int(row[1]) for row in rows]


@dataclass(frozen=True)
class Splits:
    """What is learnt from, what settings are chosen on, and what is only measured."""

    train: Dataset
    held_out: Dataset
    dev: Dataset
    train_texts: list[str]


def load(data_dir: Path, tokenizer: Tokenizer) -> Splits:
    """Gives the splits; no training phrase is part of a held-out sentence, or a dev sentence.

    SST-2's training split holds the phrases of its sentences too, so a sentence is
    held out together with its phrases.
    """
    dev = read_split(data_dir, "dev")
    phrases = list(zip(*read_split(data_dir, "train"), strict=True))
    known = {_letters(text) for text in dev[0]}
    phrases = [phrase for phrase in phrases if _letters(phrase[0]) not in known]
    sentences = [phrase for phrase in phrases if _is_sentence(phrase[0])]
    chosen = np.random.default_rng(0).permutation(len(sentences))[:HELD_OUT]
    held_out = [sentences[i] for i in chosen]
    # One text to search in. Letters alone: a phrase is cut out before spaces are mended.
    searched = "|".join(_letters(text) for text, _ in held_out)
    phrases = [phrase for phrase in phrases if not _is_part(phrase[0], searched)]
    train = tuple(zip(*phrases, strict=True))
    return Splits(
        encode(*train, tokenizer),
        encode(*zip(*held_out, strict=True), tokenizer),
        encode(*dev, tokenizer),
        list(train[0]),
    )


def _is_sentence(text: str) -> bool:
    return text[-1] in ".!?" and len(text.split()) >= SENTENCE_WORDS


def _is_part(text: str, searched: str) -> bool:
    """Whether `text` is in `searched`; single words are in everything and tell nothing."""
    return len(text.split()) > 1 and _letters(text) in searched


def _letters(text: str) -> str:
    """Letters and digits alone: the splits differ in spaces and closing punctuation."""
    return "".join(c for c in text.lower() if c.isalnum())


def encode(
    texts: Sequence[str], labels: Sequence[float], tokenizer: Tokenizer
) -> Dataset:
    """Tokenises `texts`, cut at the model's number of positions."""
    encodings = tokenizer.encode_batch(texts)
    # Cutting keeps the closing [SEP], as truncation in the tokenizer does.
    ids = [
        e.ids if len(e.ids) <= MAX_TOKENS else [*e.ids[: MAX_TOKENS - 1], e.ids[-1]]
        for e in encodings
    ]
    return Dataset(ids, np.array(labels, dtype=np.float32))


def pad(rows: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Pads with id 0 on the right; gives ids and attention mask, int64 [batch, sequence]."""
    width = max(len(row) for row in rows)
    ids = np.zeros((len(rows), width), dtype=np.int64)
    mask = np.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
        mask[i, : len(row)] = 1
    return ids, mask


def batches(
    data: Dataset, size: int, rng: np.random.Generator | None
) -> Iterator[Batch]:
    """Cuts `data` into batches of texts of (almost) equal length.

    Most phrases are a few tokens long and some are fifty: mixed batches would be
    mostly padding. With `rng` the order within a length and the order of the
    batches are random; without it they are fixed.
    """
    lengths = np.array([len(row) for row in data.ids])
    tie_break = (
        np.arange(len(lengths)) if rng is None else rng.permutation(len(lengths))
    )
    order = np.lexsort((tie_break, lengths))
    groups = [order[i : i + size] for i in range(0, len(order), size)]
    if rng is not None:
        rng.shuffle(groups)
    for rows in groups:
        ids, mask = pad([data.ids[i] for i in rows])
        yield Batch(
            torch.from_numpy(ids),
            torch.from_numpy(mask).bool(),
            torch.from_numpy(data.labels[rows]),
            rows,
        )
