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

import yaml

from mien.errors import MienError, printable, spreadsheet_safe, to_json
from mien.files import STDIN, FileKind, check_file, identity, named_files
from mien.images import is_image_name, matching
from mien.inference.prediction import Prediction
from mien.inference.sources import Source
from mien.labels import LabelSet

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped, import-not-found, unused-ignore]

_TABLE = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
FIRST, LAST, PANDAS = (_TABLE[key] for key in ("first", "last", "pandas"))
MADE_BY = "mien predict"  # in the metadata of a Parquet file
_FIRST, _LAST = (",".join(names).encode() for names in (FIRST, LAST))
PREDICTIONS = FileKind(
    "a file of predictions",
    rb"\A" + _FIRST + rb",[^\n]*" + _LAST + rb"\n|\Asource {20}face  box |\A\[\]\n\Z|" + MADE_BY.encode() + rb".*PAR1\Z|"
    rb'\A(\[\n)?\{"source": "([^"\\]|\\.)*", "(frame|error|no_face|track|face)": ',
)  # by format: CSV, table, empty JSON, Parquet, JSON and JSON lines

SAFE_CSV = "csv that no spreadsheet runs"  # the format of --csv-safe
ROW_GROUP = 8192  # rows of a Parquet file that are held in memory before they are written
SOURCE_WIDTH = 24  # of the source in the table; of longer ones the end is shown, which tells the files of a folder apart


def columns(labels: Iterable[str]) -> list[tuple[str, str]]:
    """Return the names and types of the columns, among them one for the probability of each label."""
    return [*FIRST.items(), *((name, "float32") for name in labels), *LAST.items()]


def column_values(prediction: Prediction) -> list[Any]:
    """Return a prediction's values in the order of the columns, rounded as in `Prediction.to_dict`; None if missing."""
    row = prediction.to_dict() | {"no_face": prediction.no_face}
    row |= dict(zip(("x1", "y1", "x2", "y2"), row.get("box", ()), strict=False))
    for name, point in row.get("landmarks", {}).items():
        row[f"{name}_x"], row[f"{name}_y"] = point
    probabilities = row.get("probabilities", {})
    return [*map(row.get, FIRST), *map(probabilities.get, prediction.labels), *map(row.get, LAST)]


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


def write(predictions: Iterable[Prediction], labels: LabelSet, format: str, stream: Any) -> Tally:
    """Write predictions in one of the `WRITERS` formats, each as soon as it comes, and return the counts."""
    tally = Tally()
    WRITERS[choose_format(format, None)](tally.count(predictions), labels, stream)
    return tally


def write_file(predictions: Iterable[Prediction], labels: LabelSet, format: str, path: Path) -> Tally:
    """Write predictions into a file, which is replaced if it exists, as `write` does."""
    with path.open("wb") if format == "parquet" else path.open("w", encoding="utf-8", newline="") as stream:
        return write(predictions, labels, format, stream)


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
    schema = pyarrow.schema(columns(labels), {"made_by": MADE_BY})
    with pyarrow.parquet.ParquetWriter(stream, schema) as writer:
        rows = map(column_values, predictions)
        while group := list(islice(rows, ROW_GROUP)):
            writer.write_batch(pyarrow.record_batch(list(zip(*group, strict=True)), schema=schema))


def _write_table(predictions: Iterable[Prediction], labels: LabelSet, stream: Any) -> None:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    names = [printable(name, encoding) for name in labels]
    widths = [-SOURCE_WIDTH, 4, -19, -max(5, *map(_width, names)), 10, *(max(4, _width(name)) for name in names)]
    if stream.isatty() and sum(abs(width) + 2 for width in widths) - 2 > shutil.get_terminal_size().columns:
        widths = widths[:5]  # without the probabilities, so that a row stays on its line
    header = ["source", "face", "box", "label", "confidence", *names]
    stream.write("  ".join(map(_padded, header, widths)) + "\n")
    for prediction in predictions:
        cells, note = [_source_cell(prediction, encoding)], ""
        if prediction.note and not prediction.error:
            note = f"  ({printable(prediction.note, encoding)})"
        if prediction.error:
            cells.append(f"error: {printable(prediction.error, encoding)}")
        elif prediction.probabilities is None or prediction.box is None:
            cells.append("no face")
        else:
            box = " ".join(f"{edge:.0f}" for edge in prediction.box)
            number = f"{prediction.face}" if prediction.track is None else f"#{prediction.track}"
            confidence = f"{prediction.confidence:.2f}{'?' if prediction.unsure else ''}"
            cells += [number, box, printable(prediction.label or "", encoding), confidence]
            cells += [f"{p:.2f}" for p in prediction.probabilities]
        stream.write(("  ".join(map(_padded, cells, widths)) + note).rstrip() + "\n")
        stream.flush()


WRITERS = {"table": _write_table, "json": _write_json, "jsonl": _write_jsonl, "csv": _write_csv, "parquet": write_parquet}
SUFFIXES = {f".{name}": name for name in WRITERS if name != "table"} | {".txt": "table", "": "table"}
FORMATS = ", ".join(WRITERS)
WRITERS[SAFE_CSV] = partial(_write_csv, safe=True)


def choose_format(wanted: str | None, out: Path | None) -> str:
    """Choose the output format: the wanted one, else by the suffix of the file, else a table; an unknown one is an error."""
    if wanted is None and (wanted := SUFFIXES.get(out.suffix.lower() if out else "")) is None:
        suffixes = ", ".join(filter(None, SUFFIXES))
        raise MienError(f"{str(out)!r} ends in no format that mien predict writes; use one of {suffixes}, or add --format.")
    if wanted not in WRITERS:
        raise MienError(f"There is no output format {wanted!r}; choose {FORMATS}.")
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


def _padded(text: str, width: int) -> str:
    """Pad a text in front, or behind it if the width is negative."""
    spaces = " " * (abs(width) - _width(text))
    return text + spaces if width < 0 else spaces + text


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
