"""A share of rows and how sure it is."""

import math
from dataclasses import dataclass

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
