"""FER-2013 as one CSV file, in its three dialects: fer2013.csv, icml_face_data.csv and the contest's train.csv.

Source: Goodfellow et al., "Challenges in Representation Learning: A report on three machine learning contests", 2013.
"""

import math
import re
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from mien.data.rows import TABLE_SUFFIXES, BadRow, Row, Rows, Tree, records, shortened, split_of
from mien.errors import MienError
from mien.labels import FER2013, meaning

FILE_NAMES = ("fer2013.csv", "icml_face_data.csv", "train.csv")
"""The file's name in a folder, by priority: the rows of train.csv are also in the first two."""

_SIDE = 48  # height and width of a face in FER-2013, in pixels
_COLUMNS = {"label": "emotion", "split": "usage"}  # other names of its columns


def recognise(tree: Tree) -> bool:
    """Return whether there is a CSV file with a column of pixels."""
    return "pixels" in _find(tree)[1]


def read(tree: Tree) -> Rows:
    """Read `emotion,pixels[,Usage]`, in any order and with further columns, as programs and spreadsheets write them.

    Commas, semicolons or tabs separate the columns. Labels are 0 to 6, in the order of `FER2013`, or names. Training is train,
    PublicTest validation, PrivateTest test.
    """
    name, columns = _find(tree)
    if not name:
        raise MienError(f"{tree.path} holds no {' or '.join(FILE_NAMES)}.")
    if not columns:
        raise MienError(f"{tree.place(name)} is empty; give a table with the columns emotion, pixels and, optionally, Usage.")
    if "emotion" not in columns or "pixels" not in columns:
        found = ", ".join(column[:20] for column in columns[:8])
        hint = " The contest's test.csv has no labels; take icml_face_data.csv." if columns == ["pixels"] else ""
        raise MienError(
            f"{tree.place(name)} must have the columns emotion, pixels and, optionally, Usage; it has {found}.{hint}"
        )
    # the first complete row decides how many pixels all rows have, if that is a square
    rows = islice(records(tree, name), 1, None)
    first = next((cells for _, cells in rows if len(cells) == len(columns)), None)
    count = len(re.findall(r"\d+", first[columns.index("pixels")])) if first else 0
    side = math.isqrt(count)
    if not side or side**2 != count:
        side = _SIDE
    kind = "FER-2013 as CSV" + ("" if "usage" in columns else " without splits")
    kind += "" if side == _SIDE else f", {side} x {side} pixels"
    return Rows(kind=kind, labels=FER2013, rows=_rows(tree, name, columns, side))


def _find(tree: Tree) -> tuple[str, list[str]]:
    """Find the table, and read the names of its columns, in lower case; both are empty where there is none."""
    tables = [file for file in reversed(tree.files) if file.lower().endswith(TABLE_SUFFIXES)]
    by_name = {PurePosixPath(file).name.lower(): file for file in tables}
    found = next((by_name[name] for name in FILE_NAMES if name in by_name), tables[0] if len(tables) == 1 else "")
    _, names = next(records(tree, found), (0, [])) if found else (0, [])
    names = [name.strip("'").casefold() for name in names]
    return found, [_COLUMNS.get(name, name) if _COLUMNS.get(name) not in names else name for name in names]


def _rows(tree: Tree, name: str, columns: list[str], side: int) -> Iterator[Row | BadRow]:
    for number, (line, fields) in enumerate(islice(records(tree, name), 1, None)):
        place = f"row {number} (line {line})"
        if len(fields) != len(columns):
            yield BadRow(place, f"{len(fields)} columns, not {len(columns)}")
            continue
        cells = dict(zip(columns, fields, strict=True))
        try:
            split, label = split_of(cells.get("usage", "none")), _label(cells["emotion"])
            yield Row(str(number), split, label, partial(read_pixels, cells["pixels"], side), place, number)
        except MienError as error:
            yield BadRow(place, str(error))


def _label(cell: str) -> int:
    number = re.sub(r"[.,]0+$", "", cell)  # 3.0 is a 3 that a spreadsheet or pandas has written
    if number.isdecimal() and int(number) < len(FER2013):
        return int(number)
    if (name := meaning(cell)) in FER2013.names:
        return FER2013.index(name)
    raise MienError(f"the label {shortened(cell)!r} is not a number from 0 to {len(FER2013) - 1}")


def read_pixels(cell: Any, side: int | None = None) -> np.ndarray:
    """Read a square face, uint8 (side, side), from a list, or from text: numbers between blanks, or a printed list."""
    if isinstance(cell, str):
        text = cell.encode(errors="replace").strip(b" \t\"'")
        if text.startswith(b"["):
            text = b" ".join(re.findall(rb"[^][,\s]+", text))
        if strange := text.translate(None, b"0123456789 "):
            word = next((word for word in text.split(b" ") if word.strip(b"0123456789")), strange)
            raise MienError(f"{word[:20].decode(errors='replace')!r} among the pixels is not a number from 0 to 255")
        values = np.fromstring(text, dtype=np.int64, sep=" ")
    else:
        values = np.array(cell).ravel()
    side = side or math.isqrt(len(values)) or _SIDE
    if len(values) != side**2:
        raise MienError(f"{len(values)} pixels, not {side**2} ({side} x {side})")
    if not 0 <= values.min() <= values.max() <= 255:
        wrong = values.max() if values.max() > 255 else values.min()
        raise MienError(f"the pixel value {wrong} is not a number from 0 to 255")
    return values.astype(np.uint8).reshape(side, side)
