"""Manifests: tables of images and their labels, as CSV or Parquet; the Parquet files of the Hugging Face hub among them."""

import io
import json
import os
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice, product
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from mien.data.fer2013 import read_pixels
from mien.data.rows import KNOWN, BadRow, Row, Rows, Tree, decode, labels_from, numbers_of, records, split_of, split_word
from mien.errors import MienError, first_line, shortened, suggestion
from mien.images import is_image_name
from mien.labels import FER2013, LabelSet

PARQUET = (".parquet", ".pq")
_OFFICIAL = {"training", "publictest", "privatetest"}
_PIXELS = re.compile(r"\s*\d{1,3}(\s+\d{1,3}){3,}\s*")  # four numbers or more: a face of 2 x 2 or larger


class _Table(NamedTuple):
    """One table file; the last three are known of Parquet only."""

    name: str  # in the tree
    kind: str  # the kind of data, in words
    names: Sequence[str]  # of all columns
    rows: int  # their number
    records: Callable[[list[str]], Iterable[dict[str, Any]]]  # reads the rows with the given columns
    split: str = ""  # of all rows, by the file's name
    bytes_column: str | None = None  # holds the bytes of images
    number_columns: Sequence[str] | None = None
    hub_names: Mapping[str, Sequence[str]] = {}  # by column: the label names of its numbers


def read_csv(tree: Tree, carried: Sequence[str] = ()) -> Rows:
    """Read a CSV with the columns path and label (or one of shares or votes per label), and optionally split and `carried`."""
    if not (names := find_csv(tree)):
        raise MienError(f"{tree.path} holds no {' or '.join(KNOWN['tables']['manifest'])}.")
    return _Manifest().read(tree, [_open_csv(tree, name) for name in names], carried)


def _open_csv(tree: Tree, name: str) -> _Table:
    first = next((cells for _, cells in records(tree, name)), [])
    if not first:
        raise MienError(f"{tree.place(name)} is empty; give a table with the columns path and label.")
    has_header, columns = not any(map(is_image_name, first)), first
    if not has_header and len(first) == len(KNOWN["expw"]) and all(re.fullmatch(r"[\d.]+", cell) for cell in first[1:]):
        columns = list(KNOWN["expw"])
    elif not has_header:
        with_split = len(first) > 2  # of two columns, one is the label, even if it has the name of a split
        columns = ["path" if is_image_name(cell) else "split" if with_split and split_word(cell) else "label" for cell in first]
        if sorted(columns) not in (["label", "path"], ["label", "path", "split"]):
            raise MienError(KNOWN["mistakes"]["no header"].format(tree.place(name)))
    places = {column: place for place, column in enumerate(columns)}

    def rows(wanted: list[str]) -> Iterator[dict[str, Any]]:  # read each time, so that no table is kept in memory
        for _, cells in islice(records(tree, name), has_header, None):
            yield {column: cells[places[column]] if places[column] < len(cells) else "" for column in wanted}

    split = PurePosixPath(name).stem if "subDirectory_filePath" in columns else ""  # training.csv and validation.csv
    kind = "a manifest as CSV" if has_header else "a list of images without a header"
    return _Table(name, kind, columns, sum(1 for _ in rows([])), rows, split if split_word(split) else "")


def find_csv(tree: Tree) -> list[str]:
    """Find the manifest as CSV, or the lists of images and labels."""
    if tree.is_single_file:
        return tree.named()
    for kind in ("manifest", "list"):
        found = [file for file in tree.files if file.rpartition("/")[2] in KNOWN["tables"][kind]]
        if alone := found if len(found) == 1 else [file for file in found if "/" not in file][:1]:
            return alone
    pair = [file for file in tree.files if file.rpartition("/")[2] in KNOWN["tables"]["AffectNet"]]
    return [file for file in pair if "subDirectory_filePath" in next(records(tree, file), (0, []))[1]]


def read_parquet(tree: Tree, carried: Sequence[str] = ()) -> Rows:
    """Read the tables of a folder as one set: images (bytes, Hugging Face's struct, or paths), labels and `carried` columns."""
    tables = [_open_parquet(tree, name) for name in tree.named(PARQUET)]
    if not tables:
        raise MienError(f"{tree.path} holds no Parquet files.")
    for table in tables[1:]:
        if missing := ", ".join(sorted(set(tables[0].names) - set(table.names))):
            raise MienError(f"{tree.place(table.name)} lacks the columns {missing} that {tree.place(tables[0].name)} has.")
    return _Manifest().read(tree, tables, carried)


