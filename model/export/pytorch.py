"""Exports a Transformers model to ONNX. The only module that needs PyTorch.

Attention becomes one node, ONNX Runtime's `MultiHeadAttention`. Transformers lets the
implementation of attention be replaced, so it is replaced with that node during the
export, for every architecture. (The patterns of ONNX Runtime's optimizer do not match
what would be exported otherwise.) The result is compared with PyTorch at once; a model
for which it differs is exported without the replacement.
"""

import inspect
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.masking_utils import eager_mask

from export.errors import ExportError, first_line
from export.graph import Feed, Graph

OPSET = 18
PLAIN = "eager"
FUSED = "fastsentiment_fused"
# Allows for rounding of logits around 1, with a margin for larger ones.
SAME_LOGITS = 1e-4
# The shape of the inputs that the model is traced with, and where padding starts. Neither
# axis may be 0 or 1, which the exporter would treat as constants.
TRACED = (2, 16)
PADDED_FROM = 9


def fused_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """A placeholder for attention in the graph; it computes nothing in PyTorch.

    Tensors are [batch, heads, sequence, width of a head]; the mask is added to the
    products.
    """
    batch, heads, length, width = query.shape

    def joined(x: torch.Tensor) -> torch.Tensor:
        return x.transpose(1, 2).reshape(batch, length, heads * width)

    inputs = [joined(query), joined(key), joined(value)]
    if attention_mask is not None:
        # The two inputs before it, a bias and a mask of keys, are not used.
        inputs += [None, None, attention_mask]
    context = torch.onnx.ops.symbolic(
        "com.microsoft::MultiHeadAttention",
        inputs,
        {"num_heads": heads, "scale": float(scaling or width**-0.5)},
        dtype=query.dtype,
        shape=(batch, length, heads * width),
        version=1,
    )
    return context.reshape(batch, length, heads, width), None


AttentionInterface.register(FUSED, fused_attention)
AttentionMaskInterface.register(FUSED, eager_mask)


class Logits(nn.Module):
    """The model as a graph: named inputs in order, logits out."""

    def __init__(self, model: PreTrainedModel, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self.names = names

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.model(**dict(zip(self.names, inputs, strict=True))).logits


class Reference:
    """The model in PyTorch, in fp32, which the export is compared with."""

    def __init__(self, directory: Path, config: PreTrainedConfig) -> None:
        self.model = load(directory, config)
        forward = inspect.signature(self.model.forward).parameters
        names = ["input_ids", "attention_mask"]
        if missing := [name for name in names if name not in forward]:
            raise unsupported(config, f"it has no input {missing[0]}")
        # As the server expects: a model with one segment does not need this input.
        if "token_type_ids" in forward and getattr(config, "type_vocab_size", 0) > 1:
            names.append("token_type_ids")
        self.names = tuple(names)

    @torch.no_grad()
    def logits(self, feed: Feed) -> np.ndarray:
        """The logits of a batch, [texts, labels]."""
        self.model.set_attn_implementation(PLAIN)
        inputs = (torch.from_numpy(feed[name]) for name in self.names)
        return Logits(self.model, self.names)(*inputs).numpy()

    def export(self, file: Path) -> None:
        """Writes the model as ONNX, with dynamic batch and sequence axes."""
        probe = self.probe()
        expected = self.logits(probe)
        reason = ""
        for attention in (FUSED, PLAIN):
            try:
                self.trace(probe, attention, file)
                found = Graph(file).logits(probe)
            except ExportError as error:
                reason = str(error)
                continue
            if np.abs(found - expected).max() <= SAME_LOGITS:
                return
            reason = "its graph gives different answers"
        raise unsupported(self.model.config, reason)

    def probe(self) -> Feed:
        """Two texts of arbitrary ids, one of them padded."""
        ids = np.random.default_rng(0).integers(
            self.model.config.vocab_size, size=TRACED
        )
        feed = {name: np.zeros(TRACED, dtype=np.int64) for name in self.names}
        feed["input_ids"] = ids
        feed["attention_mask"] += 1
        feed["attention_mask"][1, PADDED_FROM:] = 0
        return feed

    def trace(self, probe: Feed, attention: str, file: Path) -> None:
        self.model.set_attn_implementation(attention)
        # Set the mode here: it belongs to the model, and may have been reset to training.
        graph = Logits(self.model, self.names).eval()
        axes = {0: "batch_size", 1: "sequence_length"}
        try:
            with quiet():
                program = torch.onnx.export(
                    graph,
                    tuple(torch.from_numpy(probe[name]) for name in self.names),
                    dynamo=True,
                    opset_version=OPSET,
                    input_names=list(self.names),
                    output_names=["logits"],
                    dynamic_shapes=(tuple(axes for _ in self.names),),
                    verbose=False,
                )
                program.save(file)
        except Exception as error:
            # The exporter raises too many kinds of error to list.
            raise ExportError(first_line(error)) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Hides the exporter's remarks for its developers from the user."""
    for name in ("torch.onnx", "onnxscript"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def load(directory: Path, config: PreTrainedConfig) -> PreTrainedModel:
    """The model with all of its weights; missing weights are an error.

    Pickled weights are read as data only (`weights_only`), which is Transformers'
    default: no code in such a file is run.
    """
    try:
        model, found = AutoModelForSequenceClassification.from_pretrained(
            directory,
            config=config,
            dtype=torch.float32,
            attn_implementation=PLAIN,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:
        # Damaged files and unknown architectures, in the words of the libraries.
        raise ExportError(
            f"Transformers cannot load the model: {first_line(error)}"
        ) from error
    wrong = [*found["missing_keys"], *(key[0] for key in found["mismatched_keys"])]
    if wrong:
        raise ExportError(
            f"the weights lack {wrong[0]}, or it has another shape ({len(wrong)} in "
            "total): was this model trained to classify texts?"
        )
    return model.eval()


def unsupported(config: PreTrainedConfig, reason: str) -> ExportError:
    return ExportError(
        f"models of type {config.model_type} cannot be exported: {reason}"
    )
