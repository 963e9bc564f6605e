"""One answer: what a face shows, or why there is none."""

import threading
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from mien.errors import MienError
from mien.images import ImageSource, read_with_note
from mien.labels import LabelSet

# One image on its way through: not read yet, or read, or the sentence that says why it could not be.

_PILLOW = threading.Lock()
"""A Pillow image loads itself when it is looked at, which no two threads may do at once; and one may be given twice."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One image of a source, or why there is none.

    Attributes:
        source: the path, or "image N" for the N-th input where it has no path, from 0.
        image: uint8, (H, W) or (H, W, 3); None where it could not be read.
        error: the sentence that says why not; empty where it could.
        frame: its number in a video, from 0.
        time: seconds since the video's start.
        note: what a person should know of how it was read, such as "the first of several frames"; mostly empty.
        rate: how many frames a second come of its video; None for an image by itself.
    """

    source: str
    image: np.ndarray | None = None
    error: str = ""
    frame: int | None = None
    time: float | None = None
    note: str = ""
    rate: float | None = None

    @property
    def held_bytes(self) -> int:
        """Bytes of memory that it holds on to."""
        return 0 if self.image is None else self.image.nbytes


@dataclass(frozen=True, eq=False)
class Unread:
    """An image that is known by name and still to be read; reading is what takes time, and may be done in any thread.

    Attributes:
        source: as that of `Frame`.
        image: what `mien.images.read_image` takes.
    """

    source: str
    image: ImageSource

    @property
    def held_bytes(self) -> int:
        """Bytes of memory that it holds on to; next to none for a path."""
        return len(self.image) if isinstance(self.image, bytes) else getattr(self.image, "nbytes", 0)


def read(image: Frame | Unread) -> Frame:
    """Read an image that is not read yet; where that fails, its frame has the error."""
    if isinstance(image, Frame):
        return image
    try:
        with _PILLOW if isinstance(image.image, Image.Image) else nullcontext():
            pixels, note = read_with_note(image.image, image.source)
    except MienError as error:
        return Frame(image.source, error=str(error))
    return Frame(image.source, pixels, note=note)


@dataclass(frozen=True, eq=False)
class Prediction:
    """One face and what it shows; or an image without a face, or one that could not be read.

    Attributes:
        source: the path of the image, or "image N" for the N-th input where it has none.
        labels: the label names.
        face: number of the face in its image, from 0, the largest first; None where there is none.
        box: x1, y1, x2, y2 in pixels of the image as a person sees it, cut at its border.
        score: how sure the detector is that this is a face, 0 to 1; None where nothing was detected.
        probabilities: (K,), float32, in the order of the labels.
        error: the sentence that says why the image gave no answer; empty where it did.
        frame: number of the frame in a video, from 0.
        time: seconds since the video's start.
        track: number of the person that a video's face belongs to, from 0; None where faces are not followed.
        threshold: the confidence below which the answer counts as unsure, 0 to 1.
        note: what a person should know of how the image was read, such as "the first of several frames"; mostly empty.
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

    @property
    def no_face(self) -> bool:
        """Whether the image was read and shows no face."""
        return self.face is None and not self.error

    @property
    def label(self) -> str | None:
        """The likeliest label."""
        return None if self.probabilities is None else self.labels[int(self.probabilities.argmax())]

    @property
    def confidence(self) -> float | None:
        """The probability of the likeliest label."""
        return None if self.probabilities is None else float(self.probabilities.max())

    @property
    def unsure(self) -> bool | None:
        """Whether the confidence lies under the threshold."""
        return None if self.confidence is None else self.confidence < self.threshold

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON: numbers rounded, "error" or "no_face" where there is no face, no key for what is not."""
        row: dict[str, Any] = {"source": self.source}
        if self.frame is not None:
            row |= {"frame": self.frame, "time": None if self.time is None else round(self.time, 3)}
        if self.error:
            return row | {"error": self.error}
        noted = {"note": self.note} if self.note else {}
        if self.box is None or self.probabilities is None or self.confidence is None:
            return row | {"no_face": True} | noted
        if self.track is not None:
            row["track"] = self.track
        row |= {
            "face": self.face,
            "box": [round(edge, 1) for edge in self.box],
            "score": None if self.score is None else round(self.score, 4),
            "label": self.label,
            "confidence": round(self.confidence, 6),
            "unsure": self.unsure,
            "probabilities": {name: round(float(p), 6) for name, p in zip(self.labels, self.probabilities, strict=True)},
        }
        return row | noted

    @classmethod
    def from_dict(cls, row: dict[str, Any], labels: LabelSet, threshold: float = 0.0) -> "Prediction":
        """Make a prediction of what `to_dict` gave.

        Raises:
            KeyError, TypeError, ValueError: if the row is not like that.
        """
        probabilities = row.get("probabilities")
        return cls(
            source=row["source"],
            labels=labels,
            face=row.get("face"),
            box=None if row.get("box") is None else tuple(row["box"]),
            score=row.get("score"),
            probabilities=None if probabilities is None else np.array([probabilities[name] for name in labels], np.float32),
            error=row.get("error", ""),
            frame=row.get("frame"),
            time=row.get("time"),
            track=row.get("track"),
            threshold=threshold,
            note=row.get("note", ""),
        )
