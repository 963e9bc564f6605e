"""Files that are whole whenever they are there."""

import errno
import hashlib
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from mien.errors import MienError

Result = TypeVar("Result")


def write_whole(path: Path, write: Callable[[Path], Result]) -> Result:
    """Write a file under a temporary name beside it, then rename it.

    Args:
        path: the file; one that is there is replaced, unless writing fails.
        write: is given the temporary path and writes everything.

    Returns:
        What `write` gives back.

    Raises:
        OSError: if it cannot be written; the error names the file itself, not its temporary name.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        result = write(temporary)
        temporary.replace(path)
        return result
    except OSError as error:
        if error.errno is None or str(error.filename or temporary) != str(temporary):
            raise  # of something else, or in other words
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        with suppress(OSError):  # not there, or in a folder that is none
            temporary.unlink()


# The cache folder, and files fetched into it once from their publishers.

REMEMBER_FAILURE = 3600.0
"""Seconds for which a failed download is not tried again, so that a machine without a network does not wait at every run."""

CONNECT_TIMEOUT, READ_TIMEOUT = 3.0, 10.0
"""Seconds to wait for a connection, and for the next bytes."""


def cache_folder() -> Path:
    """Find the folder for what can be made or fetched again: MIEN_CACHE, else the system's place for caches.

    The folder is made if it is not there.

    Raises:
        MienError: if it cannot be made.
    """
    import platformdirs

    named = os.environ.get("MIEN_CACHE")
    folder = Path(named).expanduser() if named else platformdirs.user_cache_path("mien")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MienError(f"The cache folder {str(folder)!r} cannot be made ({error.strerror}); set MIEN_CACHE.") from None
    return folder


def fetch(url: str, name: str, sha256: str) -> Path:
    """Give a file's place in the cache, and download it first if it is not there yet.

    Args:
        url: where its publisher keeps it.
        name: its name in the cache.
        sha256: its digest, 64 hex digits. What differs from it is not used, wherever it comes from.

    Raises:
        MienError: if it can be had neither from the cache nor from the publisher. For an hour after that the same sentence
            comes at once.
    """
    path = cache_folder() / name
    if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
        return path
    failure = path.with_name(f"{name}.failed")
    if failure.is_file() and 0 <= time.time() - failure.stat().st_mtime < REMEMBER_FAILURE:
        raise MienError(failure.read_text(encoding="utf-8"))
    try:
        _download(url, path, sha256)
    except (OSError, ValueError) as error:  # no network, no room, no such page; a file with another digest
        if isinstance(error, PermissionError) or getattr(error, "errno", None) == errno.EROFS:
            reason = f"the cache folder {str(path.parent)!r} cannot be written; set MIEN_CACHE to one that can"
            raise MienError(f"{url} could not be fetched ({reason}).") from None
        sentence = f"{url} could not be fetched ({_cause(error)})."
        with suppress(OSError):  # a cache that cannot be written is no reason to say less
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
    """Say in a few words why a download failed; the libraries' own sentences run to several lines."""
    import requests

    if isinstance(error, requests.exceptions.Timeout):
        return "its server did not answer in time"
    if isinstance(error, requests.exceptions.HTTPError) and error.response is not None:
        return f"its server answered {error.response.status_code}"
    if isinstance(error, requests.exceptions.ConnectionError):
        return "no connection"
    if isinstance(error, ValueError):
        return "what came is not the expected file"
    return getattr(error, "strerror", None) or type(error).__name__
