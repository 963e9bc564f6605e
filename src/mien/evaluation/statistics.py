"""A share of rows and how sure it is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from mien.errors import MienError

Z95 = 1.959963984540054
"""Standard normal quantile of 0.975: half of the way across a two-sided 95% interval."""


@dataclass(frozen=True)
class Proportion:
    """A share of rows with its 95% interval.

    Attributes:
        value: count / of, 0 to 1.
        low: lower end of the Wilson interval.
        high: upper end of the Wilson interval.
        count: rows for which it holds.
        of: rows it was asked of.
    """

    value: float
    low: float
    high: float
    count: int
    of: int

    def __str__(self) -> str:
        return f"{self.value:.1%}"


def proportion(count: int, of: int) -> Proportion:
    """Take a share with its 95% Wilson score interval, which holds for few rows and for shares near 0 and 1.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference. JASA 22, 1927.

    Args:
        count: rows for which it holds.
        of: rows it was asked of, at least 1.
    """
    share, weight = count / of, Z95**2 / of
    centre = (share + weight / 2) / (1 + weight)
    half = Z95 * math.sqrt(share * (1 - share) / of + weight / (4 * of)) / (1 + weight)
    low = 0.0 if count == 0 else centre - half
    high = 1.0 if count == of else centre + half
    return Proportion(value=share, low=low, high=high, count=count, of=of)


# How far two shares of different rows lie apart, and how sure that is.


@dataclass(frozen=True)
class Difference:
    """A difference of two shares with its 95% interval, -1 to 1.

    Attributes:
        value: the first less the second.
        low: lower end of the interval.
        high: upper end.
    """

    value: float
    low: float
    high: float

    def times(self, factor: float) -> "Difference":
        """Scale it by a number that is not negative."""
        return Difference(self.value * factor, self.low * factor, self.high * factor)


def difference(first: Proportion, second: Proportion) -> Difference:
    """Take the difference of the shares of two groups that have no row in common, with its 95% interval.

    Source: Newcombe, Interval estimation for the difference between independent proportions: comparison of eleven methods,
    Statistics in Medicine 17, 1998, method 10: the Wilson intervals of both, squared and added.

    Args:
        first: of one group.
        second: of the other.
    """
    value = first.value - second.value
    down = math.hypot(first.value - first.low, second.high - second.value)
    up = math.hypot(first.high - first.value, second.value - second.low)
    return Difference(value, value - down, value + up)


# Two models on the same rows: whether the difference between their accuracies is real.

SIGNIFICANT = 0.05
"""A p-value below this counts as a real difference."""


@dataclass(frozen=True)
class PairedTest:
    """A second model against a first one, on the same rows.

    Attributes:
        rows: how many.
        only_first: rows that only the first gets right.
        only_second: rows that only the second gets right.
        difference: accuracy of the second minus that of the first, -1 to 1.
        low: lower end of its 95% interval (Newcombe).
        high: upper end.
        p_value: of McNemar's exact test, two-sided: how often equally good models differ as much or more.
    """

    rows: int
    only_first: int
    only_second: int
    difference: float
    low: float
    high: float
    p_value: float


def mcnemar(first_right: np.ndarray, second_right: np.ndarray) -> PairedTest:
    """Test whether two models are equally accurate, by the rows on which only one of them is right.

    Were they equally good, each of these would be a fair coin: the binomial test on them is McNemar's exact test.

    Sources: McNemar, Note on the sampling error of the difference between correlated proportions or percentages,
    Psychometrika 12, 1947. Interval: Newcombe, Improved confidence intervals for the difference between binomial
    proportions based on paired data, Statistics in Medicine 17, 1998, method 10.

    Args:
        first_right: (N,), booleans, whether the first model is right.
        second_right: (N,), booleans, of the second, on the same rows.

    Raises:
        MienError: if there are no rows, or not as many of both.
    """
    if first_right.shape != second_right.shape or not len(first_right):
        counts = f"{len(first_right)} of one and {len(second_right)} of the other"
        raise MienError(f"A paired test needs the same rows of both models, not {counts}.")
    both = int((first_right & second_right).sum())
    only_first, only_second = int((first_right & ~second_right).sum()), int((second_right & ~first_right).sum())
    low, high = _newcombe(both, only_first, only_second, len(first_right))
    discordant = only_first + only_second
    return PairedTest(
        rows=len(first_right),
        only_first=only_first,
        only_second=only_second,
        difference=(only_second - only_first) / len(first_right),
        low=low,
        high=high,
        p_value=float(binomtest(only_second, discordant).pvalue) if discordant else 1.0,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for being several: all those below a level are real with that chance of a single error among them.

    Source: Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 1979.
    """
    order = np.argsort(p_values, kind="stable")
    steps = np.array(p_values)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(steps))
    return [float(value) for value in adjusted]


def _newcombe(both: int, only_first: int, only_second: int, rows: int) -> tuple[float, float]:
    """Combine the Wilson intervals of both accuracies, allowing for how much the models agree."""
    neither = rows - both - only_first - only_second
    first, second = proportion(both + only_first, rows), proportion(both + only_second, rows)
    margins = first.count * (rows - first.count) * second.count * (rows - second.count)
    surplus = both * neither - only_first * only_second
    corrected = max(surplus - rows / 2, 0) if surplus > 0 else surplus  # method 10's continuity correction
    correlation = corrected / math.sqrt(margins) if margins else 0.0

    def reach(one: float, other: float) -> float:
        return math.sqrt(max(one**2 - 2 * correlation * one * other + other**2, 0))

    difference = (only_second - only_first) / rows
    low = difference - reach(second.value - second.low, first.high - first.value)
    high = difference + reach(second.high - second.value, first.value - first.low)
    return low, high
