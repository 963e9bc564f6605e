"""Folders of published data sets: numbered classes, labels in file names, other folders beside the known ones, several sets."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from mien.cli import main
from mien.data.reading import read_faces
from mien.data.source import DataSource
from mien.errors import MienError
from mien.labels import FER2013

RAF = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")


def labels(faces):
    return {faces.id(row): faces.labels[int(label)] for row, label in enumerate(faces.classes)}


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (("happiness", "Anger", "surprised", "1-neutral", "Unknown"), ("angry", "happy", "surprise", "neutral", "Unknown")),
        (("HA", "SA", "other"), ("happy", "sad", "other")),
        (("happy", "Sadness", "contempt"), ("happy", "sad", "contempt")),
        (("0_angry", "1_disgust", "10_bored", "9_tired"), ("angry", "disgust", "10_bored", "9_tired")),
    ],
)
def test_every_known_name_is_mapped_by_itself(folders, names, save, tmp_path):
    for folder in folders:
        save(f"faces/{folder}/1.png")
    assert read_faces(tmp_path / "faces").labels.names == names


@pytest.mark.parametrize("root", ["raf/DATASET", "RAF-DB"])
def test_raf_db_s_numbered_folders_have_their_labels(root, save, tmp_path):
    for split in ("train", "test"):
        for number in range(1, 8):
            save(f"{root}/{split}/{number}/{split}_{number:05}_aligned.jpg", number)
    faces = read_faces(tmp_path / root.partition("/")[0])
    assert faces.origin.kind == (
        "one folder per class, numbered as in RAF-DB: 1 surprise, 2 fear, 3 disgust, 4 happy, 5 sad, 6 angry, 7 neutral"
    )
    assert faces.split_names == ("train", "test")
    assert {name.split("/")[-2]: label for name, label in labels(faces).items()} == {
        str(number): label for number, label in enumerate(RAF, start=1)
    }


def test_affectnet_s_numbers_without_an_expression_are_left_out(save, tmp_path):
    for number in range(9):
        save(f"AffectNet/train/{number}/{number}.jpg")
    faces = read_faces(tmp_path / "AffectNet")
    assert faces.labels.names == (*FER2013.names, "contempt")
    assert labels(faces)["train/6/6.jpg"] == "angry"
    assert len(faces) == 8


def annotate(folder, name, value, kind="exp"):
    path = folder / "annotations" / f"{name}_{kind}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, value)
    return path


@pytest.mark.parametrize("form", [str, int, float, lambda number: [number], np.bytes_])
@pytest.mark.parametrize("archive", [False, True])
def test_affectnet_s_annotations_are_read(form, archive, save, tmp_path):
    for number in range(11):
        save(f"faces/train_set/images/{number}.jpg", number)
        annotate(tmp_path / "faces/train_set", number, form(str(number)) if form is np.bytes_ else form(number))
    for number in (3, 0, 7):
        save(f"faces/val_set/images/{number}.jpg", number)
        for kind, value in (("exp", str(number)), ("val", "0.5"), ("aro", "-0.5"), ("lnd", np.zeros(136))):
            annotate(tmp_path / "faces/val_set", number, value, kind)
    path = tmp_path / "faces"
    if archive:
        path = shutil.make_archive(tmp_path / "packed", "zip", tmp_path, "faces")
    faces = read_faces(path)
    assert faces.labels.names == (*FER2013.names, "contempt")
    assert faces.split_names == ("train", "validation")
    found = {name.split("faces/")[-1].removesuffix(".jpg"): label for name, label in labels(faces).items()}
    expected = ["neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt"]
    assert found == {f"train_set/images/{number}": label for number, label in enumerate(expected)} | {
        "val_set/images/0": "neutral",
        "val_set/images/3": "surprise",
        "val_set/images/7": "contempt",
    }
    numbered = ", ".join(f"{number} {label}" for number, label in enumerate(expected))
    assert faces.origin.kind == (f"AffectNet's annotations, numbered as in AffectNet: {numbered} (rows of 8, 9, 10 left out)")


class Evil:
    def __reduce__(self):
        return Path.touch, (Path("unpickled"),)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (np.array(Evil(), dtype=object), "is not a number from 0 to 10"),
        (np.array("11"), "is not a number from 0 to 10"),
        (np.array("-1"), "is not a number from 0 to 10"),
        (np.array(np.nan), "is not a number from 0 to 10"),
        (np.array(""), "is not a number from 0 to 10"),
        (np.zeros(2), "is not a number from 0 to 10"),
        (b"", "is not a number from 0 to 10"),
        (b"\x93NUMPY\x01\x00v\x00{'descr': '<U1', 'fortran_order': False, 'shape': (99999999999,), }", "is not a number"),
        (None, "there is no such file"),
    ],
)
def test_a_bad_annotation_is_a_bad_row(content, reason, save, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        save(f"faces/images/{number}.jpg", number)
        path = annotate(tmp_path / "faces", number, str(number))
    if isinstance(content, np.ndarray):
        np.save(path, content, allow_pickle=True)
    elif content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(MienError, match=rf"2\.jpg.*annotations/2_exp\.npy.*{reason}"):
        read_faces(tmp_path / "faces")
    faces = read_faces(DataSource(tmp_path / "faces", skip_bad=True))
    assert (len(faces), faces.split_names, len(faces.origin.skipped)) == (2, ("none",), 1)
    assert not Path("unpickled").exists()


def test_annotations_without_an_expression_are_an_error(save, tmp_path):
    save("faces/images/0.jpg")
    annotate(tmp_path / "faces", 0, "8")
    with pytest.raises(MienError, match=r"has AffectNet's annotations \(\*_exp.npy\), but none with an expression"):
        read_faces(tmp_path / "faces")


def test_fer2013_s_numbered_folders_are_told_by_their_files(save, tmp_path):
    for number in range(7):
        save(f"faces/train/{number}/Training_{number}.jpg")
    assert labels(read_faces(tmp_path / "faces")) == {
        f"train/{number}/Training_{number}.jpg": label for number, label in enumerate(FER2013)
    }


def test_other_numbers_are_not_guessed_and_a_line_says_how_to_name_them(save, tmp_path, capsys):
    for number in range(1, 8):
        save(f"faces/{number}/{number}.jpg")
    assert read_faces(tmp_path / "faces").labels.names == tuple("1234567")
    assert main(["evaluate", "mien-s", "--data", str(tmp_path / "faces"), "--out", str(tmp_path / "report")]) == 2
    said = capsys.readouterr().err
    assert "the labels are numbers" in said
    assert """--labels '{"1": "surprise", "2": "fear",""" in said
    assert "for RAF-DB" in said
    assert not (tmp_path / "report").exists()


