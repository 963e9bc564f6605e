import io
import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.errors import MienError
from mien.inference.sources import check_names
from reading import frames

RANDOM = np.random.default_rng(0)
GRAY, COLOUR = RANDOM.integers(0, 256, (20, 30)).astype(np.uint8), RANDOM.integers(0, 256, (20, 30, 3)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    names = ["photo10.png", "photo2.png", "Photo1.PNG", "b/deep/9.webp", "b/10.bmp", "лицо 顔.png", "line\nbreak.png"]
    for name in [*names, ".hidden.png", ".git/thing.png"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(GRAY).save(tmp_path / name)
    for name in ("notes.txt", "b/model.onnx"):
        (tmp_path / name).write_text("no image")
    return tmp_path


def names(source, root):
    return [frame.source.removeprefix(f"{root}/") for frame in frames(source)]


def test_a_folder_is_read_whole_in_natural_order(folder):
    wanted = ["b/10.bmp", "b/deep/9.webp", "line\nbreak.png", "Photo1.PNG", "photo2.png", "photo10.png", "лицо 顔.png"]
    assert names(folder, folder) == wanted
    assert names(str(folder), folder) == wanted
    assert all(frame.image is not None and not frame.error for frame in frames(folder))


def test_a_pattern_gives_its_matches_in_natural_order(folder):
    assert names(f"{folder}/photo*.png", folder) == ["photo2.png", "photo10.png"]
    assert names(f"{folder}/**/*.webp", folder) == ["b/deep/9.webp"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path):
    Image.fromarray(GRAY).save(tmp_path / "a[1].png")
    (frame,) = frames(tmp_path / "a[1].png")
    assert np.array_equal(frame.image, GRAY)


def test_a_link_to_the_folder_above_does_not_go_round(folder):
    (folder / "b" / "up").symlink_to(folder)
    assert len(list(frames(folder))) == 7


@pytest.mark.parametrize(
    ("source", "says"),
    [("gone.png", "no image"), ("empty", "holds no images"), ("*.gif", "Nothing matches"), ("notes.jpg", "format")],
)
def test_what_cannot_be_read_is_a_frame_with_an_error(tmp_path, source, says):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.jpg").write_text("no image")
    (frame,) = frames(tmp_path / source)
    assert frame.image is None
    assert says in frame.error
    assert frame.source == str(tmp_path / source)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("name", ["pipe.png", "pipe.mp4", "pipe.zip"])
def test_a_named_pipe_is_an_error_and_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    (frame,) = frames(tmp_path / name)
    assert "is a named pipe" in frame.error


def test_images_in_memory_are_numbered_by_their_place(tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    sources = [COLOUR, tmp_path / "a.png", (tmp_path / "a.png").read_bytes(), Image.fromarray(COLOUR), 3.5]
    found = list(frames(sources))
    assert [frame.source for frame in found] == ["image 0", str(tmp_path / "a.png"), "image 2", "image 3", "image 4"]
    assert all(np.array_equal(frame.image, COLOUR) for frame in found[:4])
    assert "not float" in found[4].error


@pytest.mark.parametrize("image", [GRAY, COLOUR, GRAY[:, :, None]])
def test_one_array_is_one_image(image):
    (frame,) = frames(image)
    assert frame.image.shape == image.shape[: 2 + (image.shape[-1] == 3)]


@pytest.mark.parametrize("images", [np.stack([COLOUR] * 4), np.stack([GRAY] * 4), [GRAY] * 4, (COLOUR for _ in range(4))])
def test_an_array_with_a_further_axis_or_any_iterable_is_several(images):
    assert len(list(frames(images))) == 4


def test_an_opened_file_keeps_its_name(folder):
    with Image.open(folder / "photo2.png") as image:
        (frame,) = frames(image)
    assert frame.source == str(folder / "photo2.png")


def test_an_endless_source_is_read_as_it_is_asked_for():
    found = frames(GRAY for _ in itertools.count())
    assert [next(found).source for _ in range(3)] == ["image 0", "image 1", "image 2"]


def closed(monkeypatch, *names):
    """Let listing or looking at these paths fail, as it does for all but the superuser."""
    real = {name: getattr(Path, name) for name in ("exists", "is_dir")}
    scandir = os.scandir

    def guarded(method):
        def call(self, *arguments):
            if self.name in names and (method != "is_dir" or self.suffix):
                raise PermissionError(13, "Permission denied", str(self))
            return real[method](self, *arguments)

        return call

    for method in real:
        monkeypatch.setattr(Path, method, guarded(method))

    def guarded_scandir(path):
        if Path(path).name in names:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded_scandir)


def test_a_folder_that_cannot_be_read_is_one_error_among_the_rest(folder, monkeypatch):
    closed(monkeypatch, "b")
    found = list(frames(folder))
    assert [frame.source for frame in found if frame.error] == [f"{folder}/b"]
    assert "cannot be read (Permission denied)" in found[0].error
    assert len(found) == 6


def test_a_name_that_may_not_be_looked_at_does_not_stop_the_others(folder, monkeypatch):
    closed(monkeypatch, "secret.png")
    check_names([f"{folder}/secret.png", f"{folder}/photo2.png"])
    assert [bool(frame.error) for frame in frames([f"{folder}/secret.png", f"{folder}/photo2.png"])] == [True, False]


@pytest.mark.parametrize(
    ("name", "says"),
    [("https://example.org/a.jpg", "download"), ("-", "standard input"), ("/dev/stdin", "standard input"), ("", "empty name")],
)
def test_what_is_no_path_is_said_to_be_none(folder, name, says):
    with pytest.raises(MienError, match=says):
        check_names([name])
    bad, good = frames([name, f"{folder}/photo2.png"])
    assert says in bad.error
    assert not good.error


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, io.BytesIO])
def test_bytes_are_an_image_whatever_holds_them(tmp_path, wrap):
    Image.fromarray(GRAY).save(tmp_path / "a.png")
    for source in (wrap((tmp_path / "a.png").read_bytes()), [wrap((tmp_path / "a.png").read_bytes())]):
        (frame,) = frames(source)
        assert (frame.source, frame.error) == ("image 0", "")
        np.testing.assert_array_equal(frame.image, GRAY)


def test_a_file_that_is_open_is_read_and_keeps_its_name(tmp_path):
    Image.fromarray(GRAY).save(tmp_path / "a.png")
    with (tmp_path / "a.png").open("rb") as file:
        (frame,) = frames(file)
    assert frame.source == str(tmp_path / "a.png")
    np.testing.assert_array_equal(frame.image, GRAY)


def test_a_tensor_says_what_to_give_instead():
    torch = pytest.importorskip("torch")
    with pytest.raises(MienError, match=r"permute\(1, 2, 0\)"):
        list(frames(torch.zeros(3, 20, 30)))


@pytest.mark.parametrize("every", [0, -1, 2.5])
def test_only_whole_numbers_of_frames_are_left_out(every):
    with pytest.raises(MienError, match=r"`every` must be (at least 1|a whole number), not"):
        list(frames([], every))


def test_the_videos_and_zips_of_a_folder_are_not_left_out_in_silence(folder, caplog):
    (folder / "b" / "clip.mp4").write_bytes(b"video")
    (folder / "more.zip").write_bytes(b"zip")
    list(frames(folder))
    (record,) = caplog.records
    assert "also holds 2 of videos and zips" in record.getMessage()
    assert repr(str(folder / "b" / "clip.mp4")) in record.getMessage()
