import numpy as np
import pytest
from scipy.stats import ttest_ind

from mien.evaluation.record import measure_crowd

VOTES = np.array(
    [(1, 0, 0), (0.8, 0.2, 0), (0.7, 0, 0.3), (0.1, 0.9, 0), (0.4, 0.6, 0), (0.2, 0.3, 0.5), (0, 0, 0)], dtype=np.float32
)
TRUTH = np.array([0, 0, 0, 1, 0, 0, 2])
PREDICTED = np.array([0, 0, 1, 1, 1, 1, 0])  # right, right, wrong, right, wrong, wrong, and a row without votes


def test_agreement_is_the_share_of_the_crowds_favourite():
    found = measure_crowd(VOTES, TRUTH, PREDICTED, judged_by_votes=False)
    assert (found["rows"], found["right"]["rows"], found["wrong"]["rows"]) == (6, 3, 3)
    assert found["right"]["value"] == pytest.approx((1 + 0.8 + 0.9) / 3, abs=1e-6)
    assert found["wrong"]["value"] == pytest.approx((0.7 + 0.6 + 0.5) / 3, abs=1e-6)


def test_mistakes_are_the_crowds_too_or_not():
    found = measure_crowd(VOTES, TRUTH, PREDICTED, judged_by_votes=False)
    # wrong rows: crowd says 0 (the label), 1 (the answer), 2 (neither)
    assert (found["mistakes_shared"].count, found["mistakes_opposed"].count, found["mistakes_shared"].of) == (1, 1, 3)
    by_votes = measure_crowd(VOTES, TRUTH, PREDICTED, judged_by_votes=True)
    assert (by_votes["mistakes_shared"], by_votes["mistakes_opposed"]) == (None, None)


def test_an_answer_that_the_crowd_could_not_give_is_not_the_crowds():
    found = measure_crowd(VOTES, TRUTH, np.where(PREDICTED == 1, -1, PREDICTED), judged_by_votes=False)
    assert found["mistakes_shared"].count == 0


def test_accuracy_is_given_for_bands_of_agreement():
    bands = measure_crowd(VOTES, TRUTH, PREDICTED, judged_by_votes=False)["bands"]
    assert [(band["low"], band["high"]) for band in bands] == [(0, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 1)]
    # 0.5 wrong; 0.6 and 0.7 wrong; 0.8 and 0.9 right; 1.0 right
    assert [(band["accuracy"].count, band["accuracy"].of) for band in bands] == [(0, 1), (0, 2), (2, 2), (1, 1)]


def test_the_intervals_are_those_of_scipy():
    random = np.random.default_rng(0)
    votes = random.dirichlet([0.5] * 4, 200)
    truth, predicted = random.integers(0, 3, 200), random.integers(0, 3, 200)
    found, agreement, hit = measure_crowd(votes, truth, predicted, False), votes.max(axis=1), truth == predicted
    expected = ttest_ind(agreement[hit], agreement[~hit], equal_var=False).confidence_interval(0.95)
    assert (found["difference"]["low"], found["difference"]["high"]) == pytest.approx(tuple(expected), abs=1e-5)
    assert found["difference"]["value"] == pytest.approx(found["right"]["value"] - found["wrong"]["value"])
    half = 1.96 * agreement[hit].std() / np.sqrt(hit.sum())
    assert found["right"]["high"] - found["right"]["value"] == pytest.approx(half, rel=0.05)


def test_without_votes_there_is_no_agreement():
    assert measure_crowd(np.zeros((3, 2)), np.zeros(3, dtype=int), np.zeros(3, dtype=int), False) is None


def test_few_rows_have_a_mean_without_an_interval():
    found = measure_crowd(VOTES[[0, 2]], TRUTH[[0, 2]], PREDICTED[[0, 2]], judged_by_votes=False)
    assert (found["right"]["low"], found["wrong"]["high"], found["difference"]["low"]) == (None, None, None)
    assert found["difference"]["value"] == pytest.approx(0.3)
    faultless = measure_crowd(VOTES[:2], TRUTH[:2], PREDICTED[:2], judged_by_votes=False)
    assert (faultless["wrong"], faultless["difference"], faultless["mistakes_shared"]) == (None, None, None)
    assert faultless["right"]["rows"] == 2


def test_a_crowd_that_always_agrees_has_an_interval_of_no_width():
    found = measure_crowd(np.eye(3)[[0, 0, 1, 1]], np.array([0, 0, 0, 0]), np.array([0, 0, 1, 1]), judged_by_votes=False)
    assert (found["difference"]["value"], found["difference"]["low"], found["difference"]["high"]) == (0, 0, 0)
