"""What every reader hands to the packer: labelled images, one at a time, not yet decoded."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mien.errors import MienError
from mien.labels import FERPLUS, LabelSet

SPLIT_WORDS = {
    "": "none",
    "none": "none",
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "publictest": "validation",
    "test": "test",
    "testing": "test",
    "privatetest": "test",
}
"""What data sets call their splits, in lower case; FER-2013 calls its own Training, PublicTest and PrivateTest."""

EXPRESSION_WORDS = {
    **{name: name for name in FERPLUS.names},
    "anger": "angry",
    "disgusted": "disgust",
    "afraid": "fear",
    "fearful": "fear",
    "happiness": "happy",
    "sadness": "sad",
    "surprised": "surprise",
}
"""What data sets call the expressions of FER-2013 and FER+, in lower case."""


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled image.

    Attributes:
        id: its path in the source, or its row number, counted from 0.
        split: a name out of `mien.data.faceset.SPLITS`.
        target: an index into the labels, or (K,) shares that sum to 1.
        load: decodes the image; uint8, (H, W) or (H, W, 3). Called from a worker thread, once.
        place: where a person finds it, for messages; without it, the id.
        number: its row in fer2013.csv, counted from 0, where that is known. FER+ votes are matched by it.
        votes: (K,) shares of crowd votes beside the target, which sum to 1, or zeros; None where there are none.
        size: height and width in pixels, where they were others before what `load` gives was made.
        columns: what stands in further columns that were asked for, by their names.
    """

    id: str
    split: str
    target: int | np.ndarray
    load: Callable[[], np.ndarray]
    place: str = ""
    number: int | None = None
    votes: np.ndarray | None = None
    size: tuple[int, int] | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be used: where it is, and why."""

    place: str
    reason: str


@dataclass(frozen=True)
class Rows:
    """All rows of a source.

    Attributes:
        kind: what the source was taken for, in words.
        labels: the label names.
        rows: the rows, read as they are asked for, once.
        count: how many there are, where that is known beforehand.
        files: files besides the source itself that the rows come from; a change of one makes packed rows stale.
    """

    kind: str
    labels: LabelSet
    rows: Iterable[Row | BadRow]
    count: int | None = None
    files: tuple[Path, ...] = ()


def shortened(text: str, most: int = 60) -> str:
    """Cut what a message quotes: a cell may hold thousands of characters."""
    return text if len(text) <= most else text[: most - 3] + "..."


def split_of(word: str) -> str:
    """Translate what a data set calls a split.

    Raises:
        MienError: if the word is unknown.
    """
    if (split := SPLIT_WORDS.get(word.strip().casefold())) is None:
        raise MienError(f"the split {shortened(word)!r} is none of train, validation, test, Training, PublicTest, PrivateTest")
    return split


def labels_from(names: Iterable[str]) -> tuple[LabelSet, dict[str, int]]:
    """Order label names, and find the index of each.

    Where every name is one of FER+'s eight expressions, in any case or as a common synonym (anger, happiness, ...; see
    `EXPRESSION_WORDS`), the labels get FER-2013's names and order, so that models and data sets agree. Otherwise the names
    stay as they are and are sorted, numbers by value.

    Returns:
        The labels, and for each name given its index.

    Raises:
        MienError: if there is no name, or one is empty.
    """
    names = set(names)
    meaning = {name: EXPRESSION_WORDS.get(name.casefold(), "") for name in names}
    if all(meaning.values()):
        labels = LabelSet(sorted(set(meaning.values()), key=FERPLUS.index))
        return labels, {name: labels.index(meaning[name]) for name in names}
    labels = LabelSet(sorted(names, key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)))
    return labels, {name: labels.index(name) for name in names}


def decode(data: bytes) -> np.ndarray:
    """Decode an image file that stands in a row.

    Raises:
        MienError: if it is no image; as a reason to stand behind the name of the row, not as a sentence.
    """
    from mien.images import read_image  # here, for packed faces need no decoder

    try:
        return read_image(data)
    except MienError as error:
        raise MienError(str(error).removeprefix("The image in these bytes ").partition("; ")[0].rstrip(".")) from error
