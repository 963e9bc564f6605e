"""The images in a zip, each under the zip's name with its own behind it."""

import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from mien.inference.frame import Frame, Unread
from mien.inference.names import IMAGE_SUFFIXES, natural

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
