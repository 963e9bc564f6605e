from dataclasses import replace

import numpy as np
import pytest

from mien.data.faceset import SPLITS, FaceSet, Origin
from mien.errors import MienError
from mien.labels import LabelSet

ABC = LabelSet(["a", "b", "c"])


def pixels(count, size=4, channels=1):
    shape = (count, size, size) if channels == 1 else (count, size, size, 3)
    return np.random.default_rng(count).integers(0, 256, shape).astype(np.uint8)


@pytest.fixture
def faces():
    """Six faces: labels a b c c b c, two of each split."""
    return FaceSet.from_arrays(pixels(6), [0, 1, 2, 2, 1, 2], ABC, ["train"] * 2 + ["validation"] * 2 + ["test"] * 2)


@pytest.fixture
def mapped(faces, tmp_path):
    """The same faces, with their images on disk."""
    (tmp_path / "pixels").write_bytes(faces.images.tobytes())
    return replace(faces, images=np.memmap(tmp_path / "pixels", np.uint8, "r", shape=faces.images.shape))


def sentence(call, *arguments, **options):
    with pytest.raises(MienError) as caught:
        call(*arguments, **options)
    return str(caught.value)


def test_hard_labels_become_rows_with_a_single_one(faces):
    assert faces.targets.dtype == np.float32
    assert faces.targets.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1], [0, 1, 0], [0, 0, 1]]
    assert faces.classes.tolist() == [0, 1, 2, 2, 1, 2]
    assert faces.counts().tolist() == [1, 2, 3]


def test_images_are_not_copied():
    images = pixels(3)
    assert FaceSet.from_arrays(images, [0, 1, 2], ABC).images is images


@pytest.mark.parametrize("channels", [1, 3])
def test_size_and_channels_are_those_of_the_images(channels):
    faces = FaceSet.from_arrays(pixels(2, 5, channels), [0, 1], ABC)
    assert (len(faces), faces.size, faces.channels) == (2, 5, channels)


def test_without_splits_and_ids_rows_have_none_and_are_numbered():
    faces = FaceSet.from_arrays(pixels(12), np.zeros(12, np.uint8), ABC)
    assert faces.split_names == ("none",)
    assert [faces.id(row) for row in range(12)] == [str(row) for row in range(12)]
    assert faces.origin == Origin("memory", "", ())


def test_ids_come_back_whatever_is_in_them():
    ids = ["a/b.png", "", "Gesicht-ä", "笑.jpg", "broken\udcff"]
    faces = FaceSet.from_arrays(pixels(5), [0] * 5, ABC, ids=ids)
    assert [faces.id(row) for row in range(5)] == [*ids[:4], r"broken\udcff"]


def test_a_set_of_no_rows_can_be_asked_everything():
    faces = FaceSet.from_arrays(pixels(0), [], ABC)
    assert (len(faces), faces.size, faces.split_names, faces.counts().tolist()) == (0, 4, (), [0, 0, 0])
    assert len(faces.keep(["b"]).merge({"x": ["b"]})) == 0
    assert sentence(faces.split, "train") == "The data have no split 'train'; they have no rows."
    assert sentence(faces.carve, 1) == "Cannot carve out of 'train': the data have no such split; they have no rows."


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"images": pixels(6).astype(float)}, "Images must be uint8 (N, H, W) or (N, H, W, 3), not float64 (6, 4, 4)."),
        ({"images": pixels(6)[0]}, "Images must be uint8 (N, H, W) or (N, H, W, 3), not uint8 (4, 4)."),
        ({"images": pixels(6)[..., None]}, "Colour images must be (N, H, W, 3), not (6, 4, 4, 1)."),
        ({"images": pixels(6)[:, :3]}, "Images must be square, not 3 pixels high and 4 wide."),
        ({"images": pixels(5)}, "Targets must be float32 (5, 3) for these images and labels, not float32 (6, 3)."),
        ({"targets": np.eye(3)[[0] * 6]}, "Targets must be float32 (6, 3) for these images and labels, not float64 (6, 3)."),
        ({"splits": np.ones(5, np.uint8)}, "6 images need 6 splits and ids, not (5,) and (6,)."),
        ({"ids": np.array([b"x"] * 7)}, "6 images need 6 splits and ids, not (6,) and (7,)."),
        ({"splits": np.ones(6)}, "Splits must be uint8 indices into none, train, validation, test."),
        ({"splits": np.full(6, 4, np.uint8)}, "Splits must be uint8 indices into none, train, validation, test."),
        ({"ids": np.array(["x"] * 6)}, "Ids must be UTF-8 bytes, not <U1."),
    ],
)
def test_arrays_that_do_not_fit_each_other_are_refused(faces, changes, expected):
    assert sentence(replace, faces, **changes) == expected


