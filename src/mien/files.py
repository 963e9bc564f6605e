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
