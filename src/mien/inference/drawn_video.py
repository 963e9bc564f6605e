"""A video written frame by frame through OpenCV, playable however early it ends."""

import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from mien.errors import MienError

ENCODERS = ((".mp4", "mp4v", cv2.CAP_FFMPEG, 0.1), (".avi", "MJPG", cv2.CAP_OPENCV_MJPEG, 1.0))
"""Suffix, codec, back end and the least frames a second that it can tell, best first: MPEG-4 where OpenCV has FFmpeg, else
Motion JPEG, which it writes by itself, at whole frames a second."""

VIDEO_SUFFIXES = tuple(suffix for suffix, *_ in ENCODERS)

_WORDS = b"mien predict --draw"
MARK = struct.pack(">I4s", 8 + len(_WORDS), b"free") + _WORDS
"""The end of a drawn video, by which it is known, so that it may be drawn anew: a box of free space, which players skip
(ISO/IEC 14496-12, 8.1.2)."""


class DrawnVideo:
    """A video being written under a temporary name; `close` gives it its own.

    Args:
        folder: where it goes.
        stem: its name without the suffix.
        size: width and height in pixels. The codecs want even sides: an odd one gets another row or column like its last.
        rate: frames a second.

    Attributes:
        path: where it will be.

    Raises:
        MienError: if it cannot be written there.
    """

    def __init__(self, folder: Path, stem: str, size: tuple[int, int], rate: float) -> None:
        self._size, self._missed = size, 0
        self._last: np.ndarray | None = None
        even = size[0] + size[0] % 2, size[1] + size[1] % 2
        for suffix, codec, backend, least in ENCODERS:
            self.path = folder / f"{stem}{suffix}"
            self._part = folder / f".{stem}.{os.getpid()}.part{suffix}"  # the suffix tells OpenCV the container
            self._writer = _open(self._part, codec, backend, max(least, rate), even)
            if self._writer is not None:
                return
        raise self._problem("OpenCV cannot write it")

    def add(self, picture: Image.Image) -> None:
        """Write a frame; one of another size, as damaged videos have them, is fitted into the size of the first."""
        picture = picture if picture.size == self._size else picture.resize(self._size)
        pixels = cv2.cvtColor(np.asarray(picture), cv2.COLOR_RGB2BGR)
        pixels = cv2.copyMakeBorder(pixels, 0, self._size[1] % 2, 0, self._size[0] % 2, cv2.BORDER_REPLICATE)
        while self._missed and self._last is not None:
            self._write(self._last)
            self._missed -= 1
        self._write(pixels)
        self._last, self._missed = pixels, 0

    def miss(self) -> None:
        """Show the frame before for as long as this one, which could not be read; at the end nothing is added."""
        self._missed += 1

    def close(self) -> None:
        """Finish the video and give it its name.

        Raises:
            MienError: if it could not be written, on a full disk for example.
        """
        try:
            self._writer.release()
            with self._part.open("r+b") as file:
                if not file.read(1):
                    raise self._problem("nothing was written")
                file.seek(0, os.SEEK_END)
                file.write(MARK)
            self._part.replace(self.path)
        except OSError as error:
            raise self._problem(error.strerror or str(error)) from None
        finally:
            with suppress(OSError):
                self._part.unlink()

    def _write(self, pixels: np.ndarray) -> None:
        try:
            self._writer.write(pixels)
        except cv2.error as error:
            raise self._problem(" ".join(str(error).split())) from None

    def _problem(self, reason: str) -> MienError:
        return MienError(f"The video {str(self.path)!r} cannot be saved ({reason}); choose another --draw.")


def is_drawn_video(path: Path) -> bool:
    """Tell whether a file is a video that mien drew."""
    try:
        with path.open("rb") as file:
            file.seek(-len(MARK), os.SEEK_END)
            return file.read() == MARK
    except OSError:  # not there, shorter, or a folder
        return False


def _open(path: Path, codec: str, backend: int, rate: float, size: tuple[int, int]) -> Any:
    """Open OpenCV's writer; None where it has no such codec, or the file cannot be made."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # as for reading
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        writer = cv2.VideoWriter(str(path), backend, cv2.VideoWriter.fourcc(*codec), rate, size)
        return writer if writer.isOpened() else None
    except (cv2.error, UnicodeEncodeError):
        return None
    finally:
        cv2.utils.logging.setLogLevel(level)
