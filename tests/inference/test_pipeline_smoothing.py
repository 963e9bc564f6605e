import math

import numpy as np
import pytest

from mien.inference.pipeline import smooth


def test_after_its_time_constant_an_average_has_come_as_far_as_one_less_one_over_e():
    assert smooth(np.zeros(2), np.ones(2), 0.3, 0.3).tolist() == pytest.approx([0.6321206] * 2)
    assert smooth(np.array([0.2]), np.array([0.8]), 0.2, 0.4)[0] == pytest.approx(0.8 - 0.6 * math.exp(-0.5))


def test_irregular_steps_towards_the_same_value_come_as_far_as_one():
    average = np.array([0.9, 0.1])
    for elapsed in (0.04, 0.2, 0.0, 0.01):
        average = smooth(average, np.array([0.1, 0.9]), elapsed, 0.3)
    np.testing.assert_allclose(average, smooth(np.array([0.9, 0.1]), np.array([0.1, 0.9]), 0.25, 0.3))
    assert average.sum() == pytest.approx(1)


def test_no_time_constant_gives_the_value_itself_and_a_clock_that_jumps_back_the_average():
    assert smooth(np.array([0.9]), np.array([0.2]), 0.0, 0.0)[0] == 0.2
    assert smooth(np.array([0.9]), np.array([0.2]), -5.0, 0.3)[0] == 0.9
    assert smooth(np.array([0.9]), np.array([0.2]), 1e6, 0.3)[0] == pytest.approx(0.2)
