"""Lists of images and labels without a header, and the tables of RAF-DB, AffectNet and ExpW."""

import json

import numpy as np
import pytest
from PIL import Image

from mien.cli import main
from mien.data.reading import read_faces
from mien.data.source import DataSource
from mien.errors import MienError

RAF = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")
AFFECTNET = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt")


def labels(faces):
    return {faces.id(row): faces.labels[int(label)] for row, label in enumerate(faces.classes)}


@pytest.fixture
def listed(tmp_path, save):
    """Write a list beside six faces, 0.png to 5.png."""

    def write(text, name="list.txt"):
        for number in range(6):
            save(f"{number}.png", number)
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


@pytest.mark.parametrize("separator", [" ", "\t", ",", ";", "  ", ", "])
@pytest.mark.parametrize("name", ["list.txt", "faces.csv", "label.lst", "faces.tsv"])
def test_names_and_labels_without_a_header_are_read(separator, name, listed, sample):
    faces = read_faces(listed(f"0.png{separator}Happiness\n3.png{separator}sad\n", name))
    assert labels(faces) == {"0.png": "happy", "3.png": "sad"}
    assert np.array_equal(faces.images, sample.images[[0, 3]])
    assert faces.origin.kind == "a list of images without a header"


@pytest.mark.parametrize(
    "text", ["happy 0.png\nsad 1.png\n", "0.png,train,happy\n1.png,test,sad\n", "0.png test\n1.png train\n"]
)
def test_columns_are_told_by_what_is_in_them(text, listed):
    faces = read_faces(listed(text))
    assert set(labels(faces)) == {"0.png", "1.png"}
    assert faces.split_names == (("train", "test") if "," in text else ("none",))


def test_more_columns_without_a_header_are_refused(listed):
    with pytest.raises(MienError, match=r"list\.txt does not begin with the names of its columns; add .*path,label,split"):
        read_faces(listed("0.png,happy,3,7\n1.png,sad,4,8\n"))


def test_numbers_of_an_unknown_data_set_stay_numbers(listed):
    assert read_faces(listed("0.png 1\n1.png 2\n")).labels.names == ("1", "2")


@pytest.fixture(params=["beside", "published", "photos"])
def raf_db(request, save, tmp_path):
    """RAF-DB's list with fourteen faces: aligned/ beside it, the folders as published, or the photos beside it."""
    place = {"beside": "aligned", "published": "basic/Image/aligned", "photos": "."}[request.param]
    folder = tmp_path / ("basic/EmoLabel" if request.param == "published" else ".")
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"train_{number:05}" for number in range(1, 8)] + [f"test_{number:04}" for number in range(1, 8)]
    for number, name in enumerate(names):
        save(f"{place}/{name}{'' if request.param == 'photos' else '_aligned'}.jpg", number)
    lines = [f"{name}.jpg {number % 7 + 1}" for number, name in enumerate(names)]
    (folder / "list_patition_label.txt").write_text("\n".join(lines) + "\n")
    return folder / "list_patition_label.txt"


def test_raf_db_s_list_is_read_with_its_numbers_and_splits(raf_db, tmp_path):
    for path in (raf_db, tmp_path):
        faces = read_faces(path)
        assert faces.split_names == ("train", "test")
        assert "numbered as in RAF-DB: 1 surprise, 2 fear" in faces.origin.kind
        for split, name in (("train", "train_{:05}.jpg"), ("test", "test_{:04}.jpg")):
            assert labels(faces.split(split)) == {name.format(number): label for number, label in enumerate(RAF, start=1)}


def test_raf_db_s_compound_labels_are_not_taken_for_the_basic_ones(save, tmp_path):
    for number in range(1, 4):
        save(f"aligned/train_{number:05}_aligned.jpg", number)
    path = tmp_path / "list_patition_label.txt"
    path.write_text("train_00001.jpg 1\ntrain_00002.jpg 9\ntrain_00003.jpg 11\n")
    assert read_faces(path).labels.names == ("1", "9", "11")


