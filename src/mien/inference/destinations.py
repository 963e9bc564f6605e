"""Where answers and pictures may go: nowhere that an input is."""

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path

from mien.errors import MienError
from mien.inference.names import IMAGE_SUFFIXES
from mien.inference.sources import Source


def check_draw(draw: str | Path, source: Source) -> None:
    """Make sure that pictures drawn into a folder come to lie apart from the inputs.

    Args:
        draw: the folder; it need not be there.
        source: what `predict` is given. Of a generator nothing is known before it is read, so nothing is checked.

    Raises:
        MienError: if the folder is that of an input, or lies below a folder that is an input.
    """
    if not str(draw):
        raise MienError("The folder for pictures has an empty name; name a folder with --draw.")
    folder = _resolved(Path(draw))
    for path in _named(source):
        if path.is_dir():
            within = _resolved(path)
            if folder == within or within in folder.parents:
                raise MienError(
                    f"The folder {str(draw)!r} for pictures lies in the input {str(path)!r}, where they would count as photos; "
                    "choose another folder with --draw."
                )
        elif folder in (_resolved(path.parent), _resolved(path).parent):
            raise MienError(
                f"The folder {str(draw)!r} is that of the input {str(path)!r}; choose another folder for pictures with --draw."
            )


def check_out(out: str, source: Source) -> Path:
    """Make sure that a file for the answers replaces no input.

    Args:
        out: the file; neither it nor its folder need be there.
        source: as for `check_draw`.

    Returns:
        The file's path.

    Raises:
        MienError: if it is an input, a folder, or no file.
    """
    if out == "-" or out.startswith(("/dev/", "/proc/")):
        raise MienError(f"{out!r} is no file; name one with --out (`mien predict` without it writes to standard output).")
    path = Path(out)
    if path.is_dir() or out.endswith("/"):
        raise MienError(f"{out!r} is a folder; name a file in it with --out.")
    if path.exists() and not path.is_file():
        raise MienError(f"{out!r} is no plain file; choose another --out.")
    file = _resolved(path)
    for named in _named(source):
        if file == _resolved(named) or (
            named.is_dir() and path.suffix.lower() in IMAGE_SUFFIXES and _resolved(named) in file.parents
        ):
            raise MienError(f"{out!r} is one of the inputs, or would count as one; choose another --out.")
    return path


def make_folder_of(out: Path) -> None:
    """Make the folder of a file for the answers, if it is not there.

    Raises:
        MienError: if it cannot be made.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MienError(f"The folder {str(out.parent)!r} cannot be made ({error.strerror}); choose another --out.") from None


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # RuntimeError: links that go round
        return path.absolute()


def _named(source: Source) -> Iterator[Path]:
    """Give the paths that a source names, and those that its patterns match."""
    for item in source if isinstance(source, Sequence) and not isinstance(source, str | bytes) else [source]:
        if not isinstance(item, str | Path):
            continue
        path = Path(item)
        try:
            if glob.has_magic(str(item)) and not path.exists():
                yield from map(Path, glob.iglob(str(item), recursive=True))  # noqa: PTH207 - as in sources
            elif path.exists():
                yield path
        except OSError:
            continue  # what may not be looked at is not read, either
