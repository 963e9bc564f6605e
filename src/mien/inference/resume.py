"""Answers kept while a run goes on, so that one that is killed at any moment goes on where it stopped.

Beside the file for the answers lies one that ends in .part: a line of JSON that says what the answers are made with, then one
for each row. At the end it is written over into the wanted format, and removed.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mien.errors import MienError
from mien.files import write_whole
from mien.inference.output import Tally, encodable, write_file, write_jsonl
from mien.inference.prediction import Prediction
from mien.labels import LabelSet


class Journal:
    """The unfinished answers to a run.

    Args:
        out: the file that the answers are for.
        labels: the labels of the answers.
        settings: everything that decides them, as plain values.
        names: what was named to be answered; a run that goes on names it too, and may name more.
        resume: go on with what is there.

    Attributes:
        path: the file they lie in.
        answered: how often each source is answered in it already.

    Raises:
        MienError: if there are unfinished answers that are not gone on with, or that were made otherwise.
    """

    def __init__(self, out: Path, labels: LabelSet, settings: dict[str, Any], names: list[str], resume: bool) -> None:
        self.path = unfinished(out)
        self.answered: Counter[str] = Counter()
        self._names = [encodable(name) for name in names]
        self._out, self._labels, self._settings = out, labels, json.loads(json.dumps(settings))
        if not self.path.exists():
            self._end = 0
        elif resume:
            self._end = self._look_through()
        else:
            raise MienError(f"An earlier run left unfinished answers in {str(self.path)!r}; add --resume, or remove that file.")

    def skip(self, source: str) -> bool:
        """Tell whether a source is answered already; one that was named twice is so once for each answer."""
        name = encodable(source)
        if not self.answered[name]:
            return False
        self.answered[name] -= 1
        return True

    def write(self, predictions: Iterable[Prediction]) -> None:
        """Add predictions, each as soon as it comes.

        What was written stays where this is interrupted, unless it is nothing.
        """
        begun, nothing = self._end > 0, 0
        try:
            with self.path.open("r+" if begun else "w", encoding="utf-8", newline="") as stream:
                stream.truncate(self._end)
                stream.seek(0, 2)
                if not begun:
                    told = {"labels": self._labels.names, "settings": self._settings, "names": self._names}
                    stream.write(f"{json.dumps(told)}\n")
                    stream.flush()
                    nothing = stream.tell()
                write_jsonl(predictions, stream)
        except BaseException:
            if not begun and self.path.is_file() and self.path.stat().st_size <= nothing:
                self.path.unlink()
            raise

    def finish(self, format: str) -> Tally:
        """Write all answers into the file they are for, and remove the journal."""

        def convert(path: Path) -> Tally:
            with self.path.open("rb") as file:
                file.readline()
                return write_file(self._predictions(file), self._labels, format, path)

        tally = write_whole(self._out, convert)
        self.path.unlink()
        return tally

    def _predictions(self, lines: Iterable[bytes]) -> Iterator[Prediction]:
        for line in lines:
            yield Prediction.from_dict(json.loads(line), self._labels, self._settings.get("threshold", 0.0))

    def _look_through(self) -> int:
        """Count the answered sources, and find where to go on: behind the last source that surely has all its rows."""
        with self.path.open("rb") as file:
            first = file.readline()
            if not first.endswith(b"\n"):
                return 0
            self._compare(first)
            end = begin_of_last = len(first)
            last, images = None, 0
            for line in file:
                if not line.endswith(b"\n"):
                    break
                try:
                    row = json.loads(line)
                    source = row["source"]
                except (ValueError, KeyError, TypeError):
                    raise self._damaged() from None
                if source != last:
                    if last is not None:
                        self.answered[last] += images
                    last, images, begin_of_last = source, 0, end
                images += not row.get("face") and not row.get("frame")  # an image's first row, and a video's first
                end += len(line)
        return begin_of_last

    def _compare(self, first: bytes) -> None:
        try:
            told = json.loads(first)
            labels, settings, names = tuple(told["labels"]), dict(told["settings"]), set(told["names"])
        except (ValueError, KeyError, TypeError):
            raise self._damaged() from None
        for name, wanted in self._settings.items():
            if settings.get(name) != wanted:
                raise MienError(
                    f"The unfinished answers in {str(self.path)!r} were made with {name} {settings.get(name)}, not {wanted}; "
                    "use the same options, or remove that file."
                )
        if others := sorted(names.difference(self._names)):
            raise MienError(
                f"The unfinished answers in {str(self.path)!r} are also of {others[0]!r}, which is not named now; name it too, "
                "or remove that file."
            )
        if labels != self._labels.names:
            raise MienError(
                f"The unfinished answers in {str(self.path)!r} have the labels {', '.join(labels)}; use the same model, "
                "or remove that file."
            )

    def _damaged(self) -> MienError:
        return MienError(f"{str(self.path)!r} is no file of unfinished answers, or damaged; remove it, and start anew.")


def unfinished(out: Path) -> Path:
    """Name the file that keeps the answers for another until that is whole."""
    return out.with_name(f"{out.name}.part")
