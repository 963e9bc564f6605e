"""Write predictions as they come: a table for people; JSON, JSON Lines, CSV, Parquet and data frames for programs."""

import csv
import os
import shutil
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from glob import has_magic
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.errors import MienError, printable, spreadsheet_safe, to_json
from mien.files import STDIN, FileKind, check_file, identity, named_files
from mien.images import is_image_name, matching
from mien.inference.prediction import LANDMARKS, Prediction
from mien.inference.sources import Source
from mien.labels import LabelSet

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped, import-not-found, unused-ignore]

FIRST = (
    *(("source", "string"), ("frame", "int64"), ("time", "float64"), ("face", "int64"), ("track", "int64")),
    *(("x1", "float64"), ("y1", "float64"), ("x2", "float64"), ("y2", "float64"), ("score", "float64")),
    *(("label", "string"), ("confidence", "float64"), ("unsure", "bool")),
)
LAST = (
    *(("no_face", "bool"), ("error", "string"), ("note", "string")),
    *((f"{name}_{axis}", "float64") for name in LANDMARKS for axis in "xy"),
    ("angle", "float64"),
)
"""The columns before and after the probabilities with their types, the same in CSV, Parquet and pandas."""

MADE_BY = "mien predict"  # in the metadata of a Parquet file
_FIRST, _LAST = (",".join(name for name, _ in columns).encode() for columns in (FIRST, LAST))
PREDICTIONS = FileKind(
    "a file of predictions",
    rb"\A" + _FIRST + rb",[^\n]*" + _LAST + rb"\n|\Asource {20}face  box |\A\[\]\n\Z|" + MADE_BY.encode() + rb".*PAR1\Z|"
    rb'\A(\[\n)?\{"source": "([^"\\]|\\.)*", "(frame|error|no_face|track|face)": ',
)  # by format: CSV, table, empty JSON, Parquet, JSON and JSON lines

PANDAS = {"string": "string", "int64": "Int64", "float64": "float64", "float32": "float64", "bool": "boolean"}  # all nullable
ROW_GROUP = 8192  # rows of a Parquet file that are held in memory before they are written
SOURCE_WIDTH = 24  # of the source in the table; of longer ones the end is shown, which tells the files of a folder apart


def columns(labels: Iterable[str]) -> list[tuple[str, str]]:
    """Return the names and types of the columns, among them one for the probability of each label."""
    return [*FIRST, *((name, "float32") for name in labels), *LAST]


def column_values(prediction: Prediction) -> list[Any]:
    """Return a prediction's values in the order of the columns, rounded as in `Prediction.to_dict`; None if missing."""
    row = prediction.to_dict() | {"no_face": prediction.no_face}
    row |= dict(zip(("x1", "y1", "x2", "y2"), row.get("box", ()), strict=False))
    row |= {f"{name}_{axis}": row["landmarks"][name]["xy".index(axis)] for name in row.get("landmarks", ()) for axis in "xy"}
    probabilities = row.get("probabilities", {})
    first, last = ([row.get(name) for name, _ in names] for names in (FIRST, LAST))
    return [*first, *(probabilities.get(name) for name in prediction.labels), *last]


