"""Files that are complete whenever they exist, paths that do not exist, and the cache folder."""

import difflib
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from mien.errors import MienError

Result = TypeVar("Result")


def write_whole(path: Path, write: Callable[[Path], Result]) -> Result:
    """Write a file under a temporary name in the same folder, then rename it; an existing one stays if writing fails.

    `write` is called with the temporary path and writes everything; its result is returned. An OSError names the file itself,
    not its temporary name.
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


def missing_path(path: Path) -> str:
    """Describe a path that does not exist, with the most similar name in the nearest folder that does."""
    missing, parent = path, path.parent
    try:
        while not parent.is_dir() and parent != parent.parent:
            missing, parent = parent, parent.parent
        names = sorted(entry.name for entry in parent.iterdir())
    except OSError:
        names = []
    near = difflib.get_close_matches(missing.name, names, n=1, cutoff=0.75)
    hint = f"Did you mean {str(parent / near[0])!r}?" if near else f"The folder {str(parent)!r} has no {missing.name!r}."
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
