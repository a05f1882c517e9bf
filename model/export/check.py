"""Compares an exported model with the original on real sentences.

The sentences are those of the golden answers (`model/tools/texts.py`): reviews, texts
around the model's maximum length and far beyond it, and inputs that tokenizers get
wrong. Scores are compared instead of logits, because users see scores.

This module must not know what computes the logits on either side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from export.errors import ExportError
from export.graph import Feed, Logits
from export.tokenizer import TokenizerFile
from reference import labels, sigmoid, softmax, token_limit
from texts import samples

# fp32: allows for a different order of summation.
LARGEST_FP32 = 1e-4
# Dynamic int8 changes the scores of single texts a lot (by 0.3 to 0.9 for a
# fine-tuned model on SST-2), so a limit on the largest difference would mean little. These
# limits detect a model that quantisation has broken.
MEAN_INT8 = 0.05
AGREEMENT_INT8 = 0.9
# Up to this difference, texts that are run together count as scoring the same as alone.
LARGEST_BESIDE_OTHERS = 1e-5
BATCH = 16
# Longer texts are left out of batches: padding the others to their length takes time.
LONGEST_IN_BATCH = 128


@dataclass(frozen=True)
class Text:
    """A sentence as the model sees it."""

    name: str
    ids: list[int]
    segments: list[int]


@dataclass(frozen=True)
class Figures:
    """How far two ways of computing the same scores differ."""

    texts: int
    largest: float
    mean: float
    agreement: float

    def describe(self) -> str:
        """For people."""
        return (
            f"largest score difference {self.largest:.2g}, mean {self.mean:.2g}, "
            f"same label for {self.agreement:.1%} of {self.texts} texts"
        )


class Check:
    """The sentences, and the scores that the original gives them."""

    def __init__(
        self,
        config: PreTrainedConfig,
        tokenizer: PreTrainedTokenizerBase,
        names: Sequence[str],
        original: Logits,
    ) -> None:
        self.limit = token_limit(config, tokenizer)
        self.names = tuple(names)
        self.labels = len(labels(config))
        # Padding is masked, so any id that the model knows will do. Some models have -1.
        self.padding = max(config.pad_token_id or 0, 0)
        several = config.problem_type == "multi_label_classification"
        self.activation = sigmoid if several or self.labels == 1 else softmax
        self.tokenizer = tokenizer
        self.texts = [
            self.text(sample.name, sample.text) for sample in samples(self.limit)
        ]
        self.expected = self.scores(original)

    def text(self, name: str, text: str) -> Text:
        """A text as Transformers gives it to the model, with the original tokenizer."""
        encoding = self.tokenizer(
            text,
            truncation=True,
            max_length=self.limit,
            return_token_type_ids=True,
        )
        return Text(name, encoding["input_ids"], encoding["token_type_ids"])

    def check_tokenizer(self, directory: Path) -> None:
        """Refuses a `tokenizer.json` that tokenises any sentence differently."""
        file = TokenizerFile(directory, self.limit, self.tokenizer.truncation_side)
        for text, sample in zip(self.texts, samples(self.limit), strict=True):
            found = file.ids(sample.text)
            if found != text.ids:
                raise ExportError(
                    f"tokenizer.json gives the text {text.name} the ids {found[:8]}..., "
                    f"Transformers gives it {text.ids[:8]}...: the model's tokenizer "
                    "files contradict each other"
                )

    def compare(self, logits: Logits) -> Figures:
        """Compares the scores of every text, run alone and without padding."""
        found = self.scores(logits)
        differences = np.abs(found - self.expected).max(axis=1)
        if self.activation is sigmoid:
            same = ((found > 0.5) == (self.expected > 0.5)).all(axis=1)
        else:
            same = found.argmax(axis=1) == self.expected.argmax(axis=1)
        return Figures(
            texts=len(found),
            largest=float(differences.max()),
            mean=float(differences.mean()),
            agreement=float(same.mean()),
        )

    def beside_others(self, logits: Logits) -> float:
        """The largest change of a score when texts are run in padded batches; infinite
        if the graph does not run them together."""
        short = [text for text in self.texts if len(text.ids) <= LONGEST_IN_BATCH]
        largest = 0.0
        for start in range(0, len(short), BATCH):
            batch = short[start : start + BATCH]
            try:
                together = self.activate(logits(self.feed(batch)))
            except ExportError:
                return float("inf")
            for row, text in zip(together, batch, strict=True):
                alone = self.activate(logits(self.feed([text])))[0]
                largest = max(largest, float(np.abs(row - alone).max()))
        return largest

    def scores(self, logits: Logits) -> np.ndarray:
        """The scores of every text and label; refused if the output is not usable."""
        rows = np.concatenate([logits(self.feed([text])) for text in self.texts])
        if rows.shape != (len(self.texts), self.labels):
            raise ExportError(
                f"config.json names {self.labels} labels, but the model gives "
                f"{rows.shape[-1]} numbers for a text"
            )
        if not np.isfinite(rows).all():
            raise ExportError("the model's output has infinities or NaN")
        return self.activate(rows)

    def activate(self, rows: np.ndarray) -> np.ndarray:
        return np.stack([self.activation(row) for row in rows.astype(np.float64)])

    def feed(self, texts: Sequence[Text]) -> Feed:
        """The inputs of a batch, padded to its longest text."""
        shape = (len(texts), max(len(text.ids) for text in texts))
        feed = {name: np.zeros(shape, dtype=np.int64) for name in self.names}
        feed["input_ids"] += self.padding
        for row, text in enumerate(texts):
            feed["input_ids"][row, : len(text.ids)] = text.ids
            feed["attention_mask"][row, : len(text.ids)] = 1
            if "token_type_ids" in feed:
                feed["token_type_ids"][row, : len(text.ids)] = text.segments
        return feed


def require_fp32(figures: Figures) -> None:
    """Fails if an fp32 export is not equal to the original."""
    # Written so that NaN fails.
    if not figures.largest <= LARGEST_FP32:
        raise ExportError(
            f"a score differs by {figures.largest:.2g}, more than {LARGEST_FP32:g}: "
            "the export cannot be trusted"
        )


def require_int8(figures: Figures) -> None:
    """Fails if quantisation has broken the model."""
    if not (figures.mean <= MEAN_INT8 and figures.agreement >= AGREEMENT_INT8):
        raise ExportError(
            f"int8 changes the model too much: {figures.describe()} (allowed: mean "
            f"{MEAN_INT8:g}, {AGREEMENT_INT8:.0%} same labels): use PRECISION=fp32"
        )
