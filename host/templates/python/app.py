"""Scores texts with two lists of words. The contract is wit/predict.wit."""

import re

from wit_world import exports
from wit_world.exports.descriptor import Description
from wit_world.exports.predictor import Score


def words(text: str) -> list[str]:
    return re.findall("[a-z]+", text.lower())


POSITIVE = set(
    words(
        "amazing beautiful best brilliant charming delight delightful enjoyed excellent "
        "fantastic fun funny good great happy love loved lovely nice perfect superb warm "
        "wonderful"
    )
)
NEGATIVE = set(
    words(
        "annoying awful bad boring broke broken disappointing dull hate hated horrible lazy "
        "mess poor refund sad slow terrible ugly waste wastes worst"
    )
)


class Predictor(exports.Predictor):
    def predict(self, texts: list[str]) -> list[list[Score]]:
        return [score(text) for text in texts]


class Descriptor(exports.Descriptor):
    def describe(self) -> Description:
        # Without a model there are no logits, and no text is too long.
        return Description(
            labels=["NEGATIVE", "POSITIVE"],
            activation=None,
            limit=None,
            batches=True,
        )


def score(text: str) -> list[Score]:
    """Every label of a text, highest score first."""
    # One of each is added, so that a text without known words is a tie.
    good = 1 + sum(word in POSITIVE for word in words(text))
    bad = 1 + sum(word in NEGATIVE for word in words(text))
    scores = [
        Score("POSITIVE", good / (good + bad)),
        Score("NEGATIVE", bad / (good + bad)),
    ]
    return sorted(scores, key=lambda score: -score.score)
