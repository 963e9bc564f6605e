"""Groups by column, by file names and by likeness; splits and folds keep them whole."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mien.cli import main
from mien.data.faceset import SPLITS, FaceSet
from mien.data.reading import describe_groups, read_faces, with_groups
from mien.data.source import DataSource
from mien.drawn import draw_face
from mien.errors import MienError
from mien.labels import LabelSet

LABELS = ("happy", "sad", "surprise")


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Eight drawn people with three expressions, each twice (the second shifted by a pixel), and a manifest that names them."""
    folder, rows = tmp_path_factory.mktemp("people"), []
    for person in range(8):
        for label in LABELS:
            face = draw_face(label, 100 + person, 50)
            for shot in range(2):
                name = f"{label}/p{person}_{shot}.png"
                (folder / name).parent.mkdir(exist_ok=True)
                Image.fromarray(face[:48, shot : 48 + shot]).save(folder / name)
                rows.append((name, label, f"p{person}", "" if person == 3 else "x"))
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "person", "clip"), *rows])
    return folder


@pytest.fixture
def faces(people):
    return read_faces(DataSource(people, group="person"))


def grouped(classes, groups, splits=None):
    images = np.zeros((len(classes), 8, 8), dtype=np.uint8)
    return replace(FaceSet.from_arrays(images, classes, LabelSet(LABELS), splits), groups=np.array(groups, dtype=str))


def splits_of_groups(faces):
    return [len(np.unique(faces.splits[faces.groups == name])) for name in np.unique(faces.groups)]


def test_groups_by_a_column(faces):
    assert sorted(set(faces.groups)) == [f"p{person}" for person in range(8)]
    assert all(faces.id(row).split("/")[1].startswith(faces.groups[row]) for row in range(len(faces)))
    assert faces.origin.kind.endswith("grouped by person")


@pytest.mark.parametrize(
    ("pattern", "of_first"),
    [("re:^([^_]+)_", "p0"), ("re:(?P<who>p.)_(.)", "p0-0"), ("re:^(.*)/(p.)", "happy-p0"), ("re:_(1)|(p)", "p")],
)
def test_groups_by_file_names(people, pattern, of_first):
    faces = read_faces(DataSource(people, group=pattern))
    assert faces.groups[[faces.id(row) for row in range(len(faces))].index("happy/p0_0.png")] == of_first


def test_groups_by_likeness_join_shots_of_one_moment_and_no_strangers(people):
    faces = read_faces(DataSource(people, group="auto"))
    names = np.array([faces.id(row) for row in range(len(faces))])
    for group in np.unique(faces.groups):
        members = names[faces.groups == group]
        assert len({name.split("/")[1][:2] for name in members}) == 1
    assert len(np.unique(faces.groups)) < len(faces)


@pytest.mark.parametrize(
    ("group", "sentence"),
    [
        ("clip", "is empty in 6 of 48 rows, such as 'happy/p3_0.png'"),
        ("nobody", "has no column 'nobody'; besides the images it has label, person, clip."),
        ("re:^(x)", "finds no group in the names of 48 of 48 rows"),
        ("re:^(p3)?", "finds no group in the names of 42 of 48 rows, such as 'happy/p0_0.png'"),
        ("re:p", "has no (group)"),
        ("Auto", "Did you mean 'auto'?"),
        ("re:(", "not a regular expression"),
        ("label", "The groups of --data.group 'label' are the labels: all faces of a label are in one group"),
        ("re:^([^/]+)/", "are the labels: all faces of a label are in one group"),
    ],
)
def test_a_group_that_cannot_be_is_one_sentence(people, group, sentence):
    with pytest.raises(MienError) as error:
        read_faces(DataSource(people, group=group))
    assert sentence in str(error.value)


def test_a_faceset_without_the_column_names_those_it_has(faces):
    with pytest.raises(MienError, match=r"'age' is no column of the data; they have person\."):
        with_groups(faces, "age")


def test_a_folder_without_a_table_is_answered_with_the_other_ways(tmp_path, people, capsys):
    for name in ("happy/a.png", "sad/b.png"):
        (tmp_path / "faces" / name).parent.mkdir(parents=True)
        Image.new("L", (48, 48)).save(tmp_path / "faces" / name)
    words = ["train", "few-faces", "--data", str(tmp_path / "faces"), "--data.group", "person", "--out", str(tmp_path / "run")]
    assert main(words) == 2
    assert "--data.group also takes a pattern" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_changes_of_a_faceset_keep_its_groups(faces):
    kept = faces.keep(["sad", "happy"])
    assert len(kept.groups) == len(kept) == 32
    assert [kept.id(row).split("/")[1][:2] for row in range(len(kept))] == kept.groups.tolist()
    assert faces.merge({"other": ["happy", "sad"]}).groups.tolist() == faces.groups.tolist()
    assert faces.take(np.array([5, 0])).groups.tolist() == faces.groups[[5, 0]].tolist()


def test_groups_given_as_a_list_are_an_array(faces):
    changed = replace(faces, groups=["a", "b"] * 24)
    assert changed.groups.dtype.kind == "U"
    assert changed.groups.tolist() == ["a", "b"] * 24
    with pytest.raises(MienError, match="48 texts in the column 'groups'"):
        replace(faces, groups=list(range(48)))


