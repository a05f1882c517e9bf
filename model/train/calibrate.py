"""Ranges of quantised activations, calibrated on training phrases."""

from dataclasses import dataclass

import numpy as np
import torch

from train import data, modeling
from train.rounding import Range

CALIBRATION_TEXTS = 512
# Shorter phrases are unlike the sentences that will be classified.
CALIBRATION_TOKENS = 14


@dataclass(frozen=True)
class _Site:
    """Where activations are quantised: how to see them, and the weights [outputs, inputs] that read them."""

    tap: modeling.Tap
    weight: torch.Tensor


def _sites(model: modeling.Classifier) -> dict[str, _Site]:
    """Every site by the name the graph uses for its quantiser."""
    result = {}
    norm = model.distilbert.embeddings.LayerNorm
    for i, layer in enumerate(model.distilbert.transformer.layer):
        attention, ffn = layer.attention, layer.ffn
        qkv = torch.cat(
            [attention.q_lin.weight, attention.k_lin.weight, attention.v_lin.weight]
        )
        result[f"{i}.attention.input"] = _Site(attention.input_tap, qkv * norm.weight)
        result[f"{i}.attention.out.input"] = _Site(
            attention.context_tap, attention.out_lin.weight
        )
        result[f"{i}.ffn.lin1.input"] = _Site(
            ffn.input_tap, ffn.lin1.weight * layer.sa_layer_norm.weight
        )
        result[f"{i}.ffn.lin2.input"] = _Site(ffn.hidden_tap, ffn.lin2.weight)
        norm = layer.output_layer_norm
    return result


@torch.no_grad()
def calibrate(
    model: modeling.Classifier,
    train_set: data.Dataset,
    smoothing: dict[str, float],
    sixteen_bit: frozenset[str] = frozenset(),
    seed: int = 0,
) -> dict[str, Range]:
    """Gives the range of least squared error of each quantised activation.

    `smoothing` is SmoothQuant's exponent by the last part of a quantiser's name:
    0 leaves the activations as they are, 1 evens them out at the cost of the weights.
    Quantisers named in `sixteen_bit` keep their whole range and are not smoothed:
    16 bits are enough as they are, and the weights stay easy to round.
    """
    long = [i for i, ids in enumerate(train_set.ids) if len(ids) >= CALIBRATION_TOKENS]
    rows = np.random.default_rng(seed).choice(long, CALIBRATION_TEXTS, replace=False)
    sites = _sites(model)
    model.eval()
    for site in sites.values():
        site.tap.rows = []
    # One text a run: padding must not count.
    for i in rows:
        row = torch.tensor([train_set.ids[i]])
        model(row, torch.ones_like(row, dtype=torch.bool))
    result = {}
    for name, site in sites.items():
        values = torch.cat(site.tap.rows)
        site.tap.rows = None
        alpha = (
            0.0 if name in sixteen_bit else smoothing.get(name.split(".", 1)[1], 0.0)
        )
        channels = _channels(values, site.weight, alpha)
        values = values / channels
        second_moment = (values.T.double() @ values.double() / len(values)).numpy()
        scale, zero_point = _range(values.flatten(), clip=name not in sixteen_bit)
        result[name] = Range(scale, zero_point, channels.numpy(), second_moment)
    return result


def _channels(values: torch.Tensor, weight: torch.Tensor, alpha: float) -> torch.Tensor:
    """What each column of the activations is divided by; their geometric mean is 1."""
    if alpha == 0:
        return torch.ones(weight.shape[1])
    # A high quantile of the magnitudes is steadier than the largest of them.
    magnitude = (
        values.abs().topk(max(1, len(values) // 1000), dim=0).values[-1].clamp(min=1e-4)
    )
    # Weights have one scale per output, so what counts is the size relative to their row.
    relative = (
        (weight / weight.abs().amax(dim=1, keepdim=True))
        .abs()
        .amax(dim=0)
        .clamp(min=1e-4)
    )
    channels = magnitude**alpha / relative ** (1 - alpha)
    return channels / channels.log().mean().exp()


def _range(values: torch.Tensor, clip: bool) -> tuple[float, int]:
    """Scale and zero point; with `clip`, rare large values are cut if that lowers the squared error."""
    low, high = min(values.min().item(), 0.0), max(values.max().item(), 0.0)
    if not clip:
        # A tenth more, for texts beyond those seen here.
        scale = float(np.float32(1.1 * (high - low) / 255))
        return scale, round(-1.1 * low / scale)
    # 200,000 values show the error as well as ten million.
    generator = torch.Generator().manual_seed(0)
    sample = values[
        torch.randint(len(values), (min(len(values), 200_000),), generator=generator)
    ]
    best, result = float("inf"), (1.0, 0)
    for shrink_low in np.linspace(0.2, 1, 9):
        for shrink_high in np.linspace(0.1, 1, 19):
            scale = float(high * shrink_high - low * shrink_low) / 255
            zero_point = round(float(-low * shrink_low) / scale)
            restored = (
                (sample / scale).round_().add_(zero_point).clamp_(0, 255) - zero_point
            ) * scale
            error = (restored - sample).square_().mean().item()
            if error < best:
                best, result = error, (scale, zero_point)
    return result
