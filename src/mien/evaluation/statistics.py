"""Proportions, differences and paired tests, each with a 95% interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from mien.errors import MienError

SIGNIFICANT = 0.05  # a difference with a p-value below this counts as significant


@dataclass(frozen=True)
class Proportion:
    """A share of rows with its 95% interval."""

    value: float  # count / of, 0 to 1
    low: float  # of the Wilson interval
    high: float
    count: int  # rows for which it holds
    of: int  # rows in all

    def __str__(self) -> str:
        return f"{self.value:.1%}"

    @property
    def interval(self) -> str:
        """The interval in percent, such as "63.7% to 66.2%"."""
        return f"{self.low:.1%} to {self.high:.1%}"


def proportion(count: int, of: int) -> Proportion:
    """Compute a share with its 95% score interval (Wilson, JASA 22, 1927), valid for few rows and for shares near 0 and 1."""
    low, high = binomtest(count, of).proportion_ci(method="wilson")
    return Proportion(count / of, float(low), float(high), count, of)


def share_true(holds: np.ndarray) -> Proportion | None:
    """Compute the share of rows, booleans (N,), for which it holds; None without rows."""
    return proportion(int(holds.sum()), len(holds)) if len(holds) else None


@dataclass(frozen=True)
class Difference:
    """A difference of two shares, the first minus the second, with its 95% interval; -1 to 1."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> "Difference":
        """Scale it by a factor of at least 0."""
        return Difference(self.value * factor, self.low * factor, self.high * factor)


def difference(first: Proportion, second: Proportion, correlation: float = 0.0) -> Difference:
    """Compute the difference of two shares with its 95% interval (Newcombe, Statistics in Medicine 17, 1998, method 10)."""

    def margin(one: float, other: float) -> float:
        return math.sqrt(max(one**2 - 2 * correlation * one * other + other**2, 0))

    value = first.value - second.value
    below = margin(first.value - first.low, second.high - second.value)
    above = margin(first.high - first.value, second.value - second.low)
    return Difference(value, value - below, value + above)


@dataclass(frozen=True)
class PairedTest:
    """Two models compared on the same rows."""

    rows: int
    only_first: int  # rows that only the first model gets right
    only_second: int
    difference: float  # accuracy of the second minus that of the first, -1 to 1
    low: float  # of its 95% interval (Newcombe)
    high: float
    p_value: float  # of McNemar's exact test, two-sided: the binomial test on the rows that only one gets right


def mcnemar(first_right: np.ndarray, second_right: np.ndarray) -> PairedTest:
    """Test whether two models are equally accurate, by their right answers, booleans (N,) (McNemar, Psychometrika 12, 1947)."""
    rows = len(first_right)
    if first_right.shape != second_right.shape or not rows:
        raise MienError(f"A paired test needs the same rows of both models, not {rows} and {len(second_right)} rows.")
    both, neither = int((first_right & second_right).sum()), int((~first_right & ~second_right).sum())
    only_first, only_second = int((first_right & ~second_right).sum()), int((second_right & ~first_right).sum())
    first, second = proportion(both + only_first, rows), proportion(both + only_second, rows)
    surplus = both * neither - only_first * only_second
    corrected = max(surplus - rows / 2, 0) if surplus > 0 else surplus  # method 10's continuity correction
    margins = first.count * (rows - first.count) * second.count * (rows - second.count)
    change = difference(second, first, corrected / math.sqrt(margins) if margins else 0.0)
    p_value = float(binomtest(only_second, only_first + only_second).pvalue) if only_first + only_second else 1.0
    return PairedTest(rows, only_first, only_second, (only_second - only_first) / rows, change.low, change.high, p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p-values of several tests (Holm, Scandinavian Journal of Statistics 6, 1979)."""
    order = np.argsort(p_values, kind="stable")
    steps = np.array(p_values)[order] * np.arange(len(order), 0, -1)
    adjusted = np.minimum(1, np.maximum.accumulate(steps))
    return list(adjusted[np.argsort(order)].tolist())
