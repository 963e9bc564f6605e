import os
import resource
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from mien.data import reading
from mien.data.pack import write_pack
from mien.data.reading import FORMATS, read_faces
from mien.data.source import DataSource, FormatName
from mien.errors import MienError
from mien.labels import FER2013


def packs(cache):
    return sorted((cache / "faces").iterdir())


@pytest.fixture
def reads(monkeypatch):
    """What was read and packed, as a list of sources; opening a pack is not among it."""
    found = []

    def counting(*arguments, **options):
        found.append(arguments)
        write_pack(*arguments, **options)

    monkeypatch.setattr(reading, "write_pack", counting)
    return found


@pytest.mark.parametrize("name", list(FORMATS))
def test_every_format_is_recognised_and_gives_the_same_faces(name, write, sample):
    faces = read_faces(write[name]())
    assert faces.labels == FER2013
    assert faces.split_names == ("train", "validation", "test")
    for split in faces.split_names:
        found = faces.split(split)
        written = [(image.tobytes(), label) for _, image, label, its_split in sample if its_split == split]
        assert sorted((image.tobytes(), label) for image, label in zip(found.images, found.classes, strict=True)) == sorted(
            written
        )


@pytest.mark.parametrize("name", list(FORMATS))
def test_a_format_can_be_named(name, write):
    assert len(read_faces(DataSource(write[name](), format=name))) == 28


def test_every_format_has_a_name_that_users_can_give():
    assert set(get_args(FormatName)) == {"auto", *FORMATS}


def test_an_unknown_format_is_refused_with_those_there_are(write):
    with pytest.raises(MienError, match=r"no data format 'csv'.*fer2013-csv"):
        read_faces(DataSource(write["fer2013-csv"](), format="csv"))


def test_the_format_that_was_recognised_is_said_with_the_path(write):
    path = write["fer2013-csv"]()
    assert read_faces(path).origin.kind == "FER-2013 as CSV"
    assert read_faces(path).origin.path == str(path)


@pytest.mark.parametrize("name", ["fer2013-csv", "parquet", "manifest", "folders"])
def test_the_second_start_reads_nothing_twice(name, write, reads):
    path = write[name]()
    first, second = read_faces(path), read_faces(path)
    assert len(reads) == 1
    assert first.fingerprint() == second.fingerprint()


def test_an_older_pack_is_not_taken_for_other_wishes(write, reads):
    path = write["fer2013-csv"]()
    shapes = [read_faces(path, size=size, channels=channels).images.shape for size, channels in [(48, 1), (32, 1), (48, 3)]]
    assert shapes == [(28, 48, 48), (28, 32, 32), (28, 48, 48, 3)]
    assert len(reads) == 3


def test_a_pack_is_prepared_again_at_another_size(write):
    faces = read_faces(write["pack"](), size=24, channels=3)
    assert faces.images.shape == (28, 24, 24, 3)
    assert faces.id(27) == "27"


def test_a_source_that_was_written_to_is_read_again(write, reads):
    path = write["fer2013-csv"]()
    read_faces(path)
    path.write_text(path.read_text().replace("\n1,", "\n2,"))
    assert read_faces(path).counts()[1] == 0
    assert len(reads) == 2


def test_an_image_more_in_a_folder_is_noticed(write, save):
    path = write["folders"]()
    read_faces(path)
    save("faces/train/happy/new.png")
    assert len(read_faces(path)) == 29


def test_an_image_that_a_manifest_names_is_noticed_when_it_changes(write, save, sample):
    path = write["manifest"]()
    assert np.array_equal(read_faces(path).images[0], sample.images[0])
    save("00.png", number=5)
    assert np.array_equal(read_faces(path).images[0], sample.images[5])


@pytest.mark.parametrize("damage", [lambda data: data[:-10], lambda data: b"x" * 100, lambda data: b"", lambda data: data[:9]])
def test_a_damaged_pack_is_made_anew(damage, write, cache):
    path = write["fer2013-csv"]()
    whole = read_faces(path).fingerprint()
    (pack,) = packs(cache)
    pack.write_bytes(damage(pack.read_bytes()))
    assert read_faces(path).fingerprint() == whole