def to_dataframe(predictions: Iterable[Prediction]) -> "pandas.DataFrame":
    """Make a pandas DataFrame of predictions, one row for each, with the columns of the CSV.

    The types do not depend on the rows: string, Int64 and boolean with pandas.NA for missing values, float64 with NaN.

    Args:
        predictions: the result of `mien.predict`.

    Raises:
        MienError: if pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise MienError("A DataFrame needs pandas, which is not installed; run: pip install pandas") from None
    rows = list(predictions)
    found = columns(rows[0].labels if rows else ())
    frame = pandas.DataFrame(map(column_values, rows), columns=[name for name, _ in found])
    return frame.astype({name: PANDAS[kind] for name, kind in found})


@dataclass
class Tally:
    """Counts of what was written; frames of videos count as images, too."""

    images: int = 0
    frames: int = 0
    faces: int = 0
    unsure: int = 0
    without_face: int = 0
    failed: int = 0

    def count(self, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
        """Count predictions while passing them on."""
        for prediction in predictions:
            self.faces += prediction.face is not None and not prediction.error
            self.unsure += bool(prediction.unsure)
            self.without_face += prediction.no_face
            self.failed += bool(prediction.error)
            first = not prediction.face  # the first face of an image is number 0, and a row without a face has none
            self.images += first
            self.frames += first and prediction.frame is not None
            yield prediction

    def __str__(self) -> str:
        """Format the counts: 3 images and 50 frames: 54 faces (1 unsure), 1 without a face, 1 failed."""
        counts = {"image": self.images - self.frames, "frame": self.frames, "face": self.faces}
        image, frame, face = (f"{count:,} {noun}{'s' * (count != 1)}" for noun, count in counts.items())
        inputs = image if not self.frames else frame if self.images == self.frames else f"{image} and {frame}"
        details = f" ({self.unsure:,} unsure)" if self.unsure else ""
        details += f", {self.without_face:,} without a face" if self.without_face else ""
        details += f", {self.failed:,} failed" if self.failed else ""
        return f"{inputs}: {face}{details}"


def write(predictions: Iterable[Prediction], labels: LabelSet, format: str, stream: Any, csv_safe: bool = False) -> Tally:
    """Write predictions in one of the `WRITERS` formats, each as soon as it comes, and return the counts."""
    tally, writer = Tally(), WRITERS[choose_format(format, None)]
    (partial(_write_csv, safe=True) if csv_safe else writer)(tally.count(predictions), labels, stream)
    return tally


def write_file(predictions: Iterable[Prediction], labels: LabelSet, format: str, path: Path, csv_safe: bool = False) -> Tally:
    """Write predictions into a file, which is replaced if it exists, as `write` does."""
    with path.open("wb") if format == "parquet" else path.open("w", encoding="utf-8", newline="") as stream:
        return write(predictions, labels, format, stream, csv_safe)


def _write_json(predictions: Iterable[Prediction], _: LabelSet, stream: Any) -> None:
    separator = "["
    for prediction in predictions:
        stream.write(f"{separator}\n{to_json(prediction.to_dict())}")
        separator = ","
    stream.write("\n]\n" if separator == "," else "[]\n")


def _write_jsonl(predictions: Iterable[Prediction], _: LabelSet, stream: Any) -> None:
    for prediction in predictions:
        stream.write(f"{to_json(prediction.to_dict())}\n")
        stream.flush()


def _write_csv(predictions: Iterable[Prediction], labels: LabelSet, stream: Any, safe: bool = False) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    names = [name for name, _ in columns(labels)]
    for row in chain([names], map(column_values, predictions)):
        writer.writerow(map(spreadsheet_safe, row) if safe else row)
        stream.flush()


def check_parquet() -> Any:
    """Return the module pyarrow, which Parquet needs; raise a MienError if it is not installed."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise MienError("Parquet needs pyarrow, which is not installed; run: pip install 'mien[evaluate]'") from None
    return pyarrow


def write_parquet(predictions: Iterable[Prediction], labels: LabelSet, stream: Any) -> None:
    """Write Parquet in row groups, so that memory does not grow with the number of rows."""
    pyarrow = check_parquet()
    schema = pyarrow.schema(
        [pyarrow.field(name, pyarrow.type_for_alias(kind)) for name, kind in columns(labels)], {"made_by": MADE_BY}
    )
    with pyarrow.parquet.ParquetWriter(stream, schema) as writer:
        rows = map(column_values, predictions)
        while group := list(islice(rows, ROW_GROUP)):
            arrays = [pyarrow.array(values, kind) for values, kind in zip(zip(*group, strict=True), schema.types, strict=True)]
            writer.write_batch(pyarrow.record_batch(arrays, schema=schema))


def _write_table(predictions: Iterable[Prediction], labels: LabelSet, stream: Any) -> None:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    names = [printable(name, encoding) for name in labels]
    label_width = max(5, *map(_width, names))
    header = [_left("source", SOURCE_WIDTH), "face", _left("box", 19), _left("label", label_width), "confidence"]
    widths = [max(4, _width(name)) for name in names]
    if stream.isatty() and len("  ".join(header)) + sum(widths) + 2 * len(widths) > shutil.get_terminal_size().columns:
        widths = []  # without the probabilities, so that a row stays on its line
    stream.write("  ".join([*header, *(" " * (4 - _width(name)) + name for name in names[: len(widths)])]) + "\n")
    for prediction in predictions:
        cells = [_left(_source_cell(prediction, encoding), SOURCE_WIDTH)]
        if prediction.error:
            cells.append(f"error: {printable(prediction.error, encoding)}")
        elif prediction.probabilities is None or prediction.box is None:
            cells.append("no face")
        else:
            box = " ".join(f"{edge:.0f}" for edge in prediction.box)
            number = f"{prediction.face}" if prediction.track is None else f"#{prediction.track}"
            confidence = f"{prediction.confidence:.2f}{'?' if prediction.unsure else ''}"
            label = printable(prediction.label or "", encoding)
            cells += [number.rjust(4), _left(box, 19), _left(label, label_width), confidence.rjust(10)]
            cells += [f"{p:.2f}".rjust(width) for width, p in zip(widths, prediction.probabilities, strict=False)]
        if prediction.note and not prediction.error:
            cells.append(f"({printable(prediction.note, encoding)})")
        stream.write("  ".join(cells).rstrip() + "\n")
        stream.flush()


