import numpy as np
import pytest

from mien.evaluation.metrics import expected_calibration_error, reliability


def test_faces_fall_into_the_bin_whose_upper_edge_they_reach():
    bins = reliability(np.array([0.0, 0.5, 0.51, 1.0]), np.array([True, False, True, True]), bins=2)
    assert [each.count for each in bins] == [2, 2]
    assert [(each.low, each.high) for each in bins] == [(0, 0.5), (0.5, 1)]


def test_a_bin_holds_mean_confidence_and_accuracy():
    low, high = reliability(np.array([0.2, 0.4, 0.9]), np.array([True, False, True]), bins=2)
    assert (low.confidence, low.accuracy.value, low.accuracy.of) == (pytest.approx(0.3), 0.5, 2)
    assert (high.confidence, high.accuracy.value) == (0.9, 1)


def test_an_empty_bin_has_no_figures():
    empty, _ = reliability(np.array([0.9]), np.array([True]), bins=2)
    assert (empty.count, empty.confidence, empty.accuracy) == (0, None, None)


def test_the_error_is_the_gap_weighted_by_rows():
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.55])
    right = np.array([True, True, True, False, True])
    # four rows: 0.95 against 0.75; one row: 0.55 against 1
    assert expected_calibration_error(reliability(confidence, right)) == pytest.approx(0.8 * 0.20 + 0.2 * 0.45)


def test_calibrated_confidence_has_almost_no_error():
    random = np.random.default_rng(0)
    confidence = random.uniform(0.2, 1, 200_000)
    right = random.uniform(size=200_000) < confidence
    assert expected_calibration_error(reliability(confidence, right)) < 0.005
    assert expected_calibration_error(reliability(confidence**0.5, right)) > 0.1


def test_fifteen_bins_agree_with_a_loop_over_the_rows():
    random = np.random.default_rng(1)
    confidence, right = random.uniform(size=500), random.integers(0, 2, 500).astype(bool)
    gap = 0.0
    for index in range(15):
        rows = [i for i in range(500) if index / 15 < confidence[i] <= (index + 1) / 15]
        gap += abs(sum(float(right[i]) - confidence[i] for i in rows)) / 500
    assert expected_calibration_error(reliability(confidence, right)) == pytest.approx(gap, abs=1e-12)
