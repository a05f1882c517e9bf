"""What is done to a graph once there is one: run it, fuse it, quantise it.

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

# Inputs of a model by their names, each [texts, tokens].
Feed = dict[str, np.ndarray]
Logits = Callable[[Feed], np.ndarray]

OUTPUT = "logits"
# Of the nodes that ONNX Runtime knows and the standard does not.
CONTRIB = "com.microsoft"
KNOWN_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
# Protobuf holds no more, and a model directory has one file for the graph.
LARGEST_FILE = 2**31 - 1


class Graph:
    """A graph in ONNX Runtime, with one thread."""

    def __init__(self, file: Path) -> None:
        try:
            self.session: onnxruntime.InferenceSession = open_session(file)
        except Exception as error:
            # ONNX Runtime's own errors have no common base.
            raise ExportError(
                f"ONNX Runtime can not load {file.name}: {first_line(error)}"
            ) from error
        self.inputs = {put.name: put.type for put in self.session.get_inputs()}
        unknown = [name for name in self.inputs if name not in KNOWN_INPUTS]
        outputs = [put.name for put in self.session.get_outputs()]
        if unknown:
            raise ExportError(
                f"the graph has an input {unknown[0]}, which is not known"
            )
        if OUTPUT not in outputs:
            raise ExportError(
                f"the graph gives {', '.join(outputs)}, not {OUTPUT}: it is no "
                "sequence-classification model"
            )

    def logits(self, feed: Feed) -> np.ndarray:
        """The logits of a batch, [texts, labels]."""
        inputs = {
            name: feed[name].astype(INPUT_TYPES[kind])
            for name, kind in self.inputs.items()
        }
        return self.session.run([OUTPUT], inputs)[0].astype(np.float32)


def merge(source: Path, out: Path) -> None:
    """Copies a graph with the weights that lie beside it into one file."""
    try:
        model = onnx.load(source)
    except Exception as error:
        # What is wrong with a file surfaces in too many ways to list.
        raise ExportError(
            f"{source.name} can not be read as an ONNX graph: {first_line(error)}"
        ) from error
    save(model, out)


def fuse(source: Path, out: Path) -> None:
    """Joins what ONNX Runtime has one kernel for: normalisation, GELU, attention."""
    # The patterns of BERT are those of its descendants, too. Level 0 leaves to the
    # session of the server what depends on the machine.
    with quiet("fuse"):
        fused = optimizer.optimize_model(str(source), model_type="bert", opt_level=0)
    model = fused.model
    # The optimizer adds nodes of this domain, but does not always say so.
    if CONTRIB not in (opset.domain for opset in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(CONTRIB, 1))
    save(model, out)


def quantise(source: Path, out: Path) -> None:
    """Dynamic int8: signed weights with a scale for each column, as VNNI likes them."""
    with quiet("quantise"):
        quantize_dynamic(
            source,
            out,
            per_channel=True,
            weight_type=QuantType.QInt8,
            # Shapes behind nodes of ONNX Runtime's own can not be inferred.
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )


@contextmanager
def quiet(purpose: str) -> Iterator[None]:
    """Keeps from the user what ONNX Runtime's tools remark on every graph.

    Such as that a pattern is not there, or that another tool might be run before: what
    matters is whether they fail, and what `check` says of the outcome.
    """
    logging.disable(logging.WARNING)
    try:
        yield
    except Exception as error:
        # These tools fail on unusual graphs in too many ways to list.
        raise ExportError(
            f"ONNX Runtime can not {purpose} this graph: {first_line(error)}"
        ) from error
    finally:
        logging.disable(logging.NOTSET)


def save(model: onnx.ModelProto, out: Path) -> None:
    """Writes a graph as one file."""
    if model.ByteSize() > LARGEST_FILE:
        raise ExportError(
            f"the graph has {model.ByteSize() >> 20} MiB; no more than 2 GiB can be "
            "written to one file"
        )
    onnx.save(model, out)
