import itertools

import numpy as np
import pytest

from mien.evaluation.metrics import accuracy_by_coverage, selective_accuracy


@pytest.fixture(scope="module")
def rows():
    """Confidence without ties, and whether the answer is right: right more often where it is sure."""
    random = np.random.default_rng(2)
    confidence = random.permutation(np.linspace(0.2, 0.99, 400)).astype(np.float32)
    return confidence, random.random(400) < confidence


def test_each_coverage_accepts_the_most_confident_rows(rows):
    confidence, right = rows
    ranked = sorted(zip(confidence.tolist(), right.tolist(), strict=True), reverse=True)
    points = selective_accuracy(confidence, right).points
    assert [point.coverage for point in points] == [1.0, 0.9, 0.8, 0.5]
    for point, answered in zip(points, (400, 360, 320, 200), strict=True):
        assert (point.accuracy.of, point.accuracy.count) == (answered, sum(hit for _, hit in ranked[:answered]))
        assert point.threshold == ranked[answered - 1][0]
    assert points[-1].accuracy.value > points[0].accuracy.value


def test_the_area_is_one_minus_that_under_the_risk_coverage_curve(rows):
    confidence, right = rows
    order = sorted(range(400), key=lambda row: -confidence[row])
    risks = [sum(not right[row] for row in order[:answered]) / answered for answered in range(1, 401)]
    found = selective_accuracy(confidence, right)
    assert found.area == pytest.approx(1 - sum(risks) / 400)
    hits = int(right.sum())
    assert found.perfect_area == pytest.approx(selective_accuracy(right.astype(float), right).area)
    assert found.perfect_area == pytest.approx(sum(min(k, hits) / k for k in range(1, 401)) / 400)
    assert right.mean() < found.area < found.perfect_area


def test_among_equals_every_order_counts_alike():
    confidence, right = np.array([0.9, 0.7, 0.7, 0.7, 0.4]), np.array([False, True, False, True, True])
    orders = [(0, *middle, 4) for middle in itertools.permutations((1, 2, 3))]
    curves = [np.cumsum(right[list(order)]) / np.arange(1, 6) for order in orders]
    assert accuracy_by_coverage(confidence, right) == pytest.approx(np.mean(curves, axis=0))


def test_rows_that_tie_at_the_threshold_are_all_answered():
    point = selective_accuracy(np.array([0.9, 0.6, 0.6, 0.6]), np.array([True, True, False, True])).points[-1]
    assert (point.coverage, point.threshold, point.accuracy.of, point.accuracy.count) == (0.5, 0.6, 4, 3)


def test_confidence_without_information_leaves_the_accuracy():
    found = selective_accuracy(np.full(7, 0.5), np.array([True] * 3 + [False] * 4))
    assert found.area == pytest.approx(3 / 7)


@pytest.mark.parametrize("count", [1, 3])
def test_a_few_rows_are_enough(count):
    points = selective_accuracy(np.linspace(0.9, 0.5, count), np.ones(count, dtype=bool)).points
    assert [point.accuracy.of for point in points] == ([1] * 4 if count == 1 else [3, 3, 3, 2])
