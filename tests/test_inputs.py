"""Files, members of archives and pixels have limits, whatever is stated of their size."""

import io
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from dataclasses import dataclass
from typing import Any, Literal

import av
import numpy as np
import pytest
from PIL import Image

from mien import inputs
from mien.errors import MienError
from mien.images import read_image
from mien.inference.video import video_frames
from mien.inputs import BoundedReader, check_pixels, failure, open_file, pixels_in_flight, unpack, wrong_value

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


def png(width, height, colour=2):
    """A black PNG of a few thousandths of its pixels' bytes: gray (0), RGB (2) or RGBA (6)."""
    packer, row = zlib.compressobj(9), bytes(1 + width * {0: 1, 2: 3, 6: 4}[colour])
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    parts = (b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0), b"IDAT" + data, b"IEND")
    return b"\x89PNG\r\n\x1a\n" + b"".join(struct.pack(">I", len(p) - 4) + p + struct.pack(">I", zlib.crc32(p)) for p in parts)


def icon(content):
    """An ICO that says to hold an image of 16 x 16."""
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(content), 22) + content


def apple_icon(content):
    entry = b"ic10" + struct.pack(">I", 8 + len(content)) + content
    return b"icns" + struct.pack(">I", 8 + len(entry)) + entry


def peak_megabytes(code, *arguments):
    """Run code in a new process, and return its highest memory in MB and what it prints."""
    status = "next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))"  # ru_maxrss includes the parent's
    code = f"import sys\n{code}\nprint(int({status}.split()[1]) // 1024)"
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *printed, peak = done.stdout.splitlines()
    return int(peak), "\n".join(printed)


READ = """
from mien.errors import MienError
from mien.images import read_image
try: print(read_image(open(sys.argv[1], "rb").read()).shape)
except MienError as error: print(error)
"""


@ON_LINUX
@pytest.mark.parametrize("wrap", [icon, apple_icon])
def test_an_icon_of_another_size_than_it_says_is_not_decoded(wrap, tmp_path):
    (tmp_path / "icon").write_bytes(wrap(png(6000, 6000, 6)))
    peak, said = peak_megabytes(READ, tmp_path / "icon")
    assert "exceeds limit" in said
    assert peak < 250  # decoding takes 350


@pytest.mark.parametrize("form", ["ICO", "ICNS"])
def test_an_icon_is_read(form):
    buffer = io.BytesIO()
    Image.fromarray(np.full((128, 128, 4), 200, np.uint8)).save(buffer, form)
    assert read_image(buffer.getvalue()).shape == ((1024, 1024, 3) if form == "ICNS" else (128, 128, 3))


@ON_LINUX
def test_transparency_takes_no_copies_of_the_whole_image(tmp_path):
    (tmp_path / "a.png").write_bytes(png(6000, 6000, 6))
    peak, said = peak_megabytes(READ, tmp_path / "a.png")
    assert said == "(6000, 6000, 3)"
    assert peak < 400  # 144 decoded and 108 converted; whole copies took 800