def _open_parquet(tree: Tree, name: str) -> _Table:
    try:
        from pyarrow import parquet
    except ImportError:
        raise MienError(f"Reading {tree.path} needs pyarrow: pip install 'mien[evaluate]'.") from None
    with _damage_reported(tree, name):
        file = parquet.ParquetFile(tree.place(name) if tree.root else io.BytesIO(tree.read(name)))
    schema = file.schema_arrow
    hub_names: dict[str, list[str]] = {}
    with suppress(TypeError, KeyError, ValueError, AttributeError):
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        named = {column: feature.get("names") for column, feature in features.items() if isinstance(feature, dict)}
        hub_names = {column: names for column, names in named.items() if isinstance(names, list)}

    def records(columns: list[str]) -> Iterator[dict[str, Any]]:
        with _damage_reported(tree, name):
            for batch in file.iter_batches(256, columns=columns):
                yield from batch.to_pylist()

    word = re.split(r"[-_.]", PurePosixPath(name).name)[0].casefold()  # of train-00000-of-00001.parquet
    split, count = word if split_word(word) else "", file.metadata.num_rows
    # a column of bytes, or of Hugging Face's struct with bytes first
    in_bytes = next((each.name for each in schema if "binary" in str(each.type).partition(",")[0]), None)
    numbers = [each.name for each in schema if re.match("u?int|float|double|halffloat|decimal", str(each.type))]
    return _Table(name, "faces as Parquet", schema.names, count, records, split, in_bytes, numbers, hub_names)


@contextmanager
def _damage_reported(tree: Tree, name: str) -> Iterator[None]:
    try:
        yield
    except MienError:
        raise
    except Exception as error:  # pyarrow's own, and those of names that are no text
        raise MienError(f"{tree.place(name)} is not a Parquet file, or it is damaged: {first_line(error)}.") from error


