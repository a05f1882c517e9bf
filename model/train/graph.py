"""The ONNX graph, written node by node for ONNX Runtime's CPU kernels.

An exporter followed by the optimizer of onnxruntime.transformers leaves
DistilBERT's attention unfused and cannot place quantisers before gamma and beta or halve an activation in
two; the graph is small, so it is built here. The interface is what Hugging Face
Optimum writes: int64 `input_ids` and `attention_mask` [batch, sequence], float32
`logits` [batch, 2].

Each matrix product is computed one of these ways:
- `float`: fp32;
- `static`: activations u8 with a constant scale, weights s8 per column, rounded so that
  no processor's sums saturate. Nothing depends on other rows, so neither padding nor
  neighbours change a score;
- `static16`: as `static` with 16-bit activations, as two 8-bit products;
- `dynamic`: activations u8 with a scale taken from the whole tensor at run time;
- `nbits`: MatMulNBits, weights 8 bit in blocks of 32 rows.
"""

from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from train import modeling
from train.rounding import PAIR_LIMIT, Range, quantize_rows, quantize_weight

CONTRIB = "com.microsoft"
OPSET = 17


@dataclass(frozen=True)
class Scheme:
    """How a graph is computed. `linear` holds exceptions to `default`, by name such as `5.ffn.lin2`."""

    default: str
    linear: dict[str, str] = field(default_factory=dict)
    int8_embeddings: bool = True
    pair_limit: int = PAIR_LIMIT
    cls_only: bool = True
    # One node for projection and attention (QAttention), or a product and MultiHeadAttention.
    fused_attention: bool = False

    def way(self, name: str) -> str:
        return self.linear.get(name, self.default)


