"""The ways of quantising that are compared, and the one that ships."""

from dataclasses import dataclass, replace

from train import calibrate, data, modeling
from train.graph import Scheme, Weights
from train.rounding import NO_PAIR_LIMIT, Range

# SmoothQuant's exponents of the smoothed ways, by quantiser.
SMOOTHING = {
    "attention.input": 0.6,
    "ffn.lin1.input": 0.6,
    "ffn.lin2.input": 0.7,
    "attention.out.input": 0.5,
}
# A scan over layers and products found these to lose most.
SENSITIVE = {f"{i}.ffn.lin2": "static16" for i in range(3)}
FLOAT = Scheme("float", int8_embeddings=False)


@dataclass(frozen=True)
class Way:
    """A named way: weights with their calibration, and what the graph does with them."""

    name: str
    weights: Weights
    scheme: Scheme


def float_weights(model: modeling.Classifier) -> Weights:
    """The weights alone, for graphs without constant ranges."""
    return Weights(
        {name: value.numpy().copy() for name, value in model.state_dict().items()}, {}
    )


def all_ways(model: modeling.Classifier, train_set: data.Dataset) -> list[Way]:
    """Every way compared in the model card; the last one ships."""
    plain = float_weights(model)
    unsmoothed = replace(
        plain, ranges=_rounding_to_nearest(calibrate.calibrate(model, train_set, {}))
    )
    ranges = calibrate.calibrate(model, train_set, SMOOTHING)
    smoothed = replace(plain, ranges=_rounding_to_nearest(ranges))
    compensated = replace(plain, ranges=ranges)
    sixteen_bit = frozenset(f"{name}.input" for name in SENSITIVE)
    mixed = replace(
        plain, ranges=calibrate.calibrate(model, train_set, SMOOTHING, sixteen_bit)
    )
    static = Scheme("static", fused_attention=True)
    mixed_scheme = replace(static, linear=SENSITIVE)
    return [
        Way("fp32, embeddings int8", plain, Scheme("float")),
        Way("MatMulNBits 8 bit, block 32", plain, Scheme("nbits")),
        Way("dynamic int8", plain, Scheme("dynamic")),
        Way("static int8", unsmoothed, static),
        Way("static int8, smoothed", smoothed, static),
        Way("static int8, smoothed, GPTQ", compensated, static),
        Way(
            "the shipped one without the limit of pairs: saturates without VNNI",
            mixed,
            replace(mixed_scheme, pair_limit=NO_PAIR_LIMIT),
        ),
        Way(
            "**shipped**: static int8, smoothed, GPTQ, 16-bit activations into FFN outputs 0-2",
            mixed,
            mixed_scheme,
        ),
    ]


def _rounding_to_nearest(ranges: dict[str, Range]) -> dict[str, Range]:
    """Without second moments, weights are rounded one by one."""
    return {name: replace(r, second_moment=None) for name, r in ranges.items()}
