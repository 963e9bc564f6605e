import numpy as np
import pytest

from mien.evaluation.metrics import likely_mislabelled


def by_counting(probabilities, given):
    """The rows of Northcutt et al. (2021), section 3.1, written as loops."""
    count, labels = probabilities.shape
    thresholds = {}
    for label in range(labels):
        own = [float(probabilities[row, label]) for row in range(count) if given[row] == label]
        if own:
            thresholds[label] = sum(own) / len(own)
    found = []
    for row in range(count):
        reached = [label for label in thresholds if probabilities[row, label] >= thresholds[label]]
        if reached and max(reached, key=lambda label: probabilities[row, label]) != given[row]:
            found.append((float(probabilities[row, given[row]]), row))
    return [row for _, row in sorted(found)]


def test_planted_errors_are_found_first():
    random = np.random.default_rng(0)
    truth = random.integers(0, 4, 400)
    probabilities = random.dirichlet([50] * 4, 400) * 0.2
    probabilities[np.arange(400), truth] += 0.8
    given, planted = truth.copy(), random.choice(400, 20, replace=False)
    given[planted] = (truth[planted] + 1) % 4
    found = likely_mislabelled(probabilities.astype(np.float32), np.eye(4)[given])
    assert set(found[:20].tolist()) == set(planted.tolist())


@pytest.mark.parametrize("seed", range(3))
def test_they_are_those_of_the_definition_in_its_order(seed):
    random = np.random.default_rng(seed)
    probabilities, given = random.dirichlet([0.5] * 5, 150).astype(np.float32), random.integers(0, 4, 150)  # none of the last
    expected = by_counting(probabilities, given)
    assert len(expected) > 10
    assert likely_mislabelled(probabilities, np.eye(5)[given]).tolist() == expected


def test_a_label_without_rows_is_nobodys_true_label():
    probabilities = np.array([(0.1, 0.9), (0.6, 0.4)], dtype=np.float32)
    assert len(likely_mislabelled(probabilities, np.eye(2)[[0, 0]])) == 0