def test_the_name_of_a_data_set_far_above_says_nothing(save, tmp_path):
    for number in range(1, 8):
        save(f"raf-db-project/own/faces/{number}/{number}.jpg")
    assert read_faces(tmp_path / "raf-db-project/own/faces").labels.names == tuple("1234567")


def test_raf_db_s_folder_with_another_label_keeps_it(save, tmp_path):
    for folder in ("4", "5", "Unknown"):
        save(f"RAF-DB/{folder}/train_00001_aligned.jpg")
    assert read_faces(tmp_path / "RAF-DB").labels.names == ("happy", "sad", "Unknown")


@pytest.mark.parametrize("top", ["", "jaffe/", "jaffe/images/"])
def test_jaffe_s_labels_are_in_its_file_names(top, save, tmp_path):
    expected = {
        "KA.AN1.39": "angry",
        "KL.DI2.15": "disgust",
        "NA.HA3.4": "happy",
        "YM.NE1.7": "neutral",
        "KR.SU1.81": "surprise",
    }
    for name in expected:
        save(f"faces/{top}{name}.tiff")
    faces = read_faces(tmp_path / "faces")
    assert {name.rpartition("/")[2].removesuffix(".tiff"): label for name, label in labels(faces).items()} == expected
    assert faces.origin.kind == "JAFFE, labels from the file names"