@pytest.mark.parametrize("row", [[0, 0, 0], [0.5, 0.5, 0.5], [1.5, -0.5, 0], [np.nan, 0, 1], [np.inf, 0, 0]])
def test_targets_that_are_no_shares_are_refused(faces, row):
    targets = faces.targets.copy()
    targets[2] = row
    assert sentence(replace, faces, targets=targets).startswith(
        "Every row of the targets must be shares that sum to 1; row 2 is ["
    )


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        ([0, 3], "Classes must lie between 0 and 2, not 0 to 3."),
        ([-1, 2], "Classes must lie between 0 and 2, not -1 to 2."),
        ([0.5, 1], "Classes must be (N,) whole numbers, indices into the labels, not float64 (2,)."),
        (["a", "b"], "Classes must be (N,) whole numbers, indices into the labels, not <U1 (2,)."),
        ([[1, 0, 0]] * 2, "Classes must be (N,) whole numbers, indices into the labels, not int64 (2, 3)."),
        ([0], "Targets must be float32 (2, 3) for these images and labels, not float32 (1, 3)."),
    ],
)
def test_classes_that_are_no_indices_are_refused(classes, expected):
    assert sentence(FaceSet.from_arrays, pixels(2), classes, ABC) == expected


def test_an_unknown_split_is_answered_with_those_there_are():
    expected = "A split is one of none, train, validation, test, not 'Training'."
    assert sentence(FaceSet.from_arrays, pixels(2), [0, 1], ABC, ["train", "Training"]) == expected


def test_rows_are_taken_in_the_order_given_with_all_that_belongs_to_them(faces):
    taken = faces.take(np.array([4, 0, 4, -1]))
    assert np.array_equal(taken.images, faces.images[[4, 0, 4, 5]])
    assert taken.classes.tolist() == [1, 0, 1, 2]
    assert [SPLITS[code] for code in taken.splits] == ["test", "train", "test", "test"]
    assert [taken.id(row) for row in range(4)] == ["4", "0", "4", "5"]


@pytest.mark.parametrize("rows", [[1, 2, 3], [-5, -4, -3], [False, True, True, True, False, False]])
def test_a_run_of_neighbours_stays_memory_mapped(mapped, rows):
    taken = mapped.take(np.array(rows))
    assert [taken.id(row) for row in range(len(taken))] == ["1", "2", "3"]
    assert np.array_equal(taken.images, mapped.images[1:4])
    assert np.shares_memory(taken.images, mapped.images)


@pytest.mark.parametrize("rows", [[0, 2], [2, 1], [1, 1], [-1, 0]])
def test_rows_apart_are_copied(mapped, rows):
    taken = mapped.take(np.array(rows))
    assert np.array_equal(taken.images, mapped.images[rows])
    assert not np.shares_memory(taken.images, mapped.images)


def test_the_last_row_can_be_taken_by_minus_one(faces):
    assert faces.take(np.array([-1])).id(0) == "5"


def test_no_rows_can_be_taken(faces):
    assert len(faces.take(np.zeros(6, bool))) == len(faces.take(np.array([], int))) == 0


@pytest.mark.parametrize("rows", [[4, 5, 6], [6], [-7], [True] * 5, [True] * 7, [0.5]])
def test_rows_that_are_not_there_are_an_error(faces, rows):
    with pytest.raises(MienError, match="These are no rows of"):
        faces.take(np.array(rows))


def test_a_split_has_its_rows_in_order_and_stays_memory_mapped(mapped):
    rows = mapped.split("validation")
    assert [rows.id(row) for row in range(len(rows))] == ["2", "3"]
    assert rows.split_names == ("validation",)
    assert np.shares_memory(rows.images, mapped.images)


def test_splits_are_named_in_one_order_whatever_the_order_of_the_rows(faces):
    assert faces.take(np.arange(6)[::-1]).split_names == ("train", "validation", "test")


@pytest.mark.parametrize("name", ["none", "Training"])
def test_a_split_that_is_not_there_is_answered_with_those_that_are(faces, name):
    assert sentence(faces.split, name) == f"The data have no split {name!r}; they have train, validation, test."


def test_a_change_keeps_where_the_faces_came_from(faces):
    origin = Origin("drawn", "/somewhere", ("row 7: no image",))
    faces = replace(faces, origin=origin)
    for changed in (faces.split("train"), faces.keep(["c"]), faces.merge({"x": ["a"]}), faces.carve(1, "validation", "none")):
        assert changed.origin == origin


def test_data_that_are_not_divided_are_said_so():
    faces = FaceSet.from_arrays(np.zeros((2, 4, 4), dtype=np.uint8), [0, 1], LabelSet(("a", "b")))
    assert faces.split_names == ("none",)
    assert sentence(faces.split, "test") == "The data have no split 'test'; they are not divided into splits."
    some = FaceSet.from_arrays(faces.images, [0, 1], faces.labels, ["none", "train"])
    assert sentence(some.split, "test") == "The data have no split 'test'; they have rows in no split, train."
