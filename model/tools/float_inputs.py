"""Copies a model directory, with a graph that takes and gives nothing but float32.

    float_inputs.py MODEL DIR

The ONNX backend of the stock `wasmtime` command takes no other tensors. Ids are exact
in float32 (up to 2**24), so casts inside the graph make the ids that the model was
exported with of them, and its answers stay the same. FastSentiment's own server takes
models as they are and needs no such copy.

Needs the packages of `model/requirements-bench.txt`.
"""

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import GraphProto, NodeProto, TensorProto, helper

FLOAT = TensorProto.FLOAT
# What a guest reads beside the graph.
FILES = ("config.json", "tokenizer.json", "tokenizer_config.json")


def nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """Every node, those in the branches and loops of others included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from nodes(inner)


def use_floats(graph: GraphProto) -> int:
    """Casts inputs and outputs of other types; says how many there were."""
    weights = {weight.name for weight in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    before = [
        as_float(graph, value, "inner") for value in inputs if not is_float(value)
    ]
    after = [
        as_float(graph, value, "inner") for value in graph.output if not is_float(value)
    ]
    casts_in = [
        helper.make_node("Cast", [name], [inner], to=ty) for name, inner, ty in before
    ]
    casts_out = [
        helper.make_node("Cast", [inner], [name], to=FLOAT) for name, inner, _ in after
    ]
    ordered = [*casts_in, *graph.node, *casts_out]
    del graph.node[:]
    graph.node.extend(ordered)
    return len(before) + len(after)


def is_float(value: onnx.ValueInfoProto) -> bool:
    return value.type.tensor_type.elem_type == FLOAT


def as_float(
    graph: GraphProto, value: onnx.ValueInfoProto, suffix: str
) -> tuple[str, str, int]:
    """Makes an input or output a float; the graph goes on with another name inside."""
    name, ty = value.name, value.type.tensor_type.elem_type
    inner = f"{name}.{suffix}"
    for node in nodes(graph):
        for names in (node.input, node.output):
            names[:] = [inner if used == name else used for used in names]
    value.type.tensor_type.elem_type = FLOAT
    return name, inner, ty


def copy(source: Path, directory: Path) -> int:
    """Writes the copy, whole or not at all; says how many casts it took."""
    # External data is taken into the one file, as far as ONNX allows (2 GiB).
    model = onnx.load(source / "model.onnx")
    casts = use_floats(model.graph)
    work = directory.with_name(f".{directory.name}.part")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    onnx.save(model, work / "model.onnx")
    for name in FILES:
        if (source / name).exists():
            shutil.copyfile(source / name, work / name)
    shutil.rmtree(directory, ignore_errors=True)
    work.rename(directory)
    return casts


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Copy a model, with float32 inputs and outputs only."
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="a model directory")
    parser.add_argument("dir", type=Path, metavar="DIR", help="is replaced by the copy")
    arguments = parser.parse_args()
    if not (arguments.model / "model.onnx").is_file():
        parser.error(f"{arguments.model} holds no model.onnx")
    casts = copy(arguments.model, arguments.dir)
    print(f"{arguments.dir}: {casts} inputs and outputs are cast from and to float32")


if __name__ == "__main__":
    main()