@pytest.mark.parametrize("magic", [b"SIMPLE  =                    T", b"\x1c\x02\x00\x00\x02", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_formats_that_pillow_hands_on_are_refused(magic):
    with pytest.raises(MienError, match=r"these bytes (is|has)"):
        read_image(magic.ljust(2880))


def test_a_tiff_of_one_strip_is_read():
    buffer, limit = io.BytesIO(), Image.MAX_IMAGE_PIXELS
    Image.new("L", (10_000, 9_500)).save(buffer, "TIFF", compression="tiff_deflate", strip_size=2**31 - 1)
    assert read_image(buffer.getvalue()).shape == (9_500, 10_000)
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("compression", [1, 5, 8])
def test_a_tiff_with_a_giant_tile_is_refused(compression):
    tags = {256: 64, 257: 64, 258: 8, 259: compression, 262: 1, 277: 1, 322: 65_520, 323: 65_520, 324: 8, 325: 9}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    with pytest.raises(MienError, match="megapixels and the limit"):
        read_image(b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(100))


def test_an_array_above_the_limit_is_refused(monkeypatch):
    with pytest.raises(MienError, match="array has 1e\\+04 megapixels"):
        read_image(np.broadcast_to(np.uint8(0), (100_000, 100_000)))
    monkeypatch.setenv("MIEN_MAX_MEGAPIXELS", "nan")
    with pytest.raises(MienError, match="must be a number"):
        read_image(np.zeros((4, 4), np.uint8))


def test_images_that_are_decoded_together_are_bounded_by_their_pixels(monkeypatch):
    monkeypatch.setattr(inputs, "IN_FLIGHT", 10e6)
    together, most, lock = [0], [0], threading.Lock()

    def work(megapixels):
        with pixels_in_flight():
            check_pixels(1000, megapixels * 1000)
            with lock:
                together[0] += megapixels
                most[0] = max(most[0], together[0])
            time.sleep(0.01)
            check_pixels(2000, 1000)  # a second image of the same thread waits for nobody
            with lock:
                together[0] -= megapixels

    sizes = [3, 4, 25, 2, 5, 3, 25, 4, 2, 2]  # one above the bound comes alone
    threads = [threading.Thread(target=work, args=(size,)) for size in sizes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert most[0] == 25
    assert inputs._ALL["pixels"] == 0


def test_what_is_no_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "socket.png"))
        for name, kind in (("pipe", "a named pipe"), ("link", "a named pipe"), ("zero", "a device"), ("socket", "a socket")):
            with pytest.raises(MienError, match=f"is {kind}, not a file"):
                open_file(tmp_path / f"{name}.png")
    for name, error in (("a\0b", "null"), (tmp_path, "a folder|directory"), ("no", "No such file")):
        with pytest.raises((MienError, OSError), match=f"(?i){error}"):
            open_file(name)


def test_unpacking_stops_at_the_limit():
    class Endless:
        def read(self, size):
            return bytes(size)

    with pytest.raises(MienError, match="would unpack to more than"):
        unpack(Endless(), 3 * 2**20)
    assert unpack(io.BytesIO(b"words")) == b"words"


def test_a_reader_takes_no_more_than_the_limit_at_a_time(monkeypatch):
    monkeypatch.setattr(BoundedReader, "left", 100)
    reader = BoundedReader(io.BytesIO(bytes(1000)))
    assert len(reader.read(100)) == 100
    for size in (101, 10**15, -1, None):
        with pytest.raises(ValueError, match="too large"):
            reader.read(size)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MienError("is a folder."), "The image 'a' is a folder."),
        (FileNotFoundError(2, "No such file"), "There is no image 'a'; check the path."),
        (PermissionError(13, "Permission denied"), "The image 'a' cannot be opened: Permission denied."),
        (OSError("broken\n stream"), "The image 'a' is damaged (broken stream); save it again."),
        (MemoryError(), "The image 'a' is damaged (out of memory); save it again."),
        (KeyError(), "The image 'a' is damaged (KeyError); save it again."),
    ],
)
def test_whatever_is_raised_becomes_a_sentence(error, says):
    assert failure("image 'a'", error, "is damaged", "save it again") == says


def test_a_video_of_larger_frames_than_the_limit_is_refused(tmp_path, monkeypatch):
    path = str(tmp_path / "clip.avi")
    with av.open(path, "w") as container:
        stream = container.add_stream("mjpeg", rate=5)
        stream.width, stream.height, stream.pix_fmt = 800, 600, "yuvj420p"
        container.mux(stream.encode(av.VideoFrame(800, 600, "yuvj420p")))
        container.mux(stream.encode(None))
    assert [frame.error for frame in video_frames(path)] == [""]
    monkeypatch.setenv("MIEN_MAX_MEGAPIXELS", "1")
    (row,) = video_frames(path)
    assert "more than 0.25 megapixels" in row.error


@dataclass
class Part:
    share: float
    names: tuple[str, ...] = ()


@dataclass
class Whole:
    part: Part
    kind: Literal["a", "b"] = "a"
    counts: dict[str, int | None] | None = None
    more: Any = None


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"part": {"share": 1, "names": ["x"]}, "counts": {"x": None, "y": 2}, "more": [1]}, ""),
        ({"part": {"share": 0.5}, "counts": None, "kind": "b"}, ""),
        ({}, "part is missing"),
        ({"part": {}}, "part.share is missing"),
        ({"part": {"share": True}}, "part.share: expected a number, not "),
        ({"part": {"share": 1, "names": ["x", 3]}}, "part.names: expected a text, not 3"),
        ({"part": {"share": 1, "names": "x"}}, "part.names: expected "),
        ({"part": [1]}, "part: expected "),
        ({"part": {"share": 1}, "kind": "c"}, "kind: expected "),
        ({"part": {"share": 1}, "counts": {"x": 1.5}}, "counts: expected pairs such as"),
        ({"part": {"share": 1}, "counts": []}, "counts: expected pairs such as"),
    ],
)
def test_a_value_of_another_type_than_the_field_is_named(value, problem):
    found = wrong_value(value, Whole)
    assert found.startswith(problem) if problem else found == ""
