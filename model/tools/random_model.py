"""Makes a DistilBERT of the original size with random weights, for benches.

What a model costs does not depend on the values of its weights, so that nothing has
to be downloaded to measure the size that most people serve: 6 layers, hidden size
768, 12 heads, feed-forward size 3072, 30,522 words, 512 positions, 2 labels. The
tokenizer is that of the included model, which has the same vocabulary.

The graph is what ONNX Runtime's own tools leave of an exported model: one node each
for attention, skip connection with layer normalisation, and bias with GELU
(onnxruntime.transformers.optimizer), and for int8 dynamic quantisation with signed
weights for each column (onnxruntime.quantization). So it stands for the model that
a user brings, not for the best that can be done.

Needs the packages of `model/requirements-bench.txt`; --check also PyTorch and
Transformers, which `model/requirements.txt` names, and --transformers, which writes the
same weights as Transformers reads them, safetensors.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_MODEL = ROOT / "model" / "default"
# What is copied from the included model as it is.
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")

LAYERS, HIDDEN, HEADS, FFN, VOCABULARY, POSITIONS = 6, 768, 12, 3072, 30522, 512
LABELS = ("NEGATIVE", "POSITIVE")
EPSILON = 1e-12
SEED = 20261122
CONTRIB = "com.microsoft"
OPSET = 17
# What another order of summing may change in logits of the order of one.
TOLERANCE = 2e-5

Weights = dict[str, np.ndarray]


def shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every parameter, as `DistilBertForSequenceClassification` names it."""
    embeddings = "distilbert.embeddings"
    yield f"{embeddings}.word_embeddings.weight", (VOCABULARY, HIDDEN)
    yield f"{embeddings}.position_embeddings.weight", (POSITIONS, HIDDEN)
    linear: list[tuple[str, int, int]] = []
    norms = [f"{embeddings}.LayerNorm"]
    for i in range(LAYERS):
        layer = f"distilbert.transformer.layer.{i}"
        linear += [
            (f"{layer}.attention.{name}_lin", HIDDEN, HIDDEN)
            for name in ("q", "k", "v", "out")
        ]
        linear += [(f"{layer}.ffn.lin1", FFN, HIDDEN)]
        linear += [(f"{layer}.ffn.lin2", HIDDEN, FFN)]
        norms += [f"{layer}.sa_layer_norm", f"{layer}.output_layer_norm"]
    linear += [("pre_classifier", HIDDEN, HIDDEN), ("classifier", len(LABELS), HIDDEN)]
    for name, outputs, inputs in linear:
        yield f"{name}.weight", (outputs, inputs)
        yield f"{name}.bias", (outputs,)
    for name in norms:
        yield f"{name}.weight", (HIDDEN,)
        yield f"{name}.bias", (HIDDEN,)


def random_weights() -> Weights:
    """Values of the size that training leaves, equal at every run."""
    generator = np.random.default_rng(SEED)
    weights = {}
    for name, shape in shapes():
        values = generator.standard_normal(shape, dtype=np.float32)
        is_scale = name.lower().endswith("norm.weight")
        weights[name] = values * np.float32(0.04) + np.float32(is_scale)
    return weights


