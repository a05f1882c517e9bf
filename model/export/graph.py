"""Runs, fuses and quantises a graph.

This module must not know where the graph comes from.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers import optimizer

from export.errors import ExportError, first_line
from reference import INPUT_TYPES, open_session

# Inputs of a model by name, each of shape [texts, tokens].
Feed = dict[str, np.ndarray]
Logits = Callable[[Feed], np.ndarray]

OUTPUT = "logits"
# The domain of ONNX Runtime's own operators.
CONTRIB = "com.microsoft"
KNOWN_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
# The limit of protobuf; a model directory has a single file for the graph.
LARGEST_FILE = 2**31 - 1


class Graph:
    """A graph in ONNX Runtime, with one thread."""

    def __init__(self, file: Path) -> None:
        try:
            self.session: onnxruntime.InferenceSession = open_session(file)
        except Exception as error:
            # ONNX Runtime's errors have no common base class.
            raise ExportError(
                f"ONNX Runtime cannot load {file.name}: {first_line(error)}"
            ) from error
        self.inputs = {put.name: put.type for put in self.session.get_inputs()}
        unknown = [name for name in self.inputs if name not in KNOWN_INPUTS]
        outputs = [put.name for put in self.session.get_outputs()]
        if unknown:
            raise ExportError(f"the graph has an unknown input {unknown[0]}")
        if OUTPUT not in outputs:
            raise ExportError(
                f"the graph's outputs are {', '.join(outputs)}, not {OUTPUT}: it is "
                "not a sequence-classification model"
            )

    def logits(self, feed: Feed) -> np.ndarray:
        """The logits of a batch, [texts, labels]."""
        inputs = {
            name: feed[name].astype(INPUT_TYPES[kind])
            for name, kind in self.inputs.items()
        }
        return self.session.run([OUTPUT], inputs)[0].astype(np.float32)


def merge(source: Path, out: Path) -> None:
    """Copies a graph and its external weights into one file."""
    try:
        model = onnx.load(source)
    except Exception as error:
        # A damaged file causes too many kinds of error to list.
        raise ExportError(
            f"{source.name} cannot be read as an ONNX graph: {first_line(error)}"
        ) from error
    save(model, out)


def fuse(source: Path, out: Path) -> None:
    """Fuses normalisation, GELU and attention into ONNX Runtime's own operators."""
    # BERT's patterns also fit its descendants. Level 0 leaves optimisations that depend on
    # the machine to the server.
    with quiet("fuse"):
        fused = optimizer.optimize_model(str(source), model_type="bert", opt_level=0)
    model = fused.model
    # The optimizer adds nodes of this domain, but does not always declare it.
    if CONTRIB not in (opset.domain for opset in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(CONTRIB, 1))
    save(model, out)


def quantise(source: Path, out: Path) -> None:
    """Dynamic int8: signed weights with a scale per column, which suits VNNI."""
    with quiet("quantise"):
        quantize_dynamic(
            source,
            out,
            per_channel=True,
            weight_type=QuantType.QInt8,
            # Shapes after ONNX Runtime's own operators cannot be inferred.
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )


@contextmanager
def quiet(purpose: str) -> Iterator[None]:
    """Hides the remarks of ONNX Runtime's tools from the user.

    They report missing patterns, or tools that might be run first. What matters is
    whether they fail, and what `check` says about the result.
    """
    logging.disable(logging.WARNING)
    try:
        yield
    except Exception as error:
        # These tools raise too many kinds of error on unusual graphs to list.
        raise ExportError(
            f"ONNX Runtime cannot {purpose} this graph: {first_line(error)}"
        ) from error
    finally:
        logging.disable(logging.NOTSET)


def save(model: onnx.ModelProto, out: Path) -> None:
    """Writes a graph as one file."""
    if model.ByteSize() > LARGEST_FILE:
        raise ExportError(
            f"the graph has {model.ByteSize() >> 20} MiB; one file can hold at most 2 GiB"
        )
    onnx.save(model, out)
