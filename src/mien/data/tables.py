"""Manifests: tables of images and their labels, as CSV or Parquet; the Parquet files of the Hugging Face hub among them."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from mien.data.rows import SPLIT_WORDS, BadRow, Row, Rows, Tree, decode, labels_from, lines, shortened, split_of
from mien.errors import MienError, suggestion
from mien.images import is_image_name
from mien.labels import FER2013, LabelSet

FILE_NAMES = ("manifest.csv", "metadata.csv")  # the names of a CSV manifest in a folder with its images

# Names of columns, in lower case; the first of a list that exists is used.
IMAGE_COLUMNS = ["path", "file", "filename", "file_name", "filepath", "file_path"]
IMAGE_COLUMNS += ["image", "image_path", "image_name", "img", "pth"]
LABEL_COLUMNS = ["label", "labels", "emotion", "expression", "class", "target"]
SPLIT_COLUMNS = ["split", "usage", "set", "subset", "partition"]
IGNORED_COLUMNS = ["", "id", "index", "unnamed: 0", "row"]
IGNORED_COLUMNS += ["photo", "frame", "face", "x1", "y1", "x2", "y2", "score"]  # of `mien crop`

_OFFICIAL = {"training", "publictest", "privatetest"}
_PIXELS = re.compile(r"\s*\d{1,3}(\s+\d{1,3}){3,}\s*")  # four numbers or more: a face of 2 x 2 or larger
_BATCH = 256  # rows of Parquet in memory at a time


class _Table(NamedTuple):
    """One table file; the last three are known of Parquet only."""

    name: str  # in the tree
    names: Sequence[str]  # of all columns
    rows: int  # their number
    records: Callable[[list[str]], Iterable[dict[str, Any]]]  # reads the rows with the given columns
    split: str = ""  # of all rows, by the file's name
    bytes_column: str | None = None  # holds the bytes of images
    number_columns: Sequence[str] | None = None
    hub_names: Mapping[str, Sequence[str]] = {}  # by column: the label names of its numbers


class _Columns(NamedTuple):
    """Which column is which, by name; where there is no label column, `shares` has the columns of the labels."""

    image: str
    label: str | None
    shares: tuple[str, ...]
    split: str | None
    row: str | None  # the row in fer2013.csv
    carried: tuple[str, ...]  # further columns that were requested


def recognise_csv(tree: Tree) -> bool:
    """Return whether there is a manifest as CSV."""
    return _find_csv(tree) is not None


def read_csv(tree: Tree, carried: Sequence[str] = ()) -> Rows:
    """Read a CSV with the columns path and label (or one column of numbers per label), and optionally split.

    Commas, semicolons or tabs separate the columns. Paths are relative to the manifest. Numbers in one column per label
    are shares or votes; they are scaled to sum to 1. `carried` names further columns to read.
    """
    if (name := _find_csv(tree)) is None:
        raise MienError(f"{tree.path} holds no {' or '.join(FILE_NAMES)}.")
    text = [line.decode(errors="surrogateescape") for _, line in lines(tree, name)]
    if not text:
        raise MienError(f"{tree.place(name)} is empty; give a table with the columns path and label.")
    separator = max(",;\t", key=text[0].count)
    try:
        table = csv.DictReader(text, delimiter=separator, skipinitialspace=True, restval="")
        names, records = table.fieldnames or [], list(table)
    except csv.Error as error:
        raise MienError(f"{tree.place(name)} is not a table of comma-separated values: {error}.") from error
    return _read(tree, [_Table(name, names, len(records), lambda _: records)], "a manifest as CSV", carried)


def _find_csv(tree: Tree) -> str | None:
    if tree.is_single_file:
        return tree.files[0] if tree.files[0].lower().endswith((".csv", ".tsv", ".txt")) else None
    found = [file for file in tree.files if PurePosixPath(file).name in FILE_NAMES]
    return found[0] if len(found) == 1 else next((file for file in found if "/" not in file), None)


def recognise_parquet(tree: Tree) -> bool:
    """Return whether there are Parquet files, and no images with them."""
    return any(map(_is_parquet, tree.files)) and not any(map(is_image_name, tree.files))


def read_parquet(tree: Tree, carried: Sequence[str] = ()) -> Rows:
    """Read tables with an image column (bytes, Hugging Face's struct of bytes and path, or paths) and labels.

    All files of a folder make one set and must have the same columns. Without a split column, the name of a file gives the
    split (train-00000-of-00001.parquet). `carried` names further columns to read. Needs pyarrow.
    """
    tables = [_open_parquet(tree, name) for name in tree.files if _is_parquet(name)]
    if not tables:
        raise MienError(f"{tree.path} holds no Parquet files.")
    for table in tables[1:]:
        if missing := sorted(set(tables[0].names) - set(table.names)):
            first = tree.place(tables[0].name)
            raise MienError(f"{tree.place(table.name)} lacks the columns {', '.join(missing)} that {first} has.")
    return _read(tree, tables, "faces as Parquet", carried)


def _is_parquet(name: str) -> bool:
    return name.lower().endswith((".parquet", ".pq"))


def _open_parquet(tree: Tree, name: str) -> _Table:
    try:
        from pyarrow import parquet, types
    except ImportError:
        raise MienError(f"Reading {tree.path} needs pyarrow: pip install 'mien[evaluate]'.") from None
    with _damage_reported(tree, name):
        file = parquet.ParquetFile(tree.place(name) if tree.root else io.BytesIO(tree.read(name)))
    schema = file.schema_arrow
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        named = {column: feature.get("names") for column, feature in features.items() if isinstance(feature, dict)}
        hub_names = {column: names for column, names in named.items() if isinstance(names, list)}
    except (TypeError, KeyError, ValueError, AttributeError):
        hub_names = {}

    def records(columns: list[str]) -> Iterator[dict[str, Any]]:
        with _damage_reported(tree, name):
            for batch in file.iter_batches(_BATCH, columns=columns):
                yield from batch.to_pylist()

    word = re.split(r"[-_.]", PurePosixPath(name).name)[0].casefold()
    return _Table(
        name,
        schema.names,
        file.metadata.num_rows,
        records,
        split=word if word in SPLIT_WORDS else "",
        # a column of bytes, or of Hugging Face's struct with bytes first
        bytes_column=next((each.name for each in schema if "binary" in str(each.type).partition(",")[0]), None),
        number_columns=[
            each.name
            for each in schema
            if types.is_floating(each.type) or types.is_integer(each.type) or types.is_decimal(each.type)
        ],
        hub_names=hub_names,
    )


@contextmanager
def _damage_reported(tree: Tree, name: str) -> Iterator[None]:
    """Turn pyarrow's errors about a damaged file into a `MienError`."""
    from pyarrow import ArrowException

    try:
        yield
    except (ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise MienError(f"{tree.place(name)} is not a Parquet file, or it is damaged: {reason}.") from error


def _read(tree: Tree, tables: list[_Table], kind: str, carried: Sequence[str]) -> Rows:
    """Read tables with the same columns as one set."""
    first = tables[0]
    place = tree.place(first.name)
    columns = _choose_columns(first, place, carried)
    is_bytes = first.bytes_column is not None
    cells = [column for column in (columns.label, None if is_bytes else columns.image) if column]
    for column, cell in next(iter(first.records(cells)), {}).items():
        if column in cells and isinstance(cell, str) and _PIXELS.fullmatch(cell):
            raise MienError(
                f"The column {column} of {place} holds pixels: name it pixels, and the column of labels emotion, "
                "with FER-2013's numbers 0 to 6 in it."
            )
    labels, index = _read_labels(tables, columns)
    named = tables if tree.root and not is_bytes else []
    paths = [_path(table, cell) for table in named for cell in _cells([table], columns.image) if isinstance(cell, str)]
    files = tuple(tree.root / path for path in paths if tree.root)
    return Rows(kind, labels, _rows(tree, tables, columns, labels, index), sum(table.rows for table in tables), files)


def _choose_columns(table: _Table, place: str, carried: Sequence[str]) -> _Columns:
    """Find the columns by their names; `carried` columns hold no shares of labels."""
    names, numbers = table.names, table.number_columns
    by_word = {name.strip().casefold(): name for name in reversed(names)}

    def first(words: Sequence[str]) -> str | None:
        return next((by_word[word] for word in words if word in by_word), None)

    image = table.bytes_column or first(IMAGE_COLUMNS)
    label, split, row = first(LABEL_COLUMNS), first(SPLIT_COLUMNS), first(["row"])
    taken = {*IGNORED_COLUMNS, *IMAGE_COLUMNS, *SPLIT_COLUMNS, (image or "").casefold(), *(name.casefold() for name in carried)}
    others = tuple(name for name in names if name.strip().casefold() not in taken and (numbers is None or name in numbers))
    shares = () if label else others
    if image is None or not (label or len(shares) > 1):
        raise MienError(
            f"{place} has the columns {', '.join(name[:20] for name in names[:8])}{', ...' if len(names) > 8 else ''}. "
            "mien needs path (or image) and label (or one column of numbers per label), and optionally split; "
            "or, for FER-2013, emotion, pixels and optionally Usage."
        )
    if absent := [name for name in carried if name not in names]:
        others = tuple(name for name in names if name and name not in (image, *shares))
        hint = suggestion(absent[0], others, phrase=" Did you mean {!r}?")
        raise MienError(f"{place} has no column {absent[0]!r}; besides the images it has {', '.join(others)}.{hint}")
    return _Columns(image, label, shares, split, row, tuple(carried))


def _read_labels(tables: list[_Table], columns: _Columns) -> tuple[LabelSet, dict[str, int]]:
    """Find the labels, and the index of each word for one.

    Numbers are FER-2013's labels where the splits are FER-2013's (Training, PublicTest, PrivateTest), or the label names of the
    Hugging Face hub; otherwise they are names like any other.
    """
    if columns.label is None:
        return labels_from(columns.shares)
    words = {word for cell in _cells(tables, columns.label) if (word := _word(cell))}
    splits = {_word(cell).casefold() for cell in _cells(tables, columns.split)}
    names = tables[0].hub_names.get(columns.label)
    if names is None and splits and splits <= _OFFICIAL and all(word.isdecimal() for word in words):
        names = FER2013.names
    if names is None:
        return labels_from(words or {"none"})
    labels, index = labels_from(names)
    return labels, {**index, **{str(number): index[name] for number, name in enumerate(names)}}


def _cells(tables: list[_Table], column: str | None) -> list[Any]:
    return [record[column] for table in tables for record in table.records([column])] if column else []


def _word(cell: Any) -> str:
    """Convert a cell to text: whole numbers without a decimal point, missing values to nothing."""
    if cell is None or cell != cell:  # NaN
        return ""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell).strip()


def _rows(
    tree: Tree, tables: list[_Table], columns: _Columns, labels: LabelSet, index: dict[str, int]
) -> Iterator[Row | BadRow]:
    wanted = (columns.image, columns.label, *columns.shares, columns.split, columns.row, *columns.carried)
    needed = list(dict.fromkeys(name for name in wanted if name))
    records = ((table, record) for table in tables for record in table.records(needed))
    for count, (table, record) in enumerate(records):
        name, load = _image(tree, table, record[columns.image])
        number = _word(record[columns.row]) if columns.row else ""
        place = f"row {count}" + (f" ({shortened(name)})" if name else "")
        try:
            if load is None:
                raise MienError("there is no image")
            yield Row(
                id=name or number or str(count),
                split=split_of(_word(record[columns.split]) if columns.split else table.split),
                target=_target(record, columns, labels, index),
                load=load,
                place=place,
                number=int(number) if number.isdecimal() else None,
                columns={column: shortened(_word(record[column])) for column in columns.carried},
            )
        except MienError as error:
            yield BadRow(place, str(error))


def _image(tree: Tree, table: _Table, cell: Any) -> tuple[str, Callable[[], np.ndarray] | None]:
    """Return an image's name, where it has one, and the function that loads it, where there is an image."""
    path, data = (cell.get("path"), cell.get("bytes")) if isinstance(cell, dict) else (cell, cell)
    name = path if isinstance(path, str) else ""
    if isinstance(data, bytes):
        return name, partial(decode, data)
    return name, partial(tree.read_image, str(_path(table, name))) if isinstance(path, str) else None


def _path(table: _Table, cell: str) -> PurePosixPath:
    """Return the path of an image in the tree; a cell is relative to the table."""
    return PurePosixPath(table.name).parent / cell.strip().replace("\\", "/")


def _target(record: dict[str, Any], columns: _Columns, labels: LabelSet, index: dict[str, int]) -> int | np.ndarray:
    if columns.label is not None:
        word = _word(record[columns.label])
        if word not in index:
            raise MienError(f"the label {shortened(word)!r} is none of {', '.join(labels)}" if word else "there is no label")
        return index[word]
    target = np.zeros(len(labels), dtype=np.float32)
    for column in columns.shares:
        try:
            value = float(record[column] or 0)
        except ValueError:
            raise MienError(f"{shortened(str(record[column]))!r} in the column {column} is not a number") from None
        if not 0 <= value < float("inf"):
            raise MienError(f"{value} in the column {column} is not a share of a label")
        target[index[column]] += value
    if not (total := target.sum()):
        raise MienError("no label has a share")
    target /= total
    return target
