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


# On x86 processors without VNNI, ONNX Runtime adds the products of two neighbouring
# inputs (the 1st and 2nd, 3rd and 4th, ...) in 16 signed bits. Activations are at most
# 255, so the sum saturates unless two weights of one sign are together at most this.
PAIR_LIMIT = 32767 // 255
NO_PAIR_LIMIT = 254
# Largest levels of a row that are tried. With fewer levels rounding costs more, and the
# limit of pairs less.
LARGEST_LEVELS = (64, 76, 90, 107, 127)
# Columns that are rounded before those behind them are corrected, which saves time alone.
BLOCK = 48


def quantize_rows(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Signed symmetric 8-bit rows and their scales [rows, 1]."""
    scale = np.maximum(np.abs(table).max(axis=1, keepdims=True), 1e-8) / 127
    return np.rint(table / scale).clip(-127, 127).astype(np.int8), scale.astype(
        np.float32
    )


def quantize_weight(
    weight: np.ndarray, second_moment: np.ndarray | None, pair_limit: int
) -> tuple[np.ndarray, np.ndarray]:
    """As `quantize_rows`, but for inputs with the given second moment.

    What is made small is the error of the product on such inputs, not that of the
    weights. Each row takes the scale that gives it the least error.
    """
    if second_moment is None:
        return quantize_rows(weight)
    largest = np.abs(weight).max(axis=1, keepdims=True)
    best_error = np.full(len(weight), np.inf)
    rows = np.zeros(weight.shape, dtype=np.int8)
    scales = np.ones_like(largest)
    for levels in LARGEST_LEVELS if pair_limit < NO_PAIR_LIMIT else (127,):
        scale = largest / levels
        found = _round(weight / scale, second_moment, pair_limit)
        lost = weight - found * scale
        error = np.einsum("oi,oi->o", lost @ second_moment, lost)
        better = error < best_error
        best_error[better], scales[better] = error[better], scale[better]
        rows[better] = found[better]
    return rows, scales.astype(np.float32)


def _round(
    weight: np.ndarray, second_moment: np.ndarray, pair_limit: int
) -> np.ndarray:
    """Integers [outputs, inputs]; later columns make up for the rounding of earlier ones.

    GPTQ (Frantar et al., 2023), with the limit of pairs.
    """
    damped = second_moment + 0.01 * np.diag(second_moment).mean() * np.eye(
        len(second_moment)
    )
    # The columns with the largest inputs go first, while there is most left to make up with.
    order = np.argsort(-np.diag(damped))
    place = np.argsort(order)
    factor = np.linalg.cholesky(np.linalg.inv(damped[np.ix_(order, order)])).T
    rest = weight[:, order].astype(np.float64)
    rounded = np.zeros_like(rest)
    for start in range(0, len(order), BLOCK):
        end = min(start + BLOCK, len(order))
        errors = np.zeros((len(weight), end - start))
        for i in range(start, end):
            # Zero as long as the other column of the pair is not rounded yet.
            other = rounded[:, place[order[i] ^ 1]]
            high = np.minimum(127, pair_limit - np.maximum(other, 0))
            low = np.maximum(-127, -pair_limit - np.minimum(other, 0))
            rounded[:, i] = np.rint(rest[:, i]).clip(low, high)
            error = (rest[:, i] - rounded[:, i]) / factor[i, i]
            errors[:, i - start] = error
            rest[:, i + 1 : end] -= np.outer(error, factor[i, i + 1 : end])
        rest[:, end:] -= errors @ factor[start:end, end:]
    return rounded[:, place].astype(np.int8)
