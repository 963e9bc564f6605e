import pytest

from mien.evaluation.metrics import difference, proportion


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [  # Newcombe (1998), table II, method 10
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((10, 10), (0, 10), 0.6075, 1.0000),
        ((5, 56), (0, 29), -0.0381, 0.1926),
    ],
)
def test_the_intervals_are_those_of_the_paper(first, second, low, high):
    found = difference(proportion(*first), proportion(*second))
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
    assert found.value == first[0] / first[1] - second[0] / second[1]


def test_turning_the_groups_turns_the_interval():
    one, other = proportion(20, 25), proportion(31, 50)
    there, back = difference(one, other), difference(other, one)
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low))
