"""The nouns of inference: an image of a source (`Frame`), a detected `Face`, its `Prediction`, and all `Predictions`."""

import sys
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from PIL import Image

from mien.errors import MienError, load_table
from mien.images import ImageSource, read_with_note
from mien.inputs import failure
from mien.labels import LabelSet

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped, import-not-found, unused-ignore]

FIRST, LAST, PANDAS = map(load_table(__file__, "output").get, ("first", "last", "pandas"))
SHOWN = 20  # rows of the table in a notebook
# in their order; the mouth's are its corners; left and right are those of an upright picture
LANDMARKS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
_PILLOW = threading.Lock()  # a Pillow image loads lazily and is not thread-safe, and the same one may be given several times


@dataclass(frozen=True, eq=False)
class Frame:
    """One image of a source, or the reason why it could not be read; source, frame, time and note as in a `Prediction`.

    Attributes:
        image: uint8, (H, W) or (H, W, 3); None if it could not be read.
        error: why it could not be read; empty otherwise.
        rate: frames per second of its video; None for a single image.
    """

    source: str
    image: np.ndarray | None = None
    error: str = ""
    frame: int | None = None
    time: float | None = None
    note: str = ""
    rate: float | None = None


@dataclass(frozen=True, eq=False)
class Unread:
    """An image that is not read yet, or the call that downloads it; and its name."""

    source: str
    image: ImageSource | partial[bytes]
    note: str = ""  # a remark to put before those on reading it


def encodable(text: str) -> str:
    """Escape what UTF-8 cannot encode: file names may be any bytes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def read(image: Frame | Unread) -> Frame:
    """Read an image, or check that of a frame; a failure becomes a frame with an error."""
    frame = image if isinstance(image, Frame) else Frame(image.source, note=image.note)
    if frame.error:
        return frame
    try:
        with _PILLOW if isinstance(image.image, Image.Image) else nullcontext():
            content: Any = image.image() if isinstance(image.image, partial) else image.image
            pixels, note = read_with_note(content, image.source)
    except Exception as error:  # whatever an object raises that only looks like an image
        reason = str(error) if isinstance(error, MienError) else failure(f"image {image.source!r}", error)
        return replace(frame, image=None, error=reason, note="")
    return replace(frame, image=pixels, note=", ".join(filter(None, (frame.note, note))))


@dataclass(frozen=True, eq=False)
class Face:
    """One detected face of an image."""

    box: tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels; may extend beyond the image
    score: float | None = None  # the detector's confidence, 0 to 1; None without detection
    landmarks: np.ndarray | None = None  # (5, 2), x and y in pixels, in the order of `LANDMARKS`
    angle: float = 0.0  # degrees by which the face is rotated clockwise from upright

    @property
    def centre(self) -> tuple[float, float]:
        """The point halfway between eyes and mouth, or the centre of the box, in pixels."""
        if self.landmarks is not None:
            x, y = self.landmarks[[0, 1, 3, 4]].mean(axis=0)
            return float(x), float(y)
        x1, y1, x2, y2 = self.box
        return (x1 + x2) / 2, (y1 + y2) / 2

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the box in pixels."""
        x1, y1, x2, y2 = self.box
        return x2 - x1, y2 - y1

    def clipped(self, width: int, height: int) -> tuple[float, float, float, float]:
        """The box without what lies outside an image of that size."""
        x1, y1, x2, y2 = self.box
        return max(0.0, x1), max(0.0, y1), min(float(width), x2), min(float(height), y2)

    @property
    def extent(self) -> float:
        """The scale of the face in pixels."""
        if self.landmarks is not None:  # turning the head shortens the distance between the eyes, nodding that to the mouth
            left_eye, right_eye, _, left_mouth, right_mouth = self.landmarks
            downwards = (left_mouth + right_mouth - left_eye - right_eye) / 2
            return float(np.hypot(np.linalg.norm(right_eye - left_eye), np.linalg.norm(downwards)))
        width, height = self.size
        return float(np.sqrt(max(0.0, width) * max(0.0, height)))


