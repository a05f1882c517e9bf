"""Repositories as they lie on the hub, of models that Transformers makes at random.

Architectures and vocabularies are those of the fixtures (`model/tools/fixtures.py`);
but here the weights are PyTorch's own, and tokenizers come in the old forms as well.
"""

import io
import json
from collections.abc import Callable
from pathlib import Path

import sentencepiece
import torch
from transformers import (
    BertTokenizer,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.logging import disable_progress_bar

import fixtures
from export.tests.harness import DEFAULT_MODEL

disable_progress_bar()
KNOWN = {fixture.name: fixture for fixture in fixtures.fixtures()}


def tiny(name: str, directory: Path) -> Path:
    """One of the fixtures, with `model.safetensors` and `tokenizer.json`."""
    fixture = KNOWN[name]
    tokenizer = fixture.tokenizer()
    model = random_model(fixture.model, fixture, tokenizer)
    if fixture.half:
        model = model.half()
    model.save_pretrained(directory)
    fixtures.save_tokenizer(fixture, tokenizer, directory)
    return directory


def full_size(directory: Path) -> Path:
    """DistilBERT as the model that most people serve is stored: 66 million weights in
    a pickle, the vocabulary in `vocab.txt`, and labels without names."""
    vocabulary = wordpieces()
    fixture = fixtures.Fixture(
        "distilbert",
        DistilBertForSequenceClassification,
        DistilBertConfig(attn_implementation="eager"),
        lambda: BertTokenizer(vocabulary, model_max_length=512),
    )
    model = random_model(fixture.model, fixture, fixture.tokenizer())
    model.config.save_pretrained(directory)
    config = json.loads((directory / "config.json").read_text())
    for key in ("id2label", "label2id", "dtype"):
        config.pop(key, None)
    config["architectures"] = [fixture.model.__name__]
    (directory / "config.json").write_text(json.dumps(config))
    torch.save(model.state_dict(), directory / "pytorch_model.bin")
    (directory / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    return directory


def wordpieces() -> dict[str, int]:
    """The vocabulary of the included model, in the order of the ids."""
    file = json.loads((DEFAULT_MODEL / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = file["model"]["vocab"]
    return dict(sorted(vocabulary.items(), key=lambda entry: entry[1]))


@torch.no_grad()
def random_model(
    kind: Callable[..., PreTrainedModel],
    fixture: fixtures.Fixture,
    tokenizer: PreTrainedTokenizerBase,
) -> PreTrainedModel:
    """Weights from a fixed seed, with logits that differ from text to text."""
    torch.manual_seed(fixtures.SEED)
    model = kind(fixture.config).eval()
    fixtures.spread_logits(
        model,
        fixtures.Logits(model, fixture),
        fixtures.sample_inputs(fixture, tokenizer),
    )
    return model


def as_sentencepiece(directory: Path) -> None:
    """Gives a model the file that XLM-RoBERTa had before `tokenizer.json`, made anew."""
    contents = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(fixtures.corpus()),
        model_writer=contents,
        # Transformers adds three tokens to them.
        vocab_size=fixtures.VOCABULARY - 3,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    (directory / "sentencepiece.bpe.model").write_bytes(contents.getvalue())
    (directory / "tokenizer.json").unlink()


def as_vocabulary_and_merges(directory: Path) -> None:
    """Takes a byte-level BPE back to the files that it had before `tokenizer.json`."""
    file = directory / "tokenizer.json"
    model = json.loads(file.read_text(encoding="utf-8"))["model"]
    merges = (" ".join(pair) for pair in model["merges"])
    vocabulary = json.dumps(model["vocab"])
    (directory / "vocab.json").write_text(vocabulary, encoding="utf-8")
    lines = "\n".join(["#version: 0.2", *merges])
    (directory / "merges.txt").write_text(lines + "\n", encoding="utf-8")
    file.unlink()
