"""Files that are complete whenever they exist, paths that do not exist, and the cache folder."""

import errno
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from mien.errors import MienError, suggestion

Result = TypeVar("Result")


def write_whole(path: Path, write: Callable[[Path], Result]) -> Result:
    """Write a file under a temporary name in the same folder, then rename it; an existing one stays if writing fails.

    `write` is called with the temporary path, and its result is returned. An OSError names the file itself.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        result = write(temporary)
        temporary.replace(path)
        return result
    except OSError as error:
        if error.errno is None or str(error.filename or temporary) != str(temporary):
            raise  # about another file, or without its parts
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        with suppress(OSError):  # does not exist, or its folder is not one
            temporary.unlink()


@contextmanager
def written_folder(out: Path, contents: str, part: Path | None = None) -> Iterator[Path]:
    """Give a folder next to `out` to write into; it replaces `out` if the block succeeds, else `out` stays as it was.

    The folder is a new one, which is removed if the block fails, or `part`, which then stays.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent, ignore_cleanup_errors=True) as scratch:
            whole, old = part or Path(scratch, "new"), Path(scratch, "old")
            whole.mkdir(exist_ok=True)  # with the usual permissions; the scratch folder is closed to others
            yield whole
            if out.exists():
                out.rename(old)
            try:
                whole.rename(out)
            except BaseException:  # Ctrl-C too: the earlier folder must not be deleted with the scratch folder
                if old.exists():
                    old.rename(out)
                raise
    except OSError as error:
        reason, advice = error.strerror or str(error), "Choose another --out, or change its permissions"
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            reason, advice = "the disk is full, or a limit on files is reached", "Free some space, or choose another --out"
        raise MienError(f"Cannot write {contents} to {out}: {reason}. {advice}.") from error


def check_empty(out: Path) -> None:
    """Raise a MienError if `out` is a file or a folder with anything in it."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise MienError(f"{out} exists and is not an empty folder; name another one, or remove it first.")


def missing_path(path: Path) -> str:
    """Describe a path that does not exist, with the most similar name in the nearest folder that does."""
    missing, parent = path, path.parent
    try:
        while not parent.is_dir() and parent != parent.parent:
            missing, parent = parent, parent.parent
        names = sorted(entry.name for entry in parent.iterdir())
    except OSError:
        names = []
    near = suggestion(missing.name, names, phrase="{}", cutoff=0.75)
    hint = f"Did you mean {str(parent / near)!r}?" if near else f"The folder {str(parent)!r} has no {missing.name!r}."
    return f"There is nothing at {str(path)!r}. {hint}"


def cache_folder() -> Path:
    """Make and return the folder for what can be made or downloaded again: MIEN_CACHE, else the system's cache folder."""
    import platformdirs

    named = os.environ.get("MIEN_CACHE")
    folder = Path(named).expanduser() if named else platformdirs.user_cache_path("mien")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MienError(f"The cache folder {str(folder)!r} cannot be made ({error.strerror}); set MIEN_CACHE.") from None
    return folder