@dataclass(frozen=True, eq=False)
class Prediction:
    """One face and its probabilities; or an image without a face, or one that could not be read.

    Attributes:
        source: the path of the image, or "image N" for the N-th input if it has no path.
        labels: the label names.
        face: number of the face in its image, from 0, the largest first; None if there is no face.
        box: x1, y1, x2, y2 in pixels of the image as a person sees it, clipped to the image.
        score: the detector's confidence that this is a face, 0 to 1; None without detection.
        probabilities: (K,), float32, in the order of the labels.
        error: why there is no prediction; empty otherwise.
        frame: number of the frame in a video, from 0.
        time: seconds since the start of the video.
        track: number of the person that a face of a video belongs to, from 0; None without tracking.
        threshold: the confidence below which the prediction counts as unsure, 0 to 1.
        note: a remark on how the image was read, such as "the first of several frames"; usually empty.
        landmarks: (5, 2), float32, x and y in pixels: left eye, right eye, tip of the nose, left and right corner of the mouth,
            left and right as in an upright picture, so the left eye is the person's right one; None without detection.
        angle: degrees by which the face is rotated clockwise from upright, -180 to 180; None without detection.
    """

    source: str
    labels: LabelSet
    face: int | None = None
    box: tuple[float, float, float, float] | None = None
    score: float | None = None
    probabilities: np.ndarray | None = None
    error: str = ""
    frame: int | None = None
    time: float | None = None
    track: int | None = None
    threshold: float = 0.0
    note: str = ""
    landmarks: np.ndarray | None = None
    angle: float | None = None

    def __repr__(self) -> str:
        place = self.source if self.time is None else f"{self.source} at {self.time:.2f} s"
        if self.error or self.label is None:
            return f"Prediction({place!r}, {f'error: {self.error}' if self.error else 'no face'})"
        return f"Prediction({place!r}, face {self.face}: {self.label} {self.confidence:.0%})"

    def __getitem__(self, label: str) -> float:
        """Return the probability of a label, NaN without a face; a MienError suggests a similar label if there is none."""
        if not isinstance(label, str):  # Python would iterate by numbers
            raise TypeError("A prediction is indexed by the name of a label, such as face['happy'].")
        index = self.labels.index(label)
        return np.nan if self.probabilities is None else float(self.probabilities[index])

    @property
    def no_face(self) -> bool:
        """Whether the image was read and has no face."""
        return self.face is None and not self.error

    @property
    def label(self) -> str | None:
        """The label with the highest probability."""
        return None if self.probabilities is None else self.labels[int(self.probabilities.argmax())]

    @property
    def confidence(self) -> float | None:
        """The highest probability."""
        return None if self.probabilities is None else float(self.probabilities.max())

    @property
    def unsure(self) -> bool | None:
        """Whether the confidence is below the threshold."""
        return None if self.confidence is None else self.confidence < self.threshold

    @property
    def shares(self) -> dict[str, float]:
        """The probability of each label; empty without a face."""
        return {} if self.probabilities is None else dict(zip(self.labels, self.probabilities.tolist(), strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: rounded numbers, "error" or "no_face" if there is no face, no key for None."""
        row: dict[str, Any] = {"source": encodable(self.source)}
        if self.frame is not None:
            row |= {"frame": self.frame, "time": None if self.time is None else round(self.time, 3)}
        if self.error:  # of one face, or of the whole image
            return row | ({} if self.face is None else {"face": self.face}) | {"error": encodable(self.error)}
        if self.box is None or self.probabilities is None or self.confidence is None:
            row["no_face"] = True
        else:
            score = None if self.score is None else round(self.score, 4)
            row |= {} if self.track is None else {"track": self.track}
            row |= {"face": self.face, "box": [round(edge, 1) for edge in self.box], "score": score}
            if self.landmarks is not None and self.angle is not None:
                points = np.round(self.landmarks.astype(float), 1).tolist()
                row |= {"landmarks": dict(zip(LANDMARKS, points, strict=True)), "angle": round(self.angle, 1)}
            row |= {"label": self.label, "confidence": round(self.confidence, 6), "unsure": self.unsure}
            row["probabilities"] = {name: round(share, 6) for name, share in self.shares.items()}
        return row | ({"note": encodable(self.note)} if self.note else {})

    @classmethod
    def from_dict(cls, row: dict[str, Any], labels: LabelSet, threshold: float = 0.0) -> "Prediction":
        """Make a prediction from the result of `to_dict`; a KeyError, TypeError or ValueError if the row is none."""
        keys = ("face", "score", "angle", "frame", "time", "track", "error", "note")
        found: dict[str, Any] = {key: row[key] for key in keys if key in row}
        if "box" in row:
            found["box"] = tuple(row["box"])
            found["probabilities"] = np.array([row["probabilities"][name] for name in labels], np.float32)
        if "landmarks" in row:
            found["landmarks"] = np.array([row["landmarks"][name] for name in LANDMARKS], np.float32)
        return cls(row["source"], labels, threshold=threshold, **found)


def columns(labels: Iterable[str]) -> list[tuple[str, str]]:
    """Return the names and types of the columns, among them one for the probability of each label."""
    return [*FIRST.items(), *((name, "float32") for name in labels), *LAST.items()]


def column_values(prediction: Prediction) -> list[Any]:
    """Return a prediction's values in the order of the columns, rounded as in `Prediction.to_dict`; None if missing."""
    row = prediction.to_dict() | {"no_face": prediction.no_face}
    row |= dict(zip(("x1", "y1", "x2", "y2"), row.get("box", ()), strict=False))
    for name, point in row.get("landmarks", {}).items():
        row[f"{name}_x"], row[f"{name}_y"] = point
    return [*map(row.get, FIRST), *map(row.get("probabilities", {}).get, prediction.labels), *map(row.get, LAST)]


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


class Predictions(Iterator[Prediction]):
    """The result of `mien.predict`: predictions that are computed when they are asked for.

    Iteration keeps none of them, so memory does not grow with the input. An index, a slice, `to_df` or a notebook's display
    computes and keeps what it needs, and iteration then starts with the first one again. `len` is known once
    all are computed. To ask by index for what was iterated before, and so is not kept, is a MienError.
    """

    def __init__(self, rows: Generator[Prediction, None, None]) -> None:
        self._rows = rows
        self._kept: list[Prediction] | None = None
        self._place, self._is_complete = 0, False

    def __iter__(self) -> "Predictions":
        self._place = 0 if self._kept is not None else self._place
        return self

    def __next__(self) -> Prediction:
        self._place += 1
        if self._kept is None:
            return next(self._rows)
        if len(self._keep(self._place)) < self._place:
            raise StopIteration
        return self._kept[self._place - 1]

    def _keep(self, count: int = sys.maxsize) -> list[Prediction]:
        if self._kept is None and self._place:
            raise MienError("These predictions were iterated already and not kept; begin with rows = list(mien.predict(...)).")
        self._kept = [] if self._kept is None else self._kept
        self._kept += islice(self._rows, max(0, count - len(self._kept)))
        self._is_complete |= len(self._kept) < count
        return self._kept

    @overload
    def __getitem__(self, index: int) -> Prediction: ...
    @overload
    def __getitem__(self, index: slice) -> list[Prediction]: ...
    def __getitem__(self, index: int | slice) -> Prediction | list[Prediction]:
        return self._keep(index + 1 if isinstance(index, int) and index >= 0 else sys.maxsize)[index]

    def __len__(self) -> int:
        if not self._is_complete:
            raise TypeError("The number of predictions is not known before all are computed; predictions[:] computes them.")
        return len(self._kept or ())

    def __bool__(self) -> bool:  # without asking for the number
        return True

    def __repr__(self) -> str:
        return f"Predictions({len(self._kept or ())} computed{'' if self._is_complete else ' so far'})"

    def _repr_html_(self) -> str | None:
        with suppress(MienError):  # without pandas, notebooks show the repr
            return str(to_dataframe(self._keep(SHOWN)[:SHOWN])._repr_html_())
        return None

    def to_df(self) -> "pandas.DataFrame":
        """Compute all predictions, and make a pandas DataFrame as `mien.to_dataframe` does; MienError without pandas."""
        return to_dataframe(self._keep())

    def close(self) -> None:
        """End the threads that compute predictions."""
        self._rows.close()
