"""The weights of the included model: whether every processor can add their products."""

import unittest
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

MODEL = Path(__file__).resolve().parents[2] / "default" / "model.onnx"
# Two products of a u8 activation and one of these have to fit into 16 signed bits.
PAIR_LIMIT = 32767 // 255


def integer_weights(model: onnx.ModelProto) -> Iterator[tuple[str, np.ndarray]]:
    """The s8 weights [inputs, outputs] of every product of integers."""
    constants = {constant.name: constant for constant in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("MatMulIntegerToFloat", "QAttention"):
            name = node.input[1]
            yield name, numpy_helper.to_array(constants[name])


class Weights(unittest.TestCase):
    def test_no_pair_of_products_saturates_at_16_bits(self) -> None:
        weights = list(integer_weights(onnx.load(MODEL)))
        self.assertGreater(len(weights), 20)
        for name, weight in weights:
            self.assertEqual(weight.dtype, np.int8, name)
            pairs = weight.astype(np.int64).reshape(-1, 2, weight.shape[1])
            highest = pairs.clip(min=0).sum(axis=1).max()
            lowest = pairs.clip(max=0).sum(axis=1).min()
            self.assertLessEqual(max(highest, -lowest), PAIR_LIMIT, name)


if __name__ == "__main__":
    unittest.main()
