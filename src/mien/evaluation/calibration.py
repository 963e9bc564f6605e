"""Whether confidence means what it says: accuracy by confidence."""

from dataclasses import dataclass

import numpy as np

from mien.evaluation.proportion import Proportion, proportion

BINS = 15
"""Equal-width bins of confidence, as Guo et al. (2017) take them."""


@dataclass(frozen=True)
class ConfidenceBin:
    """Rows whose confidence lies in (low, high].

    Attributes:
        low: lower edge.
        high: upper edge.
        count: rows in the bin.
        confidence: their mean confidence; None in an empty bin.
        accuracy: the share of them that is right; None in an empty bin.
    """

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: Proportion | None


def reliability(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> tuple[ConfidenceBin, ...]:
    """Sort rows by confidence into bins of equal width and compare mean confidence with accuracy.

    Args:
        confidence: (N,), probability of the predicted label, 0 to 1.
        right: (N,), whether the prediction is right.
        bins: how many.
    """
    edges = np.linspace(0, 1, bins + 1)
    inner = edges[1:-1].astype(confidence.dtype)  # so that a confidence of 0.4 lies on the edge 0.4 in float32 too
    chosen = np.digitize(confidence, inner, right=True)
    found = []
    for index in range(bins):
        inside = chosen == index
        count = int(inside.sum())
        found.append(
            ConfidenceBin(
                low=float(edges[index]),
                high=float(edges[index + 1]),
                count=count,
                confidence=float(confidence[inside].mean(dtype=np.float64)) if count else None,
                accuracy=proportion(int(right[inside].sum()), count) if count else None,
            )
        )
    return tuple(found)


def expected_calibration_error(bins: tuple[ConfidenceBin, ...]) -> float:
    """Average the distance between confidence and accuracy over the bins, weighted by their rows.

    Source: Naeini et al., AAAI 2015; as in Guo et al., On calibration of modern neural networks, ICML 2017.
    """
    gaps = [
        each.count * abs(each.confidence - each.accuracy.value)
        for each in bins
        if each.accuracy and each.confidence is not None
    ]
    return sum(gaps) / sum(each.count for each in bins)
