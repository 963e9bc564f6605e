"""Images out of whatever a person names: path, folder, pattern, zip, video or camera, an image in memory, or many of these."""

import glob
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np

from mien.errors import MienError
from mien.images import ImageSource
from mien.inference.archive import zipped
from mien.inference.frame import Frame, Unread, read
from mien.inference.names import (
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    ZIP_SUFFIX,
    camera_number,
    elsewhere,
    is_folder,
    is_there,
    natural,
)
from mien.inference.video import camera_frames, video_frames

_logger = logging.getLogger("mien")

Item: TypeAlias = ImageSource | int | Frame | Unread
"""One image, folder, pattern, zip or video; the number of a camera; or a frame of your own."""

Source: TypeAlias = Item | Iterable[Item]
"""What `predict` takes: one of these, or an iterable of them."""


def frames(source: Source, every: int = 1) -> Iterator[Frame]:
    """Read the images of a source one by one, as they are asked for.

    Args:
        source: as for `listed`.
        every: as for `listed`.
    """
    return map(read, listed(source, every))


def listed(source: Source, every: int = 1, skip: Callable[[str], bool] | None = None) -> Iterator[Frame | Unread]:
    """List the images of a source, in order, as they are asked for; those of videos and cameras come read.

    Folders are listed with all below them, in natural order (2 before 10); hidden files and files that are no images are left
    out. A pattern may hold *, ?, [...] and **. Whatever cannot be read comes as a frame with an error.

    Args:
        source: a path, folder, pattern, zip, video, number of a camera, bytes, file opened in binary mode, Pillow image, array
            (H, W) or (H, W, 3) in RGB, frame, or an iterable of them; an array with a further axis in front is several images.
        every: of videos and cameras, only each so-manieth frame, from the first on.
        skip: is asked once for each file, before it is read, whether to leave it out.

    Raises:
        MienError: if `every` is no whole number from 1 on, or the source is a tensor.
    """
    if every < 1 or every != int(every):
        raise MienError(f"Every frame is 1, every second 2 and so on; there is no {every}.")
    return _listed(source, every, skip or (lambda _: False))


def _listed(source: Source, every: int, skip: Callable[[str], bool]) -> Iterator[Frame | Unread]:
    for number, item in enumerate(_items(source)):
        if isinstance(item, Frame | Unread):
            yield item
        elif isinstance(item, int) and not isinstance(item, bool):
            yield from camera_frames(item, every)
        elif isinstance(item, str | Path):
            yield from _files(str(item), every, skip)
        else:
            name = getattr(item, "filename", "") or getattr(item, "name", "")
            yield Unread(name if name and isinstance(name, str) else f"image {number}", cast(ImageSource, _in_memory(item)))


def _items(source: Source) -> Iterable[Item]:
    if isinstance(source, np.ndarray):
        several = source.ndim > 3 or (source.ndim == 3 and source.shape[2] not in (1, 3, 4))
        return source if several else [source]
    if hasattr(source, "requires_grad"):
        raise MienError("A tensor is no image; give an array, uint8 (H, W, 3) in RGB, such as tensor.permute(1, 2, 0).numpy().")
    single = isinstance(source, ImageSource | bytearray | memoryview) or hasattr(source, "read")
    return [cast(Item, source)] if single or not isinstance(source, Iterable) else source


def _in_memory(item: object) -> object:
    """Take the bytes out of what holds them, such as an open file."""
    if isinstance(item, bytearray | memoryview):
        return bytes(item)
    return item.read() if hasattr(item, "read") else item


def _files(name: str, every: int, skip: Callable[[str], bool]) -> Iterator[Frame | Unread]:
    """List the files that a name stands for; there is always at least one, unless it is skipped."""
    path = Path(name)
    found: Iterable[str | Frame]
    left_out: list[str] = []
    if says := elsewhere(name):
        found, nothing = (), says
    elif (camera := camera_number(name)) is not None:
        yield from camera_frames(camera, every)
        return
    elif is_folder(path):
        found, nothing = _folder(path, left_out), _holds_nothing(name)
    elif glob.has_magic(name) and not is_there(path):
        matches = sorted(glob.iglob(name, recursive=True), key=natural)  # noqa: PTH207 - Path.glob takes no absolute pattern
        found, nothing = (match for match in matches if not is_folder(Path(match))), f"Nothing matches {name!r}."
    else:
        found, nothing = [str(path)], ""
    for file in found:
        nothing = ""
        if isinstance(file, Frame):
            yield from () if skip(file.source) else (file,)
        else:
            yield from _file(file, every, skip)
    if left_out and not nothing:
        _logger.warning(
            f"mien: the folder {name!r} also holds {len(left_out):,} of videos and zips; name them themselves, "
            f"such as {left_out[0]!r}"
        )
    if nothing and not skip(name):
        yield Frame(name, error=nothing)


def _holds_nothing(name: str) -> str:
    return (
        f"The folder {name!r} holds no images (.jpg, .png or the like); give one that does, or name videos and zips themselves."
    )


def _file(name: str, every: int, skip: Callable[[str], bool]) -> Iterator[Frame | Unread]:
    # a named pipe would wait for somebody to write; reading it as an image says that it is one
    suffix = "" if Path(name).is_fifo() else Path(name).suffix.lower()
    if suffix == ZIP_SUFFIX:
        yield from zipped(name, skip)
    elif not skip(name):
        yield from video_frames(name, every) if suffix in VIDEO_SUFFIXES else (Unread(name, name),)


def _folder(folder: Path, left_out: list[str]) -> Iterator[str | Frame]:
    """Find the images in a folder and below, and note its videos and zips; one that cannot be read comes as a frame."""
    try:
        names = sorted((entry.name for entry in folder.iterdir()), key=natural)  # names, for paths take five times the memory
    except OSError as error:
        yield Frame(str(folder), error=f"The folder {str(folder)!r} cannot be read ({error.strerror}); check its permissions.")
        return
    for name in names:
        path = folder / name
        if name.startswith("."):
            continue
        if is_folder(path) and not path.is_symlink():  # a link could lead back to where it stands
            yield from _folder(path, left_out)
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            yield str(path)
        elif path.suffix.lower() in (*VIDEO_SUFFIXES, ZIP_SUFFIX):
            left_out.append(str(path))