class Builder:
    """Collects nodes and constants; every method gives the name of its result."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: np.ndarray) -> str:
        value = np.asarray(value, order="C")
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def parameter(self, name: str) -> str:
        return self.constant(name, self.weights[name])

    def node(
        self,
        op: str,
        inputs: list[str],
        output: str,
        domain: str = "",
        **attributes: object,
    ) -> str:
        self.nodes.append(
            helper.make_node(op, inputs, [output], output, domain=domain, **attributes)
        )
        return output

    def product(self, x: str, name: str) -> str:
        """`x` times the transposed weight of a linear layer, without its bias."""
        weight = self.constant(f"{name}.weight", self.weights[f"{name}.weight"].T)
        return self.node("MatMul", [x, weight], f"{name}.product")

    def skip(self, x: str, skip: str, norm: str, bias: str) -> str:
        """Normalises the sum of `x`, `skip` and, unless it is empty, a bias."""
        inputs = [x, skip]
        inputs += [self.parameter(f"{norm}.weight"), self.parameter(f"{norm}.bias")]
        inputs += [self.parameter(bias)] if bias else []
        op = "SkipLayerNormalization"
        return self.node(op, inputs, f"{norm}.output", CONTRIB, epsilon=EPSILON)

    def embeddings(self) -> str:
        prefix = "distilbert.embeddings"
        table = self.parameter(f"{prefix}.word_embeddings.weight")
        words = self.node("Gather", [table, "input_ids"], "words")
        # One row for each text, since SkipLayerNormalization wants equal shapes.
        zero = self.constant("zero", np.array([0], dtype=np.int64))
        shape = self.node("Shape", ["input_ids"], "shape")
        length = self.node("Shape", ["input_ids"], "length", start=1, end=2)
        table = self.parameter(f"{prefix}.position_embeddings.weight")
        one_row = self.node("Slice", [table, zero, length, zero], "places_of_one")
        width = self.constant("width", np.array([HIDDEN], dtype=np.int64))
        full = self.node("Concat", [shape, width], "places_shape", axis=0)
        places = self.node("Expand", [one_row, full], "places")
        return self.skip(words, places, f"{prefix}.LayerNorm", "")

    def layer(self, x: str, i: int) -> str:
        prefix = f"distilbert.transformer.layer.{i}"
        parts = [f"{prefix}.attention.{name}_lin" for name in "qkv"]
        weights = [self.weights[f"{part}.weight"].T for part in parts]
        biases = [self.weights[f"{part}.bias"] for part in parts]
        name = f"{prefix}.attention.qkv"
        inputs = [
            x,
            self.constant(f"{name}.weight", np.concatenate(weights, axis=1)),
            self.constant(f"{name}.bias", np.concatenate(biases)),
            "mask",
        ]
        output = f"{prefix}.context"
        context = self.node("Attention", inputs, output, CONTRIB, num_heads=HEADS)
        out = f"{prefix}.attention.out_lin"
        attended = self.product(context, out)
        x = self.skip(attended, x, f"{prefix}.sa_layer_norm", f"{out}.bias")

        lin1, lin2 = f"{prefix}.ffn.lin1", f"{prefix}.ffn.lin2"
        inputs = [self.product(x, lin1), self.parameter(f"{lin1}.bias")]
        hidden = self.node("BiasGelu", inputs, f"{prefix}.gelu", CONTRIB)
        out = self.product(hidden, lin2)
        return self.skip(out, x, f"{prefix}.output_layer_norm", f"{lin2}.bias")

    def head(self, x: str) -> None:
        """The classifier on [CLS]."""
        first = self.constant("first", np.int64(0))
        x = self.node("Gather", [x, first], "pooled", axis=1)
        for name, output in (("pre_classifier", "hidden"), ("classifier", "logits")):
            bias = self.parameter(f"{name}.bias")
            x = self.node("Add", [self.product(x, name), bias], output)
            if output != "logits":
                x = self.node("Relu", [x], "hidden_relu")


def build(weights: Weights) -> onnx.ModelProto:
    """The whole fp32 model as a checked ONNX graph."""
    builder = Builder(weights)
    builder.node("Cast", ["attention_mask"], "mask", to=TensorProto.INT32)
    x = builder.embeddings()
    for i in range(LAYERS):
        x = builder.layer(x, i)
    builder.head(x)
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
        for name in ("input_ids", "attention_mask")
    ]
    outputs = ["batch", len(LABELS)]
    graph = helper.make_graph(
        builder.nodes,
        "distilbert",
        inputs,
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, outputs)],
        builder.constants,
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.checker.check_model(model)
    return model


def quantized(model: onnx.ModelProto, directory: Path) -> onnx.ModelProto:
    """As ONNX Runtime's documentation tells users to make a model int8."""
    fp32, int8 = directory / "fp32.onnx", directory / "int8.onnx"
    onnx.save(model, fp32)
    quantize_dynamic(
        fp32,
        int8,
        per_channel=True,
        # As `make model` does, and for the same reason.
        reduce_range=True,
        weight_type=QuantType.QInt8,
        # The shapes behind contrib operators can not be inferred.
        extra_options={"DefaultTensorType": TensorProto.FLOAT},
    )
    return onnx.load(int8)


