"""The one list of image suffixes and the one walker of folders and zips, as training and prediction use them."""

import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.data.reading import read_faces
from mien.images import IMAGE_SUFFIXES, is_image_name, walk, zip_members
from mien.inference.sources import natural
from reading import frames


def png(seed=0):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 30)).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def trained_on(path):
    faces = read_faces(path)
    return sorted(faces.id(row) for row in range(len(faces)))


def predicted(path):
    found = list(frames(path))
    assert not [frame.error for frame in found if frame.error]
    return sorted(frame.source.removeprefix(f"{path}/") for frame in found)


@pytest.fixture
def folder(tmp_path):
    """Two classes: images of every suffix in lower and upper case, and what neither side may take."""
    root = tmp_path / "faces"
    wanted = [f"{label}/1{end}" for label in ("happy", "sad") for end in sorted(IMAGE_SUFFIXES)]
    wanted += [f"happy/2{end.upper()}" for end in sorted(IMAGE_SUFFIXES)]
    noise = ("happy/.hidden.png", "happy/__MACOSX/1.png", "sad/@eaDir/1.png", ".git/1.png", "happy/notes.txt", "sad/Thumbs.db")
    for name in (*wanted, *noise):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png())
    return root, sorted(wanted)


def test_every_suffix_is_taken_by_training_and_prediction(folder):
    root, wanted = folder
    assert trained_on(root) == predicted(root) == wanted


def test_every_suffix_is_taken_from_a_zip_by_both(folder, tmp_path):
    root, wanted = folder
    archive = Path(shutil.make_archive(str(tmp_path / "faces"), "zip", root))
    assert trained_on(archive) == predicted(archive) == wanted


def test_links_to_folders_are_followed_by_both_but_not_back_to_a_parent(tmp_path):
    for name in ("faces/sad/1.png", "elsewhere/1.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(png())
    (tmp_path / "faces/happy").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "faces/sad/back").symlink_to(tmp_path / "faces")
    assert trained_on(tmp_path / "faces") == predicted(tmp_path / "faces") == ["happy/1.png", "sad/1.png"]


def test_pillow_knows_every_suffix_but_those_of_heic():
    assert IMAGE_SUFFIXES - set(Image.registered_extensions()) <= {".heic", ".heif"}
    assert is_image_name("a/B.JPG")
    assert not is_image_name("a.jpg/b")


def test_names_come_in_the_order_that_is_asked_for(tmp_path):
    names = ["a10", "a2", "b/1", "b/10", "b/9"]
    with zipfile.ZipFile(tmp_path / "names.zip", "w") as archive:
        for name in names:
            (tmp_path / "names" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "names" / name).write_text("")
            archive.writestr(name, "")
        assert list(zip_members(archive)) == names
        assert list(zip_members(archive, natural)) == ["a2", "a10", "b/1", "b/9", "b/10"]
    assert [name for name, _ in walk(str(tmp_path / "names"))] == ["a10", "a2", "b", "b/1", "b/10", "b/9"]
    assert [name for name, _ in walk(str(tmp_path / "names"), natural)] == ["a2", "a10", "b", "b/1", "b/9", "b/10"]


def test_members_named_with_backslashes_or_from_the_current_folder_are_in_their_folders(tmp_path):
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
        for name in ("happy\\1.png", "./sad/1.png", "sad\\.hidden.png", "./.git/1.png"):
            archive.writestr(name, png())
    assert trained_on(tmp_path / "faces.zip") == predicted(tmp_path / "faces.zip") == ["happy/1.png", "sad/1.png"]
