"""Files that are whole whenever they are there."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")


def write_whole(path: Path, write: Callable[[Path], Result]) -> Result:
    """Write a file under a temporary name beside it, then rename it.

    Args:
        path: the file; one that is there is replaced, unless writing fails.
        write: is given the temporary path and writes everything.

    Returns:
        What `write` gives back.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        result = write(temporary)
        temporary.replace(path)
        return result
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
