"""A manifest as CSV: a table of image paths and their labels."""

import csv
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from mien.data.columns import choose_columns, read_labels, to_rows
from mien.data.rows import Rows, decode
from mien.data.tree import Tree, lines
from mien.errors import MienError

FILE_NAMES = ("manifest.csv", "metadata.csv")
"""What a manifest is called that lies in a folder beside its images."""

_SUFFIXES = (".csv", ".tsv", ".txt")
_PIXELS = re.compile(r"\s*\d{1,3}(\s+\d{1,3}){3,}\s*")  # four numbers or more: a face of 2 x 2 or larger


def recognise(tree: Tree) -> bool:
    """Tell whether there is a manifest."""
    return _find(tree) is not None


def read(tree: Tree, carried: Sequence[str] = ()) -> Rows:
    """Read a table with the columns path and label (or one column of numbers per label), and optionally split.

    Commas, semicolons or tabs separate the columns. Paths are relative to the manifest. Numbers in one column per label
    are shares or votes; they are scaled to sum to 1.

    Args:
        tree: the file, or a folder or zip that holds it.
        carried: further columns, which the rows are to bear.

    Raises:
        MienError: if a column is not there, or the file is not a table.
    """
    if (name := _find(tree)) is None:
        raise MienError(f"{tree.path} holds no {' or '.join(FILE_NAMES)}.")
    text = [line.decode(errors="surrogateescape") for _, line in lines(tree, name)]
    if not text:
        raise MienError(f"{tree.place(name)} is empty; give a table with the columns path and label.")
    separator = max(",;\t", key=text[0].count)
    try:
        table = csv.DictReader(text, delimiter=separator, skipinitialspace=True, restval="")
        columns = choose_columns(table.fieldnames or [], tree.place(name), carried=carried)
        records = list(table)
    except csv.Error as error:
        raise MienError(f"{tree.place(name)} is not a table of comma-separated values: {error}.") from error
    for column in (columns.image, columns.label):
        if records and column and _PIXELS.fullmatch(records[0][column]):
            raise MienError(
                f"The column {column} of {tree.place(name)} holds pixels: name it pixels, and the column of labels emotion, "
                "with FER-2013's numbers 0 to 6 in it."
            )
    labels = read_labels(
        columns,
        (record[columns.label] for record in records if columns.label),
        (record[columns.split] for record in records if columns.split),
    )
    folder = str(PurePosixPath(name).parent)

    def image_of(path: Any) -> tuple[str, Callable[[], np.ndarray]]:
        return str(path), partial(_load, tree, str(PurePosixPath(folder) / _slashes(str(path))))

    files = tuple(tree.root / folder / _slashes(record[columns.image]) for record in records) if tree.root else ()
    return Rows("a manifest as CSV", labels.labels, to_rows(records, columns, labels, image_of), len(records), files)


def _slashes(path: str) -> str:
    return path.strip().replace("\\", "/")


def _load(tree: Tree, name: str) -> np.ndarray:
    return decode(tree.read(name))


def _find(tree: Tree) -> str | None:
    if tree.is_single_file:
        return tree.files[0] if tree.files[0].lower().endswith(_SUFFIXES) else None
    found = [file for file in tree.files if PurePosixPath(file).name in FILE_NAMES]
    return found[0] if len(found) == 1 else next((file for file in found if "/" not in file), None)
