import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import log_loss

from mien.evaluation.metrics import (
    expected_calibration_error,
    measure_before_temperature,
    reliability,
    without_temperature,
)

LOGITS = np.random.default_rng(4).normal(0, 2, (300, 5))
TRUTH = np.array([np.random.default_rng(row).choice(5, p=softmax(each)) for row, each in enumerate(LOGITS)])


@pytest.mark.parametrize("temperature", [0.5, 0.88, 1.0, 2.5])
def test_undone_probabilities_are_the_softmax_of_the_logits(temperature):
    answered = softmax(LOGITS / temperature, axis=1).astype(np.float32)
    assert without_temperature(answered, temperature) == pytest.approx(softmax(LOGITS, axis=1), abs=2e-6)


def test_a_probability_of_nought_stays_so_and_rows_sum_to_one():
    undone = without_temperature(np.array([[1, 0, 0], [1e-30, 1e-30, 1]], dtype=np.float32), 2.0)
    assert undone[0].tolist() == [1, 0, 0]
    assert undone.sum(axis=1) == pytest.approx(1)


def test_the_figures_before_are_those_of_the_logits():
    found = measure_before_temperature(softmax(LOGITS / 3, axis=1).astype(np.float32)[None], TRUTH, 3.0)
    before = softmax(LOGITS, axis=1)
    assert found["temperature"] == 3.0
    assert found["log_loss"] == pytest.approx(log_loss(TRUTH, before), rel=1e-5)
    bins = reliability(before.max(axis=1), before.argmax(axis=1) == TRUTH)
    assert found["expected_calibration_error"] == pytest.approx(expected_calibration_error(bins), abs=1e-5)
    assert [each.count for each in found["reliability"]] == [each.count for each in bins]


def test_of_several_views_each_is_undone_before_their_mean():
    views = softmax(np.stack([LOGITS, LOGITS[:, ::-1]]) / 2, axis=2).astype(np.float32)
    mean = (softmax(LOGITS, axis=1) + softmax(LOGITS[:, ::-1], axis=1)) / 2
    assert measure_before_temperature(views, TRUTH, 2.0)["log_loss"] == pytest.approx(log_loss(TRUTH, mean), rel=1e-5)


@pytest.mark.parametrize("temperature", [0.6, 2.5])
def test_under_another_prior_the_temperature_alone_is_undone(temperature):
    factors = np.array([0.2, 1, 3, 5, 0.0])
    answered = softmax(LOGITS / temperature, axis=1) * factors
    before = softmax(LOGITS, axis=1) * factors
    answered, before = (each / each.sum(axis=1, keepdims=True) for each in (answered, before))
    truth = np.minimum(TRUTH, 3)
    found = measure_before_temperature(answered.astype(np.float32)[None], truth, temperature, factors)
    assert found["log_loss"] == pytest.approx(log_loss(truth, before, labels=range(5)), rel=1e-5)
