"""From numbers to 8-bit levels: ranges of activations, rounding of weights."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Range:
    """Of a quantised activation: x becomes round(x / channels / scale) + zero_point."""

    scale: float
    zero_point: int
    channels: np.ndarray
    # Mean of the outer products of x / channels, [width, width]: what rounding weights looks at.
    second_moment: np.ndarray | None = None


def quantize_rows(
    table: np.ndarray, levels: int = 127
) -> tuple[np.ndarray, np.ndarray]:
    """Signed symmetric 8-bit rows and their scales [rows, 1]."""
    scale = np.maximum(np.abs(table).max(axis=1, keepdims=True), 1e-8) / levels
    return np.rint(table / scale).clip(-levels, levels).astype(np.int8), scale.astype(
        np.float32
    )


def quantize_weight(
    weight: np.ndarray, second_moment: np.ndarray | None, levels: int
) -> tuple[np.ndarray, np.ndarray]:
    """As `quantize_rows`, but later columns make up for the rounding of earlier ones.

    GPTQ (Frantar et al., 2023): it minimises the error of the product on inputs
    with the given second moment, not that of the weights.
    """
    if second_moment is None:
        return quantize_rows(weight, levels)
    scale = np.abs(weight).max(axis=1) / levels
    damped = second_moment + 0.01 * np.diag(second_moment).mean() * np.eye(
        len(second_moment)
    )
    # The columns with the largest inputs go first, while there is most left to make up with.
    order = np.argsort(-np.diag(damped))
    factor = np.linalg.cholesky(np.linalg.inv(damped[np.ix_(order, order)])).T
    rest = weight[:, order].astype(np.float64)
    rounded = np.zeros_like(rest)
    for column in range(rest.shape[1]):
        rounded[:, column] = np.rint(rest[:, column] / scale).clip(-levels, levels)
        error = (rest[:, column] - rounded[:, column] * scale) / factor[column, column]
        rest[:, column + 1 :] -= np.outer(error, factor[column, column + 1 :])
    result = np.zeros(weight.shape, dtype=np.int8)
    result[:, order] = rounded.astype(np.int8)
    return result, scale.astype(np.float32)[:, None]
