from dataclasses import replace

import numpy as np
import pytest

from mien.data.faceset import FaceSet, limited, move_split
from mien.errors import MienError
from mien.labels import LabelSet


def test_all_rows_of_a_split_move_and_the_others_stay():
    names = ["validation", "train", "validation", "test", "none"]
    faces = FaceSet.from_arrays(np.zeros((5, 4, 4), np.uint8), [0] * 5, LabelSet(["a", "b"]), names)
    moved = move_split(faces, "validation", "test")
    assert moved.split_names == ("none", "train", "test")
    assert [moved.id(row) for row in range(5)] == list("01234")
    assert [int(code) for code in moved.splits] == [3, 1, 3, 3, 0]
    assert np.array_equal(move_split(moved, "validation", "train").splits, moved.splits)


@pytest.fixture
def uneven():
    """A thousand rows: 600, 290 and 10 of each label for training, and 60, 39 and 1 for test."""
    classes = np.repeat([0, 1, 2, 0, 1, 2], [600, 290, 10, 60, 39, 1])
    splits = ["train"] * 900 + ["test"] * 100
    return FaceSet.from_arrays(np.zeros((1000, 4, 4), np.uint8), classes, LabelSet(["a", "b", "c"]), splits)


def counts(faces):
    return [faces.split(name).counts().tolist() for name in faces.split_names]


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        (0.1, [[60, 29, 1], [6, 4, 1]]),
        (100, [[60, 29, 1], [6, 3, 1]]),
        (500, [[300, 145, 5], [30, 19, 1]]),
        (0.5, [[300, 145, 5], [30, 19, 1]]),
        (6, [[1, 1, 1], [1, 1, 1]]),
        (0.0001, [[1, 1, 1], [1, 1, 1]]),
        (999, [[600, 290, 10], [60, 39, 1]]),
    ],
)
def test_a_part_of_the_rows_has_labels_and_splits_in_their_shares(uneven, amount, expected, capsys):
    part = limited(uneven, amount)
    wanted = max(6, round(1000 * amount)) if isinstance(amount, float) else amount
    assert len(part) == wanted
    assert np.abs(np.subtract(counts(part), expected)).max() <= 1
    assert np.all(np.diff(part.ids.astype(int)) > 0), "the rows stay in their order"
    assert part.origin.limit == f"{wanted} of 1,000 faces"
    assert f"using a part of the data: {wanted} of 1,000 faces" in capsys.readouterr().err


def test_the_seed_decides_the_part_and_a_smaller_part_lies_in_a_larger_one(uneven):
    first = limited(uneven, 50).ids.tolist()
    assert limited(uneven, 50).ids.tolist() == first
    assert limited(uneven, 50, seed=1).ids.tolist() != first
    assert set(first) < set(limited(uneven, 200).ids.tolist())


def test_no_limit_and_one_above_the_rows_take_all(uneven, capsys):
    assert limited(uneven, None) is uneven
    assert not capsys.readouterr().err
    for amount in (1000, 10**9):
        assert limited(uneven, amount) is uneven
        assert f"--limit {amount} takes all 1,000 faces" in capsys.readouterr().err


@pytest.mark.parametrize("amount", [0, -3, 0.0, -0.5, 1.0, 1.5, float("nan"), float("inf"), True, "many"])
def test_a_limit_that_is_no_number_of_rows_and_no_share_is_refused(uneven, amount):
    with pytest.raises(MienError, match=r"The limit \(--limit\) must be a number of rows or a share between 0 and 1, not"):
        limited(uneven, amount)


def test_a_limit_below_one_row_of_each_label_in_each_split_is_refused(uneven):
    with pytest.raises(MienError, match="--limit 5 is too low: 6 rows are needed for one of each label in each split"):
        limited(uneven, 5)


def test_undivided_data_are_carved_as_training_rows(uneven):
    undivided = replace(uneven, splits=np.zeros(1000, np.uint8))
    carved = undivided.carve(0.2)
    assert carved.split_names == ("train", "validation")
    assert carved.split("validation").counts().tolist() == [132, 66, 2]
    as_train = replace(uneven, splits=np.ones(1000, np.uint8)).carve(0.2)
    assert np.array_equal(carved.splits, as_train.splits)
    groups = np.array([f"p{row % 20}" for row in range(1000)])
    assert replace(undivided, groups=groups).carve(0.2).split_names == ("train", "validation")


def test_rows_in_no_split_beside_test_rows_are_carved_and_the_test_rows_stay(uneven):
    beside = replace(uneven, splits=np.where(uneven.splits == 1, 0, uneven.splits).astype(np.uint8))
    carved = beside.carve(5)
    assert counts(carved) == [[595, 285, 5], [5, 5, 5], [60, 39, 1]]
    kept = beside.carve(5, source="none")
    assert kept.split_names == ("none", "validation", "test")


def test_rows_of_one_other_split_are_carved_by_its_name(uneven):
    only_test = uneven.split("test").take(np.arange(90))
    with pytest.raises(MienError, match=r"no such split; they have test\. Give `source` one of these\."):
        only_test.carve(0.2)
    assert only_test.carve(0.2, source="test").split_names == ("validation", "test")
