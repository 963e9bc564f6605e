"""Whatever is given as an input: a row each, in order, and nothing ends the run."""

import builtins
import io
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mien
from mien.cli import main
from reading import frames

GRAY, COLOUR = np.full((20, 30), 90, np.uint8), np.full((20, 30, 3), 90, np.uint8)


class Failing:
    """An object whose method fails."""

    def __init__(self, **methods):
        for name, value in methods.items():
            setattr(self, name, value)


def raising(error):
    def fail(*_, **__):
        raise error

    return fail


def reader(content):
    return Failing(read=lambda *_: content)


def closed_file():
    file = io.BytesIO(b"x")
    file.close()
    return file


def closed_image(tmp_path):
    Image.fromarray(GRAY).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        pass
    return image


class Arrays:
    """An object of another library that holds an image."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        if isinstance(self.array, Exception):
            raise self.array
        return self.array


class Interface:
    def __init__(self, array):
        self.array = array
        self.__array_interface__ = array.__array_interface__


class Name:
    filename = property(raising(RuntimeError("no name today")))


class Bytes(bytes):
    pass


def deep(*_):
    return deep()


BAD = {
    "None": (lambda _: None, "not NoneType"),
    "dict": (lambda _: {"path": "a.jpg"}, "not dict"),
    "float": (lambda _: 3.5, "not float"),
    "nan": (lambda _: float("nan"), "not float"),
    "bool": (lambda _: True, "not bool"),
    "list": (lambda _: ["a.jpg"], "not list"),
    "tuple": (lambda _: (), "not tuple"),
    "set": (lambda _: {1}, "not set"),
    "generator": (lambda _: (n for n in range(3)), "not generator"),
    "function": (lambda _: print, "not builtin_function_or_method"),
    "class": (lambda _: Path, "not type"),
    "module": (lambda _: os, "expected 2 arguments"),
    "object": (lambda _: object(), "not object"),
    "exception": (lambda _: ValueError("x"), "not ValueError"),
    "complex": (lambda _: 1j, "not complex"),
    "long name": (lambda _: "a" * 5000 + ".jpg", "File name too long"),
    "long name of a video": (lambda _: "b" * 5000 + ".mp4", "File name too long"),
    "long pattern": (lambda _: "c" * 5000 + "*.mp4", "Nothing matches"),
    "long part": (lambda tmp: str(tmp / ("d" * 300) / "a.jpg"), "File name too long"),
    "zero byte": (lambda _: "a\0b.jpg", "null"),
    "zero byte in a pattern": (lambda _: "a\0*.jpg", "Nothing matches|null"),
    "zero byte in a path": (lambda _: Path("a\0b.png"), "null"),
    "lone surrogate": (lambda _: "\ud800.jpg", "cannot be|no image"),
    "empty name": (lambda _: "", "empty name"),
    "text under a file": (lambda tmp: tmp / "file" / "a.jpg", "Not a directory"),
    "loop of links": (lambda tmp: tmp / "loop", "links"),
    "closed file": (lambda _: closed_file(), "closed file"),
    "file of text": (lambda _: io.StringIO("words"), "gives str, not bytes; open it in binary mode"),
    "read gives None": (lambda _: reader(None), "gives NoneType, not bytes"),
    "read gives a list": (lambda _: reader([1, 2]), "gives list, not bytes"),
    "read gives nothing": (lambda _: reader(b""), "is empty"),
    "read is no method": (lambda _: Failing(read=3), "not callable"),
    "read raises": (lambda _: Failing(read=raising(OSError(5, "Input/output error"))), "Input/output error"),
    "read raises without words": (lambda _: Failing(read=raising(ZeroDivisionError())), "ZeroDivisionError"),
    "read needs too much memory": (lambda _: Failing(read=raising(MemoryError())), "out of memory"),
    "read has no end": (lambda _: Failing(read=deep), "recursion"),
    "read is interrupted": (lambda _: Failing(read=raising(StopIteration())), "StopIteration|generator"),
    "seek raises": (lambda _: Failing(read=lambda: b"", seek=raising(OSError())), "is empty"),
    "name raises": (lambda _: Name(), "no name today"),
    "array fails": (lambda _: Arrays(RuntimeError("on another device")), "on another device"),
    "array gives no array": (lambda _: Arrays("face"), "__array__"),
    "closed image": (closed_image, "load it before its file is closed"),
    "tiny image": (lambda _: Image.new("L", (0, 5)), "has no pixels"),
    "no array": (lambda _: np.array(3.0), r"not \(\)"),
    "empty array": (lambda _: np.zeros((0, 0)), r"not \(0, 0\)"),
    "datetime": (lambda _: np.datetime64("2020-01-01"), r"not \(\)"),
    "bad data": (lambda _: "data:image/png;base64,xx", "not in a format"),
    "large camera": (lambda _: 10**30, "Cameras are numbered"),
    "negative camera": (lambda _: -1, "Cameras are numbered"),
    "address": (lambda _: "ftp://127.0.0.1/a.jpg", "is an address"),
    "standard input": (lambda _: "-", "standard input"),
}
GOOD = {
    "subclass of bytes": lambda _: Bytes(png()),
    "array of another library": lambda _: Arrays(GRAY),
    "array interface": lambda _: Interface(GRAY),
    "path of another library": lambda tmp: Failing2(str(saved(tmp))),
    "bytes path": lambda tmp: Failing2(os.fsencode(saved(tmp))),
    "text of NumPy": lambda tmp: np.str_(saved(tmp)),
    "image that was loaded before it was closed": lambda tmp: Image.open(saved(tmp)).copy(),
    "frame": lambda _: mien.Frame("left", GRAY),
}


class Failing2(os.PathLike):
    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return self.path


def png():
    buffer = io.BytesIO()
    Image.fromarray(GRAY).save(buffer, "PNG")
    return buffer.getvalue()


def saved(folder):
    (folder / "saved.png").write_bytes(png())
    return folder / "saved.png"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "file").write_text("words")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    return tmp_path


@pytest.mark.parametrize("name", BAD)
def test_a_bad_input_is_a_row_among_the_others(name, folder):
    make, says = BAD[name]
    before, *bad, after = frames([GRAY, make(folder), COLOUR])
    assert (before.source, before.error) == ("image 0", "")
    assert (after.source, after.error) == ("image 2", "")
    (row,) = bad
    assert row.image is None
    assert re.search(says, row.error), row.error
    assert "Traceback" not in row.error


@pytest.mark.parametrize("name", GOOD)
def test_an_input_of_another_kind_is_read(name, folder):
    _, good, _ = frames([GRAY, GOOD[name](folder), COLOUR])
    assert good.error == ""
    assert np.array_equal(good.image, GRAY)


def test_all_of_them_together_are_predicted_in_their_order(folder, model):
    sources = [part for make, _ in BAD.values() for part in (make(folder), COLOUR)]
    rows = list(mien.predict(sources, model, faces=True))
    assert len(rows) == len(sources)
    assert all(row.error for row in rows[::2])
    assert [row.source for row in rows[1::2]] == [f"image {number}" for number in range(1, len(sources), 2)]
    assert all(row.label for row in rows[1::2])


@pytest.mark.parametrize("name", [name for name in BAD if name not in ("list", "tuple", "set", "generator", "class")])
def test_a_bad_input_alone_is_a_row_too(name, folder):
    (row,) = frames(BAD[name][0](folder))
    assert row.error


@pytest.mark.parametrize("error", [ValueError("the disk is gone"), OSError(5, "gone"), MemoryError(), RecursionError("gone")])
def test_an_iterable_that_fails_keeps_what_came_before_and_says_so(error, model):
    def sources():
        yield COLOUR
        yield COLOUR
        raise error

    *rows, last = mien.predict(sources(), model, faces=True)
    assert [(row.source, row.error) for row in rows] == [("image 0", ""), ("image 1", "")]
    assert f"raised {type(error).__name__}" in last.error
    assert "the 2 before were read" in last.error
    assert last.source == "image 2"


def test_an_iterable_that_cannot_be_iterated_is_a_row():
    class Broken:
        def __iter__(self):
            raise RuntimeError("no")

    (row,) = frames(Broken())
    assert "raised RuntimeError (no)" in row.error


def test_who_stops_an_iterable_stops_the_run(model):
    def sources():
        yield COLOUR
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(mien.predict(sources(), model, faces=True))


@pytest.mark.parametrize("error", [MemoryError(), RecursionError("too deep"), RuntimeError("odd")])
def test_an_error_while_decoding_is_a_row(error, tmp_path, monkeypatch):
    saved(tmp_path)
    monkeypatch.setattr(Image, "open", raising(error))
    (row,) = frames(tmp_path / "saved.png")
    assert row.error


def test_a_file_that_cannot_be_opened_is_a_row(tmp_path, monkeypatch):
    saved(tmp_path)
    real = builtins.open

    def opened(path, *arguments, **options):
        if str(path).endswith("saved.png"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(io, "open", opened)
    (row,) = frames(tmp_path / "saved.png")
    assert "cannot be opened: Permission denied" in row.error


def test_lists_of_paths_of_numpy_and_pandas_are_lists_of_paths(tmp_path):
    pandas = pytest.importorskip("pandas")
    paths = [str(tmp_path / f"{number}.png") for number in range(3)]
    for path in paths:
        Image.fromarray(GRAY).save(path)
    series = pandas.Series(paths, index=[5, 6, 7], name="photo")
    objects = np.array([Path(path) for path in paths], object)
    for source in (
        np.array(paths),
        np.array(paths, object),
        objects,
        np.array([paths]),
        series,
        series.astype("string"),
        pandas.Index(paths),
    ):
        assert [(frame.source, frame.error) for frame in frames(source)] == [(path, "") for path in paths]
    (row,) = frames(np.array(paths[0]))
    assert row.source == paths[0]
    *_, last = frames(pandas.Series([*paths, None]))
    assert "not NoneType" in last.error or "not float" in last.error


def test_an_object_array_of_images_is_its_images():
    several = np.empty(2, object)
    several[0], several[1] = GRAY, COLOUR
    assert [frame.image.shape for frame in frames(several)] == [GRAY.shape, COLOUR.shape]


def test_a_tensor_in_a_list_is_a_row_with_what_to_write():
    torch = pytest.importorskip("torch")
    _, row, _ = frames([GRAY, torch.zeros(3, 20, 30), COLOUR])
    assert "permute(1, 2, 0)" in row.error


def test_a_long_name_on_the_command_line_is_a_row(model, capsys, tmp_path):
    saved(tmp_path)
    assert main(["predict", "a" * 5000, str(tmp_path / "saved.png"), "--model", str(model), "--faces"]) == 1
    assert "File name too long" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("image", "says"),
    [
        ([[1, 2], [3, 4]], "not list"),
        ("a.jpg", "no image 'a.jpg'"),
        (3.5, "not float"),
        (np.zeros((3, 20, 30), np.uint8), "transpose"),
        (np.full((20, 30), np.nan), "has values from nan"),
    ],
)
def test_a_frame_without_a_proper_image_is_a_row_with_its_number_and_time(image, says, model):
    frame = mien.Frame("left", image, frame=7, time=0.5)
    before, bad, after = mien.predict([COLOUR, frame, mien.Frame("left", COLOUR, frame=8, time=0.6)], model, faces=True)
    assert (before.error, after.error, after.source) == ("", "", "left")
    assert says in bad.error
    assert (bad.source, bad.frame, bad.time) == ("left", 7, 0.5)


def test_a_frame_of_another_scale_is_read_with_a_note(model):
    (row,) = mien.predict([mien.Frame("left", COLOUR / 255, frame=7, time=0.5)], model, faces=True)
    assert row.note == "float64 values from 0.353 to 0.353 read as 0 to 1"
