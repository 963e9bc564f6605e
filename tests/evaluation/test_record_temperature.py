import numpy as np
import pytest
from scipy.special import softmax

from mien.evaluation.metrics import without_temperature

LOGITS = np.random.default_rng(4).normal(0, 2, (300, 5))


@pytest.mark.parametrize("temperature", [0.5, 0.88, 1.0, 2.5])
def test_undone_probabilities_are_the_softmax_of_the_logits(temperature):
    answered = softmax(LOGITS / temperature, axis=1).astype(np.float32)
    assert without_temperature(answered, temperature) == pytest.approx(softmax(LOGITS, axis=1), abs=2e-6)


def test_a_probability_of_nought_stays_so_and_rows_sum_to_one():
    undone = without_temperature(np.array([[1, 0, 0], [1e-30, 1e-30, 1]], dtype=np.float32), 2.0)
    assert undone[0].tolist() == [1, 0, 0]
    assert undone.sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize("temperature", [0.6, 2.5])
def test_under_another_prior_the_temperature_alone_is_undone(temperature):
    factors = np.array([0.2, 1, 3, 5, 0.0])
    answered = softmax(LOGITS / temperature, axis=1) * factors
    before = softmax(LOGITS, axis=1) * factors
    answered, before = (each / each.sum(axis=1, keepdims=True) for each in (answered, before))
    assert without_temperature(answered.astype(np.float32), temperature, factors) == pytest.approx(before, abs=2e-6)
