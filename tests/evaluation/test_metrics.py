import itertools
import math

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from mien.errors import MienError
from mien.evaluation.metrics import measure
from mien.labels import LabelSet

LABELS = LabelSet(("happy", "sad", "neutral", "angry"))


@pytest.fixture(scope="module")
def rows():
    """Probabilities (N, 4) and hard targets (N, 4) of a middling model, with ties among the probabilities."""
    random = np.random.default_rng(3)
    classes = random.choice(4, size=120, p=(0.4, 0.3, 0.25, 0.05))
    probabilities = random.dirichlet((0.7,) * 4, size=120)
    probabilities[np.arange(120), classes] += 0.35
    probabilities = np.round(probabilities / probabilities.sum(axis=1, keepdims=True), 2)
    probabilities[:, 3] = 1 - probabilities[:, :3].sum(axis=1)
    probabilities = np.clip(probabilities, 0, 1).astype(np.float32)
    return probabilities, np.eye(4, dtype=np.float32)[classes]


@pytest.fixture(scope="module")
def found(rows):
    return measure(*rows, LABELS)


def pairs(rows):
    probabilities, targets = rows
    return [(int(np.argmax(t)), int(np.argmax(p))) for p, t in zip(probabilities, targets, strict=True)]


def test_accuracy_counts_the_rows_that_are_right(rows, found):
    right = sum(truth == answer for truth, answer in pairs(rows))
    assert 0 < right < 120
    assert (found.n, found.accuracy.count, found.accuracy.of) == (120, right, 120)
    assert found.accuracy.value == pytest.approx(right / 120)
    assert found.accuracy.low < right / 120 < found.accuracy.high


def test_the_confusion_has_a_row_per_truth_and_a_column_per_answer(rows, found):
    for truth, answer in itertools.product(range(4), range(4)):
        assert found.confusion[truth][answer] == pairs(rows).count((truth, answer))


def test_the_shares_of_the_confusion_are_by_truth_and_null_without_rows(rows, found):
    probabilities, targets = rows
    expected = confusion_matrix(targets.argmax(axis=1), probabilities.argmax(axis=1), normalize="true")
    assert np.array(found.confusion_shares) == pytest.approx(expected)
    some = targets[:, 3] == 0
    assert measure(probabilities[some], targets[some], LABELS).confusion_shares[3] == (None,) * 4


def test_answers_held_back_are_those_of_the_least_confidence(rows, found):
    probabilities, _ = rows
    ranked = sorted(probabilities.max(axis=1).tolist(), reverse=True)
    half = found.selective.points[-1]
    answered = probabilities.max(axis=1) >= ranked[59]
    assert (half.coverage, half.accuracy.of) == (0.5, int(answered.sum()))
    assert half.accuracy.count == sum(t == p for (t, p), given in zip(pairs(rows), answered, strict=True) if given)


def test_precision_recall_and_f1_are_what_counting_gives(rows, found):
    for label, each in enumerate(found.labels):
        hits = pairs(rows).count((label, label))
        support = sum(truth == label for truth, _ in pairs(rows))
        answers = sum(answer == label for _, answer in pairs(rows))
        assert (each.label, each.support, each.predicted) == (LABELS[label], support, answers)
        assert each.precision == pytest.approx(hits / answers)
        assert (each.recall.count, each.recall.of) == (hits, support)
        assert each.recall.value == pytest.approx(hits / support)
        assert each.f1 == pytest.approx(2 * hits / (support + answers))


def test_means_over_labels_are_means_of_the_labels(rows, found):
    assert found.labels_with_rows == 4
    assert found.balanced_accuracy == pytest.approx(sum(each.recall.value for each in found.labels) / 4)
    assert found.macro_f1 == pytest.approx(sum(each.f1 for each in found.labels) / 4)
    assert found.weighted_f1 == pytest.approx(sum(each.f1 * each.support for each in found.labels) / 120)


def test_roc_auc_is_how_often_a_row_of_the_label_outranks_another(rows, found):
    probabilities, targets = rows
    for label, each in enumerate(found.labels):
        own, others = probabilities[targets[:, label] == 1, label], probabilities[targets[:, label] == 0, label]
        wins = sum((a > b) + (a == b) / 2 for a in own.tolist() for b in others.tolist())
        assert each.roc_auc == pytest.approx(wins / len(own) / len(others))


def test_average_precision_is_precision_averaged_over_the_gains_in_recall(rows, found):
    probabilities, targets = rows
    for label, each in enumerate(found.labels):
        bears, scores, area, recall = targets[:, label] == 1, probabilities[:, label], 0.0, 0.0
        for threshold in sorted(set(scores.tolist()), reverse=True):
            taken = scores >= threshold
            reached = (taken & bears).sum() / bears.sum()
            area, recall = area + (reached - recall) * (taken & bears).sum() / taken.sum(), reached
        assert each.average_precision == pytest.approx(area)


def test_log_loss_and_brier_are_what_their_formulas_give(rows, found):
    probabilities, targets = rows
    losses, distances = [], []
    for given, target in zip(probabilities.tolist(), targets.tolist(), strict=True):
        losses.append(-math.log(max(given[target.index(1)], 2**-23)))
        distances.append(sum((p - t) ** 2 for p, t in zip(given, target, strict=True)))
    assert found.log_loss == pytest.approx(math.fsum(losses) / 120, rel=1e-6)
    assert found.brier == pytest.approx(math.fsum(distances) / 120, rel=1e-6)


