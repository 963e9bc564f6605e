"""What `keep`, `merge` and `carve` make of hard labels and of votes, and what the fingerprint sees of it."""

from dataclasses import replace

import numpy as np
import pytest

from mien.data import faceset
from mien.data.faceset import FaceSet
from mien.errors import MienError
from mien.labels import LabelSet

ABCD = LabelSet(["a", "b", "c", "d"])
VOTES = [[0.6, 0.4, 0, 0], [0.1, 0.2, 0.3, 0.4], [0, 0, 1, 0], [0.25, 0.5, 0.25, 0], [0.3, 0.2, 0.3, 0.2]]


@pytest.fixture
def voted():
    """Five faces with votes; the likeliest labels are a d c b, and a again, which shares its place with c."""
    faces = FaceSet.from_arrays(np.arange(5 * 9, dtype=np.uint8).reshape(5, 3, 3), [0] * 5, ABCD)
    return replace(faces, targets=np.array(VOTES, dtype=np.float32))


@pytest.fixture
def hard():
    """200 faces of train in the shares 100, 60, 30, 10, mixed, then 8 of test."""
    random = np.random.default_rng(3)
    classes = [*random.permutation([0] * 100 + [1] * 60 + [2] * 30 + [3] * 10), *[0, 1, 2, 3] * 2]
    images = random.integers(0, 256, (208, 3, 3)).astype(np.uint8)
    return FaceSet.from_arrays(images, classes, ABCD, ["train"] * 200 + ["test"] * 8)


def ids(faces):
    return [faces.id(row) for row in range(len(faces))]


def sentence(call, *arguments, **options):
    with pytest.raises(MienError) as caught:
        call(*arguments, **options)
    return str(caught.value)


def test_of_equal_votes_the_first_label_counts(voted):
    assert voted.classes.tolist() == [0, 3, 2, 1, 0]
    assert voted.counts().tolist() == [2, 1, 1, 1]


def test_keep_drops_the_rows_and_the_votes_of_other_labels(voted):
    kept = voted.keep(["c", "a"])
    assert kept.labels.names == ("c", "a")
    assert ids(kept) == ["0", "2", "4"]
    np.testing.assert_allclose(kept.targets, [[0, 1], [1, 0], [0.5, 0.5]], rtol=1e-6)
    assert np.array_equal(kept.images, voted.images[[0, 2, 4]])


def test_what_keep_leaves_of_the_votes_sums_to_one(voted):
    kept = voted.keep(["d", "b", "a"])
    expected = [
        [share / sum(row) for share in row] for row in ([0, 0.4, 0.6], [0.4, 0.2, 0.1], [0, 0.5, 0.25], [0.2, 0.2, 0.3])
    ]
    np.testing.assert_allclose(kept.targets, expected, rtol=1e-6)
    assert kept.targets.dtype == np.float32


def test_keep_leaves_hard_labels_hard(hard):
    kept = hard.keep(["d", "a"])
    assert ids(kept) == [hard.id(row) for row in range(208) if hard.classes[row] in (0, 3)]
    assert [kept.labels[label] for label in kept.classes] == [
        label for label in np.array(list("abcd"))[hard.classes] if label in "ad"
    ]
    assert set(kept.targets.ravel()) == {0.0, 1.0}


def test_keeping_every_label_leaves_the_pixels_where_they_are(hard):
    assert np.shares_memory(hard.keep(["d", "c", "b", "a"]).images, hard.images)


def test_merge_adds_votes_and_keeps_every_row_and_pixel(voted):
    merged = voted.merge({"rest": ["d", "b"]})
    assert merged.labels.names == ("a", "rest", "c")
    np.testing.assert_allclose(merged.targets, [[row[0], row[1] + row[3], row[2]] for row in VOTES], rtol=1e-6)
    assert merged.images is voted.images
    assert ids(merged) == ids(voted)


def test_merged_votes_can_make_another_label_the_likeliest(voted):
    merged = voted.merge({"rest": ["d", "b"]})
    assert [merged.labels[label] for label in merged.classes] == ["a", "rest", "c", "rest", "rest"]


def test_merging_all_labels_gives_every_row_that_one(voted):
    np.testing.assert_allclose(voted.merge({"any": ["a", "b", "c", "d"]}).targets, np.ones((5, 1)), rtol=1e-6)


