"""Crowd votes beside the targets: what is refused, and what every change of a set makes of them."""

from dataclasses import replace

import numpy as np
import pytest

from mien.data.faceset import FaceSet
from mien.errors import MienError
from mien.labels import LabelSet

ABC = LabelSet(["a", "b", "c"])
VOTES = [[0.6, 0.4, 0], [0, 0, 0], [0.2, 0.3, 0.5], [0, 1, 0], [0, 0, 0], [0, 0.75, 0.25]]
ADVICE = "No face has crowd votes; read the data with --data.votes FILE --data.votes_as beside."


@pytest.fixture
def faces():
    """Six faces with the labels a b c c b a, three of train and three of test; the second and the fifth have no votes."""
    images = np.arange(6 * 9, dtype=np.uint8).reshape(6, 3, 3)
    hard = FaceSet.from_arrays(images, [0, 1, 2, 2, 1, 0], ABC, ["train"] * 3 + ["test"] * 3)
    return replace(hard, votes=np.array(VOTES, dtype=np.float32))


def ids(faces):
    return [faces.id(row) for row in range(len(faces))]


def sentence(call, *arguments, **options):
    with pytest.raises(MienError) as caught:
        call(*arguments, **options)
    return str(caught.value)


def test_hard_labels_come_without_votes(faces):
    assert FaceSet.from_arrays(faces.images, [0] * 6, ABC).votes is None


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        (np.array(VOTES), "Votes must be float32 (6, 3) for these images and labels, not float64 (6, 3)."),
        (np.zeros((5, 3), np.float32), "Votes must be float32 (6, 3) for these images and labels, not float32 (5, 3)."),
        (np.zeros((6, 4), np.float32), "Votes must be float32 (6, 3) for these images and labels, not float32 (6, 4)."),
        (np.zeros(6, np.float32), "Votes must be float32 (6, 3) for these images and labels, not float32 (6,)."),
    ],
)
def test_votes_that_do_not_fit_the_faces_are_refused(faces, votes, expected):
    assert sentence(replace, faces, votes=votes) == expected


@pytest.mark.parametrize("row", [[0.5, 0.25, 0], [2, 0, 0], [1, -1, 0], [1.5, -0.5, 0], [np.nan, 0, 0], [np.inf, 0, 0]])
def test_votes_that_are_neither_shares_nor_zeros_are_refused(faces, row):
    votes = faces.votes.copy()
    votes[4] = row
    assert sentence(replace, faces, votes=votes).startswith(
        "Every row of the votes must be shares that sum to 1, or zeros where nothing is known; row 4 is ["
    )


def test_targets_of_zeros_stay_refused_beside_votes(faces):
    assert sentence(replace, faces, targets=faces.votes).startswith(
        "Every row of the targets must be shares that sum to 1; row 1"
    )


@pytest.mark.parametrize("rows", [[1, 2, 3], [5, 0, 0], [False, True, True, False, False, True]])
def test_rows_are_taken_with_their_votes(faces, rows):
    assert np.array_equal(faces.take(np.array(rows)).votes, np.array(VOTES, dtype=np.float32)[np.array(rows)])


def test_splits_and_carved_rows_have_their_votes(faces):
    assert np.array_equal(faces.split("test").votes, faces.votes[3:])
    doubled = faces.take(np.array([0, 1, 2] * 2))
    assert doubled.carve(1).votes is doubled.votes
    validation = doubled.carve(1).split("validation")
    assert np.array_equal(validation.votes, faces.votes[[int(name) for name in ids(validation)]])


def test_keep_takes_the_columns_of_the_votes_in_the_order_given_and_drops_rows_by_their_targets(faces):
    kept = faces.keep(["b", "a"])
    assert ids(kept) == ["0", "1", "4", "5"]
    np.testing.assert_allclose(kept.votes, [[0.4, 0.6], [0, 0], [0, 0], [1, 0]], rtol=1e-6)
    assert kept.votes.dtype == np.float32


def test_a_row_that_keep_leaves_without_votes_stays(faces):
    kept = faces.keep(["c", "a"])
    assert ids(kept) == ["0", "2", "3", "5"]
    np.testing.assert_allclose(kept.votes, [[0, 1], [5 / 7, 2 / 7], [0, 0], [1, 0]], rtol=1e-6)


def test_merge_adds_votes_and_leaves_rows_without_votes_without(faces):
    merged = faces.merge({"x": ["a", "c"]})
    np.testing.assert_allclose(merged.votes, [[0.6, 0.4], [0, 0], [0.7, 0.3], [0, 1], [0, 0], [0.25, 0.75]], rtol=1e-6)
    assert np.array_equal(merged.targets, np.eye(2)[[0, 1, 0, 0, 1, 0]])


def test_keep_and_merge_leave_the_votes_they_start_from_alone(faces):
    before = faces.votes.copy()
    faces.keep(["c"]), faces.merge({"x": ["a", "b"]})
    assert np.array_equal(faces.votes, before)


def test_judged_by_votes_are_the_rows_with_votes_and_the_votes_as_targets(faces):
    judged = faces.judged_by_votes()
    assert ids(judged) == ["0", "2", "3", "5"]
    assert np.array_equal(judged.targets, faces.votes[[0, 2, 3, 5]])
    assert np.array_equal(judged.images, faces.images[[0, 2, 3, 5]])
    assert judged.classes.tolist() == [0, 2, 1, 1]
    assert judged.votes is None


def test_faces_without_votes_cannot_be_judged_by_them(faces):
    assert sentence(replace(faces, votes=None).judged_by_votes) == ADVICE
    assert sentence(faces.take(np.array([1, 4])).judged_by_votes) == ADVICE
    assert sentence(faces.judged_by_votes().judged_by_votes) == ADVICE


def test_a_fingerprint_sees_votes_and_every_change_of_them(faces):
    flipped = replace(faces, votes=faces.votes[::-1])
    prints = {found.fingerprint() for found in (faces, flipped, replace(faces, votes=None))}
    assert len(prints) == 3
    assert replace(faces, votes=np.asfortranarray(faces.votes)).fingerprint() == faces.fingerprint()


def test_a_fingerprint_without_votes_is_what_it_was_before_there_were_any():
    faces = FaceSet.from_arrays(np.arange(8, dtype=np.uint8).reshape(2, 2, 2), [0, 1], LabelSet(["a", "b"]))
    assert faces.fingerprint() == "a364f9dddd417d28e6464eb19969ae778149af91319ad5339bd6c0ad86352854"
