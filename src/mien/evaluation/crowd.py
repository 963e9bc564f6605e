"""How much the crowd itself agrees on the faces that a model gets right, and on those it gets wrong."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.stats import t as student

from mien.evaluation.statistics import Proportion, proportion

BANDS = (0.0, 0.5, 0.7, 0.9, 1.0)
"""Edges of the bands of agreement: at most half of the votes for one label, up to 7, up to 9, and more than 9 of ten."""


@dataclass(frozen=True)
class Mean:
    """A mean, or a difference of two, with its 95% interval.

    Attributes:
        value: itself.
        low: lower end by Student's t (of a difference: Welch's); None with fewer than two rows.
        high: upper end; None with fewer than two rows.
        rows: over how many; of a difference those of both.
    """

    value: float
    low: float | None
    high: float | None
    rows: int


@dataclass(frozen=True)
class AgreementBand:
    """Rows on which the crowd agrees by more than `low` and at most `high`.

    Attributes:
        low: lower edge of the share of votes that the crowd's favourite has.
        high: upper edge.
        accuracy: of the model on them; None where there are none.
    """

    low: float
    high: float
    accuracy: Proportion | None


@dataclass(frozen=True)
class CrowdAgreement:
    """What the crowd makes of the faces. Its agreement on a face is the share of votes that its favourite label has.

    Attributes:
        rows: rows with votes.
        right: mean agreement on the rows the model gets right; None where there are none.
        wrong: mean agreement on those it gets wrong; None where there are none.
        difference: `right` minus `wrong`; None where either is.
        bands: the model's accuracy by agreement.
        mistakes_shared: of the wrong rows those where the crowd's favourite is the model's answer; None where the votes are
            what answers are judged by, or nothing is wrong.
        mistakes_opposed: of the wrong rows those where the crowd's favourite is the label; None likewise.
    """

    rows: int
    right: Mean | None
    wrong: Mean | None
    difference: Mean | None
    bands: tuple[AgreementBand, ...]
    mistakes_shared: Proportion | None
    mistakes_opposed: Proportion | None


def measure_crowd(votes: np.ndarray, truth: np.ndarray, predicted: np.ndarray, judged_by_votes: bool) -> CrowdAgreement | None:
    """Set the crowd's agreement against the model's mistakes.

    Args:
        votes: (N, K), each row a distribution, or zeros where the crowd is not clear.
        truth: (N,), column of the label.
        predicted: (N,), column of the answer; -1 where the votes have no such column.
        judged_by_votes: whether `truth` comes from these votes.

    Returns:
        None where no row has votes.
    """
    voted = votes.any(axis=1)
    if not voted.any():
        return None
    favourite, truth, predicted = votes[voted].argmax(axis=1), truth[voted], predicted[voted]
    agreement = votes[voted].max(axis=1).astype(np.float64).round(6)  # 7 of 10 in float32 must not lie above 0.7
    hit = truth == predicted
    right, wrong = agreement[hit], agreement[~hit]
    band = np.digitize(agreement, BANDS[1:-1], right=True)
    bands = []
    for number, (low, high) in enumerate(pairwise(BANDS)):
        inside = hit[band == number]
        bands.append(AgreementBand(low, high, proportion(int(inside.sum()), len(inside)) if len(inside) else None))
    tell = len(wrong) > 0 and not judged_by_votes
    return CrowdAgreement(
        rows=len(hit),
        right=_mean(right) if len(right) else None,
        wrong=_mean(wrong) if len(wrong) else None,
        difference=_difference(right, wrong) if len(right) and len(wrong) else None,
        bands=tuple(bands),
        mistakes_shared=proportion(int((favourite == predicted)[~hit].sum()), len(wrong)) if tell else None,
        mistakes_opposed=proportion(int((favourite == truth)[~hit].sum()), len(wrong)) if tell else None,
    )


def _mean(values: np.ndarray) -> Mean:
    value, count = float(values.mean()), len(values)
    if count < 2:
        return Mean(value, None, None, count)
    half = float(student.ppf(0.975, count - 1) * values.std(ddof=1) / np.sqrt(count))
    return Mean(value, value - half, value + half, count)


def _difference(first: np.ndarray, second: np.ndarray) -> Mean:
    value, counts = float(first.mean() - second.mean()), np.array([len(first), len(second)])
    if counts.min() < 2:
        return Mean(value, None, None, int(counts.sum()))
    errors = np.array([first.var(ddof=1), second.var(ddof=1)]) / counts
    if not errors.any():
        return Mean(value, value, value, int(counts.sum()))
    freedom = errors.sum() ** 2 / (errors**2 / (counts - 1)).sum()  # Welch and Satterthwaite
    half = float(student.ppf(0.975, freedom) * np.sqrt(errors.sum()))
    return Mean(value, value - half, value + half, int(counts.sum()))
