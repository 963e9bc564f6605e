"""From a source to answers: faces found, framed, prepared, and classified in batches across images."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mien.errors import MienError
from mien.images import prepare
from mien.inference.classifier import DEFAULT_MODEL, Classifier
from mien.inference.destinations import check_draw
from mien.inference.detection import Detector, open_detector
from mien.inference.framing import Face, crop_face
from mien.inference.sources import Frame, Source, frames
from mien.labels import LabelSet

LONGEST_WAIT = 1.0
"""Seconds after which faces are classified although their batch is not full, so that rows come as the work goes on."""

MOST_ROWS = 1024
"""Rows that may wait for a batch: images without faces fill none, and memory must not grow with them."""


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

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON: numbers rounded, "error" or "no_face" where there is no face, no key for what is not."""
        row: dict[str, Any] = {"source": self.source}
        if self.frame is not None:
            row |= {"frame": self.frame, "time": None if self.time is None else round(self.time, 3)}
        if self.error:
            return row | {"error": self.error}
        if self.box is None or self.probabilities is None or self.confidence is None:
            return row | {"no_face": True}
        return row | {
            "face": self.face,
            "box": [round(edge, 1) for edge in self.box],
            "score": None if self.score is None else round(self.score, 4),
            "label": self.label,
            "confidence": round(self.confidence, 6),
            "probabilities": {name: round(float(p), 6) for name, p in zip(self.labels, self.probabilities, strict=True)},
        }


def predict(
    source: Source,
    model: str | Path | Classifier = DEFAULT_MODEL,
    detector: str | Detector = "auto",
    draw: str | Path | None = None,
    batch_size: int = 64,
    head: str | None = None,
) -> Iterator[Prediction]:
    """Find the faces of images and say what they show.

    Nothing about an image aborts the run, and memory does not grow with their number.

    Args:
        source: a path, folder, pattern, bytes, Pillow image, array (H, W) or (H, W, 3), or an iterable of these.
        model: a model file, run folder or name of an embedded model, or a classifier that is open already; that one answers
            by its own head, where no other is given.
        detector: as for `open_detector`, or a detector that is open already; "none" takes each image as one face.
        draw: folder for a copy of every image with its faces drawn in; it is made if it is not there.
        batch_size: faces that are classified together.
        head: how a model with two heads answers: crowd, what ten people would say of the photo, or label, as FER-2013 labels
            it; if not given, crowd where the model has it.

    Returns:
        One prediction or more for every input, in their order, as they come: one for each face, or one that says that there
        is no face or that the image could not be read.

    Raises:
        MienError: at once, if the model or the detector cannot be opened, the model has no such head, or the folder cannot be
            made or has inputs in it.
    """
    if batch_size < 1:
        raise MienError(f"The batch size must be at least 1, not {batch_size}.")
    if draw is not None:
        check_draw(draw, source)
    classifier = model if isinstance(model, Classifier) else Classifier(model, head=head)
    if head is not None:
        classifier = classifier.with_head(head)
    finder = open_detector(detector) if isinstance(detector, str) else detector
    if draw is None:
        return _predictions(frames(source), classifier, finder, batch_size)

    from mien.inference.drawing import Album  # Pillow's fonts and drawing, which few runs need

    return _drawn(frames(source), classifier, finder, batch_size, Album(Path(draw)))


def _drawn(
    images: Iterator[Frame], classifier: Classifier, detector: Detector, batch_size: int, album: Any
) -> Iterator[Prediction]:
    for frame in images:
        rows = list(_predictions(iter([frame]), classifier, detector, batch_size))
        if frame.image is not None:
            album.add(frame.image, rows)
        yield from rows


def _predictions(images: Iterator[Frame], classifier: Classifier, detector: Detector, batch_size: int) -> Iterator[Prediction]:
    rows: list[Prediction] = []
    faces: list[np.ndarray] = []
    last = time.monotonic()
    for frame in images:
        for row, face in _found(frame, classifier, detector):
            rows.append(row)
            faces += [face] if face is not None else []
        # The image itself is let go here: only its faces, some kilobytes each, wait for their batch.
        if len(faces) >= batch_size or len(rows) >= MOST_ROWS or time.monotonic() - last > LONGEST_WAIT:
            yield from _classified(rows, faces, classifier, batch_size)
            rows, faces, last = [], [], time.monotonic()
    yield from _classified(rows, faces, classifier, batch_size)


def _found(frame: Frame, classifier: Classifier, detector: Detector) -> Iterator[tuple[Prediction, np.ndarray | None]]:
    """Give the rows of an image, still without probabilities, each with its prepared face."""
    row = Prediction(frame.source, classifier.labels, error=frame.error, frame=frame.frame, time=frame.time)
    if frame.image is None:
        yield row, None
        return
    try:
        faces = detector.detect(frame.image)
        prepared = [
            prepare(crop_face(frame.image, face, detector.framing), classifier.size, classifier.channels) for face in faces
        ]
    except (cv2.error, MemoryError) as error:
        reason = " ".join(str(error).split()) or "out of memory"
        yield replace(row, error=f"The faces of {frame.source!r} could not be looked for ({reason})."), None
        return
    if not faces:
        yield row, None
    for number, (face, pixels) in enumerate(zip(faces, prepared, strict=True)):
        yield replace(row, face=number, box=_within(face, frame.image), score=face.score), pixels


def _within(face: Face, image: np.ndarray) -> tuple[float, float, float, float]:
    height, width = image.shape[:2]
    x1, y1, x2, y2 = face.box
    return max(0.0, x1), max(0.0, y1), min(float(width), x2), min(float(height), y2)


def _classified(
    rows: list[Prediction], faces: list[np.ndarray], classifier: Classifier, batch_size: int
) -> Iterator[Prediction]:
    probabilities = iter(classifier.predict_proba(np.stack(faces), batch_size) if faces else ())
    for row in rows:
        yield row if row.face is None else replace(row, probabilities=next(probabilities))
