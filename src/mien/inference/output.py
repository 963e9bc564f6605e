"""Predictions written as they come: a table for people, JSON, JSON Lines, CSV and Parquet for programs."""

import csv
import json
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from mien.errors import MienError
from mien.inference.columns import column_names, column_values, encodable, write_parquet
from mien.inference.prediction import Prediction
from mien.labels import LabelSet

SOURCE_WIDTH = 24
"""Columns of the table for the source; of longer ones the end is shown, which tells files of one folder apart."""


@dataclass
class Tally:
    """What was written: counts of images (frames too), of faces and unsure ones, of those without a face or that failed."""

    images: int = 0
    frames: int = 0
    """How many of the images are frames of a video or from a camera."""
    faces: int = 0
    unsure: int = 0
    without_face: int = 0
    failed: int = 0

    def count(self, prediction: Prediction) -> None:
        """Count a prediction."""
        self.faces += prediction.face is not None
        self.unsure += bool(prediction.unsure)
        self.without_face += prediction.no_face
        self.failed += bool(prediction.error)
        first = not prediction.face  # an image's first face is number 0, and a row without a face has none
        self.images += first
        self.frames += first and prediction.frame is not None

    def __str__(self) -> str:
        """Say it in words: 3 images and 50 frames: 54 faces (1 unsure), 1 without a face, 1 failed."""
        photos = self.images - self.frames
        seen = [_many(photos, "image")] if photos or not self.frames else []
        seen += [_many(self.frames, "frame")] if self.frames else []
        parts = [_many(self.faces, "face") + (f" ({self.unsure:,} unsure)" if self.unsure else "")]
        parts += [f"{self.without_face:,} without a face"] if self.without_face else []
        parts += [f"{self.failed:,} failed"] if self.failed else []
        return f"{' and '.join(seen)}: {', '.join(parts)}"


def write(predictions: Iterable[Prediction], format: str, stream: TextIO) -> Tally:
    """Write predictions, each as soon as it comes.

    Args:
        predictions: what `predict` gives.
        format: "table", "json" (one list), "jsonl" (an object a line) or "csv".
        stream: where to; CSV wants a file opened with newline="".

    Returns:
        How many there were of each kind.

    Raises:
        MienError: if the format is unknown.
    """
    if format not in WRITERS:
        raise MienError(f"There is no text format {format!r}; choose {', '.join(WRITERS)}.")
    tally = Tally()
    WRITERS[format](_counted(predictions, tally), stream)
    return tally


def write_file(predictions: Iterable[Prediction], labels: LabelSet, format: str, path: Path) -> Tally:
    """Write predictions into a file, in any format.

    Args:
        predictions: what `predict` gives.
        labels: their labels, which Parquet wants to know beforehand.
        format: as for `write`, or "parquet".
        path: the file; one that is there is replaced.

    Returns:
        How many there were of each kind.

    Raises:
        MienError: if the format is unknown, or needs what is not installed.
    """
    if format == "parquet":
        tally = Tally()
        write_parquet(_counted(predictions, tally), labels, path)
        return tally
    with path.open("w", encoding="utf-8", newline="") as stream:
        return write(predictions, format, stream)


def _counted(predictions: Iterable[Prediction], tally: Tally) -> Iterator[Prediction]:
    for prediction in predictions:
        tally.count(prediction)
        yield prediction


def write_json(predictions: Iterable[Prediction], stream: TextIO) -> None:
    """Write one JSON list of objects (`Prediction.to_dict`)."""
    separator = "["
    for prediction in predictions:
        stream.write(f"{separator}\n{_json(prediction)}")
        separator = ","
    stream.write("\n]\n" if separator == "," else "[]\n")


def write_jsonl(predictions: Iterable[Prediction], stream: TextIO) -> None:
    """Write one JSON object a line."""
    for prediction in predictions:
        stream.write(f"{_json(prediction)}\n")
        stream.flush()