@pytest.mark.parametrize("group", [5, ["person"], "", "  "])
def test_a_group_that_is_no_name_is_a_sentence(group):
    with pytest.raises(MienError, match="names no groups; give a column"):
        DataSource("faces", group=group)


def test_groups_of_another_length_are_rejected(faces):
    with pytest.raises(MienError, match="48 images need 48 texts"):
        replace(faces, groups=faces.groups[1:])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("amount", [0.1, 0.25, 4, 0.5])
def test_carving_moves_whole_groups_of_every_label(faces, seed, amount):
    faces = replace(faces, splits=np.ones(len(faces), dtype=np.uint8))
    carved = faces.carve(amount, seed=seed)
    assert set(splits_of_groups(carved)) == {1}
    counts = carved.split("validation").counts()
    wanted = amount if isinstance(amount, int) else amount * 16
    assert (np.abs(counts - wanted) <= 2).all(), counts  # two rows of a label are one person
    assert (counts > 0).all()
    assert carved.carve(2, into="test", seed=seed).split("train").counts().min() > 0


@pytest.mark.parametrize("seed", range(6))
def test_a_giant_group_stays_in_training_if_others_suffice(seed):
    small = [(label, f"small{number}") for number in range(20) for label in (0, 1, 2)]
    classes, groups = zip(*[(label, "giant") for label in (0, 1, 2) * 30], *small, strict=True)
    carved = grouped(classes, groups, ["train"] * 150).carve(0.1, seed=seed)
    validation = carved.split("validation")
    assert validation.counts().tolist() == [5, 5, 5]
    assert len(set(validation.groups)) == 5
    assert "giant" not in validation.groups
    assert set(splits_of_groups(carved)) == {1}


def test_different_seeds_carve_different_groups(faces):
    faces = replace(faces, splits=np.ones(len(faces), dtype=np.uint8))
    assert len({tuple(faces.carve(0.1, seed=seed).split("validation").groups) for seed in range(8)}) > 3


def test_a_rare_label_is_carved_with_the_group_that_has_it():
    classes = [0, 1] * 40 + [2] * 6
    groups = [f"g{number // 4}" for number in range(80)] + ["g1", "g1", "g1", "g2", "g2", "g2"]
    carved = grouped(classes, groups, ["train"] * 86).carve(0.1)
    assert carved.split("validation").counts().min() > 0
    assert carved.split("train").counts().min() > 0


def test_a_label_in_one_group_is_a_sentence(faces):
    one = grouped([0, 0, 0, 1, 1, 2, 2], ["a", "b", "c", "a", "b", "c", "c"], ["train"] * 7)
    for divide in (lambda: one.carve(1), lambda: one.folds(2)):
        with pytest.raises(MienError, match=r"All 2 rows of 'surprise' are in 1 of the groups"):
            divide()


@pytest.mark.parametrize("seed", range(4))
def test_folds_hold_whole_groups_and_every_label(faces, seed):
    folds = faces.folds(4, seed)
    assert sorted(set(folds)) == [1, 2, 3, 4]
    assert all(len(np.unique(folds[faces.groups == name])) == 1 for name in np.unique(faces.groups))
    for number in range(1, 5):
        assert faces.take(folds == number).counts().tolist() == [4, 4, 4]


def test_folds_without_groups_are_stratified(faces):
    folds = replace(faces, groups=None).folds(5, 1)
    counts = np.stack([faces.take(folds == number).counts() for number in range(1, 6)])
    assert counts.sum() == 48
    assert counts.min() == 3
    assert counts.max() == 4


def test_too_few_groups_or_rows_for_folds_are_a_sentence(faces):
    with pytest.raises(MienError, match="9 folds need as many groups, and as many rows of one label; there are only 8 groups"):
        faces.folds(9)
    with pytest.raises(MienError, match="17 folds need as many rows"):
        replace(faces, groups=None).folds(17)


def test_the_groups_are_described_and_those_in_several_splits_named():
    faces = grouped([0, 1, 0, 1, 2], ["a", "a", "b", "b", "c"], ["train", "test", "train", "train", "test"])
    size, large, shared = describe_groups(faces)
    assert size == "3 groups; faces in the largest: a 2, b 2, c 1; 1 of a single face"
    assert large.startswith("the group a has 2 of the 5 faces: splits and folds cannot be even")
    assert shared.startswith("1 of them have rows in several splits (train and test), such as a")
    assert len(describe_groups(replace(faces, splits=np.full(5, SPLITS.index("train"), dtype=np.uint8)))) == 2
    assert len(describe_groups(grouped([0, 1, 2], ["a", "b", "c"]))) == 2  # a third each
    assert len(describe_groups(grouped([0, 1, 2] * 2, list("abcdef")))) == 1
    assert describe_groups(replace(faces, groups=None)) == []


def test_groups_that_are_the_labels_are_refused_before_training(people, tmp_path, capsys):
    words = ["train", "few-faces", "--data", str(people), "--data.group", "label", "--out", str(tmp_path / "run")]
    assert main(words) == 2
    assert "Name what tells people or clips apart, such as a column person" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_groups_of_a_single_face_each_may_be_few():
    faces = replace(grouped([0, 1, 2], ["a", "b", "c"]), columns={"who": np.array(["a", "b", "c"])})
    assert with_groups(faces, "who").groups.tolist() == ["a", "b", "c"]
