import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from mien.training.batches import class_weights, minority_copies, sampling_probabilities

CLASSES = np.array([0] * 50 + [1] * 7 + [2] * 20)


def test_class_weights_are_those_that_scikit_learn_calls_balanced():
    expected = compute_class_weight("balanced", classes=np.arange(3), y=CLASSES)
    np.testing.assert_allclose(class_weights(np.bincount(CLASSES)), expected, rtol=1e-6)


def test_a_label_without_rows_weighs_nothing_and_changes_no_other():
    assert class_weights(np.array([50, 0, 7, 20])).tolist() == pytest.approx(
        np.insert(class_weights(np.array([50, 7, 20])), 1, 0).tolist()
    )


def test_a_weighted_sampler_draws_every_label_equally_often():
    probabilities = sampling_probabilities(CLASSES)
    assert probabilities.sum() == pytest.approx(1)
    assert [probabilities[label == CLASSES].sum() for label in range(3)] == pytest.approx([1 / 3] * 3)


def test_minorities_are_repeated_up_to_the_majority():
    added = minority_copies(CLASSES, seed=0)
    assert np.bincount(CLASSES[np.concatenate([np.arange(77), added])]).tolist() == [50, 50, 50]
    assert not (CLASSES[added] == 0).any()


def test_every_row_of_a_minority_is_repeated_about_equally_often():
    times = np.bincount(minority_copies(CLASSES, seed=0), minlength=77)[50:57]
    assert set(times) == {6, 7}


def test_the_same_seed_repeats_the_same_rows():
    assert np.array_equal(minority_copies(CLASSES, 3), minority_copies(CLASSES, 3))
    assert not np.array_equal(minority_copies(CLASSES, 3), minority_copies(CLASSES, 4))


def test_a_label_without_rows_stays_without():
    assert not (CLASSES[minority_copies(CLASSES, 0)] > 2).any()
    assert minority_copies(np.array([0, 0, 3]), 0).tolist() == [2]
