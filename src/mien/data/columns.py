"""What the columns of a manifest mean, and the rows they make; for CSV and Parquet alike."""

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mien.data.rows import BadRow, Row, labels_from, shortened, split_of
from mien.errors import MienError
from mien.labels import FER2013, LabelSet

IMAGE_WORDS = [
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
LABEL_WORDS = ["label", "labels", "emotion", "expression", "class", "target"]
SPLIT_WORDS = ["split", "usage", "set", "subset", "partition"]
IGNORED_WORDS = ["", "id", "index", "unnamed: 0", "row"]
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

    image = image or first(IMAGE_WORDS)
    label, split, row = first(LABEL_WORDS), first(SPLIT_WORDS), first(["row"])
    taken = {*IGNORED_WORDS, *IMAGE_WORDS, *SPLIT_WORDS, (image or "").casefold(), *(name.casefold() for name in carried)}
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
