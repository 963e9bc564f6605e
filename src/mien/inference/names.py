"""The names that people give: which stand for something, for what, and in which order."""

import difflib
import glob
import re
from collections.abc import Sequence
from pathlib import Path

from mien.errors import MienError

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

LARGEST_CAMERA = 99
"""Cameras are numbered from 0; on a command line a longer number is the name of a file that is not there."""


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
