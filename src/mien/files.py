"""Files that are complete whenever they exist, paths that do not exist, the cache folder, and downloads into it."""

import difflib
import errno
import hashlib
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from mien.errors import MienError

Result = TypeVar("Result")

REMEMBER_FAILURE = 3600.0
"""Seconds before a failed download is tried again, so that a machine without a network does not wait at every run."""

CONNECT_TIMEOUT, READ_TIMEOUT = 3.0, 10.0
"""Seconds to wait for a connection, and for the next bytes."""


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


def fetch(url: str, name: str, sha256: str) -> Path:
    """Return a file's path in the cache; download the file first if it is not there yet.

    A file whose digest is not `sha256`, 64 hex digits, is not used, wherever it comes from. Raises a MienError if it cannot be
    downloaded, and for an hour after that the same error at once.
    """
    path = cache_folder() / name
    if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
        return path
    failure = path.with_name(f"{name}.failed")
    if failure.is_file() and 0 <= time.time() - failure.stat().st_mtime < REMEMBER_FAILURE:
        raise MienError(failure.read_text(encoding="utf-8"))
    try:
        _download(url, path, sha256)
    except (OSError, ValueError) as error:  # no network, no space, no such page; a file with another digest
        if isinstance(error, PermissionError) or getattr(error, "errno", None) == errno.EROFS:
            reason = f"the cache folder {str(path.parent)!r} cannot be written; set MIEN_CACHE to one that can"
            raise MienError(f"{url} could not be fetched ({reason}).") from None
        sentence = f"{url} could not be fetched ({_cause(error)})."
        with suppress(OSError):  # where it cannot be remembered, it is still raised
            write_whole(failure, lambda part: part.write_text(sentence, encoding="utf-8"))
        raise MienError(sentence) from None
    failure.unlink(missing_ok=True)
    return path


def _download(url: str, path: Path, sha256: str) -> None:
    import pooch

    pooch.get_logger().setLevel("WARNING")
    downloader = pooch.HTTPDownloader(timeout=(CONNECT_TIMEOUT, READ_TIMEOUT))
    pooch.retrieve(url, known_hash=f"sha256:{sha256}", fname=path.name, path=path.parent, downloader=downloader)


def _cause(error: Exception) -> str:
    """Describe in a few words why a download failed; the libraries' own messages have several lines."""
    import requests

    if isinstance(error, requests.exceptions.Timeout):
        return "its server did not answer in time"
    if isinstance(error, requests.exceptions.HTTPError) and error.response is not None:
        return f"its server answered {error.response.status_code}"
    if isinstance(error, requests.exceptions.ConnectionError):
        return "no connection"
    if isinstance(error, ValueError):
        return "the downloaded file is not the expected file"
    return getattr(error, "strerror", None) or type(error).__name__
