"""The log of an unfinished run: FILE.part beside the output file, a line of JSON with the settings, then one for each row.

Each line begins with a checksum of it and of all lines before it.
"""

import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from mien.errors import MienError
from mien.files import write_whole
from mien.inference.model_file import sha256
from mien.inference.output import PREDICTIONS, Tally, write_file
from mien.inference.prediction import Prediction, encodable
from mien.labels import LabelSet


def log_path(out: Path) -> Path:
    """Return the path of an output file's resume log."""
    return out.with_name(f"{out.name}.part")


class ResumeLog:
    """The predictions of an unfinished run; `settings` are everything that determines them, `names` the inputs."""

    def __init__(self, out: Path, labels: LabelSet, settings: dict[str, Any], names: list[str], resume: bool) -> None:
        self.path = log_path(out)
        self.answered: Counter[str] = Counter()  # how often each source is in the log already
        self._out, self._labels, self._names = out, labels, [encodable(name) for name in names]
        replaced = sha256(out) if out.is_file() else None
        header = {"labels": labels.names, "settings": settings, "names": self._names, "replaced": replaced}
        self._header = json.loads(json.dumps(header))
        if self.path.exists() and not resume:
            raise MienError(f"{str(self.path)!r} holds an unfinished run; add --resume, or remove that file.")
        self._end, self._sum = self._scan() if self.path.exists() else (0, 0)

    def skip(self, source: str) -> bool:
        """Tell whether a source is in the log already; one that was given twice is skipped once per entry."""
        name = encodable(source)
        if not self.answered[name]:
            return False
        self.answered[name] -= 1
        return True

    def write(self, predictions: Iterable[Prediction]) -> None:
        """Append predictions as they come; an interruption before the first one leaves no log."""
        is_new, rows = not self._end, 0
        try:
            with self.path.open("a", encoding="ascii", newline="") as stream:
                stream.truncate(self._end)
                if is_new:
                    self._append(self._header, stream)
                for rows, prediction in enumerate(predictions, start=1):  # noqa: B007 - counts
                    self._append(prediction.to_dict(), stream)
        except BaseException:
            if is_new and not rows:
                self.path.unlink(missing_ok=True)
            raise

    def finish(self, format: str) -> Tally:
        """Convert the log to the output file, and remove it."""
        if "-" in self._names and (others := +self.answered):
            raise MienError(self._other_input(next(iter(others))))
        threshold = self._header["settings"].get("threshold", 0.0)
        rows = (Prediction.from_dict(line, self._labels, threshold) for line, _, _ in islice(self._lines(), 1, None))
        tally = write_whole(self._out, lambda path: write_file(rows, self._labels, format, path), PREDICTIONS)
        self.path.unlink()
        return tally

    def _append(self, content: dict[str, Any], stream: TextIO) -> None:
        line = json.dumps(content, allow_nan=False)
        self._sum = zlib.crc32(line.encode(), self._sum)
        stream.write(f"{self._sum:08x} {line}\n")
        stream.flush()

    def _lines(self) -> Iterator[tuple[dict[str, Any], int, int]]:
        """Read the whole lines with the place where each ends and its checksum; ValueError if one is damaged."""
        end = checksum = 0
        with self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    return  # the run was stopped in the middle of it
                noted, _, text = line[:-1].partition(b" ")
                checksum = zlib.crc32(text, checksum)
                if noted != b"%08x" % checksum:
                    raise ValueError(f"checksum {checksum:08x}")
                end += len(line)
                yield json.loads(text), end, checksum

    def _scan(self) -> tuple[int, int]:
        """Count the sources in the log, and find the end of the last one that certainly has all its rows, and its checksum."""
        try:
            lines = self._lines()
            header, *place = next(lines, ({}, 0, 0))
            if not header:
                return 0, 0
            self._check_header(header)
            last, images, safe = "", 0, place
            for row, *end in lines:
                if row["source"] != last:
                    self.answered[last] += images
                    last, images, safe = row["source"], 0, place
                images += not row.get("face") and not row.get("frame")  # the first row of an image or a video
                place = end
        except (ValueError, KeyError, TypeError, AttributeError):
            raise MienError(f"{str(self.path)!r} is not the log of an unfinished run, or damaged; remove it.") from None
        return safe[0], safe[1]

    def _check_header(self, header: dict[str, Any]) -> None:
        own, log = self._header, f"The unfinished run in {str(self.path)!r}"
        for name, wanted in own["settings"].items():
            if (found := header["settings"].get(name)) != wanted:
                raise MienError(f"{log} has {name} {found}, not {wanted}; use the same options, or remove that file.")
        if others := sorted(set(header["names"]).difference(own["names"])):
            raise MienError(self._other_input(others[0]))
        if header["labels"] != own["labels"]:
            raise MienError(f"{log} has the labels {', '.join(header['labels'])}; use the same model, or remove that file.")
        if header["replaced"] not in (None, own["replaced"]):
            advice = f"choose another --out, or remove {str(self.path)!r}"
            raise MienError(f"{str(self._out)!r} has changed since that run began; {advice}.")

    def _other_input(self, name: str) -> str:
        return f"The unfinished run in {str(self.path)!r} also has the input {name!r}; name it too, or remove that file."
