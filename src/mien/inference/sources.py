"""Images from any source: path, folder, pattern, zip, video or camera, an image in memory, or many of these."""

import codecs
import glob
import io
import logging
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from stat import S_ISDIR
from typing import BinaryIO, TypeAlias, cast

import numpy as np

from mien.errors import MienError
from mien.files import missing_path
from mien.images import ImageSource, is_image_name, reason_of, walk, zip_members
from mien.inference.prediction import Frame, Unread, read
from mien.inference.video import camera_frames, is_stream, stream_frames, video_frames

Item: TypeAlias = ImageSource | int | Frame | Unread
"""One image, folder, pattern, zip or video; the number of a camera; or a frame of your own."""

Source: TypeAlias = Item | Iterable[Item]  # the sources of `predict`: an item, or an iterable of items

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv"}
    | {".3gp", ".3g2", ".mts", ".m2ts", ".ts", ".ogv"}
)
"""The files that are read as videos."""

ZIP_SUFFIX = ".zip"
LARGEST_MEMBER = 2**30  # bytes; a small zip can claim to hold a file that fills the memory
ENCRYPTED = 0x1  # the flag of a zip member that needs a password (PKWARE's APPNOTE, 4.4.4)

_logger = logging.getLogger("mien")


def frames(source: Source, every: int = 1) -> Iterator[Frame]:
    """Read the images of a source one by one, on demand; the parameters are those of `listed`."""
    return map(read, listed(source, every))


def listed(source: Source, every: int = 1, skip: Callable[[str], bool] | None = None) -> Iterator[Frame | Unread]:
    """List the images of a source, in order and on demand; those of videos and cameras are already read.

    Folders are listed recursively in natural order (2 before 10), without hidden files and files that are no images. A pattern
    may hold *, ?, [...] and **. What cannot be read becomes a frame with an error.

    Args:
        source: a path, folder, pattern, zip, video, number of a camera, address of a stream, bytes, file opened in binary mode,
            Pillow image, array (H, W) or (H, W, 3) in RGB, frame, or an iterable of them; an array with one more axis in front
            is several images.
        every: read every N-th frame of videos and cameras, from the first on.
        skip: is called once with the name of each file, before it is read, and returns whether to leave it out.

    Raises:
        MienError: if `every` is not a whole number from 1 on, or the source is a tensor.
    """
    if every < 1 or every != int(every):
        raise MienError(f"`every` must be a whole number from 1 on, not {every}; 2 reads every second frame.")
    return _listed(source, every, skip or (lambda _: False))


def _listed(source: Source, every: int, skip: Callable[[str], bool]) -> Iterator[Frame | Unread]:
    for number, item in enumerate(_items(source)):
        if isinstance(item, Frame | Unread):
            yield item
        elif isinstance(item, int) and not isinstance(item, bool):
            yield from camera_frames(item, every)
        elif isinstance(item, str | Path):
            yield from _by_name(str(item), every, skip)
        else:
            name = getattr(item, "filename", "") or getattr(item, "name", "")
            image = bytes(item) if isinstance(item, bytearray | memoryview) else item
            image = image.read() if hasattr(image, "read") else image  # an open file
            yield Unread(name if name and isinstance(name, str) else f"image {number}", cast(ImageSource, image))


def _items(source: Source) -> Iterable[Item]:
    if isinstance(source, np.ndarray):
        several = source.ndim > 3 or (source.ndim == 3 and source.shape[2] not in (1, 3, 4))
        return source if several else [source]
    if hasattr(source, "requires_grad"):
        raise MienError("A tensor is no image; give an array, uint8 (H, W, 3) in RGB, such as tensor.permute(1, 2, 0).numpy().")
    single = isinstance(source, ImageSource | bytearray | memoryview) or hasattr(source, "read")
    return [cast(Item, source)] if single or not isinstance(source, Iterable) else source


def _by_name(name: str, every: int, skip: Callable[[str], bool]) -> Iterator[Frame | Unread]:
    """List the files of a name; there is always at least one frame, unless it is skipped."""
    if is_stream(name) and not is_image_name(name):
        if not skip(name):
            yield from stream_frames(name, every)
    elif error := not_a_file(name):
        if not skip(name):
            yield Frame(name, error=error)
    elif (camera := camera_number(name)) is not None:
        yield from camera_frames(camera, every)
    elif os.path.isdir(name):  # noqa: PTH112 - Path.is_dir raises an error where a path may not be examined
        yield from _folder(Path(name), skip)
    elif glob.has_magic(name) and not exists(Path(name)):
        found = sorted(glob.iglob(name, recursive=True), key=natural)  # noqa: PTH207 - Path.glob takes no absolute pattern
        files = [match for match in found if not os.path.isdir(match)]  # noqa: PTH112
        for match in files:
            yield from _file(match, every, skip)
        if not files and not skip(name):
            yield Frame(name, error=f"Nothing matches {name!r}.")
    else:
        yield from _file(str(Path(name)), every, skip)


def _file(name: str, every: int, skip: Callable[[str], bool]) -> Iterator[Frame | Unread]:
    # opening a named pipe would block; `read_image` reports it
    suffix = "" if Path(name).is_fifo() else Path(name).suffix.lower()
    if suffix == ZIP_SUFFIX:
        yield from zipped(name, skip)
    elif not skip(name):
        yield from video_frames(name, every) if suffix in VIDEO_SUFFIXES else (Unread(name, name),)