def test_keep_and_merge_leave_the_set_they_start_from_alone(voted):
    before = voted.targets.copy()
    voted.keep(["a"]), voted.merge({"x": ["a", "b"]})
    assert np.array_equal(voted.targets, before)


def test_labels_that_are_not_there_are_said(voted):
    assert sentence(voted.keep, ["a", "e"]) == "There is no label 'e' among a, b, c, d."
    assert sentence(voted.merge, {"x": ["e"]}) == "There is no label 'e' among a, b, c, d."


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        (5, [5, 5, 5, 5]),
        (np.int64(9), [9, 9, 9, 9]),
        (0.1, [10, 6, 3, 1]),
        (np.float32(0.5), [50, 30, 15, 5]),
        (0.001, [1, 1, 1, 1]),
    ],
)
def test_carve_takes_so_many_or_such_a_share_of_every_label(hard, amount, expected):
    carved = hard.carve(amount)
    assert carved.split("validation").counts().tolist() == expected
    assert (carved.split("train").counts() + expected).tolist() == [100, 60, 30, 10]
    assert ids(carved.split("test")) == ids(hard.split("test"))


def test_carve_leaves_rows_in_place_and_pixels_uncopied(hard):
    carved = hard.carve(3)
    assert carved.images is hard.images
    assert carved.targets is hard.targets
    assert ids(carved) == ids(hard)
    assert hard.split_names == ("train", "test")


def test_the_same_seed_carves_the_same_rows_and_another_seed_others(hard):
    rows = [ids(hard.carve(0.2, seed=seed).split("validation")) for seed in (7, 7, 8)]
    assert rows[0] == rows[1]
    assert rows[0] != rows[2]


def test_carved_rows_come_from_everywhere_in_the_split(hard):
    carved = np.flatnonzero(hard.carve(0.2).splits == 2)
    assert 60 < carved.mean() < 140  # the first or the last of every label would lie around 20 or 180


def test_carve_goes_by_the_likeliest_label_of_votes(voted):
    doubled = replace(voted.take(np.array([0, 1, 2, 3, 4] * 2)), splits=np.ones(10, np.uint8))
    assert doubled.carve(1).split("validation").counts().tolist() == [1, 1, 1, 1]


def test_carve_takes_from_and_into_the_splits_that_are_named(hard):
    carved = hard.carve(1, source="test", into="none")
    assert carved.split_names == ("none", "train", "test")
    assert carved.split("none").counts().tolist() == carved.split("test").counts().tolist() == [1, 1, 1, 1]


def test_carve_adds_to_a_split_that_is_there(hard):
    assert hard.carve(2, into="test").split("test").counts().tolist() == [4, 4, 4, 4]


def test_carve_passes_over_labels_without_rows(hard):
    assert hard.take(hard.classes != 1).carve(1).split("validation").counts().tolist() == [1, 0, 1, 1]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"amount": 1, "source": "validation"},
            "Cannot carve out of 'validation': the data have no such split; they have train, test. Give `source` one of these.",
        ),
        ({"amount": 1, "into": "valid"}, "Cannot carve rows of 'train' into 'valid'; name one of none, validation, test."),
        ({"amount": 1, "into": "train"}, "Cannot carve rows of 'train' into 'train'; name one of none, validation, test."),
        (
            {"amount": 10},
            "Cannot carve 10 of the 10 rows of 'd' out of 'train': one must stay; carve fewer (--recipe.carve, or `amount`).",
        ),
        (
            {"amount": 0.99},
            "Cannot carve 30 of the 30 rows of 'c' out of 'train': one must stay; carve fewer (--recipe.carve, or `amount`).",
        ),
        *(
            ({"amount": amount}, f"Carve a whole number of rows per label or a share between 0 and 1, not {amount}.")
            for amount in (0, -1, 0.0, -0.1, 1.0, 5.0, float("nan"))
        ),
    ],
)
def test_carve_refuses_what_it_cannot_carve(hard, options, expected):
    assert sentence(hard.carve, **options) == expected


def test_a_label_with_a_single_row_cannot_be_carved(hard):
    single = hard.take(np.append(np.flatnonzero(hard.classes == 0), np.flatnonzero(hard.classes == 3)[0]))
    expected = "Cannot carve 1 of the 1 rows of 'd' out of 'train': one must stay; add rows, or leave the label out."
    assert sentence(single.carve, 0.1) == expected


