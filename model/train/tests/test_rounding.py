"""Rounding of weights: the limit of pairs, and what it costs."""

import unittest

import numpy as np

from train.rounding import NO_PAIR_LIMIT, PAIR_LIMIT, quantize_rows, quantize_weight


class Rounding(unittest.TestCase):
    def setUp(self) -> None:
        rng = np.random.default_rng(0)
        self.weight = rng.normal(size=(64, 128))
        # Inputs that depend on each other, as those of a network do.
        self.inputs = rng.normal(size=(500, 128)) @ rng.normal(size=(128, 128))
        self.moment = self.inputs.T @ self.inputs / len(self.inputs)

    def error(self, rows: np.ndarray, scales: np.ndarray) -> float:
        """Of the product, as a share of it."""
        lost = self.inputs @ (self.weight - rows * scales).T
        return float(np.linalg.norm(lost) / np.linalg.norm(self.inputs @ self.weight.T))

    def test_two_weights_of_one_sign_stay_below_the_limit(self) -> None:
        pairs, free = (
            quantize_weight(self.weight, self.moment, limit)[0]
            .astype(int)
            .reshape(64, -1, 2)
            for limit in (PAIR_LIMIT, NO_PAIR_LIMIT)
        )
        for sign in (1, -1):
            self.assertLessEqual((sign * pairs).clip(min=0).sum(axis=2).max(), 128)
            self.assertGreater((sign * free).clip(min=0).sum(axis=2).max(), 128)

    def test_the_limit_costs_less_than_rounding_one_by_one(self) -> None:
        limited = self.error(*quantize_weight(self.weight, self.moment, PAIR_LIMIT))
        free = self.error(*quantize_weight(self.weight, self.moment, NO_PAIR_LIMIT))
        one_by_one = self.error(*quantize_rows(self.weight))
        self.assertLess(free, limited)
        self.assertLess(limited, one_by_one)


if __name__ == "__main__":
    unittest.main()
