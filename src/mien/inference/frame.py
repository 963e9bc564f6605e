"""One image on its way through: not read yet, or read, or the sentence that says why it could not be."""

import threading
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
from PIL import Image

from mien.errors import MienError
from mien.images import ImageSource, read_with_note

_PILLOW = threading.Lock()
"""A Pillow image loads itself when it is looked at, which no two threads may do at once; and one may be given twice."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One image of a source, or why there is none.

    Attributes:
        source: the path, or "image N" for the N-th input where it has no path, from 0.
        image: uint8, (H, W) or (H, W, 3); None where it could not be read.
        error: the sentence that says why not; empty where it could.
        frame: its number in a video, from 0.
        time: seconds since the video's start.
        note: what a person should know of how it was read, such as "the first of several frames"; mostly empty.
        rate: how many frames a second come of its video; None for an image by itself.
    """

    source: str
    image: np.ndarray | None = None
    error: str = ""
    frame: int | None = None
    time: float | None = None
    note: str = ""
    rate: float | None = None

    @property
    def held_bytes(self) -> int:
        """Bytes of memory that it holds on to."""
        return 0 if self.image is None else self.image.nbytes


@dataclass(frozen=True, eq=False)
class Unread:
    """An image that is known by name and still to be read; reading is what takes time, and may be done in any thread.

    Attributes:
        source: as that of `Frame`.
        image: what `mien.images.read_image` takes.
    """

    source: str
    image: ImageSource

    @property
    def held_bytes(self) -> int:
        """Bytes of memory that it holds on to; next to none for a path."""
        return len(self.image) if isinstance(self.image, bytes) else getattr(self.image, "nbytes", 0)


def read(image: Frame | Unread) -> Frame:
    """Read an image that is not read yet; where that fails, its frame has the error."""
    if isinstance(image, Frame):
        return image
    try:
        with _PILLOW if isinstance(image.image, Image.Image) else nullcontext():
            pixels, note = read_with_note(image.image, image.source)
    except MienError as error:
        return Frame(image.source, error=str(error))
    return Frame(image.source, pixels, note=note)