def write_csv(predictions: Iterable[Prediction], stream: TextIO) -> None:
    """Write a header and a row a prediction: the box in four columns, a column for each label's probability."""
    writer = csv.writer(stream, lineterminator="\n")
    header = True
    for prediction in predictions:
        if header:
            writer.writerow(column_names(prediction.labels))
            header = False
        writer.writerow(["" if value is None else value for value in column_values(prediction)])
        stream.flush()


def write_table(predictions: Iterable[Prediction], stream: TextIO) -> None:
    """Write aligned columns for a terminal: source, face (or #track), box, label, confidence, each label's probability."""
    header = True
    for prediction in predictions:
        names = prediction.labels.names
        label_width = max(5, *(_width(name) for name in names))
        if header:
            columns = [_left("source", SOURCE_WIDTH), "face", _left("box", 19), _left("label", label_width), "confidence"]
            stream.write("  ".join([*columns, *(_right(name, 4) for name in names)]) + "\n")
            header = False
        cells = [_left(_where(prediction), SOURCE_WIDTH)]
        if prediction.error:
            cells.append(f"error: {printable(prediction.error)}")
        elif prediction.probabilities is None or prediction.box is None:
            cells.append("no face")
        else:
            box = " ".join(f"{edge:.0f}" for edge in prediction.box)
            who = f"{prediction.face}" if prediction.track is None else f"#{prediction.track}"
            cells += [_right(who, 4), _left(box, 19), _left(prediction.label or "", label_width)]
            cells += [f"{prediction.confidence:.2f}{'?' if prediction.unsure else ''}".rjust(10)]
            cells += [_right(f"{p:.2f}", max(4, _width(name))) for name, p in zip(names, prediction.probabilities, strict=True)]
        if prediction.note and not prediction.error:
            cells.append(f"({printable(prediction.note)})")
        stream.write("  ".join(cells).rstrip() + "\n")
        stream.flush()


WRITERS: dict[str, Callable[[Iterable[Prediction], TextIO], None]] = {
    "table": write_table,
    "json": write_json,
    "jsonl": write_jsonl,
    "csv": write_csv,
}


FORMATS = {".json": "json", ".jsonl": "jsonl", ".csv": "csv", ".parquet": "parquet"}
"""The output format that a file's suffix stands for."""


def choose_format(wanted: str | None, out: Path | None) -> str:
    """Choose the output format: the wanted one, else what the file's name ends in, else a table.

    Raises:
        MienError: if there is no such format, or the file's name ends in none and none is wanted: it may be something else.
    """
    if wanted is None:
        if out and out.suffix.lower() not in (*FORMATS, ".txt", ""):
            endings = ", ".join((*FORMATS, ".txt"))
            raise MienError(f"{str(out)!r} ends in no format that mien predict writes; end it in {endings}, or add --format.")
        return FORMATS.get(out.suffix.lower(), "table") if out else "table"
    if wanted not in (*WRITERS, "parquet"):
        raise MienError(f"There is no output format {wanted!r}; choose {', '.join(WRITERS)}, parquet.")
    return wanted


def _json(prediction: Prediction) -> str:
    row = prediction.to_dict()
    return json.dumps(
        {key: encodable(value) if isinstance(value, str) else value for key, value in row.items()}, ensure_ascii=False
    )


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def printable(text: str) -> str:
    """Escape what would break a line or move the cursor."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in encodable(text))


def _width(text: str) -> int:
    """Count the columns a terminal gives a text: two for East Asian wide characters, none for combining ones."""
    wide = {"W": 2, "F": 2}
    return sum(0 if unicodedata.combining(char) else wide.get(unicodedata.east_asian_width(char), 1) for char in text)


def _where(prediction: Prediction) -> str:
    """Name the source, and the time in a video, as briefly as the column wants."""
    moment = "" if prediction.time is None else f" {prediction.time:.2f}s"
    text, room = printable(prediction.source), SOURCE_WIDTH - len(moment)
    if _width(text) <= room:
        return text + moment
    while _width(text) > room - 1:  # whole folders first, then what is too long of the name
        _, slash, rest = text[1:].partition("/")
        text = slash + rest if slash else text[1:]
    return f"…{text}{moment}"


def _left(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def _right(text: str, width: int) -> str:
    return " " * (width - _width(text)) + text
