"""A list of paths on standard input: one a line, or, as `find -print0` writes them, with a zero byte after each."""

import codecs
import io
import os
from collections.abc import Iterator
from typing import BinaryIO


def standard_input() -> BinaryIO:
    """Open standard input once more, without Python's buffer.

    A thread that waits for input holds the lock of sys.stdin's buffer, and Python aborts at exit where it cannot have it.
    """
    return io.FileIO(0, closefd=False)


def read_paths(stream: BinaryIO, null: bool = False) -> Iterator[str]:
    """Read paths, each as soon as its end is there.

    Args:
        stream: what gives the bytes; a path is decoded as the system's file names are.
        null: whether a zero byte ends a path, and not the end of a line: only so can a name hold a line break.
    """
    end = b"\0" if null else b"\n"
    rest, begun = b"", False
    while piece := stream.read(65536):
        piece, begun = piece if begun else piece.removeprefix(codecs.BOM_UTF8), True  # PowerShell begins with one
        *whole, rest = (rest + piece).split(end)
        yield from _names(whole, null)
    yield from _names([rest], null)


def _names(lines: list[bytes], null: bool) -> Iterator[str]:
    for line in lines:
        if name := line if null else line.rstrip(b"\r"):
            yield os.fsdecode(name)
