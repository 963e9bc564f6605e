"""Rows to prepared faces: a few threads decode ahead, the order stays, memory stays flat."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import numpy as np

from mien.data.rows import BadRow, Row
from mien.errors import MienError

Decoded = tuple[Row, np.ndarray, tuple[int, int]]

_CHUNK = 32  # rows that one thread decodes at a time, for handing over a single one costs more than decoding it
_THREADS = min(8, os.cpu_count() or 1)


def decoded(rows: Iterable[Row | BadRow], size: int, channels: int) -> Iterator[Decoded | BadRow]:
    """Load and prepare every row, in order; a row that cannot be read becomes a `BadRow`.

    Args:
        rows: what a reader gives.
        size: height and width of the faces in pixels.
        channels: 1 for gray, 3 for RGB.

    Yields:
        A row, its face, uint8 (size, size) or (size, size, 3), and the height and width it had before; or a bad row.
    """
    waiting: deque[Future[list[Decoded | BadRow]]] = deque()
    rows = iter(rows)
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="mien-decode")
    try:
        while chunk := list(islice(rows, _CHUNK)):
            waiting.append(pool.submit(_decode, chunk, size, channels))
            if len(waiting) > 2 * _THREADS:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _decode(chunk: list[Row | BadRow], size: int, channels: int) -> list[Decoded | BadRow]:
    from mien.images import prepare  # here, for packed faces need no decoder

    done: list[Decoded | BadRow] = []
    for row in chunk:
        if isinstance(row, BadRow):
            done.append(row)
            continue
        try:
            image = row.load()
            done.append((row, prepare(image, size, channels), row.size or (image.shape[0], image.shape[1])))
        except MienError as error:
            done.append(BadRow(row.place or row.id, str(error)))
    return done
