"""How far two shares of different rows lie apart, and how sure that is."""

import math
from dataclasses import dataclass

from mien.evaluation.proportion import Proportion


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
