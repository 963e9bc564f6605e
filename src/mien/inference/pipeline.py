"""From a source to answers: faces found, framed, prepared, and classified in batches across images, all at the same time."""

import os
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mien.errors import MienError
from mien.images import prepare
from mien.inference.classifier import DEFAULT_MODEL, Classifier
from mien.inference.detection import Detector, WholeImage, open_detector
from mien.inference.framing import Face, crop_face
from mien.inference.output import check_draw
from mien.inference.prediction import Frame, Prediction, Unread, read
from mien.inference.prefetch import overlapped
from mien.inference.sources import Source, listed
from mien.inference.tracking import SMOOTHING, Follower

UNSURE = 0.6
"""Confidence below which an answer is called unsure. Of PublicTest's faces mien-s is that sure or surer about 80%, and says of
90% of these what most people say; of those below, of 51% (benchmarks/unsure.py)."""

MOST_THREADS = 8
"""Threads at most where nobody chose: each holds an image and a detector, some 100 MB."""


def predict(
    source: Source,
    model: str | Path | Classifier = DEFAULT_MODEL,
    detector: str | Detector = "auto",
    draw: str | Path | None = None,
    batch_size: int = 64,
    head: str | None = None,
    faces: bool = False,
    margin: float = 0.0,
    min_size: float = 0.0,
    min_score: float | None = None,
    threshold: float = UNSURE,
    every: int = 1,
    track: bool = True,
    smoothing: float = SMOOTHING,
    threads: int | None = None,
) -> Generator[Prediction, None, None]:
    """Find the faces of images and videos and say what they show.

    Nothing about an image aborts the run, and memory does not grow with their number. Images are read a little ahead of the
    answers, in threads; closing the generator ends them.

    Args:
        source: a path, folder, pattern, zip, video, number of a camera, bytes, Pillow image, array (H, W) or (H, W, 3), or an
            iterable of these, which is read in another thread; its arrays are not copied, so each must be one of its own.
        model: a model file, run folder or name of an embedded model, or a classifier that is open already; that one answers
            by its own head, where no other is given, and with its own threads.
        detector: as for `open_detector`, or a detector that is open already, whose detect may be called from several threads.
        draw: folder for a copy of every image and video with its faces drawn in, and for a plot of each video's answers over
            time; it is made if it is not there.
        batch_size: faces that are classified together.
        head: how a model with two heads answers: crowd, what ten people would say of the photo, or label, as FER-2013 labels
            it; if not given, crowd where the model has it.
        faces: the images are faces already, cut out: the same as the detector "none".
        margin: room around each face beyond what the model's training faces have, on every side, as a share of the side of
            its square; negative for less.
        min_size: least size of a face: the shorter side of its box in pixels of the image.
        min_score: least score of a face, above 0 and below 1; the detector's own, if not given.
        threshold: confidence under which an answer is called unsure, 0 to 1.
        every: of videos and cameras, take only every so-manieth frame: 1 is all, 10 is 0, 10, 20 ...
        track: in videos and from cameras, number the faces by who they belong to, from frame to frame; without it nothing is
            smoothed.
        smoothing: seconds of the time constant with which the probabilities of each track follow its frames; 0 for each frame
            by itself.
        threads: threads of the CPU that find and classify faces; as many as this process may use, at most 8, if not given.
            Where it is given, OpenCV is told, for the whole process, to start none of its own.

    Returns:
        One prediction or more for every input, in their order, as they come: one for each face, or one that says that there
        is no face or that the image could not be read. The faces of a photo come largest first, those of a video by track.

    Raises:
        MienError: at once, if the model or the detector cannot be opened, the model has no such head, a number makes no sense,
            or the folder cannot be made or has inputs in it.
    """
    if batch_size < 1:
        raise MienError(f"The batch size must be at least 1, not {batch_size}.")
    if threads is not None and threads < 1:
        raise MienError(f"The number of threads must be at least 1, not {threads}.")
    if not 0 <= threshold <= 1:
        raise MienError(f"The threshold is a confidence between 0 and 1, not {threshold:g}.")
    if not 0 <= smoothing < float("inf"):
        raise MienError(f"The smoothing is a number of seconds, 0 for none, not {smoothing:g}.")
    if not -0.4 <= margin <= 2:
        raise MienError(f"The margin is a share of the face's square between -0.4 and 2, not {margin:g}.")
    if draw is not None:
        check_draw(draw, source)
    finder = _open_finder(detector, faces, min_score)
    if finder.framing is None and (margin or min_score is not None):
        raise MienError("Where no face is looked for, there is no margin and no score; leave out margin and min_score.")
    items = listed(source, every)
    classifier = model if isinstance(model, Classifier) else Classifier(model, threads=1, head=head)
    if head is not None:
        classifier = classifier.with_head(head)
    # OpenCV would start as many threads for each image; its number is a setting of the process, so only who asks gets it.
    if threads is not None:
        cv2.setNumThreads(1)
    way = _Way(classifier, finder, margin, min_size, min_score or 0.0, threshold, batch_size, draw is not None)
    album = None
    if draw is not None:
        from mien.inference.annotation import Album

        album = Album(Path(draw))
    follower = Follower(smoothing) if track else None
    return _answers(items, way, threads or default_threads(), follower, album)


