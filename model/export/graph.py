"""Runs, fuses and quantises a graph.

This module must not know where the graph comes from.
"""

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

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
MODEL_FILE = "model.onnx"
# Where the weights of a graph are that is larger than one file can be.
DATA_FILE = "model.onnx_data"
# The limit of protobuf, less what is not weights.
LARGEST_FILE = 2**31 - (64 << 20)


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
        try:
            outputs = self.session.run([OUTPUT], inputs)
        except Exception as error:
            # ONNX Runtime's errors have no common base class.
            shape = list(feed["input_ids"].shape)
            raise ExportError(
                f"ONNX Runtime cannot run the graph on ids of the shape {shape}: "
                f"{first_line(error)}"
            ) from error
        return outputs[0].astype(np.float32)


def external_files(file: Path) -> list[str]:
    """The files that hold weights of a graph, by their paths below its directory."""
    model = read(file)
    tensors = onnx.external_data_helper._get_all_tensors(model)
    names = {
        onnx.external_data_helper.ExternalDataInfo(tensor).location
        for tensor in tensors
        if onnx.external_data_helper.uses_external_data(tensor)
    }
    for name in names:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise ExportError(
                f"{file.name} has weights in {name}, which is not in its directory"
            )
    return sorted(names)


def merge(source: Path, out: Path) -> None:
    """Copies a graph with its weights, wherever they are beside it."""
    model = read(source)
    # The library follows no links, and the hub's cache consists of them.
    with tempfile.TemporaryDirectory(dir=out.parent) as work:
        for name in external_files(source):
            given = source.parent / name
            if not given.is_file():
                raise ExportError(
                    f"{name} does not exist, and the weights of {source.name} should "
                    "be there"
                )
            put = Path(work) / name
            put.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(given, put)
        try:
            onnx.load_external_data_for_model(model, work)
        except Exception as error:
            # A damaged file causes too many kinds of error to list.
            raise ExportError(
                f"the weights of {source.name} cannot be read: {first_line(error)}"
            ) from error
    save(model, out)


def read(file: Path) -> onnx.ModelProto:
    """A graph without the weights that are in other files."""
    try:
        return onnx.load(file, load_external_data=False)
    except Exception as error:
        # A damaged file causes too many kinds of error to list.
        raise ExportError(
            f"{file.name} cannot be read as an ONNX graph: {first_line(error)}"
        ) from error


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
    """Dynamic int8: signed weights with a scale per column.

    Weights have 7 bits. Processors without VNNI add pairs of products in 16 bits, where
    those of 8 bits saturate: the scores of such a model are right on some machines, and
    wrong on others.
    """
    with quiet("quantise"):
        quantize_dynamic(
            source,
            out,
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=source.with_name(DATA_FILE).exists(),
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
    """Writes a graph as one file, or its weights to a second one if they are large."""
    size = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    onnx.save(
        model,
        out,
        save_as_external_data=size > LARGEST_FILE,
        location=DATA_FILE,
    )
