"""What the columns of a manifest mean, and the rows they make; for CSV and Parquet alike."""

import csv
import difflib
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from mien.data.folders import IMAGE_SUFFIXES
from mien.data.rows import SPLIT_WORDS, BadRow, Row, Rows, Tree, decode, labels_from, lines, shortened, split_of
from mien.errors import MienError
from mien.labels import FER2013, LabelSet

IMAGE_COLUMNS = [
    "path",
    "file",
    "filename",
    "file_name",
    "filepath",
    "file_path",
    "image",
    "image_path",
    "image_name",
    "img",
    "pth",
]
LABEL_COLUMNS = ["label", "labels", "emotion", "expression", "class", "target"]
SPLIT_COLUMNS = ["split", "usage", "set", "subset", "partition"]
IGNORED_COLUMNS = ["", "id", "index", "unnamed: 0", "row"]
"""Names of columns, in lower case; where several are there, the first of the list counts."""

_OFFICIAL = {"training", "publictest", "privatetest"}


@dataclass(frozen=True)
class Columns:
    """Which column is which, by name.

    Attributes:
        image: the path, or the image's bytes.
        label: the label; None where every label has a column of its own.
        shares: the columns of the labels, where there is no label column.
        split: the split, if there is one.
        row: the row in fer2013.csv, if there is one.
        carried: further columns that were asked for.
    """

    image: str
    label: str | None
    shares: tuple[str, ...]
    split: str | None
    row: str | None
    carried: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelColumn:
    """The labels of a manifest: their names, and the index of every word that stands for one."""

    labels: LabelSet
    index: dict[str, int]


def choose_columns(
    names: Sequence[str],
    place: str,
    image: str | None = None,
    numbers: Sequence[str] | None = None,
    carried: Sequence[str] = (),
) -> Columns:
    """Find the columns by their names.

    Args:
        names: the names of all columns.
        place: where the manifest is, for messages.
        image: the column of images, where that is known already.
        numbers: the columns that hold numbers, where that is known already.
        carried: further columns that are asked for, which hold no shares of labels.

    Raises:
        MienError: if there is no column of images or none of labels, or one asked for is not there.
    """
    by_word = {name.strip().casefold(): name for name in reversed(names)}

    def first(words: Sequence[str]) -> str | None:
        return next((by_word[word] for word in words if word in by_word), None)

    image = image or first(IMAGE_COLUMNS)
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
        there = [name for name in names if name and name not in (image, *shares)]
        near = difflib.get_close_matches(absent[0], there, n=1)
        raise MienError(
            f"{place} has no column {absent[0]!r}; beside the images it has {', '.join(there)}."
            + (f" Did you mean {near[0]!r}?" if near else "")
        )
    return Columns(image, label, shares, split, row, tuple(carried))


def read_labels(
    columns: Columns, values: Iterable[Any], splits: Iterable[Any], names: Sequence[str] | None = None
) -> LabelColumn:
    """Find out what the labels are.

    Numbers are FER-2013's labels where the splits are FER-2013's (Training, PublicTest, PrivateTest), or indices into
    `names`; otherwise they are names like any other.

    Args:
        columns: from `choose_columns`.
        values: what stands in the label column.
        splits: what stands in the split column.
        names: the label names that the file itself gives to the numbers.
    """
    if columns.label is None:
        return LabelColumn(*labels_from(columns.shares))
    found = {word for value in values if (word := word_of(value))}
    used = {word_of(split).casefold() for split in splits}
    if names is None and used and used <= _OFFICIAL and all(word.isdecimal() for word in found):
        names = FER2013.names
    if names is None:
        return LabelColumn(*labels_from(found or {"none"}))
    labels, index = labels_from(names)
    return LabelColumn(labels, {**index, **{str(number): index[name] for number, name in enumerate(names)}})


def word_of(value: Any) -> str:
    """Write a cell as a word: whole numbers without a decimal point, nothing as nothing."""
    if value is None or value != value:  # NaN
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def to_rows(
    records: Iterable[dict[str, Any]],
    columns: Columns,
    labels: LabelColumn,
    image_of: Callable[[Any], tuple[str, Callable[[], np.ndarray]]],
    split: str = "",
    start: int = 0,
) -> Iterator[Row | BadRow]:
    """Make rows of the records of a table.

    Args:
        records: one dict per row of the table.
        columns: from `choose_columns`.
        labels: from `read_labels`.
        image_of: gives for a cell of the image column the image's name (or nothing) and what loads it.
        split: the split of all rows, where no column says it.
        start: the number of the first row.
    """
    for count, record in enumerate(records, start):
        name, load = image_of(record[columns.image])
        number = word_of(record[columns.row]) if columns.row else ""
        place = f"row {count}" + (f" ({shortened(name)})" if name else "")
        try:
            yield Row(
                id=name or number or str(count),
                split=split_of(word_of(record[columns.split]) if columns.split else split),
                target=_target(record, columns, labels),
                load=load,
                place=place,
                number=int(number) if number.isdecimal() else None,
                columns={column: shortened(word_of(record[column])) for column in columns.carried},
            )
        except MienError as error:
            yield BadRow(place, str(error))


def _target(record: dict[str, Any], columns: Columns, labels: LabelColumn) -> int | np.ndarray:
    if columns.label is not None:
        word = word_of(record[columns.label])
        if word not in labels.index:
            raise MienError(
                f"the label {shortened(word)!r} is none of {', '.join(labels.labels)}" if word else "there is no label"
            )
        return labels.index[word]
    target = np.zeros(len(labels.labels), dtype=np.float32)
    for column in columns.shares:
        try:
            value = float(record[column] or 0)
        except ValueError:
            raise MienError(f"{shortened(str(record[column]))!r} in the column {column} is not a number") from None
        if not 0 <= value < float("inf"):
            raise MienError(f"{value} in the column {column} is not a share of a label")
        target[labels.index[column]] += value
    if not (total := target.sum()):
        raise MienError("no label has a share")
    target /= total
    return target


# A manifest as CSV: a table of image paths and their labels.

FILE_NAMES = ("manifest.csv", "metadata.csv")
"""What a manifest is called that lies in a folder beside its images."""

_SUFFIXES = (".csv", ".tsv", ".txt")
_PIXELS = re.compile(r"\s*\d{1,3}(\s+\d{1,3}){3,}\s*")  # four numbers or more: a face of 2 x 2 or larger


def recognise_csv(tree: Tree) -> bool:
    """Tell whether there is a manifest."""
    return _find(tree) is not None


def read_csv(tree: Tree, carried: Sequence[str] = ()) -> Rows:
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


# Faces as Parquet: one file or a folder of them, with image bytes or paths; those of the Hugging Face hub among them.

_BATCH = 256  # rows held in memory at once


@dataclass(frozen=True)
class _Part:
    name: str
    file: Any  # pyarrow.parquet.ParquetFile
    split: str


def recognise_parquet(tree: Tree) -> bool:
    """Tell whether there are Parquet files, and no images beside them."""
    return any(_is_parquet(name) for name in tree.files) and not any(
        name.lower().endswith(IMAGE_SUFFIXES) for name in tree.files
    )


def read_parquet(tree: Tree, carried: Sequence[str] = ()) -> Rows:
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
        return path, partial(_load_parquet, tree, str(PurePosixPath(table).parent / path.replace("\\", "/")))
    return "", _no_image


def _load_parquet(tree: Tree, name: str) -> np.ndarray:
    return decode(tree.read(name))


def _no_image() -> np.ndarray:
    raise MienError("there is no image")
