"""What a worker of a job does: open the model once, predict part by part, and write each part whole."""

import json
import os
import re
import socket
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

from mien import __version__
from mien.errors import MienError
from mien.files import PREDICTIONS, write_whole
from mien.inference.classifier import open_classifier
from mien.inference.detection import open_detector
from mien.inference.model_file import sha256
from mien.inference.output import Tally, write_file
from mien.inference.pipeline import predict
from mien.inference.prediction import Prediction
from mien.inputs import reason_of
from mien.scaling.parts import Files, list_inputs, opened_inputs, part_name, split_parts

MOST_KILLS = 8  # of the workers of one part, before the job gives up: more than halvings of a batch of 64
_STARVED = re.compile("out of memory|into memory|allocate memory|AllocateRaw|bad_alloc", re.IGNORECASE)


class Job(NamedTuple):
    """What every worker is told; it is pickled."""

    source: list[str]
    filesystem: Any  # of pyarrow, or None
    folder: str  # the current folder of the caller, to which relative paths refer
    out: str
    model: str
    model_sha256: str
    version: str
    detector: str
    options: dict[str, Any]  # of `mien.predict`
    batch_size: int
    threads: int
    part_size: int
    has_gpu: bool = False


def enter_folder(job: Job) -> None:
    """Let relative paths mean the same as for the caller; a MienError where his folder does not exist."""
    try:
        os.chdir(job.folder)
    except OSError:
        if not all(Path(name).is_absolute() or Files(job.filesystem).is_elsewhere(name) for name in (*job.source, job.out)):
            advice = "give absolute paths of a folder that all machines share"
            raise MienError(f"The machine {socket.gethostname()} has no folder {job.folder!r}; {advice}.") from None


def list_parts(_: object, job: Job) -> Iterator[dict[str, list[Any]]]:
    """List the parts of a job on demand, one a batch for Ray Data; the last batch has their number and no inputs."""
    number = 0
    try:
        enter_folder(job)
        inputs = list_inputs(job.source, Files(job.filesystem), job.part_size)
        for items in split_parts(inputs, job.part_size):
            yield {"number": [number], "items": [items]}
            number += 1
    except MienError as problem:
        yield {"number": [-1], "items": [str(problem)]}
        return
    yield {"number": [number], "items": [""]}