def _folder(folder: Path, skip: Callable[[str], bool]) -> Iterator[Frame | Unread]:
    """List the images in a folder and below; a folder that cannot be read becomes a frame with an error."""
    left_out: list[str] = []
    is_empty = True
    for name, status in walk(str(folder), natural):
        path = str(folder / name)
        if isinstance(status, OSError):
            is_empty = False
            if not skip(path):
                yield Frame(path, error=f"The folder {path!r} cannot be read ({status.strerror}); check its permissions.")
        elif status and S_ISDIR(status.st_mode):
            continue
        elif is_image_name(name):
            is_empty = False
            if not skip(path):
                yield Unread(path, path)
        elif Path(name).suffix.lower() in (*VIDEO_SUFFIXES, ZIP_SUFFIX):
            left_out.append(path)
    if is_empty and not skip(str(folder)):
        advice = "give one that does, or name videos and zips."
        yield Frame(str(folder), error=f"The folder {str(folder)!r} holds no images (.jpg, .png or the like); {advice}")
    elif left_out:
        _logger.warning(
            f"mien: the folder {str(folder)!r} also holds {len(left_out):,} of videos and zips, which are not read; "
            f"name them themselves, such as {left_out[0]!r}"
        )


def zipped(name: str, skip: Callable[[str], bool]) -> Iterator[Frame | Unread]:
    """List the images in a zip in natural order, such as "photos.zip/inner/a.jpg"; each is unpacked on demand."""
    try:
        with zipfile.ZipFile(name) as archive:
            members = zip_members(archive, natural)
            images = [member for member in members if not member.endswith("/") and is_image_name(member)]
            for member in images:
                source = f"{name}/{member}"
                if not skip(source):
                    yield _unpacked(archive, members[member], source)
        error = "" if images else f"The zip {name!r} holds no images (.jpg, .png or the like); give one that does."
    except FileNotFoundError:
        error = f"There is no zip {name!r}; check the path."
    except OSError as problem:
        error = f"The zip {name!r} cannot be opened ({problem.strerror or problem}); check its permissions."
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as problem:
        error = f"{name!r} is damaged or no zip ({reason_of(problem)}); copy or download it again."
    if error and not skip(name):
        yield Frame(name, error=error)


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo, source: str) -> Frame | Unread:
    if member.flag_bits & ENCRYPTED:
        return Frame(source, error=f"The image {source!r} needs a password; unpack the zip first, then give its folder.")
    if member.file_size > LARGEST_MEMBER:
        gigabytes = member.file_size / 2**30
        return Frame(source, error=f"The image {source!r} would unpack to {gigabytes:.1f} GB; unpack it, and make it smaller.")
    try:
        return Unread(source, archive.read(member))
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, OSError, EOFError, ValueError) as problem:
        return Frame(source, error=f"The image {source!r} cannot be unpacked ({reason_of(problem)}); zip it again.")


def natural(name: str) -> list[tuple[bool, int, str]]:
    """Sort key with the numbers in a name as numbers, 2 before 10, and numbers before letters."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name.casefold())
    return [(False, int(part), "") if part[0] in "0123456789" else (True, 0, part) for part in parts]


def check_names(names: Sequence[str]) -> None:
    """Raise a `MienError` if there is nothing under any of the names, with the most similar path to the first."""
    for name in names:
        if camera_number(name) is not None or (is_stream(name) and not is_image_name(name)):
            return
        if not not_a_file(name) and (exists(Path(name)) or glob.glob(name, recursive=True)):  # noqa: PTH207
            return
    raise MienError(not_a_file(names[0]) or missing_path(Path(names[0])))


def not_a_file(name: str) -> str:
    """Return what to do about a name that cannot be a file, such as an address; empty where it may be one."""
    if re.match(r"[a-z][a-z0-9+.-]+://", name, re.IGNORECASE):
        return f"{name!r} is an address, not a path; download the photo first, then give its path."
    if name == "-" or name.startswith(("/dev/", "/proc/self/fd/")):
        return (
            f"{name!r} is no file, and no photo is read from standard input; save it to a file, then give its path. "
            "(`mien predict -` reads a list of paths there.)"
        )
    return "" if name else "An empty name is not a path; give the path of a photo."


def camera_number(name: str) -> int | None:
    """Return the number of the camera, where the name is one and not an existing file."""
    return int(name) if re.fullmatch(r"[0-9]{1,2}", name) and not exists(Path(name)) else None


def exists(path: Path) -> bool:
    """Return whether a path exists; one that may not be examined counts, and reading it reports why not."""
    try:
        return path.exists()
    except OSError as problem:
        return isinstance(problem, PermissionError)  # not a name that is too long


def standard_input() -> BinaryIO:
    """Open standard input once more, without Python's buffer.

    A thread that waits for input holds the lock of sys.stdin's buffer, and Python aborts at exit if it cannot acquire it.
    """
    return io.FileIO(0, closefd=False)


def read_paths(stream: BinaryIO, null: bool = False) -> Iterator[str]:
    """Read paths, one a line, each as soon as it is complete.

    Args:
        stream: the bytes; a path is decoded as the system's file names are.
        null: paths end with a zero byte instead, as from `find -print0`; only then can a name hold a line break.
    """
    end = b"\0" if null else b"\n"
    rest, is_start, has_ended = b"", True, False
    while not has_ended:
        piece = stream.read(65536)
        has_ended = not piece
        if is_start:  # PowerShell begins with a byte-order mark
            piece, is_start = piece.removeprefix(codecs.BOM_UTF8), False
        *lines, rest = (rest + (piece or end)).split(end)
        for line in lines:
            if name := line if null else line.rstrip(b"\r"):
                yield os.fsdecode(name)
