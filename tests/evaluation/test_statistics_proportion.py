import math

import pytest
from scipy.stats import binomtest

from mien.evaluation.metrics import proportion


@pytest.mark.parametrize(("count", "of"), [(0, 3), (1, 3), (3, 3), (2370, 3589), (17, 56), (1, 1), (0, 1)])
def test_the_interval_is_the_one_scipy_finds(count, of):
    ours, theirs = proportion(count, of), binomtest(count, of).proportion_ci(0.95, method="wilson")
    assert ours.low == pytest.approx(theirs.low, abs=1e-12)
    assert ours.high == pytest.approx(theirs.high, abs=1e-12)


def test_at_both_ends_the_share_is_1_96_standard_errors_away():
    found = proportion(40, 50)
    for end in (found.low, found.high):
        assert abs(0.8 - end) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / 50), rel=1e-6)


def test_all_right_of_three_is_certain_of_nothing():
    found = proportion(3, 3)
    assert (found.value, found.high, found.count, found.of) == (1, 1, 3, 3)
    assert found.low == pytest.approx(3 / (3 + 1.959964**2), rel=1e-6)  # n / (n + z^2), by hand