def test_many_readers_at_once_do_not_harm_each_other(write, cache):
    path = write["folders"]()
    with ThreadPoolExecutor(4) as pool:
        found = {faces.fingerprint() for faces in pool.map(read_faces, [path] * 8)}
    assert len(found) == 1
    assert len(packs(cache)) == 1


def test_images_are_mapped_read_only_and_a_split_is_a_view(write):
    faces = read_faces(write["fer2013-csv"]())
    assert isinstance(faces.images, np.memmap)
    assert not faces.images.flags.writeable
    assert np.shares_memory(faces.split("validation").images, faces.images)


def test_progress_is_told(write):
    told = []
    read_faces(write["folders"](), progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (28, 28)


def test_a_path_that_is_not_there_brings_the_nearest_name(write):
    path = write["fer2013-csv"]()
    with pytest.raises(MienError, match=r"nothing at .*fer2013\.cvs'\. Did you mean .*fer2013\.csv'\?"):
        read_faces(path.with_name("fer2013.cvs"))
    with pytest.raises(MienError, match=r"Did you mean"):
        read_faces(path.parent.with_name(path.parent.name + "x") / "deep" / "fer2013.csv")


def test_a_file_that_holds_no_labelled_faces_is_refused(tmp_path, save):
    model = tmp_path / "model.onnx"
    model.write_bytes(b"\x08\x07")
    for path in (model, save("photo.jpg")):
        with pytest.raises(MienError, match="not labelled data"):
            read_faces(path)


def test_one_class_only_is_refused_at_every_start(save, tmp_path):
    save("faces/happy/1.png")
    for _ in range(2):
        with pytest.raises(MienError, match=r"All 1 faces .*'happy'.*two labels"):
            read_faces(tmp_path / "faces")


@pytest.mark.parametrize(("size", "channels"), [(0, 1), (48, 2)])
def test_an_impossible_size_or_number_of_channels_is_refused(size, channels, write):
    with pytest.raises(MienError, match="size of at least 1"):
        read_faces(write["folders"](), size, channels)


@pytest.mark.skipif(os.name == "nt", reason="a limit on file sizes stands in for a full disk")
def test_a_full_disk_is_said_and_leaves_nothing_behind(write, cache):
    path = write["fer2013-csv"]()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(MienError, match=r"Cannot write the packed faces to .*MIEN_CACHE"):
            read_faces(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert packs(cache) == []
    assert len(read_faces(path)) == 28


def test_a_cache_that_cannot_be_written_is_said(write, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "file"))
    with pytest.raises(MienError, match="MIEN_CACHE"):
        read_faces(write["folders"]())


def test_what_killed_processes_left_is_removed_a_day_later(write, cache):
    (cache / "faces").mkdir()
    old, young = (cache / "faces" / f".{name}.mien-00000000-1-1.part" for name in "ab")
    for part in (old, young):
        part.write_text("half")
    os.utime(old, times=(time.time() - 90_000,) * 2)
    read_faces(write["folders"]())
    assert not old.exists()
    assert young.exists()


def test_colour_images_of_any_size_become_what_was_asked_for(tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for number, size in enumerate([(100, 80), (20, 31)]):
            Image.new("RGB", size, (255, 0, 0)).save(tmp_path / "pets" / label / f"{number}.png")
    gray, colour = read_faces(tmp_path / "pets", size=40), read_faces(tmp_path / "pets", size=40, channels=3)
    assert gray.images.shape == (4, 40, 40)
    assert np.unique(gray.images).tolist() == [76]  # 0.299 of 255
    assert np.unique(colour.images.reshape(-1, 3), axis=0).tolist() == [[255, 0, 0]]


def test_a_source_may_be_a_string(write):
    assert len(read_faces(str(write["folders"]()))) == 28
    assert isinstance(DataSource(Path("x")).path, Path)


def test_a_folder_that_may_not_be_read_is_named_with_what_to_do(write, monkeypatch):
    path, scandir = write["folders"](), os.scandir
    closed = str(path / "train" / "happy")

    def refusing(folder):
        if str(folder) == closed:
            raise PermissionError(13, "Permission denied", closed)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refusing)  # and not chmod, which does not bind an administrator
    with pytest.raises(MienError, match=r"Cannot read .*train/happy: Permission denied\. Allow .*chmod .*, or move it out of "):
        read_faces(path)