def test_the_calibration_error_is_that_of_the_bins_and_the_bins_hold_every_row(rows, found):
    probabilities, _ = rows
    right = [truth == answer for truth, answer in pairs(rows)]
    gap = 0.0
    for index in range(15):
        inside = [i for i in range(120) if math.ceil(float(probabilities[i].max()) * 15 - 1e-6) == index + 1]
        assert found.reliability[index].count == len(inside)
        gap += abs(sum(right[i] - float(probabilities[i].max()) for i in inside)) / 120
    assert found.expected_calibration_error == pytest.approx(gap, rel=1e-5)


def test_hard_targets_have_no_cross_entropy_of_their_own(found):
    assert found.cross_entropy is None


def test_votes_are_scored_by_their_majority_and_by_cross_entropy():
    probabilities = np.array([[0.7, 0.2, 0.1, 0.0], [0.25, 0.25, 0.25, 0.25]], dtype=np.float32)
    votes = np.array([[0.6, 0.4, 0.0, 0.0], [0.1, 0.2, 0.7, 0.0]], dtype=np.float32)
    found = measure(probabilities, votes, LABELS)
    assert found.accuracy.count == 1
    assert found.log_loss == pytest.approx(-(math.log(0.7) + math.log(0.25)) / 2, rel=1e-6)
    first = -(0.6 * math.log(0.7) + 0.4 * math.log(0.2))
    assert found.cross_entropy == pytest.approx((first + math.log(4)) / 2, rel=1e-6)


def test_a_certain_mistake_costs_a_finite_loss():
    found = measure(np.array([[0, 1, 0, 0], [0, 1, 0, 0]], dtype=np.float32), np.eye(4, dtype=np.float32)[[0, 1]], LABELS)
    assert found.log_loss == pytest.approx(23 * math.log(2) / 2, rel=1e-6)  # float32's epsilon is 2 to the -23


def test_a_label_without_rows_has_no_figures_and_no_part_in_the_means():
    probabilities = np.array([[0.9, 0.1, 0, 0], [0.2, 0.8, 0, 0], [0.1, 0.3, 0.6, 0]], dtype=np.float32)
    found = measure(probabilities, np.eye(4, dtype=np.float32)[[0, 1, 1]], LABELS)
    absent = found.labels[2]
    assert (absent.support, absent.predicted) == (0, 1)
    assert {absent.precision, absent.recall, absent.f1, absent.average_precision, absent.roc_auc} == {None}
    assert found.labels_with_rows == 2
    assert found.balanced_accuracy == pytest.approx((1 + 1 / 2) / 2)
    assert found.macro_f1 == pytest.approx((1 + 2 / 3) / 2)
    assert found.weighted_f1 == pytest.approx((1 + 2 * 2 / 3) / 3)


def test_a_label_never_predicted_has_no_precision_and_an_f1_of_zero():
    probabilities = np.array([[0.9, 0.1, 0, 0], [0.8, 0.2, 0, 0]], dtype=np.float32)
    sad = measure(probabilities, np.eye(4, dtype=np.float32)[[0, 1]], LABELS).labels[1]
    assert (sad.precision, sad.recall.value, sad.f1, sad.average_precision, sad.roc_auc) == (None, 0, 0, 1, 1)


def test_if_every_row_has_the_same_label_there_is_no_roc():
    probabilities = np.array([[0.9, 0.1, 0, 0]] * 3, dtype=np.float32)
    happy = measure(probabilities, np.eye(4, dtype=np.float32)[[0, 0, 0]], LABELS).labels[0]
    assert (happy.support, happy.recall.value, happy.average_precision, happy.roc_auc) == (3, 1, 1, None)


def test_rows_that_are_not_numbers_are_rejected_by_number():
    probabilities = np.full((5, 4), 0.25, dtype=np.float32)
    probabilities[3, 1] = np.nan
    with pytest.raises(MienError, match=r"1 of 5 rows are not numbers .* first in row 3"):
        measure(probabilities, np.eye(4, dtype=np.float32)[[0, 1, 2, 3, 0]], LABELS)


@pytest.mark.parametrize(
    ("probabilities", "targets", "sentence"),
    [
        (np.full((2, 3), 1 / 3), np.eye(4)[:2], r"must be \(N, 4\)"),
        (np.full((2, 4), 0.25), np.eye(4)[:3], "2 rows of probabilities"),
        (np.full((0, 4), 0.25), np.eye(4)[:0], "no rows"),
        (np.full((2, 4), 0.5), np.eye(4)[:2], "probabilities of 2 of 2 rows do not sum to 1"),
        (np.full((2, 4), 0.25), np.zeros((2, 4)), "targets of 2 of 2 rows do not sum to 1"),
        (np.array([[1.5, -0.5, 0, 0]]), np.eye(4)[:1], "do not sum to 1"),
    ],
)
def test_rows_that_are_not_distributions_are_rejected(probabilities, targets, sentence):
    with pytest.raises(MienError, match=sentence):
        measure(probabilities.astype(np.float32), targets.astype(np.float32), LABELS)


def test_one_label_leaves_nothing_to_measure():
    with pytest.raises(MienError, match="at least two"):
        measure(np.ones((2, 1), dtype=np.float32), np.ones((2, 1), dtype=np.float32), LabelSet(["happy"]))