class _Manifest:
    """Tables with the same columns, read as one set: which column is which, and where the images are."""

    def read(self, tree: Tree, tables: list[_Table], carried: Sequence[str]) -> Rows:
        first, place = tables[0], tree.place(tables[0].name)
        names, numbers = first.names, first.number_columns
        by_word, known = {name.strip().casefold(): name for name in reversed(names)}, KNOWN["columns"]
        found = {kind: next((by_word[word] for word in known[kind] if word in by_word), None) for kind in known}
        image = first.bytes_column or found["image"]
        self.label, self.split, self.row = found["label"], found["split"], by_word.get("row")
        data_set, box = next((each for each in KNOWN["boxes"].items() if by_word.keys() >= set(each[1])), ("", []))
        self.box, self.is_expw = [by_word[name] for name in box], data_set == "ExpW"
        taken = {*known["ignored"], *known["image"], *known["split"], (image or "").casefold(), *map(str.casefold, carried)}
        others = [name for name in names if name.strip().casefold() not in taken and (numbers is None or name in numbers)]
        self.shares = [] if self.label else others  # without a label column, these are the labels
        if image is None or not (self.label or len(self.shares) > 1):
            columns = ", ".join([name[:20] for name in names[:8]] + ["..."] * (len(names) > 8))
            raise MienError(KNOWN["mistakes"]["columns"].format(place, columns))
        if absent := next((name for name in carried if name not in names), ""):
            others = [name for name in names if name and name not in (image, *self.shares)]
            hint = suggestion(absent, [*others, "auto"], "" if absent.isidentifier() else KNOWN["re"], " Did you mean {!r}?")
            raise MienError(KNOWN["mistakes"]["no column"].format(place, absent, ", ".join(others), hint))
        self.tree, self.tables, self.image, self.carried = tree, tables, image, carried
        self.has_pixels = image.casefold() == "pixels"
        has_paths = first.bytes_column is None and not self.has_pixels
        cells = [column for column in (self.label, image if has_paths else None) if column]
        for column, cell in next(iter(first.records(cells)), {}).items():
            if column in cells and isinstance(cell, str) and _PIXELS.fullmatch(cell):
                raise MienError(KNOWN["mistakes"]["pixels"].format(column, place))
        paths = [(table, cell) for table, cell in self._cells(image) if isinstance(cell, str)] if has_paths else []
        self.labels, self.index, numbered = self._read_labels([cell for _, cell in paths])
        self._find_images(paths[:20])
        files = tuple(tree.root / self._path(table, cell) for table, cell in paths if tree.root)
        count = sum(table.rows for table in tables)
        return Rows(first.kind + numbered, self.labels, self._rows("RAF-DB" in numbered), count, files)

    def _cells(self, column: str | None) -> Iterator[tuple[_Table, Any]]:
        return ((table, record[column]) for table in self.tables if column for record in table.records([column]))

    def _read_labels(self, paths: list[str]) -> tuple[LabelSet, Mapping[str, int | None], str]:
        """Find the labels, the index of each word for one (None: its rows are left out), and what numbers stand for."""
        if self.label is None:
            return (*labels_from(self.shares), "")
        words = {word for _, cell in self._cells(self.label) if (word := _word(cell))}
        splits = {_word(cell).casefold() for _, cell in self._cells(self.split)}
        names = self.tables[0].hub_names.get(self.label)
        if names is None and (self.has_pixels or (splits and splits <= _OFFICIAL)) and all(map(str.isdecimal, words)):
            names = FER2013.names
        if names is not None:
            labels, index = labels_from(names)
            return labels, {**index, **{str(number): index[name] for number, name in enumerate(names)}}, ""
        path = "affectnet" if self.image.casefold() == "subdirectory_filepath" else str(self.tree.path)
        said, table = numbers_of("fer2013" if self.is_expw else path, paths, words)
        if not said:
            return (*labels_from(words or {"none"}), "")
        labels, index = labels_from(filter(None, table.values()))
        return labels, {number: index[label] if label else None for number, label in table.items()}, said

    def _find_images(self, paths: list[tuple[_Table, str]]) -> None:
        root, files = self.tree.root, set(self.tree.files)
        for self.elsewhere in product(KNOWN["image_folders"], ("", "_aligned")):  # RAF-DB lists photos, not aligned faces
            for table, cell in paths:
                name = str(self._path(table, cell))
                if os.path.isfile(root / name) if root else name in files:  # noqa: PTH113 - false for any odd name
                    return
        self.elsewhere = ("", "")

    def _path(self, table: _Table, cell: str) -> PurePosixPath:
        """Return the path of an image in the tree; a cell is relative to the folder of the images, which is to the table."""
        folder, ending = self.elsewhere
        path = PurePosixPath(table.name).parent / folder / cell.strip().replace("\\", "/")
        path = path.with_stem(path.stem + ending) if ending and path.name else path
        return PurePosixPath(posixpath.normpath(path))

    def _rows(self, named_splits: bool) -> Iterator[Row | BadRow]:
        wanted = (self.image, self.label, *self.shares, self.split, self.row, *self.box, *self.carried)
        needed = list(dict.fromkeys(name for name in wanted if name))
        records = ((table, record) for table in self.tables for record in table.records(needed))
        for count, (table, record) in enumerate(records):
            if self.label and self.index.get(_word(record[self.label]), -1) is None:
                continue
            name, load = self._image(table, record[self.image])
            number = _word(record[self.row]) if self.row else str(count) if self.has_pixels else ""
            place = f"row {count}" + (f" ({shortened(name)})" if name else "")
            split = PurePosixPath(name).name.partition("_")[0] if named_splits else table.split
            split = _word(record[self.split]) if self.split else split
            try:
                if load is None:
                    raise MienError("there is no image")
                box = [record[column] for column in self.box]
                id_ = (f"{name}#{','.join(map(str, box))}" if self.is_expw else name) or number or str(count)
                load = partial(_cropped, load, box, not self.is_expw) if box else load
                columns = {column: shortened(_word(record[column]), 200) for column in self.carried}
                row = int(number) if number.isdecimal() and len(number) < 19 else None
                yield Row(id_, split_of(split), self._target(record), load, place, row, columns=columns)
            except MienError as error:
                yield BadRow(place, str(error))

    def _image(self, table: _Table, cell: Any) -> tuple[str, Callable[[], np.ndarray] | None]:
        if self.has_pixels:
            return "", partial(read_pixels, cell)
        path, data = (cell.get("path"), cell.get("bytes")) if isinstance(cell, dict) else (cell, cell)
        name = path if isinstance(path, str) else ""
        if isinstance(data, bytes):
            return name, partial(decode, data)
        return name, partial(self.tree.read_image, str(self._path(table, name))) if isinstance(path, str) else None

    def _target(self, record: dict[str, Any]) -> int | np.ndarray:
        if self.label is not None:
            word = _word(record[self.label])
            if (target := self.index.get(word)) is None:
                known = ", ".join(self.labels)
                raise MienError(f"the label {shortened(word)!r} is none of {known}" if word else "there is no label")
            return target
        shares = np.zeros(len(self.labels))
        for column in self.shares:
            try:
                value = float(record[column] or 0)
            except ValueError:
                raise MienError(f"{shortened(record[column])!r} in the column {column} is not a number") from None
            if not 0 <= value < 1e30:  # their sum is finite
                raise MienError(f"{value} in the column {column} is not a share of a label")
            shares[self.index[column]] += value
        if not (total := shares.sum()):
            raise MienError("no label has a share")
        return np.asarray(shares / total, dtype=np.float32)


def _word(cell: Any) -> str:
    """Convert a cell to text: whole numbers without a decimal point, missing values to nothing."""
    if cell is None or cell != cell:  # NaN
        return ""
    return re.sub(r"^(\d+)\.0+$", r"\1", str(cell).strip())


def _cropped(load: Callable[[], np.ndarray], box: list[Any], has_sides: bool) -> np.ndarray:
    """Load an image and cut out the box of a face: its left and top, and width and height or right and bottom."""
    try:
        left, top, right, bottom = (round(float(cell)) for cell in box)
    except (TypeError, ValueError, OverflowError):
        raise MienError(f"its face box, {shortened(', '.join(map(str, box)))}, is not four numbers of pixels") from None
    right, bottom = (left + right, top + bottom) if has_sides else (right, bottom)
    face = load()[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
    if not face.size:
        raise MienError("its face box lies outside the image")
    return face
