import zipfile

import numpy as np
import pytest

from mien.data.reading import read_faces
from mien.data.source import DataSource
from mien.errors import MienError


def ids(faces, split=None):
    faces = faces.split(split) if split else faces
    return [faces.id(row) for row in range(len(faces))]


def zipped(folder, prefix=""):
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, prefix + str(file.relative_to(folder)))
    return path


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("train", "val", "test"),
        ("Train", "Valid", "Test"),
        ("training", "validation", "testing"),
        ("Training", "PublicTest", "PrivateTest"),
    ],
)
def test_split_folders_go_by_many_names(train, validation, test, save, tmp_path):
    for folder in (train, validation, test):
        for label in ("happy", "sad"):
            save(f"faces/{folder}/{label}/1.png")
    faces = read_faces(tmp_path / "faces")
    for split, folder in [("train", train), ("validation", validation), ("test", test)]:
        assert ids(faces, split) == [f"{folder}/happy/1.png", f"{folder}/sad/1.png"]


def test_a_tree_without_split_folders_has_no_splits(save, tmp_path):
    for label in ("happy", "sad"):
        save(f"faces/{label}/deeper/1.png")
    faces = read_faces(tmp_path / "faces")
    assert faces.split_names == ("none",)
    assert ids(faces) == ["happy/deeper/1.png", "sad/deeper/1.png"]


def test_file_names_of_the_kaggle_folders_tell_the_two_tests_apart(save, tmp_path):
    for label in ("angry", "happy"):
        save(f"faces/train/{label}/Training_1.jpg")
        save(f"faces/test/{label}/PublicTest_2.jpg")
        save(f"faces/test/{label}/PrivateTest_3.jpg")
    faces = read_faces(tmp_path / "faces")
    assert faces.origin.kind == "the Kaggle folders of FER-2013"
    assert ids(faces, "train") == ["train/angry/Training_1.jpg", "train/happy/Training_1.jpg"]
    assert ids(faces, "validation") == ["test/angry/PublicTest_2.jpg", "test/happy/PublicTest_2.jpg"]
    assert ids(faces, "test") == ["test/angry/PrivateTest_3.jpg", "test/happy/PrivateTest_3.jpg"]


def test_one_of_the_kaggle_folders_alone_is_split_by_names_too(save, tmp_path):
    for label in ("angry", "happy"):
        save(f"test/{label}/PublicTest_2.jpg")
        save(f"test/{label}/PrivateTest_3.jpg")
    assert read_faces(tmp_path / "test").split_names == ("validation", "test")


def test_folders_that_split_kaggle_s_files_anew_are_believed(save, tmp_path):
    for label in ("angry", "happy"):
        save(f"faces/train/{label}/PublicTest_1.jpg")
        save(f"faces/val/{label}/PrivateTest_2.jpg")
        save(f"faces/test/{label}/PublicTest_3.jpg")
    faces = read_faces(tmp_path / "faces")
    assert ids(faces, "validation") == ["val/angry/PrivateTest_2.jpg", "val/happy/PrivateTest_2.jpg"]


def test_a_zip_gives_what_the_folder_gives(write):
    folder = write["folders"]()
    assert read_faces(zipped(folder)).fingerprint() == read_faces(folder).fingerprint()
    assert read_faces(zipped(folder, prefix="archive/")).fingerprint() == read_faces(folder).fingerprint()


def test_names_of_expressions_come_in_fer2013_s_order_whatever_they_are_called(save, tmp_path):
    for label in ("Surprised", "HAPPINESS", "anger", "neutral"):
        save(f"faces/{label}/1.png")
    faces = read_faces(tmp_path / "faces")
    assert faces.labels.names == ("angry", "happy", "surprise", "neutral")
    assert ids(faces) == ["anger/1.png", "HAPPINESS/1.png", "Surprised/1.png", "neutral/1.png"]


def test_one_label_may_be_called_differently_in_two_splits(save, tmp_path):
    for folder in ("train/Happy", "train/sad", "test/happy", "test/sadness"):
        save(f"faces/{folder}/1.png")
    assert read_faces(tmp_path / "faces").labels.names == ("happy", "sad")


def test_other_labels_are_sorted_and_numbers_by_value(save, tmp_path):
    for label in ("10", "9", "angry", "None"):
        save(f"faces/{label}/1.png")
    assert read_faces(tmp_path / "faces").labels.names == ("9", "10", "None", "angry")


def test_hidden_files_and_what_systems_leave_behind_are_passed_over(save, tmp_path):
    for name in ("happy/1.png", "sad/1.png", "happy/._1.png", ".git/1.png", "__MACOSX/happy/1.png"):
        save(f"faces/{name}")
    (tmp_path / "faces/happy/Thumbs.db").write_text("")
    (tmp_path / "faces/happy/notes.txt").write_text("")
    (tmp_path / "faces/.ipynb_checkpoints").mkdir()
    assert ids(read_faces(tmp_path / "faces")) == ["happy/1.png", "sad/1.png"]


def test_what_lies_in_no_class_folder_is_left_out_and_named(save, tmp_path):
    for name in ("train/happy/1.png", "train/sad/1.png", "test/1.png", "images/happy/1.png", "grid.png"):
        save(f"faces/{name}")
    faces = read_faces(tmp_path / "faces")
    assert ids(faces) == ["train/happy/1.png", "train/sad/1.png"]
    assert faces.origin.kind == "one folder per class (left out, not in a class folder: grid.png, images/, test/)"