def config(precision: str) -> dict[str, object]:
    """`config.json`, with what tells the guest how the model may be run."""
    values = {
        "architectures": ["DistilBertForSequenceClassification"],
        "model_type": "distilbert",
        "activation": "gelu",
        "dim": HIDDEN,
        "hidden_dim": FFN,
        "n_heads": HEADS,
        "n_layers": LAYERS,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": POSITIONS,
        "pad_token_id": 0,
        "id2label": {str(i): label for i, label in enumerate(LABELS)},
        "label2id": {label: i for i, label in enumerate(LABELS)},
    }
    # Dynamic quantisation takes one scale for a whole batch, so that the texts of a
    # batch change each other's scores.
    if precision == "fp32":
        values["fastsentiment"] = {"batch_invariant": True}
    return values


def save_onnx(precision: str, directory: Path, work: Path) -> None:
    """Writes the weights as a graph."""
    model = build(random_weights())
    if precision == "int8":
        model = quantized(model, work)
    onnx.save(model, directory / "model.onnx")


def save_weights(directory: Path) -> None:
    """Writes the weights as Transformers has them."""
    from safetensors.numpy import save_file

    # Transformers wants to know which framework's layout the values have.
    weights = random_weights()
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})


def write(precision: str, transformers: bool, directory: Path) -> None:
    """Writes the model directory: whole, or not at all."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent) as work:
        made = Path(work) / "made"
        made.mkdir()
        if transformers:
            save_weights(made)
        else:
            save_onnx(precision, made, Path(work))
        text = json.dumps(config(precision), indent=2, sort_keys=True) + "\n"
        (made / "config.json").write_text(text)
        for name in TOKENIZER_FILES:
            shutil.copyfile(DEFAULT_MODEL / name, made / name)
        made.rename(directory)


def logits(model: onnx.ModelProto, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0]


def check() -> float:
    """The largest difference to a Transformers model of the same weights."""
    import torch
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    weights = random_weights()
    reference = DistilBertForSequenceClassification(DistilBertConfig()).eval()
    state = {name: torch.from_numpy(value) for name, value in weights.items()}
    reference.load_state_dict(state, strict=True)

    generator = np.random.default_rng(SEED)
    ids = generator.integers(VOCABULARY, size=(4, 48))
    lengths = np.array([48, 31, 16, 2])
    mask = (np.arange(ids.shape[1]) < lengths[:, None]).astype(np.int64)
    with torch.no_grad():
        inputs = {"input_ids": ids, "attention_mask": mask}
        expected = reference(**{k: torch.from_numpy(v) for k, v in inputs.items()})
    found = logits(build(weights), ids, mask)
    return float(np.abs(found - expected.logits.numpy()).max())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, help="the model directory to make")
    what.add_argument(
        "--check", action="store_true", help="compare the graph with Transformers"
    )
    parser.add_argument("--precision", choices=("fp32", "int8"), default="fp32")
    parser.add_argument(
        "--transformers",
        action="store_true",
        help="write a directory for Transformers instead, in fp32",
    )
    arguments = parser.parse_args()
    if arguments.check:
        difference = check()
        print(f"figure random_model_max_logit_difference {difference:.2e}")
        if not difference <= TOLERANCE:
            sys.exit(f"the graph differs from Transformers by more than {TOLERANCE}")
    elif arguments.out.exists():
        print(f"{arguments.out} exists already")
    else:
        write(arguments.precision, arguments.transformers, arguments.out)


if __name__ == "__main__":
    main()
