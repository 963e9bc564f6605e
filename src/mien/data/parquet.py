"""Faces as Parquet: one file or a folder of them, with image bytes or paths; those of the Hugging Face hub among them."""

import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from mien.data.columns import Columns, LabelColumn, choose_columns, read_labels, to_rows
from mien.data.folder import IMAGE_SUFFIXES
from mien.data.rows import SPLIT_WORDS, BadRow, Row, Rows, decode
from mien.data.tree import Tree
from mien.errors import MienError

_BATCH = 256  # rows held in memory at once


@dataclass(frozen=True)
class _Part:
    name: str
    file: Any  # pyarrow.parquet.ParquetFile
    split: str


def recognise(tree: Tree) -> bool:
    """Tell whether there are Parquet files, and no images beside them."""
    return any(_is_parquet(name) for name in tree.files) and not any(
        name.lower().endswith(IMAGE_SUFFIXES) for name in tree.files
    )


def read(tree: Tree, carried: Sequence[str] = ()) -> Rows:
    """Read tables with an image column (bytes, Hugging Face's struct of bytes and path, or paths) and labels.

    All files of a folder make one set and must have the same columns. Without a split column, the name of a file tells the
    split (train-00000-of-00001.parquet).

    Args:
        tree: the file, or a folder or zip of files.
        carried: further columns, which the rows are to bear.

    Raises:
        MienError: if a column is not there, a file is damaged, or pyarrow is not installed.
    """
    parts = _open(tree)
    schema = parts[0].file.schema_arrow
    place = tree.place(parts[0].name)
    columns = choose_columns(
        schema.names, place, _bytes_column(schema), [name for name in schema.names if _is_number(schema, name)], carried
    )
    for part in parts[1:]:
        if missing := sorted(set(schema.names) - set(part.file.schema_arrow.names)):
            raise MienError(f"{tree.place(part.name)} lacks the columns {', '.join(missing)} that {place} has.")
    splits = _cells(tree, parts, columns.split)
    labels = read_labels(columns, _cells(tree, parts, columns.label), splits, _hub_names(schema, columns.label))
    return Rows(
        kind="faces as Parquet",
        labels=labels.labels,
        rows=_rows(tree, parts, columns, labels),
        count=sum(part.file.metadata.num_rows for part in parts),
        files=_image_files(tree, parts, columns),
    )


def _is_parquet(name: str) -> bool:
    return name.lower().endswith((".parquet", ".pq"))


def _open(tree: Tree) -> list[_Part]:
    try:
        from pyarrow import parquet
    except ImportError:
        raise MienError(f"Reading {tree.path} needs pyarrow: pip install 'mien[evaluate]'.") from None
    names = [name for name in tree.files if _is_parquet(name)]
    if not names:
        raise MienError(f"{tree.path} holds no Parquet files.")
    parts = []
    for name in names:
        word = re.split(r"[-_.]", PurePosixPath(name).name)[0].casefold()
        path = tree.path if tree.is_single_file else tree.path / name
        source = path if tree.root else io.BytesIO(tree.read(name))
        with _damage_said(tree, name):
            parts.append(_Part(name, parquet.ParquetFile(source), word if word in SPLIT_WORDS else ""))
    return parts


@contextmanager
def _damage_said(tree: Tree, name: str) -> Iterator[None]:
    """Turn what pyarrow raises about a damaged file into a sentence."""
    from pyarrow import ArrowException

    try:
        yield
    except (ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise MienError(f"{tree.place(name)} is not a Parquet file, or it is damaged: {reason}.") from error


def _bytes_column(schema: Any) -> str | None:
    """The first column of bytes, or of Hugging Face's struct with bytes in it."""
    return next((field.name for field in schema if "binary" in str(field.type).partition(",")[0]), None)


def _is_number(schema: Any, name: str) -> bool:
    return str(schema.field(name).type).startswith(("int", "uint", "float", "double", "halffloat", "decimal"))


def _hub_names(schema: Any, label: str | None) -> list[str] | None:
    """The label names that the Hugging Face hub writes into the file."""
    try:
        names = json.loads(schema.metadata[b"huggingface"])["info"]["features"][label]["names"]
    except (TypeError, KeyError, ValueError):
        return None
    return names if isinstance(names, list) else None


def _cells(tree: Tree, parts: list[_Part], column: str | None) -> list[Any]:
    cells: list[Any] = []
    for part in parts if column else ():
        with _damage_said(tree, part.name):
            cells += part.file.read(columns=[column]).column(0).to_pylist()
    return cells


def _image_files(tree: Tree, parts: list[_Part], columns: Columns) -> tuple[Path, ...]:
    if tree.root is None or str(parts[0].file.schema_arrow.field(columns.image).type) not in ("string", "large_string"):
        return ()
    cells = _cells(tree, parts, columns.image)
    return tuple(tree.root / str(cell).replace("\\", "/") for cell in cells)


def _rows(tree: Tree, parts: list[_Part], columns: Columns, labels: LabelColumn) -> Iterator[Row | BadRow]:
    wanted = (columns.image, columns.label, *columns.shares, columns.split, columns.row, *columns.carried)
    needed = list(dict.fromkeys(name for name in wanted if name))
    start = 0
    for part in parts:
        records = _records(tree, part, needed)
        yield from to_rows(records, columns, labels, partial(_image_of, tree, part.name), part.split, start)
        start += part.file.metadata.num_rows


def _records(tree: Tree, part: _Part, columns: list[str]) -> Iterator[dict[str, Any]]:
    with _damage_said(tree, part.name):
        for batch in part.file.iter_batches(_BATCH, columns=columns):
            yield from batch.to_pylist()


def _image_of(tree: Tree, table: str, cell: Any) -> tuple[str, Callable[[], np.ndarray]]:
    path, data = (cell.get("path"), cell.get("bytes")) if isinstance(cell, dict) else (cell, cell)
    if isinstance(data, bytes):
        return (path if isinstance(path, str) else ""), partial(decode, data)
    if isinstance(path, str):
        return path, partial(_load, tree, str(PurePosixPath(table).parent / path.replace("\\", "/")))
    return "", _no_image


def _load(tree: Tree, name: str) -> np.ndarray:
    return decode(tree.read(name))


def _no_image() -> np.ndarray:
    raise MienError("there is no image")
