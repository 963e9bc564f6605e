"""The one place where inputs are opened, with limits on their size, and where it is said why one cannot be read."""

import io
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from mien.errors import MienError

MAX_MEGAPIXELS = 400  # a small file can claim to be larger and fill the memory; MIEN_MAX_MEGAPIXELS sets another limit
IN_FLIGHT = 100e6  # pixels of the images that are decoded and searched at the same time; decoding takes about 8 bytes for each
SMALL = 1e6  # pixels of images that are not counted
LARGEST_MEMBER = 2**29  # bytes of a file in an archive, above 100 megapixels with alpha: it is unpacked in memory
LARGEST_INDEX = 2**28  # bytes of the index of a zip, enough for 2.5 million files; zipfile holds ten times that

_CHANGED = threading.Condition()  # guards what follows
_ALL, _HELD = {"pixels": 0}, threading.local()  # pixels in flight, of all threads and of this one


def open_file(path: str | Path) -> io.BufferedReader:
    """Open a file to read it; a MienError, to follow its name, for a pipe or a device, which may block or have no end."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - before it is opened, which a device or the writer of a pipe would notice
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            kind = "a named pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
            raise MienError(f"is {kind}, not a file; save its content to a file, then give its path.")
        # without waiting, for /proc/kmsg and the like count as files
        return io.open(path, "rb", opener=lambda path, flags: os.open(path, flags | getattr(os, "O_NONBLOCK", 0)))  # noqa: UP020
    except ValueError as error:
        raise MienError(f"cannot be opened: {error}.") from None


def unpack(file: IO[bytes], limit: int = LARGEST_MEMBER) -> bytes:
    """Read a file of an archive up to a limit, whatever size its header states."""
    content = io.BytesIO()
    while piece := file.read(2**20):
        content.write(piece)
        if content.tell() > limit:
            raise MienError(f"would unpack to more than {limit / 2**30:.2g} GB; unpack it, and make it smaller.")
    return content.getvalue()


class BoundedReader(io.BufferedReader):
    """A file of which no more than `LARGEST_INDEX` bytes are read at a time, whatever sizes it states."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as a file does, or raise a ValueError."""
        content = super().read(LARGEST_INDEX + 1 if size is None or size < 0 else min(size, LARGEST_INDEX + 1))
        if len(content) > LARGEST_INDEX:
            raise ValueError("its index is too large")
        return content


def failure(what: str, error: Exception, fault: str = "cannot be read", remedy: str = "") -> str:
    """Say in a sentence why an input, such as "image 'a.jpg'", cannot be read, whatever was raised; for every kind of input."""
    if isinstance(error, MienError):  # begins with a verb
        return f"The {what} {error}"
    if isinstance(error, FileNotFoundError):
        return f"There is no {what}; check the path."
    if isinstance(error, IsADirectoryError):
        return f"The {what} is a folder, not a file."
    if isinstance(error, OSError) and error.errno and error.strerror:
        return f"The {what} cannot be opened: {error.strerror}."
    return f"The {what} {fault} ({reason_of(error)}){remedy and f'; {remedy}'}."


@contextmanager
def pixels_in_flight() -> Iterator[None]:
    """Count the images that this thread reads in the block against `IN_FLIGHT`, until the end of the outermost block."""
    if hasattr(_HELD, "pixels"):
        yield
        return
    _HELD.pixels = 0
    try:
        yield
    finally:
        with _CHANGED:
            _ALL["pixels"] -= _HELD.pixels
            del _HELD.pixels
            _CHANGED.notify_all()


def pixel_limit() -> float:
    """Return how many pixels an image may have."""
    text = os.environ.get("MIEN_MAX_MEGAPIXELS") or MAX_MEGAPIXELS
    with suppress(ValueError):
        if (limit := float(text)) >= 0:
            return limit * 1e6
    raise MienError(f"cannot be read: MIEN_MAX_MEGAPIXELS must be a number of megapixels, not {text!r}.")


def check_pixels(width: int, height: int, share: float = 1.0) -> None:
    """Raise a MienError if an image is empty or exceeds this share of the limit; wait until there is room for its pixels."""
    pixels, limit = width * height, pixel_limit() * share
    if not pixels:
        raise MienError(f"has no pixels ({width}x{height}); give another.")
    if pixels > limit:
        sizes = f"{pixels / 1e6:.3g} megapixels and the limit is {limit / 1e6:g}"
        raise MienError(f"has {sizes}; make it smaller, or set MIEN_MAX_MEGAPIXELS.")
    if pixels > SMALL and hasattr(_HELD, "pixels"):
        with _CHANGED:
            # one that is larger has its turn alone; who holds some already does not wait, or two could wait for each other
            _CHANGED.wait_for(lambda: _HELD.pixels or not _ALL["pixels"] or _ALL["pixels"] + pixels <= IN_FLIGHT)
            _HELD.pixels += pixels
            _ALL["pixels"] += pixels


def reason_of(error: Exception) -> str:
    """Return the message of an exception in one line, without number and path, or its type where it has none."""
    text = "out of memory" if isinstance(error, MemoryError) else str(getattr(error, "strerror", None) or error)
    return " ".join(text.split()) or type(error).__name__
