"""The log of an unfinished run: FILE.part beside the output file, a line of JSON with the settings, then one for each row."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mien.errors import MienError
from mien.files import write_whole
from mien.inference.output import Tally, write_file, write_jsonl
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
        self._names = [encodable(name) for name in names]
        self._out, self._labels, self._settings = out, labels, json.loads(json.dumps(settings))
        if self.path.exists() and not resume:
            raise MienError(f"{str(self.path)!r} holds an unfinished run; add --resume, or remove that file.")
        self._end = self._scan() if self.path.exists() else 0

    def skip(self, source: str) -> bool:
        """Tell whether a source is in the log already; one that was given twice is skipped once per entry."""
        name = encodable(source)
        if not self.answered[name]:
            return False
        self.answered[name] -= 1
        return True

    def write(self, predictions: Iterable[Prediction]) -> None:
        """Append predictions as they come; an interruption before the first one leaves no log."""
        header = json.dumps({"labels": self._labels.names, "settings": self._settings, "names": self._names})
        try:
            with self.path.open("a", encoding="utf-8", newline="") as stream:
                stream.truncate(self._end)
                if not self._end:
                    stream.write(f"{header}\n")
                write_jsonl(predictions, self._labels, stream)
        except BaseException:
            if not self._end and self.path.is_file() and self.path.stat().st_size <= len(header) + 1:
                self.path.unlink()
            raise

    def finish(self, format: str, csv_safe: bool = False) -> Tally:
        """Convert the log to the output file, and remove it."""
        threshold = self._settings.get("threshold", 0.0)
        with self.path.open("rb") as file:
            file.readline()
            rows = (Prediction.from_dict(json.loads(line), self._labels, threshold) for line in file)
            tally = write_whole(self._out, lambda path: write_file(rows, self._labels, format, path, csv_safe))
        self.path.unlink()
        return tally

    def _scan(self) -> int:
        """Count the sources in the log, and find the end of the last one that certainly has all its rows."""
        try:
            with self.path.open("rb") as file:
                header = file.readline()
                if not header.endswith(b"\n"):
                    return 0
                self._check_header(json.loads(header))
                end = start_of_last = len(header)
                last, images = "", 0
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    row = json.loads(line)
                    if row["source"] != last:
                        self.answered[last] += images
                        last, images, start_of_last = row["source"], 0, end
                    images += not row.get("face") and not row.get("frame")  # the first row of an image or a video
                    end += len(line)
        except (ValueError, KeyError, TypeError):
            raise MienError(f"{str(self.path)!r} is not the log of an unfinished run, or damaged; remove it.") from None
        return start_of_last

    def _check_header(self, header: dict[str, Any]) -> None:
        labels, settings, names = tuple(header["labels"]), dict(header["settings"]), set(header["names"])
        log = f"The unfinished run in {str(self.path)!r}"
        for name, wanted in self._settings.items():
            if (found := settings.get(name)) != wanted:
                raise MienError(f"{log} has {name} {found}, not {wanted}; use the same options, or remove that file.")
        if others := sorted(names.difference(self._names)):
            raise MienError(f"{log} also has the input {others[0]!r}; name it too, or remove that file.")
        if labels != self._labels.names:
            raise MienError(f"{log} has the labels {', '.join(labels)}; use the same model, or remove that file.")
