"""Predictions written as they come: a table for people, JSON, JSON Lines, CSV and Parquet for programs."""

import csv
import glob
import json
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from mien.errors import MienError
from mien.images import IMAGE_SUFFIXES
from mien.inference.prediction import Prediction
from mien.inference.sources import Source
from mien.labels import LabelSet

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped, import-not-found, unused-ignore]


# Predictions as rows of a data frame: the same columns in CSV, Parquet and pandas.

FIRST = {
    "source": "string",
    "frame": "int64",
    "time": "float64",
    "face": "int64",
    "track": "int64",
    "x1": "float64",
    "y1": "float64",
    "x2": "float64",
    "y2": "float64",
    "score": "float64",
    "label": "string",
    "confidence": "float64",
    "unsure": "bool",
}
"""The columns before the probabilities, with their types in Parquet."""

LAST = {"no_face": "bool", "error": "string", "note": "string"}
"""The columns behind the probabilities."""

PANDAS = {"string": "string", "int64": "Int64", "float64": "float64", "bool": "boolean"}
"""Their types in pandas, which can all be nothing."""

ROW_GROUP = 8192
"""Rows of a Parquet file that are held in memory before they are written."""


def column_names(labels: LabelSet) -> list[str]:
    """Name the columns: what and where, a probability for each label, and what there was instead of an answer."""
    return [*FIRST, *labels, *LAST]


def column_values(prediction: Prediction) -> list[Any]:
    """Give a prediction's values in the order of the columns, rounded as in `Prediction.to_dict`; None where there is none."""
    row = prediction.to_dict()
    probabilities = row.get("probabilities", {})
    return [
        encodable(row["source"]),
        *(row.get(key) for key in ("frame", "time", "face", "track")),
        *row.get("box", [None] * 4),
        *(row.get(key) for key in ("score", "label", "confidence", "unsure")),
        *(probabilities.get(name) for name in prediction.labels),
        prediction.no_face,
        encodable(row["error"]) if "error" in row else None,
        row.get("note"),
    ]


def encodable(text: str) -> str:
    """Replace what no file can hold as UTF-8: file names may be any bytes."""
    return text.encode("utf-8", "replace").decode("utf-8")


def to_dataframe(predictions: Iterable[Prediction]) -> "pandas.DataFrame":
    """Make a pandas DataFrame of predictions, a row for each, with the columns of the CSV.

    Types are the same whatever the rows hold: string, Int64 and boolean with pandas.NA for nothing, float64 with NaN.

    Args:
        predictions: what `mien.predict` gives.

    Raises:
        MienError: if pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise MienError("A DataFrame needs pandas, which is not installed; run: pip install pandas") from None
    names: list[str] = []
    rows = []
    for prediction in predictions:
        names = names or column_names(prediction.labels)
        rows.append(column_values(prediction))
    kinds = {name: PANDAS[kind] for name, kind in (FIRST | LAST).items()}
    return pandas.DataFrame(rows, columns=names or [*FIRST, *LAST]).astype(kinds)


def check_parquet() -> None:
    """Make sure that Parquet can be written.

    Raises:
        MienError: if pyarrow is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401 - it may be missing
    except ImportError:
        raise MienError("Parquet needs pyarrow, which is not installed; run: pip install 'mien[evaluate]'") from None


def write_parquet(predictions: Iterable[Prediction], labels: LabelSet, path: Path) -> None:
    """Write a Parquet file, in row groups, so that memory does not grow with the number of rows.

    Args:
        predictions: what `predict` gives.
        labels: their labels.
        path: the file; one that is there is replaced.

    Raises:
        MienError: if pyarrow is not installed.
    """
    check_parquet()
    import pyarrow
    import pyarrow.parquet

    kinds = [*FIRST.values(), *["float32"] * len(labels), *LAST.values()]
    schema = pyarrow.schema(
        [pyarrow.field(name, pyarrow.type_for_alias(kind)) for name, kind in zip(column_names(labels), kinds, strict=True)]
    )
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        rows = map(column_values, predictions)
        while group := list(islice(rows, ROW_GROUP)):
            columns = [
                pyarrow.array(column, field.type) for column, field in zip(zip(*group, strict=True), schema, strict=True)
            ]
            writer.write_batch(pyarrow.record_batch(columns, schema=schema))


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


# Where answers and pictures may go: nowhere that an input is.


def check_draw(draw: str | Path, source: Source) -> None:
    """Make sure that pictures drawn into a folder come to lie apart from the inputs.

    Args:
        draw: the folder; it need not be there.
        source: what `predict` is given. Of a generator nothing is known before it is read, so nothing is checked.

    Raises:
        MienError: if the folder is that of an input, or lies below a folder that is an input.
    """
    if not str(draw):
        raise MienError("The folder for pictures has an empty name; name a folder with --draw.")
    folder = _resolved(Path(draw))
    for path in _named(source):
        if path.is_dir():
            within = _resolved(path)
            if folder == within or within in folder.parents:
                raise MienError(
                    f"The folder {str(draw)!r} for pictures lies in the input {str(path)!r}, where they would count as photos; "
                    "choose another folder with --draw."
                )
        elif folder in (_resolved(path.parent), _resolved(path).parent):
            raise MienError(
                f"The folder {str(draw)!r} is that of the input {str(path)!r}; choose another folder for pictures with --draw."
            )


def check_out(out: str, source: Source) -> Path:
    """Make sure that a file for the answers replaces no input.

    Args:
        out: the file; neither it nor its folder need be there.
        source: as for `check_draw`.

    Returns:
        The file's path.

    Raises:
        MienError: if it is an input, a folder, or no file.
    """
    if out == "-" or out.startswith(("/dev/", "/proc/")):
        raise MienError(f"{out!r} is no file; name one with --out (`mien predict` without it writes to standard output).")
    path = Path(out)
    if path.is_dir() or out.endswith("/"):
        raise MienError(f"{out!r} is a folder; name a file in it with --out.")
    if path.exists() and not path.is_file():
        raise MienError(f"{out!r} is no plain file; choose another --out.")
    file = _resolved(path)
    for named in _named(source):
        if file == _resolved(named) or (
            named.is_dir() and path.suffix.lower() in IMAGE_SUFFIXES and _resolved(named) in file.parents
        ):
            raise MienError(f"{out!r} is one of the inputs, or would count as one; choose another --out.")
    return path


def make_folder_of(out: Path) -> None:
    """Make the folder of a file for the answers, if it is not there.

    Raises:
        MienError: if it cannot be made.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MienError(f"The folder {str(out.parent)!r} cannot be made ({error.strerror}); choose another --out.") from None


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # RuntimeError: links that go round
        return path.absolute()


def _named(source: Source) -> Iterator[Path]:
    """Give the paths that a source names, and those that its patterns match."""
    for item in source if isinstance(source, Sequence) and not isinstance(source, str | bytes) else [source]:
        if not isinstance(item, str | Path):
            continue
        path = Path(item)
        try:
            if glob.has_magic(str(item)) and not path.exists():
                yield from map(Path, glob.iglob(str(item), recursive=True))  # noqa: PTH207 - as in sources
            elif path.exists():
                yield path
        except OSError:
            continue  # what may not be looked at is not read, either
