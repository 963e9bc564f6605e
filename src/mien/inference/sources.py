"""Images out of whatever a person names: path, folder, pattern, zip, video or camera, an image in memory, or many of these."""

import codecs
import difflib
import glob
import io
import logging
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO, TypeAlias, cast

import numpy as np

from mien.errors import MienError
from mien.images import ImageSource
from mien.inference.prediction import Frame, Unread, read
from mien.inference.video import camera_frames, video_frames

# The names that people give: which stand for something, for what, and in which order.

IMAGE_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (
        *("jpg", "jpeg", "jpe", "jfif", "png", "apng", "gif", "webp", "tif", "tiff", "bmp", "dib", "tga"),
        *("heic", "heif", "avif", "jp2", "j2k", "ppm", "pgm", "pbm", "pnm"),
    )
)
"""The files of a folder or zip that count as images; a file that is named outright is read whatever its suffix."""

VIDEO_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (
        *("mp4", "m4v", "mov", "avi", "mkv", "webm", "mpg", "mpeg", "wmv", "flv", "3gp", "3g2", "mts", "m2ts", "ts", "ogv"),
    )
)
"""The files that are read as videos."""

ZIP_SUFFIX = ".zip"


def check_names(names: Sequence[str]) -> None:
    """Make sure that at least one name stands for something: where none does, the user has mistyped.

    Raises:
        MienError: if there is nothing under any of the names; the sentence names what is near the first.
    """
    if any(not elsewhere(name) and (is_there(Path(name)) or glob.glob(name, recursive=True)) for name in names):  # noqa: PTH207
        return
    if any(camera_number(name) is not None for name in names):
        return
    if says := elsewhere(names[0]):
        raise MienError(says)
    path = Path(names[0])
    try:
        beside = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        beside = []
    near = difflib.get_close_matches(path.name, beside, n=1, cutoff=0.75)
    hint = f" Did you mean {str(path.with_name(near[0]))!r}?" if near else " Check the path."
    raise MienError(f"There is nothing at {names[0]!r}.{hint}")


def elsewhere(name: str) -> str:
    """Say what to do about a name that stands for no file; empty where it may stand for one."""
    if re.match(r"[a-z][a-z0-9+.-]+://", name, re.IGNORECASE):
        return f"{name!r} is an address, not a path; download the photo first, then give its path."
    if name == "-" or name.startswith(("/dev/", "/proc/self/fd/")):
        return (
            f"{name!r} is no file, and no photo is read from standard input; save it to a file, then give its path. "
            "(`mien predict -` reads a list of paths there.)"
        )
    if not name:
        return "An empty name stands for no photo; give a path."
    return ""


def camera_number(name: str) -> int | None:
    """Give the number of the camera that a name stands for; None where it stands for a file, as one that is called 0 does."""
    if not re.fullmatch(r"[0-9]{1,2}", name) or is_there(Path(name)):
        return None
    return int(name)


def is_there(path: Path) -> bool:
    """Tell whether there is something; what may not be looked at counts, and reading it will say why not."""
    try:
        return path.exists()
    except OSError:
        return True


def is_folder(path: Path) -> bool:
    """Tell whether it is a folder; what may not be looked at is none."""
    try:
        return path.is_dir()
    except OSError:
        return False


def natural(name: str) -> list[tuple[bool, int, str]]:
    """Order by the numbers in a name as numbers, 2 before 10, and numbers before letters."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name.casefold())
    return [(False, int(part), "") if part[0] in "0123456789" else (True, 0, part) for part in parts]


# A list of paths on standard input: one a line, or, as `find -print0` writes them, with a zero byte after each.


def standard_input() -> BinaryIO:
    """Open standard input once more, without Python's buffer.

    A thread that waits for input holds the lock of sys.stdin's buffer, and Python aborts at exit where it cannot have it.
    """
    return io.FileIO(0, closefd=False)


def read_paths(stream: BinaryIO, null: bool = False) -> Iterator[str]:
    """Read paths, each as soon as its end is there.

    Args:
        stream: what gives the bytes; a path is decoded as the system's file names are.
        null: whether a zero byte ends a path, and not the end of a line: only so can a name hold a line break.
    """
    end = b"\0" if null else b"\n"
    rest, begun = b"", False
    while piece := stream.read(65536):
        piece, begun = piece if begun else piece.removeprefix(codecs.BOM_UTF8), True  # PowerShell begins with one
        *whole, rest = (rest + piece).split(end)
        yield from _names(whole, null)
    yield from _names([rest], null)


def _names(lines: list[bytes], null: bool) -> Iterator[str]:
    for line in lines:
        if name := line if null else line.rstrip(b"\r"):
            yield os.fsdecode(name)


# The images in a zip, each under the zip's name with its own behind it.

LARGEST_MEMBER = 2**30
"""Bytes; a small zip can claim to hold a file that fills the memory."""

ENCRYPTED = 0x1
"""The bit of a member's flags that says it wants a password (PKWARE's APPNOTE, 4.4.4)."""


def zipped(name: str, skip: Callable[[str], bool]) -> Iterator[Frame | Unread]:
    """List the images in a zip, in natural order; there is at least one frame, unless all are skipped.

    A member is unpacked when it is its turn. Members that are hidden or no images are left out, as in folders.

    Args:
        name: the path of the zip; "photos.zip" gives sources such as "photos.zip/inner/a.jpg".
        skip: is asked once for each member, and for the zip itself where that is all there is to say.
    """
    try:
        with zipfile.ZipFile(name) as archive:
            members = sorted(
                (member for member in archive.infolist() if _is_image(member)), key=lambda each: natural(each.filename)
            )
            for member in members:
                source = f"{name}/{member.filename}"
                if not skip(source):
                    yield _unpacked(archive, member, source)
        error = "" if members else f"The zip {name!r} holds no images (.jpg, .png or the like); give one that does."
    except FileNotFoundError:
        error = f"There is no zip {name!r}; check the path."
    except OSError as problem:
        error = f"The zip {name!r} cannot be opened ({problem.strerror or problem}); check its permissions."
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as problem:
        error = f"{name!r} is damaged or no zip ({_reason(problem)}); copy or download it again."
    if error and not skip(name):
        yield Frame(name, error=error)


def _is_image(member: zipfile.ZipInfo) -> bool:
    path = PurePosixPath(member.filename)
    hidden = any(part.startswith((".", "__MACOSX")) and part != ".." for part in path.parts)
    return not member.is_dir() and not hidden and path.suffix.lower() in IMAGE_SUFFIXES


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo, source: str) -> Frame | Unread:
    if member.flag_bits & ENCRYPTED:
        return Frame(source, error=f"The image {source!r} wants a password; unpack the zip first, then give its folder.")
    if member.file_size > LARGEST_MEMBER:
        gigabytes = member.file_size / 2**30
        return Frame(source, error=f"The image {source!r} would unpack to {gigabytes:.1f} GB; unpack it, and make it smaller.")
    try:
        return Unread(source, archive.read(member))
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, OSError, EOFError, ValueError) as problem:
        return Frame(source, error=f"The image {source!r} cannot be unpacked ({_reason(problem)}); zip it again.")


def _reason(problem: Exception) -> str:
    return " ".join(str(problem).split()) or type(problem).__name__


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