@dataclass(frozen=True)
class Weights:
    """Numpy arrays by parameter name, and the range of each quantised activation."""

    arrays: dict[str, np.ndarray]
    ranges: dict[str, Range]

    def linear(self, i: int, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Weight [outputs, inputs] and bias of a linear layer of layer `i`."""
        prefix = f"distilbert.transformer.layer.{i}.{name}"
        return self.arrays[f"{prefix}.weight"], self.arrays[f"{prefix}.bias"]

    def norm(self, i: int | None, name: str) -> "Norm":
        """A layer normalisation of layer `i`, or by its full name."""
        prefix = name if i is None else f"distilbert.transformer.layer.{i}.{name}"
        return Norm(self.arrays[f"{prefix}.weight"], self.arrays[f"{prefix}.bias"])


@dataclass(frozen=True)
class Norm:
    """Scale and shift of a layer normalisation.

    Activations are carried normalised; gamma and beta are folded into the weights
    that read them. This saves nodes, and the quantisers see channels of one size.
    """

    gamma: np.ndarray
    beta: np.ndarray

    def fold(
        self, weight: np.ndarray, bias: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Weight [outputs, inputs] and bias for normalised input."""
        return weight * self.gamma, bias + weight @ self.beta


def concatenate(
    parts: list[tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """Linear layers that read one input, as one."""
    return np.concatenate([weight for weight, _ in parts]), np.concatenate(
        [bias for _, bias in parts]
    )


class Builder:
    """Collects nodes and constants; every method gives the name of its result."""

    def __init__(self, weights: Weights, scheme: Scheme) -> None:
        self.weights, self.scheme = weights, scheme
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: np.ndarray) -> str:
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(
                np.asarray(value, order="C"), name
            )
        return name

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

    def quantize(self, x: str, quantizer: str) -> tuple[str, str, str]:
        """Quantises with the constant range of `quantizer`; gives levels, scale, zero point."""
        constants = self.weights.ranges[quantizer]
        s = self.constant(f"{quantizer}.scale", np.float32(constants.scale))
        z = self.constant(f"{quantizer}.zero_point", np.uint8(constants.zero_point))
        return self.node("QuantizeLinear", [x, s, z], f"{quantizer}.quantized"), s, z

    def smoothed(self, x: str, quantizer: str) -> str:
        """`x` divided by its channels, unless they are all one."""
        channels = self.weights.ranges[quantizer].channels
        if (channels == 1).all():
            return x
        return self.node(
            "Mul",
            [x, self.constant(f"{quantizer}.channels", 1 / channels)],
            f"{quantizer}.smoothed",
        )

    def residual(
        self, x: str, levels: tuple[str, str, str], quantizer: str
    ) -> tuple[str, str, str]:
        """What `quantize` lost, again in 8 bits: the lower half of a 16-bit activation."""
        coarse = self.node("DequantizeLinear", list(levels), f"{quantizer}.coarse")
        rest = self.node("Sub", [x, coarse], f"{quantizer}.rest")
        s = self.constant(
            f"{quantizer}.fine_scale",
            np.float32(self.weights.ranges[quantizer].scale / 255),
        )
        z = self.constant(f"{quantizer}.fine_zero_point", np.uint8(128))
        return self.node("QuantizeLinear", [rest, s, z], f"{quantizer}.fine"), s, z

    def integer_product(
        self,
        levels: tuple[str, str, str],
        weight: str,
        scale: str,
        bias: str,
        output: str,
    ) -> str:
        a, a_scale, a_zero = levels
        inputs = [a, weight, a_scale, scale, a_zero, "", bias]
        return self.node(
            "MatMulIntegerToFloat", inputs if bias else inputs[:5], output, CONTRIB
        )

    def linear(
        self,
        x: str,
        name: str,
        weight: np.ndarray,
        bias: np.ndarray | None,
        quantizer: str,
        levels: tuple[str, str, str] | None = None,
        way: str | None = None,
    ) -> str:
        """`x` times `weight` [outputs, inputs] plus `bias`; `levels` is `x` if already quantised."""
        way = way or self.scheme.way(name)
        output = f"{name}.output"
        bias_name = "" if bias is None else self.constant(f"{name}.bias", bias)
        if way == "float":
            product = self.node(
                "MatMul",
                [x, self.constant(f"{name}.weight", weight.T)],
                f"{name}.product",
            )
            return (
                self.node("Add", [product, bias_name], output) if bias_name else product
            )
        if way == "nbits":
            return self._nbits(x, name, weight, bias_name)
        if way.startswith("static"):
            weight = weight * self.weights.ranges[quantizer].channels
        moment = (
            self.weights.ranges[quantizer].second_moment
            if way.startswith("static")
            else None
        )
        rows, scales = quantize_weight(weight, moment, self.scheme.pair_limit)
        w = self.constant(f"{name}.weight", rows.T)
        s = self.constant(f"{name}.weight_scale", scales[:, 0])
        if way == "dynamic":
            inputs = [x, w, s, "", bias_name] if bias_name else [x, w, s]
            return self.node("DynamicQuantizeMatMul", inputs, output, CONTRIB)
        if levels is None:
            x = self.smoothed(x, quantizer)
            levels = self.quantize(x, quantizer)
        if way == "static":
            return self.integer_product(levels, w, s, bias_name, output)
        assert way == "static16", way
        fine = self.residual(x, levels, quantizer)
        high = self.integer_product(levels, w, s, bias_name, f"{name}.high")
        low = self.integer_product(fine, w, s, "", f"{name}.low")
        return self.node("Add", [high, low], output)

    def _nbits(
        self, x: str, name: str, weight: np.ndarray, bias: str, block: int = 32
    ) -> str:
        outputs, inputs = weight.shape
        blocks = weight.reshape(outputs, inputs // block, block)
        scale = np.maximum(np.abs(blocks).max(axis=2), 1e-8) / 127
        levels = (
            (np.rint(blocks / scale[..., None]) + 128).clip(0, 255).astype(np.uint8)
        )
        w = self.constant(f"{name}.weight", levels)
        s = self.constant(f"{name}.weight_scale", scale.astype(np.float32).reshape(-1))
        inputs_list = [x, w, s, "", "", bias] if bias else [x, w, s]
        return self.node(
            "MatMulNBits",
            inputs_list,
            f"{name}.output",
            CONTRIB,
            K=inputs,
            N=outputs,
            bits=8,
            block_size=block,
            accuracy_level=4,
        )

    def embeddings(self) -> str:
        """Word plus position embeddings, normalised: [batch, sequence, hidden]."""
        prefix = "distilbert.embeddings."
        table = self.weights.arrays[prefix + "word_embeddings.weight"]
        if self.scheme.int8_embeddings:
            rows, scales = quantize_rows(table)
            levels = self.node(
                "Gather", [self.constant("words", rows), "input_ids"], "word_levels"
            )
            scale = self.node(
                "Gather",
                [self.constant("word_scales", scales), "input_ids"],
                "word_scale",
            )
            cast = self.node("Cast", [levels], "word_cast", to=TensorProto.FLOAT)
            words = self.node("Mul", [cast, scale], "word_embeddings")
        else:
            words = self.node(
                "Gather",
                [self.constant("words", table), "input_ids"],
                "word_embeddings",
            )
        positions = self.constant(
            "positions", self.weights.arrays[prefix + "position_embeddings.weight"]
        )
        length = self.node("Shape", ["input_ids"], "length", start=1, end=2)
        zero = self.constant("zero", np.array([0], dtype=np.int64))
        places = self.node(
            "Slice", [positions, zero, length, zero], "position_embeddings"
        )
        return self.normalize(words, places, "embeddings")

    def normalize(self, x: str, skip: str, name: str) -> str:
        """Normalises the sum of `x` and `skip`, without scale and shift.

        MeanVarianceNormalization is five times as fast as LayerNormalization and
        SkipLayerNormalization, whose CPU kernels (1.32) divide once per element.
        """
        total = self.node("Add", [x, skip], f"{name}.sum")
        return self.node(
            "MeanVarianceNormalization", [total], f"{name}.normalized", axes=[2]
        )

    def scaled(self, x: str, name: str, norm: Norm) -> str:
        """The residual stream: `x` times gamma. Beta is in the bias of what is added to it."""
        return self.node(
            "Mul", [x, self.constant(f"{name}.gamma", norm.gamma)], f"{name}.residual"
        )

    def attention(self, x: str, i: int, norm: Norm, cls_only: bool) -> tuple[str, str]:
        """Self-attention of layer `i`; gives the context and the rows of `x` it belongs to."""
        folded = [
            norm.fold(*self.weights.linear(i, f"attention.{n}_lin")) for n in "qkv"
        ]
        name, quantizer = f"{i}.attention.qkv", f"{i}.attention.input"
        way = self.scheme.way(name)
        assert way != "static16", (
            "only products with an input of their own can have 16-bit activations"
        )
        heads = {"num_heads": modeling.HEADS, "mask_filter_value": -10000.0}
        levels = (
            self.quantize(self.smoothed(x, quantizer), quantizer)
            if way == "static"
            else None
        )
        out = f"{i}.attention.out"
        if self.scheme.way(out).startswith("static"):
            # The channels of the context are those of V: dividing V's rows costs nothing.
            channels = self.weights.ranges[f"{out}.input"].channels
            folded[2] = (folded[2][0] / channels[:, None], folded[2][1] / channels)
        if cls_only:
            # [CLS] twice: a product of one row has a kernel of its own, which sums in another order.
            # With it padding would change the last bit, and now and then a rounding after that.
            twice = self.constant("cls_twice", np.array([0, 0], dtype=np.int64))
            queries, cls_levels = (
                self.node("Gather", [x, twice], f"{i}.cls", axis=1),
                None,
            )
            if levels is not None:
                cls_levels = (
                    self.node("Gather", [levels[0], twice], f"{i}.cls_levels", axis=1),
                    *levels[1:],
                )
            q = self.linear(
                queries, f"{i}.attention.q", *folded[0], quantizer, cls_levels, way
            )
            kv = self.linear(
                x, f"{i}.attention.kv", *concatenate(folded[1:]), quantizer, levels, way
            )
            parts, source, x = [f"{i}.k", f"{i}.v"], kv, queries
        elif self.scheme.fused_attention and way == "static":
            weight, bias = concatenate(folded)
            inputs_range = self.weights.ranges[quantizer]
            weight = weight * inputs_range.channels
            rows, scales = quantize_weight(
                weight, inputs_range.second_moment, self.scheme.pair_limit
            )
            inputs = [
                levels[0],
                self.constant(f"{name}.weight", rows.T),
                self.constant(f"{name}.bias", bias),
                levels[1],
                self.constant(f"{name}.weight_scale", scales[:, 0]),
                "mask",
                levels[2],
                self.constant("zero_s8", np.int8(0)),
            ]
            return self.node("QAttention", inputs, f"{i}.context", CONTRIB, **heads), x
        else:
            source = self.linear(x, name, *concatenate(folded), quantizer, levels)
            parts, q = [f"{i}.q", f"{i}.k", f"{i}.v"], f"{i}.q"
        sizes = self.constant(
            f"sizes{len(parts)}", np.full(len(parts), modeling.HIDDEN, dtype=np.int64)
        )
        self.nodes.append(
            helper.make_node("Split", [source, sizes], parts, f"{i}.split", axis=2)
        )
        inputs = [q, f"{i}.k", f"{i}.v", "", "mask"]
        context = self.node(
            "MultiHeadAttention", inputs, f"{i}.context", CONTRIB, **heads
        )
        if cls_only:
            once = self.constant("zero", np.array([0], dtype=np.int64))
            context, x = (
                self.node("Gather", [t, once], f"{t}.once", axis=1)
                for t in (context, x)
            )
        return context, x

    def feed_forward(self, x: str, i: int, norm: Norm) -> str:
        """Both linear layers; the beta of the residual stream is in the second's bias."""
        name = f"{i}.ffn"
        weight, bias = norm.fold(*self.weights.linear(i, "ffn.lin1"))
        hidden = self.linear(x, f"{name}.lin1", weight, None, f"{name}.lin1.input")
        hidden = self.node(
            "BiasGelu",
            [hidden, self.constant(f"{name}.lin1.bias", bias)],
            f"{name}.gelu",
            CONTRIB,
        )
        weight, bias = self.weights.linear(i, "ffn.lin2")
        return self.linear(
            hidden, f"{name}.lin2", weight, bias + norm.beta, f"{name}.lin2.input"
        )

    def layer(self, x: str, i: int, norm: Norm) -> tuple[str, Norm]:
        """Takes and gives normalised rows, with the scale and shift they still lack."""
        context, x = self.attention(
            x, i, norm, self.scheme.cls_only and i == modeling.LAYERS - 1
        )
        weight, bias = self.weights.linear(i, "attention.out_lin")
        name, levels = f"{i}.attention.out", None
        if self.scheme.way(name).startswith("static"):
            levels = self.quantize(context, f"{name}.input")
        out = self.linear(
            context, name, weight, bias + norm.beta, f"{name}.input", levels
        )
        x = self.normalize(
            out, self.scaled(x, f"{i}.attention", norm), f"{i}.attention"
        )
        norm = self.weights.norm(i, "sa_layer_norm")
        out = self.feed_forward(x, i, norm)
        x = self.normalize(out, self.scaled(x, f"{i}.ffn", norm), f"{i}.ffn")
        return x, self.weights.norm(i, "output_layer_norm")

    def head(self, x: str, norm: Norm) -> None:
        """The classifier on [CLS]: fp32, since one row costs nothing."""
        arrays = dict(self.weights.arrays)
        arrays["pre_classifier.weight"], arrays["pre_classifier.bias"] = norm.fold(
            arrays["pre_classifier.weight"], arrays["pre_classifier.bias"]
        )
        first = self.constant("first", np.int64(0))
        x = self.node("Gather", [x, first], "pooled", axis=1)
        for name, output in (
            ("pre_classifier", "pre_logits"),
            ("classifier", "logits"),
        ):
            inputs = [
                x,
                self.constant(f"{name}.weight", arrays[f"{name}.weight"]),
                self.constant(f"{name}.bias", arrays[f"{name}.bias"]),
            ]
            x = self.node("Gemm", inputs, output, transB=1)
            if output != "logits":
                x = self.node("Relu", [x], "pre_logits_relu")


def build(weights: Weights, scheme: Scheme) -> onnx.ModelProto:
    """The whole model as a checked ONNX graph."""
    builder = Builder(weights, scheme)
    builder.node("Cast", ["attention_mask"], "mask", to=TensorProto.INT32)
    x = builder.embeddings()
    norm = weights.norm(None, "distilbert.embeddings.LayerNorm")
    for i in range(modeling.LAYERS):
        x, norm = builder.layer(x, i, norm)
    builder.head(x, norm)
    shape = ["batch", "sequence"]
    graph = helper.make_graph(
        builder.nodes,
        "fastsentiment",
        [
            helper.make_tensor_value_info(n, TensorProto.INT64, shape)
            for n in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        list(builder.constants.values()),
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
    model = helper.make_model(
        graph, opset_imports=opsets, producer_name="fastsentiment", ir_version=8
    )
    onnx.checker.check_model(model)
    return model
