"""Write predictions as they come: a table for people; JSON, JSON Lines, CSV and Parquet for programs."""

import csv
import json
import os
import shutil
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from glob import has_magic
from itertools import chain, islice
from pathlib import Path
from typing import Any

from mien.errors import MienError, load_table, printable, spreadsheet_safe, to_json
from mien.files import PREDICTIONS, STDIN, FileKind, check_file, identity, named_files, write_whole
from mien.images import is_image_name, matching
from mien.inference.model_file import sha256
from mien.inference.prediction import Prediction, column_values, columns, encodable
from mien.inference.sources import Source
from mien.labels import LabelSet

SUFFIXES, RESUME = map(load_table(__file__).get, ("suffixes", "resume"))
SAFE_CSV = "csv that no spreadsheet runs"  # the format of --csv-safe
ROW_GROUP = 8192  # rows of a Parquet file that are held in memory before they are written
SOURCE_WIDTH = 24  # of the source in the table; of longer ones the end is shown, which tells the files of a folder apart


class Tally(Counter[str]):
    """Counts of what was written: images and among them frames of videos, faces and among them unsure ones, and so on."""

    def count(self, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
        """Count predictions while passing them on."""
        for prediction in predictions:
            first = not prediction.face  # the first face of an image is number 0, and a row without a face has none
            self.update(images=first, frames=first and prediction.frame is not None)
            self.update(faces=prediction.face is not None and not prediction.error, unsure=bool(prediction.unsure))
            self.update(without_face=prediction.no_face, failed=bool(prediction.error))
            yield prediction

    def __str__(self) -> str:
        """Format the counts: 3 images and 50 frames: 54 faces (1 unsure), 1 without a face, 1 failed."""
        counts = {"image": self["images"] - self["frames"], "frame": self["frames"], "face": self["faces"]}
        image, frame, face = (f"{count:,} {noun}{'s' * (count != 1)}" for noun, count in counts.items())
        inputs = image if not counts["frame"] else f"{image} and {frame}" if counts["image"] else frame
        details = {"unsure": " ({:,} unsure)", "without_face": ", {:,} without a face", "failed": ", {:,} failed"}
        return f"{inputs}: {face}" + "".join(text.format(self[key]) for key, text in details.items() if self[key])


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
    for row in chain([[name for name, _ in columns(labels)]], map(column_values, predictions)):
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
    schema = pyarrow.schema(columns(labels), {"made_by": "mien predict"})  # by which `PREDICTIONS` recognises it
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
    stream.write("  ".join(map(_padded, ["source", "face", "box", "label", "confidence", *names], widths)) + "\n")
    for prediction in predictions:
        moment = "" if prediction.time is None else f" {prediction.time:.2f}s"
        text, room = printable(prediction.source, encoding), SOURCE_WIDTH - len(moment)
        dots = "" if _width(text) <= room else "…" if printable("…", encoding) == "…" else "..."
        while _width(text) > room - len(dots):  # drop whole folders first, then the start of the name
            _, slash, rest = text[1:].partition("/")
            text = slash + rest if slash else text[1:]
        cells = [f"{dots}{text}{moment}"]
        note = f"  ({printable(prediction.note, encoding)})" if prediction.note and not prediction.error else ""
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


def _width(text: str) -> int:  # columns of a terminal: two for East Asian wide characters, none for marks and joiners
    seen = (char for char in text if unicodedata.category(char) not in ("Mn", "Me", "Cf"))
    return sum(1 + (unicodedata.east_asian_width(char) in "WF") for char in seen)


def _padded(text: str, width: int) -> str:  # in front, or behind it if the width is negative
    spaces = " " * (abs(width) - _width(text))
    return text + spaces if width < 0 else spaces + text


def _named_inputs(source: Source) -> list[Path]:
    items = source if isinstance(source, list | tuple) else [source]
    patterns = [item for item in items if isinstance(item, str) and has_magic(item)]
    return [*named_files(source), *(Path(path) for pattern in patterns for path in matching(pattern))]


def check_draw(draw: str | Path, source: Source, flag: str = "--draw") -> None:
    """Raise a MienError if a folder for pictures is that of an input or lies below one; a generator is not checked."""
    if not str(draw):
        raise MienError(f"The folder for the pictures has an empty name; name a folder with {flag}.")
    folder = Path(os.path.realpath(draw))
    own, around = identity(folder), [identity(each) for each in (folder, *folder.parents)]
    for path in _named_inputs(source):
        reason = ""
        if path.is_dir() and identity(path) in around:
            reason = f"lies in the input {str(path)!r}, where its pictures would count as photos"
        elif own and own in map(identity, (path.parent, Path(os.path.realpath(path)).parent)) and not path.is_dir():
            reason = f"is that of the input {str(path)!r}"
        if reason and str(path) != STDIN:
            raise MienError(f"The folder {str(draw)!r} {reason}; choose another folder with {flag}.")


def check_out(out: str | Path, source: Source, *others: object, kind: FileKind = PREDICTIONS) -> Path:
    """Return the path of an output file; raise a MienError if it would replace an input or a file of another kind."""
    if is_image_name(str(out)):
        above = [identity(folder) for folder in Path(os.path.realpath(out)).parents]
        if any(path.is_dir() and identity(path) in above for path in _named_inputs(source)):
            raise MienError(f"{str(out)!r} would count as one of the inputs; choose another --out.")
    return check_file(out, kind, [_named_inputs(source), *others])


def log_path(out: Path) -> Path:
    """Return the path of an output file's resume log."""
    return out.with_name(f"{out.name}.part")


def _log_line(content: object, checksum: int) -> tuple[bytes, int]:
    text = json.dumps(content, allow_nan=False).encode()
    checksum = zlib.crc32(text, checksum)
    return b"%08x %s\n" % (checksum, text), checksum


class RowLog:
    """The log of an unfinished run: lines of JSON, each after a checksum of all so far; the first has the settings."""

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path, self.header = path, json.loads(json.dumps(header))
        self.place = (0, 0)  # end and checksum of the last whole line that was read or written

    def write(self, rows: Iterable[object]) -> None:
        """Append rows as they come; an interruption before the first one leaves no log."""
        is_new, count = self.place == (0, 0), 0
        try:
            with self.path.open("ab") as stream:
                stream.truncate(self.place[0])
                for count, content in enumerate(chain([self.header] if is_new else [], rows)):  # noqa: B007
                    line, checksum = _log_line(content, self.place[1])
                    self.place = self.place[0] + len(line), checksum
                    stream.write(line)
                    stream.flush()
        except BaseException:
            if is_new and not count:
                self.path.unlink(missing_ok=True)
                self.place = (0, 0)
            raise

    def lines(self) -> Iterator[Any]:
        """Read the content of each line, without one in whose middle the run was stopped; ValueError if one is damaged."""
        self.place = (0, 0)
        with self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    return
                noted, _, text = line[:-1].partition(b" ")
                checksum = zlib.crc32(text, self.place[1])
                if noted != b"%08x" % checksum:
                    raise ValueError(f"checksum {checksum:08x}")
                self.place = self.place[0] + len(line), checksum
                yield json.loads(text)


class ResumeLog(RowLog):
    """The predictions of an unfinished run, in FILE.part."""

    def __init__(self, out: Path, labels: LabelSet, settings: dict[str, Any], names: list[str], resume: bool) -> None:
        self._out, self._labels, self._names = out, labels, [encodable(name) for name in names]
        replaced = sha256(out) if out.is_file() else None
        header = {"labels": labels.names, "settings": settings, "names": self._names, "replaced": replaced}
        super().__init__(log_path(out), header)
        self.logged: Counter[str] = Counter()  # how often each source is in the log already
        if self.path.exists():
            if not resume:
                raise MienError(f"{str(self.path)!r} holds an unfinished run; add --resume, or remove that file.")
            self._read_place()

    def skip(self, source: str) -> bool:
        """Tell whether a source is in the log already; one that was given twice is skipped once per entry."""
        self.logged[encodable(source)] -= 1
        return self.logged[encodable(source)] >= 0

    def finish(self, format: str) -> Tally:
        """Convert the log to the output file, and remove it."""
        if "-" in self._names and (others := +self.logged):
            raise MienError(RESUME["input"].format(str(self.path), next(iter(others))))
        threshold = self.header["settings"].get("threshold", 0.0)
        rows = (Prediction.from_dict(line, self._labels, threshold) for line in islice(self.lines(), 1, None))
        tally = write_whole(self._out, lambda path: write_file(rows, self._labels, format, path), PREDICTIONS)
        self.path.unlink()
        return tally

    def _read_place(self) -> None:
        """Count the sources in the log, and find the place after the last one that certainly has all its rows."""
        try:
            lines = self.lines()
            if (header := next(lines, None)) is None:
                begun, headers = self.path.read_bytes(), (self.header, self.header | {"replaced": None})
                if not any(_log_line(each, 0)[0].startswith(begun) for each in headers):
                    raise ValueError("not the beginning of a log")
                return
            self._check_header(header)
            last, images, safe, place = "", 0, self.place, self.place
            for row in lines:
                if row["source"] != last:
                    self.logged[last] += images
                    last, images, safe = row["source"], 0, place
                images += not row.get("face") and not row.get("frame")  # the first row of an image or a video
                place = self.place
            self.place = safe
        except (ValueError, KeyError, TypeError, AttributeError):
            raise MienError(f"{str(self.path)!r} is not the log of an unfinished run, or damaged; remove it.") from None

    def _check_header(self, header: dict[str, Any]) -> None:
        own, log = self.header, str(self.path)
        for name, wanted in own["settings"].items():
            if (found := header["settings"].get(name)) != wanted:
                raise MienError(RESUME["setting"].format(log, name, found, wanted))
        if others := sorted(set(header["names"]).difference(own["names"])):
            raise MienError(RESUME["input"].format(log, others[0]))
        if header["labels"] != own["labels"]:
            raise MienError(RESUME["labels"].format(log, ", ".join(header["labels"])))
        if header["replaced"] not in (None, own["replaced"]):
            raise MienError(RESUME["output"].format(log, str(self._out)))