def test_links_are_followed_but_not_in_circles(save, tmp_path):
    save("elsewhere/1.png")
    save("faces/sad/1.png")
    (tmp_path / "faces/happy").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "faces/sad/circle").symlink_to(tmp_path / "faces")
    assert ids(read_faces(tmp_path / "faces")) == ["happy/1.png", "sad/1.png"]


@pytest.mark.parametrize("empty", ["surprise", "train/surprise", "test"])
def test_an_empty_class_folder_is_refused(empty, save, tmp_path):
    prefix = "train/" if "t" in empty.partition("/")[0][0] else ""
    for label in ("happy", "sad"):
        save(f"faces/{prefix}{label}/1.png")
    (tmp_path / "faces" / empty).mkdir()
    with pytest.raises(MienError, match=rf"no images in .*faces/{empty}\."):
        read_faces(tmp_path / "faces")


def test_an_empty_class_folder_in_a_zip_is_refused(save, tmp_path):
    for label in ("happy", "sad"):
        save(f"faces/{label}/1.png")
    (tmp_path / "faces/surprise").mkdir()
    with pytest.raises(MienError, match=r"no images in surprise in .*faces\.zip"):
        read_faces(zipped(tmp_path / "faces"))


def test_images_without_class_folders_are_refused(save, tmp_path):
    save("faces/1.png")
    save("faces/2.png")
    with pytest.raises(MienError, match=r"holds 2 images but no class folders.*manifest"):
        read_faces(tmp_path / "faces")


def test_split_folders_without_class_folders_are_refused(save, tmp_path):
    save("faces/train/1.png")
    save("faces/test/1.png")
    with pytest.raises(MienError, match="holds 2 images but no class folders"):
        read_faces(tmp_path / "faces")


def test_a_folder_without_images_is_refused_with_what_was_looked_for(tmp_path):
    (tmp_path / "faces" / "notes").mkdir(parents=True)
    with pytest.raises(MienError, match=r"holds no images, and neither fer2013\.csv"):
        read_faces(tmp_path / "faces")


def test_class_folders_one_level_too_deep_are_refused(save, tmp_path):
    for person in ("ann", "bob"):
        save(f"faces/{person}/happy/1.png")
        save(f"faces/{person}/sad/1.png")
    with pytest.raises(MienError, match=r"faces/ann holds class folders \(happy, sad\)"):
        read_faces(tmp_path / "faces")


@pytest.fixture
def spoilt(save, tmp_path):
    """A folder of 30 faces of which some, `spoilt(n)`, are text files."""

    def make(count):
        for label in ("happy", "sad"):
            for number in range(15):
                save(f"faces/{label}/{number:02}.jpg")
        for number in range(count):
            (tmp_path / f"faces/sad/{number:02}.jpg").write_text("this is text")
        return tmp_path / "faces"

    return make


def test_images_that_cannot_be_read_are_all_named(spoilt):
    with pytest.raises(MienError) as said:
        read_faces(spoilt(3))
    assert str(said.value).startswith(
        "3 of 30 images cannot be read: sad/00.jpg: is not in a format that can be read; sad/01.jpg: "
    )
    assert "sad/02.jpg" in str(said.value)


def test_many_images_that_cannot_be_read_are_named_in_a_file(spoilt, cache):
    with pytest.raises(MienError, match=r"12 of 30 images cannot be read: .*; and 7 more, all listed in ") as said:
        read_faces(spoilt(12))
    (listing,) = (cache / "faces").iterdir()
    assert str(listing) in str(said.value)
    assert [line.partition(":")[0] for line in listing.read_text().splitlines()] == [
        f"sad/{number:02}.jpg" for number in range(12)
    ]


def test_images_that_cannot_be_read_are_skipped_and_remembered(spoilt):
    source = DataSource(spoilt(3), skip_bad=True)
    for faces in (read_faces(source), read_faces(source)):  # packed, and from the pack
        assert len(faces) == 27
        assert [line.partition(":")[0] for line in faces.origin.skipped] == ["sad/00.jpg", "sad/01.jpg", "sad/02.jpg"]


def test_images_put_right_are_read(spoilt, save):
    with pytest.raises(MienError):
        read_faces(spoilt(1))
    save("faces/sad/00.jpg")
    assert len(read_faces(save("faces/sad/00.jpg").parents[1])) == 30


def test_where_no_image_can_be_read_skipping_does_not_help(spoilt, tmp_path):
    folder = spoilt(15)
    for file in (folder / "happy").iterdir():
        file.write_bytes(b"")
    with pytest.raises(MienError, match=r"30 of 30 images cannot be read.*Nothing is left"):
        read_faces(DataSource(folder, skip_bad=True))


def test_a_link_to_nowhere_is_an_image_that_cannot_be_read(spoilt):
    folder = spoilt(0)
    (folder / "happy/lost.png").symlink_to(folder / "nowhere.png")
    with pytest.raises(MienError, match=r"1 of 31 .*happy/lost\.png: there is no such file"):
        read_faces(folder)


def test_every_image_keeps_its_name_and_label(save, tmp_path, sample):
    for number in range(28):
        save(f"faces/{'even' if number % 2 == 0 else 'odd'}/{number:02}.png", number)
    faces = read_faces(tmp_path / "faces")
    for row in range(28):
        number = int(faces.id(row)[-6:-4])
        assert np.array_equal(faces.images[row], sample.images[number])
        assert faces.labels[faces.classes[row]] == ("even" if number % 2 == 0 else "odd")