def default_threads() -> int:
    """Count the threads that this process may use, 8 at most."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, MOST_THREADS)


def _open_finder(detector: str | Detector, faces: bool, min_score: float | None) -> Detector:
    if faces:
        if detector not in ("auto", "none"):
            raise MienError("Faces that are cut out already are not looked for: leave out the detector, or faces.")
        return WholeImage()
    return open_detector(detector, min_score) if isinstance(detector, str) else detector


def _answers(items: Any, way: "_Way", threads: int, follower: Follower | None, album: Any) -> Generator[Prediction, None, None]:
    groups = overlapped(items, way.find, way.classify, lambda found: len(found.faces), way.batch_size, threads)
    try:
        for group in groups:
            for found, answered in group:
                rows = answered if follower is None else follower.follow(answered)
                if album is not None:
                    album.add(found.image, rows, found.rate)
                yield from rows
    finally:
        groups.close()  # and its threads with it, also where this generator is not asked for its end
        if album is not None:
            album.close()  # a video that was being drawn is finished


@dataclass(frozen=True, eq=False)
class _Found:
    """The rows of one image, still without probabilities, and the prepared face of each that has one."""

    rows: list[Prediction]
    faces: list[np.ndarray]
    image: np.ndarray | None = None
    rate: float | None = None

    @property
    def held_bytes(self) -> int:
        return sum(face.nbytes for face in self.faces) + (0 if self.image is None else self.image.nbytes)


@dataclass(frozen=True, eq=False)
class _Way:
    """What every image goes through, in any thread."""

    classifier: Classifier
    detector: Detector
    margin: float
    min_size: float
    min_score: float
    threshold: float
    batch_size: int
    keep_images: bool

    def find(self, item: Frame | Unread) -> _Found:
        """Read an image and cut out its faces; the image itself is let go, unless it is to be drawn."""
        frame = read(item)
        row = Prediction(
            frame.source,
            self.classifier.labels,
            error=frame.error,
            frame=frame.frame,
            time=frame.time,
            threshold=self.threshold,
            note=frame.note,
        )
        if frame.image is None:
            return _Found([row], [])
        kept = frame.image if self.keep_images else None
        try:
            found = [face for face in self.detector.detect(frame.image) if self._wanted(face)]
            pixels = [self._prepared(frame.image, face) for face in found]
        except (cv2.error, MemoryError, MienError) as error:
            reason = " ".join(str(error).split()) or "out of memory"
            failed = replace(row, error=f"The faces of {frame.source!r} could not be looked for ({reason}).")
            return _Found([failed], [], kept, frame.rate)
        size = frame.image.shape[1], frame.image.shape[0]
        rows = [replace(row, face=number, box=_within(face.box, size), score=face.score) for number, face in enumerate(found)]
        return _Found(rows or [row], pixels, kept, frame.rate)

    def _wanted(self, face: Face) -> bool:
        return min(face.size) >= self.min_size and (face.score is None or face.score >= self.min_score)

    def _prepared(self, image: np.ndarray, face: Face) -> np.ndarray:
        framing = self.detector.framing
        crop = crop_face(image, face, framing and framing.with_margin(self.margin))
        return prepare(crop, self.classifier.size, self.classifier.channels).copy()  # it may be a view that holds the image

    def classify(self, group: list[_Found]) -> list[tuple[_Found, list[Prediction]]]:
        """Give every row its probabilities."""
        faces = [face for found in group for face in found.faces]
        answers = iter(self.classifier.predict_proba(np.stack(faces), self.batch_size) if faces else ())
        return [
            (found, [row if row.face is None else replace(row, probabilities=next(answers)) for row in found.rows])
            for found in group
        ]


def _within(box: tuple[float, float, float, float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Cut a box at the border of its image."""
    width, height = size
    x1, y1, x2, y2 = box
    return max(0.0, x1), max(0.0, y1), min(float(width), x2), min(float(height), y2)