def test_kdef_s_labels_are_in_its_file_names(save, tmp_path):
    for name in ("AF01/AF01ANS.JPG", "AF01/AF01AFFL.JPG", "BM35/BM35NEHR.JPG"):
        save(f"KDEF/{name}")
    assert set(labels(read_faces(tmp_path / "KDEF")).values()) == {"angry", "fear", "neutral"}


def test_folders_of_several_data_sets_are_named_to_choose_from(save, write, tmp_path):
    for label in ("happy", "sad"):
        save(f"data/fer2013/train/{label}/Training_1.jpg")
        save(f"data/ck/{label}/1.png")
        save(f"data/RAF-DB/DATASET/train/{4 if label == 'happy' else 5}/train_00001_aligned.jpg")
    with pytest.raises(MienError) as said:
        read_faces(tmp_path / "data")
    for part in (
        "data is not one data set",
        "data/RAF-DB holds split folders (train)",
        "data/ck holds class folders (happy, sad)",
        "data/fer2013 holds split folders (train)",
        "Name one of these folders",
    ):
        assert part in str(said.value)
    for name in ("fer2013", "ck", "RAF-DB"):
        assert read_faces(tmp_path / "data" / name).labels.names == ("happy", "sad")


def test_a_table_beside_another_data_set_is_not_taken_for_all(save, write, tmp_path):
    (tmp_path / "data/fer2013").mkdir(parents=True)
    write["fer2013-csv"]().rename(tmp_path / "data/fer2013/fer2013.csv")
    assert len(read_faces(tmp_path / "data")) == 28
    for label in ("happy", "sad"):
        save(f"data/raf/{label}/1.png")
    with pytest.raises(MienError, match=r"data/fer2013 holds fer2013\.csv, .*data/raf holds class folders \(happy, sad\)"):
        read_faces(tmp_path / "data")


def test_a_data_set_among_class_folders_is_not_a_class(save, tmp_path):
    for name in ("happy", "sad", "old/train/happy", "old/train/sad"):
        save(f"faces/{name}/1.png")
    with pytest.raises(MienError, match=r"faces/old holds split folders \(train\)"):
        read_faces(tmp_path / "faces")
    assert "old" in read_faces(DataSource(tmp_path / "faces", format="folders")).labels.names


def test_splits_and_persons_below_classes_are_still_one_data_set(save, tmp_path):
    for name in ("happy/train/1.png", "sad/train/2.png", "sad/ann/3.png", "Unknown/ann/4.png"):
        save(f"faces/{name}")
    assert read_faces(tmp_path / "faces").labels.names == ("happy", "sad", "Unknown")


def test_a_folder_beside_notes_is_found(save, tmp_path):
    for label in ("happy", "sad"):
        save(f"data/faces/{label}/1.png")
    (tmp_path / "data/notes").mkdir()
    (tmp_path / "data/notes/readme.txt").write_text("")
    assert read_faces(tmp_path / "data").labels.names == ("happy", "sad")


def test_archives_in_a_folder_are_named(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/fer2013.tar.gz").write_bytes(b"")
    with pytest.raises(MienError, match=r"holds no images, but archives; name one of them: .*fer2013\.tar\.gz"):
        read_faces(tmp_path / "data")


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_kaggle_folders_with_one_split_only_are_read(split, save, tmp_path):
    for label in FER2013:
        for name in {"train": ["Training_1"], "test": ["PublicTest_2", "PrivateTest_3"]}[split]:
            save(f"fer2013/{split}/{label}/{name}.jpg")
    for path in (tmp_path / "fer2013", tmp_path / "fer2013" / split):
        faces = read_faces(path)
        assert faces.labels == FER2013
        assert faces.split_names == (("train",) if split == "train" else ("validation", "test"))
        assert faces.origin.kind == "the Kaggle folders of FER-2013"


@pytest.mark.parametrize("names", [("train_set", "val_set", "test_set"), ("Training Set", "Validation-Set", "TESTSET")])
def test_splits_have_many_names(names, save, tmp_path):
    for split in names:
        for label in ("happy", "sad"):
            save(f"faces/{split}/{label}/1.png")
    assert read_faces(tmp_path / "faces").split_names == ("train", "validation", "test")