WRITERS = {"table": _write_table, "json": _write_json, "jsonl": _write_jsonl, "csv": _write_csv, "parquet": write_parquet}
"""The output formats; a file's suffix selects any but the table."""


def choose_format(wanted: str | None, out: Path | None) -> str:
    """Choose the output format: the wanted one, else by the suffix of the file, else a table; an unknown one is an error."""
    if wanted is None:
        suffix = out.suffix.lower() if out else ""
        if suffix in ("", ".txt"):
            return "table"
        wanted = suffix[1:]
        if wanted not in WRITERS or wanted == "table":
            suffixes = ", ".join(f".{name}" for name in (*WRITERS, "txt") if name != "table")
            raise MienError(f"{str(out)!r} ends in no format that mien predict writes; use one of {suffixes}, or add --format.")
    if wanted not in WRITERS:
        raise MienError(f"There is no output format {wanted!r}; choose {', '.join(WRITERS)}.")
    return wanted


def _width(text: str) -> int:
    """Count the columns of a text in a terminal: two for East Asian wide characters, none for marks and joiners."""
    seen = (char for char in text if unicodedata.category(char) not in ("Mn", "Me", "Cf"))
    return sum(1 + (unicodedata.east_asian_width(char) in "WF") for char in seen)


def _source_cell(prediction: Prediction, encoding: str) -> str:
    """Shorten the source, with the time in a video, to the width of its column."""
    moment = "" if prediction.time is None else f" {prediction.time:.2f}s"
    text, room = printable(prediction.source, encoding), SOURCE_WIDTH - len(moment)
    if _width(text) <= room:
        return text + moment
    dots = "…" if printable("…", encoding) == "…" else "..."
    while _width(text) > room - len(dots):  # drop whole folders first, then the start of the name
        _, slash, rest = text[1:].partition("/")
        text = slash + rest if slash else text[1:]
    return f"{dots}{text}{moment}"


def _left(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def _named(source: Source) -> list[Path]:
    """List the existing files and folders that a source names, and those that its patterns match."""
    items = source if isinstance(source, list | tuple) else [source]
    patterns = [item for item in items if isinstance(item, str) and has_magic(item)]
    return [*named_files(source), *(Path(path) for pattern in patterns for path in matching(pattern))]


def check_draw(draw: str | Path, source: Source, flag: str = "--draw") -> None:
    """Raise a MienError if a folder for pictures is that of an input or lies below one; a generator is not checked."""
    if not str(draw):
        raise MienError(f"The folder for the pictures has an empty name; name a folder with {flag}.")
    folder, reason = Path(os.path.realpath(draw)), ""
    for path in _named(source):
        if path.is_dir() and identity(path) in map(identity, (folder, *folder.parents)):
            reason = f"lies in the input {str(path)!r}, where its pictures would count as photos"
        holders = [] if path.is_dir() or str(path) == STDIN else [path.parent, Path(os.path.realpath(path)).parent]
        if (own := identity(folder)) and own in map(identity, holders):
            reason = f"is that of the input {str(path)!r}"
        if reason:
            raise MienError(f"The folder {str(draw)!r} {reason}; choose another folder with {flag}.")


def check_out(out: str | Path, source: Source, *others: object, kind: FileKind = PREDICTIONS) -> Path:
    """Return the path of an output file; raise a MienError if it would replace an input or a file of another kind."""
    if is_image_name(str(out)):
        above = [identity(folder) for folder in Path(os.path.realpath(out)).parents]
        if any(path.is_dir() and identity(path) in above for path in _named(source)):
            raise MienError(f"{str(out)!r} would count as one of the inputs; choose another --out.")
    return check_file(out, kind, [_named(source), *others])
