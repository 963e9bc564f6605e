"""Images out of whatever a person names: a path, a folder, a pattern, an image in memory, or many of these."""

import difflib
import glob
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from mien.errors import MienError
from mien.images import ImageSource, read_image

Source: TypeAlias = ImageSource | Iterable[ImageSource]
"""One image, folder or pattern, or an iterable of them."""

IMAGE_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (
        *("jpg", "jpeg", "jpe", "jfif", "png", "apng", "gif", "webp", "tif", "tiff", "bmp", "dib", "tga"),
        *("heic", "heif", "avif", "jp2", "j2k", "ppm", "pgm", "pbm", "pnm"),
    )
)
"""The files of a folder that count as images; a file that is named outright is read whatever its suffix."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One image of a source, or why there is none.

    Attributes:
        source: the path, or "image N" for the N-th input where it has no path, from 0.
        image: uint8, (H, W) or (H, W, 3); None where it could not be read.
        error: the sentence that says why not; empty where it could.
        frame: its number in a video, from 0.
        time: seconds since the video's start.
    """

    source: str
    image: np.ndarray | None = None
    error: str = ""
    frame: int | None = None
    time: float | None = None


def frames(source: Source) -> Iterator[Frame]:
    """Read the images of a source one by one, as they are asked for.

    Folders are read with all below them, in natural order (2 before 10); hidden files and files that are no images are left
    out. A pattern may hold *, ?, [...] and **. Whatever cannot be read comes as a frame with an error.

    Args:
        source: a path, folder, pattern, bytes, Pillow image, array (H, W) or (H, W, 3), or an iterable of them; an array
            with a further axis in front is several images.
    """
    for number, item in enumerate(_items(source)):
        if isinstance(item, str | Path):
            yield from _files(str(item))
        else:
            yield _read(item, str(getattr(item, "filename", "") or f"image {number}"))


def check_names(names: Sequence[str]) -> None:
    """Make sure that at least one name stands for something: where none does, the user has mistyped.

    Raises:
        MienError: if there is nothing under any of the names; the sentence names what is near the first.
    """
    if any(not _elsewhere(name) and (_is_there(Path(name)) or glob.glob(name, recursive=True)) for name in names):  # noqa: PTH207
        return
    if elsewhere := _elsewhere(names[0]):
        raise MienError(elsewhere)
    path = Path(names[0])
    try:
        beside = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        beside = []
    near = difflib.get_close_matches(path.name, beside, n=1, cutoff=0.75)
    hint = f" Did you mean {str(path.with_name(near[0]))!r}?" if near else " Check the path."
    raise MienError(f"There is nothing at {names[0]!r}.{hint}")


def _elsewhere(name: str) -> str:
    """Say what to do about a name that stands for no file; empty where it may stand for one."""
    if re.match(r"[a-z][a-z0-9+.-]+://", name, re.IGNORECASE):
        return f"{name!r} is an address, not a path; download the photo first, then give its path."
    if name == "-" or name.startswith(("/dev/", "/proc/self/fd/")):
        return f"{name!r} is no file, and no photo is read from standard input; save it to a file, then give its path."
    if not name:
        return "An empty name stands for no photo; give a path."
    return ""


def _is_there(path: Path) -> bool:
    """Tell whether there is something; what may not be looked at counts, and reading it will say why not."""
    try:
        return path.exists()
    except OSError:
        return True


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _items(source: Source) -> Iterable[ImageSource]:
    if isinstance(source, np.ndarray):
        several = source.ndim > 3 or (source.ndim == 3 and source.shape[2] not in (1, 3, 4))
        return source if several else [source]
    return [source] if isinstance(source, ImageSource) or not isinstance(source, Iterable) else source


def _read(image: ImageSource, name: str) -> Frame:
    try:
        return Frame(name, read_image(image))
    except MienError as error:
        return Frame(name, error=str(error))


def _files(name: str) -> Iterator[Frame]:
    """Read the files that a path, folder or pattern stands for; there is always at least one frame."""
    path = Path(name)
    found: Iterator[Path | Frame]
    if elsewhere := _elsewhere(name):
        found, nothing = iter(()), elsewhere
    elif _is_folder(path):
        found, nothing = _folder(path), f"The folder {name!r} holds no images (.jpg, .png or the like); give one that does."
    elif glob.has_magic(name) and not _is_there(path):
        matches = sorted(glob.iglob(name, recursive=True), key=_natural)  # noqa: PTH207 - Path.glob takes no absolute pattern
        found, nothing = (Path(match) for match in matches if not _is_folder(Path(match))), f"Nothing matches {name!r}."
    else:
        found, nothing = iter([path]), ""
    for file in found:
        nothing = ""
        yield file if isinstance(file, Frame) else _read(file, str(file))
    if nothing:
        yield Frame(name, error=nothing)


def _folder(folder: Path) -> Iterator[Path | Frame]:
    """Find the images in a folder and below; a folder that cannot be read comes as a frame that says so."""
    try:
        entries = sorted(folder.iterdir(), key=lambda path: _natural(path.name))
    except OSError as error:
        yield Frame(str(folder), error=f"The folder {str(folder)!r} cannot be read ({error.strerror}); check its permissions.")
        return
    for path in entries:
        if path.name.startswith("."):
            continue
        if _is_folder(path) and not path.is_symlink():  # a link could lead back to where it stands
            yield from _folder(path)
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            yield path


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Order by the numbers in a name as numbers, 2 before 10, and numbers before letters."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name.casefold())
    return [(False, int(part), "") if part[0] in "0123456789" else (True, 0, part) for part in parts]
