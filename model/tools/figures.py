"""Figures on how well a classifier does: accuracy, F1, calibration."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

BINS = 10


@dataclass(frozen=True)
class Bin:
    """The answers whose confidence is from `low` to `high`."""

    low: float
    high: float
    count: int
    # Means over the answers; 0 if there are none.
    confidence: float
    accuracy: float


def accuracy(actual: Sequence[str], found: Sequence[str]) -> float:
    """The share of equal labels."""
    return sum(a == f for a, f in zip(actual, found, strict=True)) / len(actual)


def confusion(actual: Sequence[str], found: Sequence[str]) -> Counter[tuple[str, str]]:
    """How often each pair of actual and found label occurs."""
    return Counter(zip(actual, found, strict=True))


def macro_f1(actual: Sequence[str], found: Sequence[str]) -> float:
    """The mean of the F1 scores of the labels that occur, each of equal weight."""
    counts = confusion(actual, found)
    scores = []
    for label in sorted({*actual, *found}):
        right = counts[label, label]
        of_label = sum(n for pair, n in counts.items() for one in pair if one == label)
        scores.append(2 * right / of_label)
    return sum(scores) / len(scores)


def reliability(confidences: Sequence[float], right: Sequence[bool]) -> list[Bin]:
    """Ten bins of equal width over the confidence, which is the highest score."""
    members: list[list[tuple[float, bool]]] = [[] for _ in range(BINS)]
    for confidence, is_right in zip(confidences, right, strict=True):
        place = min(int(confidence * BINS), BINS - 1)
        members[place].append((confidence, is_right))
    return [
        Bin(
            low=i / BINS,
            high=(i + 1) / BINS,
            count=len(answers),
            confidence=sum(c for c, _ in answers) / max(1, len(answers)),
            accuracy=sum(r for _, r in answers) / max(1, len(answers)),
        )
        for i, answers in enumerate(members)
    ]


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error (Naeini et al., 2015): 0 if confidence is accuracy."""
    total = sum(one.count for one in bins)
    gaps = (one.count * abs(one.confidence - one.accuracy) for one in bins)
    return sum(gaps) / total
