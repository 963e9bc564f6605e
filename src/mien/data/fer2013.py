"""FER-2013 as one CSV file, in its three dialects: fer2013.csv, icml_face_data.csv and the contest's train.csv.

Source: Goodfellow et al., "Challenges in Representation Learning: A report on three machine learning contests", 2013.
"""

import math
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import PurePosixPath

import numpy as np

from mien.data.rows import BadRow, Row, Rows, Tree, lines, shortened, split_of
from mien.errors import MienError
from mien.labels import FER2013

FILE_NAMES = ("fer2013.csv", "icml_face_data.csv", "train.csv")
"""The file's name in a folder, by priority: the rows of train.csv are also in the first two."""

_SIDE = 48  # height and width of a face in FER-2013, in pixels


def recognise(tree: Tree) -> bool:
    """Return whether there is a CSV file with a column of pixels."""
    return (name := _find(tree)) is not None and "pixels" in _header(tree, name)[0]


def read(tree: Tree) -> Rows:
    """Read `emotion,pixels[,Usage]`, in any order of the columns, with or without spaces and quotes around the names.

    Commas, semicolons or tabs separate the columns. Labels are 0 to 6, in the order of `FER2013`. Training is train,
    PublicTest validation, PrivateTest test.
    """
    if (name := _find(tree)) is None:
        raise MienError(f"{tree.path} holds no {' or '.join(FILE_NAMES)}.")
    columns, separator = _header(tree, name)
    if columns == [""]:
        raise MienError(f"{tree.place(name)} is empty; give a table with the columns emotion, pixels and, optionally, Usage.")
    if "emotion" not in columns or "pixels" not in columns:
        found = ", ".join(column[:20] for column in columns[:8])
        hint = " The contest's test.csv has no labels; take icml_face_data.csv." if columns == ["pixels"] else ""
        raise MienError(
            f"{tree.place(name)} must have the columns emotion, pixels and, optionally, Usage; it has {found}.{hint}"
        )
    # the first complete row decides how many pixels all rows have, if that is a square
    records = (text.split(separator) for _, text in islice(lines(tree, name), 1, None))
    first = next((fields for fields in records if len(fields) == len(columns)), None)
    count = len(_clean(first[columns.index("pixels")]).split()) if first else 0
    side = math.isqrt(count)
    if not side or side**2 != count:
        side = _SIDE
    kind = "FER-2013 as CSV" if "usage" in columns else "FER-2013 as CSV without splits"
    if side != _SIDE:
        kind += f", {side} x {side} pixels"
    return Rows(kind=kind, labels=FER2013, rows=_rows(tree, name, columns, separator, side))


def _find(tree: Tree) -> str | None:
    if tree.is_single_file:
        return tree.files[0] if tree.files[0].lower().endswith((".csv", ".tsv", ".txt")) else None
    by_name = {PurePosixPath(file).name: file for file in reversed(tree.files)}
    return next((by_name[name] for name in FILE_NAMES if name in by_name), None)


def _header(tree: Tree, name: str) -> tuple[list[str], bytes]:
    """Read the column names, in lower case, and the separator."""
    header = next((line for _, line in lines(tree, name)), b"")[:4096]
    separator = max((b",", b";", b"\t"), key=header.count)
    return [_clean(field).decode(errors="replace").casefold() for field in header.split(separator)], separator


def _clean(field: bytes) -> bytes:
    return field.strip(b" \t\"'")


def _rows(tree: Tree, name: str, columns: list[str], separator: bytes, side: int) -> Iterator[Row | BadRow]:
    for number, (line, text) in enumerate(islice(lines(tree, name), 1, None)):
        place = f"row {number} (line {line})"
        fields = text.split(separator)
        if len(fields) != len(columns):
            yield BadRow(place, f"{len(fields)} columns, not {len(columns)}")
            continue
        cells = {column: _clean(field) for column, field in zip(columns, fields, strict=True)}
        try:
            split = split_of(cells.get("usage", b"none").decode(errors="replace"))
            if not (label := cells["emotion"]).isdigit() or int(label) >= len(FER2013):
                word = shortened(label.decode(errors="replace"))
                raise MienError(f"the label {word!r} is not a number from 0 to {len(FER2013) - 1}")
            yield Row(str(number), split, int(label), partial(_image, cells["pixels"], side), place, number)
        except MienError as error:
            yield BadRow(place, str(error))


def _image(text: bytes, side: int) -> np.ndarray:
    if strange := text.translate(None, b"0123456789 "):
        word = next((word for word in text.split(b" ") if word.strip(b"0123456789")), strange)
        raise MienError(f"{word[:20].decode(errors='replace')!r} among the pixels is not a number from 0 to 255")
    values = np.fromstring(text, dtype=np.int64, sep=" ")
    if len(values) != side**2:
        raise MienError(f"{len(values)} pixels, not {side**2} ({side} x {side})")
    if values.max() > 255:
        raise MienError(f"the pixel value {values.max()} is not a number from 0 to 255")
    return values.astype(np.uint8).reshape(side, side)
