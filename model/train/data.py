"""SST-2 as lists of token ids, and batches of similar length.

The data set carries no licence, so it is only read from a folder the caller
names; no sentence of it may end up in the repository.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

MAX_TOKENS = 512


@dataclass(frozen=True)
class Dataset:
    """Token ids (with [CLS] and [SEP]) and labels (0 negative, 1 positive)."""

    ids: list[list[int]]
    labels: np.ndarray


@dataclass(frozen=True)
class Batch:
    """`ids` int64 and `mask` bool, both [batch, sequence]; `labels` int64 [batch].

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


def load(data_dir: Path, tokenizer: Tokenizer) -> tuple[Dataset, Dataset]:
    """Gives the training and the dev split, without training phrases equal to a dev sentence."""
    dev_texts, dev_labels = read_split(data_dir, "dev")
    held_out = {_letters(text) for text in dev_texts}
    pairs = [
        pair
        for pair in zip(*read_split(data_dir, "train"))
        if _letters(pair[0]) not in held_out
    ]
    train = encode(
        [text for text, _ in pairs], [label for _, label in pairs], tokenizer
    )
    return train, encode(dev_texts, dev_labels, tokenizer)


def _letters(text: str) -> str:
    """Letters and digits alone: the two splits differ in spaces and closing punctuation."""
    return "".join(c for c in text.lower() if c.isalnum())


def encode(texts: list[str], labels: list[int], tokenizer: Tokenizer) -> Dataset:
    """Tokenises `texts`, cut at the model's number of positions."""
    encodings = tokenizer.encode_batch(texts)
    # Cutting keeps the closing [SEP], as truncation in the tokenizer does.
    ids = [
        e.ids if len(e.ids) <= MAX_TOKENS else [*e.ids[: MAX_TOKENS - 1], e.ids[-1]]
        for e in encodings
    ]
    return Dataset(ids, np.array(labels, dtype=np.int64))


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