def test_a_fingerprint_is_64_hex_digits_and_the_same_for_the_same_rows(hard):
    assert len(hard.fingerprint()) == 64
    assert int(hard.fingerprint(), 16) > 0
    again = replace(hard, images=np.asfortranarray(hard.images), targets=np.asfortranarray(hard.targets))
    assert again.fingerprint() == hard.fingerprint()


def test_a_fingerprint_of_mapped_faces_is_that_of_the_faces(hard, tmp_path):
    (tmp_path / "pixels").write_bytes(hard.images.tobytes())
    mapped = replace(hard, images=np.memmap(tmp_path / "pixels", np.uint8, "r", shape=hard.images.shape))
    assert mapped.fingerprint() == hard.fingerprint()


def changed(array, index, value):
    array = array.copy()
    array[index] = value
    return array


@pytest.mark.parametrize(
    "change",
    [
        lambda faces: replace(faces, images=changed(faces.images, (-1, -1, -1), faces.images[-1, -1, -1] ^ 1)),
        lambda faces: replace(faces, targets=changed(faces.targets, -1, [0, 0, 0.01, 0.99])),
        lambda faces: replace(faces, labels=LabelSet(["a", "b", "d", "c"])),
        lambda faces: faces.take(np.arange(208)[::-1]),
        lambda faces: faces.take(np.arange(207)),
        lambda faces: faces.keep(["a", "b", "d", "c"]),
    ],
    ids=["a pixel", "a share", "a name", "the order of the rows", "a row", "the order of the labels"],
)
def test_a_fingerprint_sees_a_change_of(hard, change):
    assert change(hard).fingerprint() != hard.fingerprint()


def test_a_fingerprint_sees_every_row_of_many():
    images = np.zeros((9000, 2, 2), np.uint8)
    faces = FaceSet.from_arrays(images, np.zeros(9000, int), ABCD)
    found = {replace(faces, images=changed(images, row, 1)).fingerprint() for row in (0, 4095, 4096, 8191, 8192, 8999)}
    assert len(found | {faces.fingerprint()}) == 7


def test_a_fingerprint_does_not_depend_on_splits_ids_or_origin(hard):
    other = replace(hard.carve(5), ids=np.array([b"x"] * 208), origin=replace(hard.origin, path="elsewhere"))
    assert other.fingerprint() == hard.fingerprint()


def test_rows_that_do_not_fit_into_memory_are_copied_to_a_file_that_has_no_name(hard, monkeypatch, tmp_path):
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path))
    rows = np.random.default_rng(0).permutation(len(hard))
    plain = hard.take(rows)
    monkeypatch.setenv("MIEN_MEMORY", "0")
    taken = hard.take(rows)
    assert isinstance(taken.images, np.memmap)
    assert not isinstance(plain.images, np.memmap)
    assert taken.fingerprint() == plain.fingerprint()
    assert ids(taken) == ids(plain)
    assert [*tmp_path.rglob("*")] == []
    assert np.shares_memory(hard.take(np.arange(3, 60)).images, hard.images)


def test_carving_faces_that_do_not_fit_into_memory_sorts_them_by_split_so_that_each_split_is_a_view(
    hard, monkeypatch, tmp_path
):
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path))
    plain = hard.carve(0.2)
    monkeypatch.setenv("MIEN_MEMORY", "0")
    carved = hard.carve(0.2)
    assert (np.diff(carved.splits.astype(int)) >= 0).all()
    for name in ("train", "validation", "test"):
        assert carved.split(name).fingerprint() == plain.split(name).fingerprint()
        assert np.shares_memory(carved.split(name).images, carved.images)


def test_the_memory_is_a_number_of_gigabytes(monkeypatch):
    monkeypatch.setenv("MIEN_MEMORY", "2")
    assert faceset.fits_in_memory(10**9)
    assert not faceset.fits_in_memory(10**9 + 1)
    monkeypatch.setenv("MIEN_MEMORY", "2 GB")
    assert sentence(faceset.fits_in_memory, 1) == "MIEN_MEMORY must be a number of gigabytes, not '2 GB'."
