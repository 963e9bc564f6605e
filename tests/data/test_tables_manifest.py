import numpy as np
import pytest

from mien.data.reading import read_faces
from mien.data.source import DataSource
from mien.errors import MienError
from mien.labels import FER2013


@pytest.fixture
def manifest(tmp_path, save):
    """Write a manifest beside five faces, 0.png to 4.png in faces/."""

    def write(text, name="labels.csv"):
        for number in range(5):
            save(f"faces/{number}.png", number)
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def targets(faces):
    return {faces.id(row): faces.targets[row].round(3).tolist() for row in range(len(faces))}


def test_paths_are_relative_to_the_manifest(manifest, sample):
    faces = read_faces(manifest("path,label\nfaces/3.png,happy\nfaces/1.png,sad\n"))
    assert np.array_equal(faces.images, sample.images[[3, 1]])
    assert faces.labels.names == ("happy", "sad")
    assert faces.split_names == ("none",)


def test_absolute_paths_are_taken_too(manifest, tmp_path, sample):
    faces = read_faces(manifest(f"file,emotion\n{tmp_path}/faces/2.png,a\nfaces\\4.png,b\n"))
    assert np.array_equal(faces.images, sample.images[[2, 4]])


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_commas_semicolons_and_tabs_separate(separator, manifest):
    text = 'Split,Image,Label\ntrain,"faces/0.png",yes\nval,faces/1.png,no\nPrivateTest,faces/2.png,no\n'.replace(
        ",", separator
    )
    faces = read_faces(manifest(text))
    assert [faces.split(name).id(0) for name in ("train", "validation", "test")] == [
        "faces/0.png",
        "faces/1.png",
        "faces/2.png",
    ]
    assert faces.labels.names == ("no", "yes")


def test_one_column_per_label_gives_distributions(manifest):
    faces = read_faces(manifest("id,path,sadness,happiness\n7,faces/0.png,1,3\n8,faces/1.png,0,0.5\n9,faces/2.png,2,\n"))
    assert faces.labels.names == ("happy", "sad")
    assert targets(faces) == {"faces/0.png": [0.75, 0.25], "faces/1.png": [1, 0], "faces/2.png": [0, 1]}


def test_numbers_are_names_unless_the_splits_are_fer2013_s(manifest):
    plain = read_faces(manifest("path,label\nfaces/0.png,10\nfaces/1.png,2\n"))
    assert plain.labels.names == ("2", "10")
    official = read_faces(manifest("path,label,Usage\nfaces/0.png,3,Training\nfaces/1.png,6,PublicTest\n", "official.csv"))
    assert official.labels == FER2013
    assert official.classes.tolist() == [3, 6]


def test_a_manifest_in_a_folder_goes_before_its_class_folders(manifest, tmp_path):
    manifest("file_name,label\nfaces/0.png,happy\nfaces/1.png,sad\n", "metadata.csv")
    assert read_faces(tmp_path).origin.kind == "a manifest as CSV"


def test_wrong_columns_are_named_with_those_wanted(manifest):
    with pytest.raises(MienError, match=r"has the columns photo, mood\. mien needs path \(or image\) and label .* pixels"):
        read_faces(manifest("photo,mood\na.png,happy\n"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("", r"labels\.csv is empty"), ("path,label\n", r"no rows in .*labels\.csv, read as a manifest as CSV")],
)
def test_a_manifest_without_rows_is_refused_by_its_name(text, sentence, manifest):
    with pytest.raises(MienError, match=sentence):
        read_faces(manifest(text))


@pytest.mark.parametrize("header", ["label,image,split", "image,label,split"])
def test_pixels_in_a_column_of_another_name_are_recognised(header, manifest):
    pixels = " ".join(["255"] * 2304)
    wrong = header.split(",")[1]
    with pytest.raises(MienError, match=rf"column {wrong} of .* holds pixels: name it pixels, and .* emotion") as error:
        read_faces(manifest(f"{header}\n3,{pixels},train\n4,{pixels},train\n"))
    assert len(str(error.value)) < 300


def test_a_long_cell_is_quoted_in_short(manifest):
    cell = "7 " * 5000
    texts = [
        f"path,label,split\nfaces/0.png,a,train\nfaces/1.png,b,{cell}\n",
        f"path,a,b\nfaces/0.png,1,1\nfaces/1.png,1,{cell}\n",
        f"path,label\nfaces/0.png,a\n{cell},b\n",
    ]
    for number, text in enumerate(texts):
        with pytest.raises(MienError, match="1 of 2 images cannot be read") as error:
            read_faces(manifest(text, f"{number}.csv"))
        assert len(str(error.value)) < 350


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("faces/9.png,happy,train", r"row 2 \(faces/9\.png\): there is no such file"),
        ("labels.csv,happy,train", r"row 2 \(labels\.csv\): is not in a format"),
        ("faces/2.png,,train", r"row 2 \(faces/2\.png\): there is no label"),
        ("faces/2.png,happy,trial", r"row 2 \(faces/2\.png\): the split 'trial' is none of"),
        (f"{'x' * 5000},happy,train", r"row 2 \(x{57}\.\.\.\): it cannot be read: File name too long"),
        (",happy,train", r"row 2: there is no such file"),
    ],
)
def test_a_bad_row_is_named_with_its_number_and_can_be_skipped(row, reason, manifest):
    path = manifest(f"path,label,split\nfaces/0.png,happy,train\nfaces/1.png,sad,train\n{row}\n")
    with pytest.raises(MienError, match=f"1 of 3 images cannot be read: {reason}"):
        read_faces(path)
    assert len(read_faces(DataSource(path, skip_bad=True))) == 2


@pytest.mark.parametrize(
    ("cell", "reason"), [("x", "'x' in the column b is not a number"), ("-1", "not a share"), ("inf", "not a share")]
)
def test_a_share_that_is_none_is_refused(cell, reason, manifest):
    with pytest.raises(MienError, match=rf"row 1 \(faces/1\.png\): .*{reason}"):
        read_faces(manifest(f"path,a,b\nfaces/0.png,1,1\nfaces/1.png,1,{cell}\n"))


def test_a_row_without_any_share_is_refused(manifest):
    with pytest.raises(MienError, match="no label has a share"):
        read_faces(manifest("path,a,b\nfaces/0.png,1,1\nfaces/1.png,0,0\n"))
