import numpy as np

from mien.data.faceset import FaceSet, move_split
from mien.labels import LabelSet


def test_all_rows_of_a_split_move_and_the_others_stay():
    names = ["validation", "train", "validation", "test", "none"]
    faces = FaceSet.from_arrays(np.zeros((5, 4, 4), np.uint8), [0] * 5, LabelSet(["a", "b"]), names)
    moved = move_split(faces, "validation", "test")
    assert moved.split_names == ("none", "train", "test")
    assert [moved.id(row) for row in range(5)] == list("01234")
    assert [int(code) for code in moved.splits] == [3, 1, 3, 3, 0]
    assert np.array_equal(move_split(moved, "validation", "train").splits, moved.splits)