def test_affectnet_s_table_is_read_with_boxes_and_without_rows_without_an_expression(tmp_path):
    header = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal\n"
    for name, numbers in (("training", range(11)), ("validation", range(8))):
        rows = []
        for number in numbers:
            image = np.full((60, 80), 200, np.uint8)
            image[10:30, 20:50] = 10 * number
            path = tmp_path / f"Manually_Annotated_Images/{number}/{name}{number:036x}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
            rows.append(f"{number}/{path.name},20,10,30,20,1;2;3;4,{number},-0.1,0.2\n")
        (tmp_path / "Manually_Annotated_file_lists").mkdir(exist_ok=True)
        (tmp_path / f"Manually_Annotated_file_lists/{name}.csv").write_text(header + "".join(rows))
    both, one = read_faces(tmp_path), read_faces(tmp_path / "Manually_Annotated_file_lists/validation.csv")
    assert both.split_names == ("train", "validation")
    assert "numbered as in AffectNet: 0 neutral, 1 happy" in both.origin.kind
    assert "rows of 8, 9, 10 left out" in both.origin.kind
    for faces in (both.split("train"), both.split("validation"), one):
        assert {int(faces.id(row)[0]): faces.labels[int(label)] for row, label in enumerate(faces.classes)} == dict(
            enumerate(AFFECTNET)
        )
        assert all(np.unique(image).tolist() == [10 * int(faces.id(row)[0])] for row, image in enumerate(faces.images))


@pytest.mark.parametrize(
    ("box", "reason"),
    [("x,10,30,20", "its face box, x, 10, 30, 20, is not four numbers"), ("90,10,30,20", "lies outside the image")],
)
def test_a_bad_box_is_a_bad_row(box, reason, tmp_path, save):
    for number in range(3):
        save(f"{number}.png", number)
    path = tmp_path / "training.csv"
    header = "subDirectory_filePath,face_x,face_y,face_width,face_height,expression\n"
    path.write_text(f"{header}0.png,0,0,48,48,0\n1.png,0,0,48,48,1\n2.png,{box},1\n")
    with pytest.raises(MienError, match=rf"row 2 \(2\.png\): .*{reason}"):
        read_faces(path)
    assert len(read_faces(DataSource(path, skip_bad=True))) == 2


def test_a_short_list_in_a_folder_of_affectnet_has_its_numbers(tmp_path, save):
    for number in range(8):
        save(f"AffectNet/images/{number}.jpg", number)
    path = tmp_path / "AffectNet/val.csv"
    path.write_text("".join(f"{number}.jpg,{number}\n" for number in range(8)))
    assert labels(read_faces(path)) == {f"{number}.jpg": label for number, label in enumerate(AFFECTNET)}


def test_expw_s_list_gives_every_face_of_a_photo(tmp_path):
    photo = np.zeros((40, 90), np.uint8)
    for face in range(3):
        photo[10:30, 30 * face : 30 * face + 20] = 50 + 50 * face
    (tmp_path / "image/origin").mkdir(parents=True)
    Image.fromarray(photo).save(tmp_path / "image/origin/angry_actor_104.png")
    lines = [f"angry_actor_104.png {face} 10 {30 * face} {30 * face + 20} 30 {40.5 + face} {2 * face}" for face in range(3)]
    (tmp_path / "label.lst").write_text("\n".join(lines))
    faces = read_faces(tmp_path)
    assert [faces.labels[int(label)] for label in faces.classes] == ["angry", "fear", "sad"]
    assert [np.unique(image).tolist() for image in faces.images] == [[50], [100], [150]]
    assert len(set(faces.ids)) == 3


def test_a_header_wins_over_the_order_of_columns(listed):
    faces = read_faces(listed("label path split\nhappy 0.png train\nsad 1.png val\n"))
    assert faces.split_names == ("train", "validation")


def test_float_labels_are_whole_numbers(listed):
    assert read_faces(listed("path,label\n0.png,1.0\n1.png,2.0\n2.png,2\n")).labels.names == ("1", "2")


def test_the_model_s_answer_to_numbers_names_the_data_sets(listed, tmp_path, capsys):
    path = listed("".join(f"{number}.png {number + 1}\n" for number in range(6)))
    words = ["evaluate", "mien-s", "--data", str(path), "--out", str(tmp_path / "report")]
    assert main(words) == 2
    said = capsys.readouterr().err
    flag = {str(number + 1): RAF[number] for number in range(6)}
    assert f"--labels '{json.dumps(flag)}' for RAF-DB" in said
    assert main([*words, "--labels", json.dumps(flag)]) == 0
    assert json.loads((tmp_path / "report/metrics.json").read_text())["all_rows"]["n"] == 6


def test_the_answer_to_numbers_leaves_out_those_without_a_label(listed, tmp_path, capsys):
    path = listed("".join(f"{row}.png {number}\n" for row, number in enumerate([0, 1, 7, 8])))
    assert main(["evaluate", "mien-s", "--data", str(path), "--out", str(tmp_path / "report")]) == 2
    flag = {"0": "neutral", "1": "happy", "7": "contempt", "8": None}
    assert f"--labels '{json.dumps(flag)}' for AffectNet." in capsys.readouterr().err