class PartPredictor:
    """Predicts parts of a job, each into a file of its own; what is wrong is in its answer, since Ray would try again."""

    def __init__(self, job: Job) -> None:
        self._job, self._files = job, Files(job.filesystem)
        self._batch_size, self._threads = job.batch_size, job.threads
        self._problem = ""
        try:
            self._open()
        except MienError as problem:
            self._problem = str(problem)

    def _open(self) -> None:
        job, host = self._job, socket.gethostname()
        enter_folder(job)
        if job.version != __version__:
            raise MienError(f"The machine {host} has mien {__version__}, not {job.version}; install the same on all machines.")
        options = dict(job.options)
        self._classifier = open_classifier(job.model, *(options.pop(name, None) for name in ("head", "prior", "labels")))
        if sha256(self._classifier.path) != job.model_sha256:
            raise MienError(f"The machine {host} has another model {job.model!r}; copy the same file to all machines.")
        self._detector = open_detector("none" if options.pop("faces", False) else job.detector, options.get("min_score"))
        self._options = options

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Predict the parts of a batch of Ray Data."""
        node = f"{socket.gethostname()} {os.environ.get('RAY_RAYLET_PID')}"  # Ray's process of this machine
        answers = [
            {"node": node} | self.answer(int(number), str(items))
            for number, items in zip(batch["number"], batch["items"], strict=True)
        ]
        return {"answer": answers}

    def answer(self, number: int, items: str) -> dict[str, Any]:
        """Predict a part, unless its file is there already, and return its file's name, its counts and notes."""
        if number < 0 or self._problem:
            return {"problem": items if number < 0 else self._problem}
        if not items:
            return {"parts": number}
        try:
            return self._predict_part(number, items)
        except MienError as problem:
            return {"problem": str(problem)}
        except OSError as problem:  # a disk that is full, or a folder that went away
            return {"problem": f"A part cannot be written to {self._job.out!r} ({reason_of(problem)})."}

    def _predict_part(self, number: int, items: str) -> dict[str, Any]:
        path = Path(self._job.out) / part_name(number, items)
        if (counts := count_part(path)) is not None:
            return {"name": path.name, "counts": counts, "done": True}
        inputs, notes = json.loads(items), list[str]()
        with _Tries(path) as kills:
            if kills >= MOST_KILLS:
                names = f"{inputs[0][1]!r} to {inputs[-1][1]!r}"
                raise MienError(f"{kills} workers were killed while they read {names}; leave these out, or give more memory.")
            for _ in range(kills):
                self._halve(notes, f"a worker was killed at part {number}")
            while True:
                rows = predict(
                    opened_inputs(inputs, self._files),
                    self._classifier,
                    self._detector,
                    batch_size=self._batch_size,
                    threads=self._threads,
                    **self._options,
                )
                try:
                    with closing(rows):
                        tally = write_whole(path, lambda target: self._write(rows, target), PREDICTIONS)  # noqa: B023
                    break
                except MemoryError:
                    self._halve(notes, f"a worker is out of memory at part {number}")
        if self._job.has_gpu and "CUDAExecutionProvider" not in self._classifier.providers:
            notes.append("a worker has a GPU that its ONNX Runtime does not use; `mien doctor` there says what to install")
        return {"name": path.name, "counts": {key: int(count) for key, count in tally.items()}, "notes": notes}

    def _write(self, rows: Iterable[Prediction], path: Path) -> Tally:
        return write_file(self._watched(rows), self._classifier.labels, "parquet", path)

    def _watched(self, rows: Iterable[Prediction]) -> Iterator[Prediction]:
        """Raise a MemoryError for the first row that memory did not suffice for, unless batch and threads are 1 already."""
        for row in rows:
            if row.error and self._batch_size + self._threads > 2 and _STARVED.search(row.error):
                raise MemoryError(row.error)
            yield row

    def _halve(self, notes: list[str], cause: str) -> None:
        if self._batch_size + self._threads <= 2:
            if "out of memory" in cause:
                raise MienError(f"{cause[0].upper()}{cause[1:]}, with a batch of 1; give the workers more memory.")
            return
        self._batch_size, self._threads = max(1, self._batch_size // 2), max(1, self._threads // 2)
        notes.append(f"{cause}; going on with a batch of {self._batch_size}")


class _Tries:
    """Counts in a file beside a part how often a worker began it and was killed: the file goes when the worker ends it."""

    def __init__(self, part: Path) -> None:
        self._path = part.with_name(f".{part.stem}.tries")

    def __enter__(self) -> int:
        with self._path.open("ab") as file:
            kills = file.tell()
            file.write(b"x")
        return kills

    def __exit__(self, *_: object) -> None:
        self._path.unlink(missing_ok=True)


def remove_tries(out: Path) -> None:
    """Remove the counts that an interrupted run left: its workers ended with it."""
    for path in out.glob(".part-*.tries"):
        path.unlink(missing_ok=True)


def count_part(path: Path) -> dict[str, int] | None:
    """Return the counts of a part that was written, as `Tally` has them; None if there is none, or it is damaged."""
    from pyarrow import ArrowException, parquet

    with suppress(OSError, ArrowException):
        rows = parquet.read_table(path, columns=["frame", "face", "error", "no_face", "unsure"]).to_pylist()
        tally, predictions = Tally(), [SimpleNamespace(**row) for row in rows]  # with all that is counted
        deque(tally.count(cast(Iterable[Prediction], predictions)), maxlen=0)
        return {key: int(count) for key, count in tally.items()}
    return None
