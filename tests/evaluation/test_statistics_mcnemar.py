from math import comb

import numpy as np
import pytest

from mien.errors import MienError
from mien.evaluation.metrics import holm, mcnemar


def rows(both, only_first, only_second, neither):
    first = np.repeat([True, True, False, False], [both, only_first, only_second, neither])
    second = np.repeat([True, False, True, False], [both, only_first, only_second, neither])
    return first, second


@pytest.mark.parametrize(("only_first", "only_second"), [(3, 12), (12, 3), (7, 8), (0, 5), (6, 6)])
def test_the_p_value_is_that_of_a_fair_coin_on_the_discordant_rows(only_first, only_second):
    found = mcnemar(*rows(40, only_first, only_second, 20))
    tosses, fewer = only_first + only_second, min(only_first, only_second)
    by_hand = min(1, 2 * sum(comb(tosses, k) for k in range(fewer + 1)) / 2**tosses)
    assert found.p_value == pytest.approx(by_hand)
    assert (found.rows, found.only_first, found.only_second) == (60 + tosses, only_first, only_second)
    assert found.difference == pytest.approx((only_second - only_first) / found.rows)


def test_models_that_are_right_on_the_same_rows_do_not_differ():
    found = mcnemar(*rows(5, 0, 0, 3))
    assert (found.p_value, found.difference) == (1, 0)
    assert found.low <= 0 <= found.high


def test_the_interval_is_the_one_published():
    found = mcnemar(*rows(36, 2, 12, 0))  # an example of Newcombe (1998)
    assert (found.low, found.high) == pytest.approx((0.0569, 0.3404), abs=5e-5)


def test_the_interval_agrees_with_a_paired_bootstrap():
    first, second = rows(500, 60, 100, 340)
    found = mcnemar(first, second)
    drawn = np.random.default_rng(0).integers(0, 1000, (4000, 1000))
    gaps = second[drawn].mean(axis=1) - first[drawn].mean(axis=1)
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(gaps, [2.5, 97.5])), abs=0.003)


def test_exchanging_the_models_changes_the_sign():
    first, second = rows(30, 4, 9, 7)
    there, back = mcnemar(first, second), mcnemar(second, first)
    assert there.p_value == pytest.approx(back.p_value)
    assert (there.difference, there.low, there.high) == pytest.approx((-back.difference, -back.high, -back.low))


def test_where_both_are_always_right_the_interval_is_wilsons_reach():
    found = mcnemar(np.ones(10, dtype=bool), np.ones(10, dtype=bool))
    assert (found.low, found.high) == pytest.approx((-0.2775, 0.2775), abs=1e-4)  # Wilson of 10 of 10 begins at 0.7225


@pytest.mark.parametrize("other", [5, 0])
def test_other_rows_are_rejected(other):
    with pytest.raises(MienError, match="needs the same rows"):
        mcnemar(np.zeros(other and 4, dtype=bool), np.zeros(other, dtype=bool))


def test_several_p_values_are_adjusted_by_holm():
    # smallest times 3, next times 2, largest times 1, and never falling
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.6, 0.5]) == pytest.approx([1, 1])
    assert holm([0.02]) == [0.02]


def of_people(groups=10, of_each=20, better=7):
    """Rows of people, of whom the second model gets some wholly right, and the first model the others."""
    second = np.repeat(np.arange(groups) < better, of_each)
    return ~second, second, np.repeat([f"p{number}" for number in range(groups)], of_each)


def test_rows_of_people_who_agree_have_a_wider_interval_over_groups():
    first, second, people = of_people()
    found = mcnemar(first, second, people)
    low, high = found.over_groups
    assert found.p_value < 0.001
    assert found.low > 0
    assert low < 0 < found.difference < high  # 7 against 3 people are no evidence
    assert found.groups == 10
    alone = mcnemar(first, second, np.arange(200))
    assert alone.over_groups == pytest.approx((alone.low, alone.high), abs=0.02)


def test_the_interval_over_groups_is_a_bootstrap_of_the_groups_and_contains_the_plain_one():
    random = np.random.default_rng(3)
    people, rate = np.repeat(np.arange(25), 12), np.repeat(random.normal(0.15, 0.25, 25), 12)
    first = random.random(300) < 0.5
    second = random.random(300) < 0.5 + rate
    found = mcnemar(first, second, people)
    means = (second.astype(int) - first).reshape(25, 12).mean(axis=1)
    drawn = means[random.integers(0, 25, (20_000, 25))].mean(axis=1)
    assert found.over_groups == pytest.approx(np.percentile(drawn, (2.5, 97.5)), abs=0.01)
    even = mcnemar(*rows(10, 30, 30, 30), np.tile(np.arange(10), 10))  # each group the same share of each kind
    assert even.over_groups == (even.low, even.high)


def test_one_group_has_no_interval_and_rows_without_groups_none():
    first, second, _ = of_people()
    assert (mcnemar(first, second, ["ann"] * 200).groups, mcnemar(first, second, ["ann"] * 200).over_groups) == (1, None)
    assert (mcnemar(first, second).groups, mcnemar(first, second).over_groups) == (None, None)
