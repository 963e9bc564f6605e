"""Predict the expressions of faces: read, detect, crop, prepare, classify in batches across images, and track in videos."""

import math
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from mien.errors import MienError, check_number, load_table
from mien.files import named_files
from mien.images import prepare
from mien.inference.classifier import DEFAULT_MODEL, UNSURE, Classifier, Prior, open_classifier, usable_cores
from mien.inference.detection import Detector, FaceCropper, overlaps
from mien.inference.drawing import AnnotationWriter, choose_fonts
from mien.inference.output import check_draw
from mien.inference.prediction import Frame, Prediction, Predictions, Unread, read
from mien.inference.prefetch import prefetched
from mien.inference.sources import Source, check_names, listed
from mien.inputs import pixels_in_flight, reason_of

SMOOTHING = 0.1  # default time constant in seconds: docs/predict.md measures what each saves in changes, and costs in accuracy
TRACKING = SimpleNamespace(**load_table(__file__))
MOST_THREADS = 8  # default limit of threads: each holds an image and a detector, some 100 MB


def predict(
    source: Source,
    model: str | Path | Classifier = DEFAULT_MODEL,
    detector: str | Detector = "auto",
    draw: str | Path | None = None,
    batch_size: int = 64,
    head: str | None = None,
    prior: Prior | None = None,
    labels: dict[Any, Any] | None = None,
    faces: bool = False,
    margin: float = 0.0,
    min_size: float = 0.0,
    min_score: float | None = None,
    threshold: float = UNSURE,
    every: int = 1,
    track: bool = True,
    smoothing: float = SMOOTHING,
    threads: int | None = None,
    font: str | None = None,
    fetch: bool = False,
) -> Predictions:
    """Find the faces of images and videos and predict their expressions.

    A bad image does not abort the run, and memory does not grow with the number of images. Images are read ahead in threads;
    closing the generator ends them.

    Args:
        source: a path, folder, pattern, zip, video, address, number of a camera, data URI, bytes or open file of an image or
            video, Pillow image, array (H, W) or (H, W, 3), or an iterable of these. An iterable is read in another thread and
            its arrays are not copied, so do not reuse them.
        model: a model file, run folder or name of an embedded model, or an open classifier; an open classifier keeps its
            own head and prior, unless others are given, and its own threads.
        detector: as for `open_detector`, or an open detector, whose detect must be thread-safe.
        draw: folder for a copy of every image and video with its faces drawn in, and for a plot of each video's probabilities
            over time; created if it does not exist.
        batch_size: number of faces classified together.
        head: output of a model with two heads: crowd, as ten people would label the photo, or label, as FER-2013 labels
            it; by default crowd if the model has it.
        prior: how often each label is expected: training, as in the training data; balanced, all equally often; a power between
            these (0 and 1); or the share of each label, {"happy": 0.5, ...}; by default 0.25 for crowd, training for label.
        labels: what becomes of the model's labels: {"negative": ["angry", "disgust", "fear", "sad"]} adds up their
            probabilities, {"neutral": "calm"} renames one, {"disgust": null} leaves one out, and its probability is shared
            among the others.
        faces: the images are cropped faces already: the same as the detector "none".
        margin: extra room around each face beyond that of the model's training faces, on every side, as a share of the side
            of its square; negative for less.
        min_size: smallest size of a face: the shorter side of its box in pixels of the image.
        min_score: smallest score of a face, above 0 and below 1; the detector's own by default.
        threshold: confidence below which a prediction is called unsure, 0 to 1.
        every: of videos and cameras, process only every N-th frame: 1 is all, 10 is frames 0, 10, 20 ...
        track: in videos and from cameras, number the faces by person from frame to frame; without it nothing is smoothed.
        smoothing: time constant in seconds of the moving average over the probabilities of each track; 0 for no smoothing.
        threads: CPU threads that detect and classify faces; by default as many as this process may use, at most 8; 0 for the
            calling thread only, without reading ahead, as in services that have threads of their own.
        font: a font file for the labels in drawings; by default one that is installed, where Pillow's own lacks letters.
        fetch: download the photos whose http or https address is given; without it their rows say so.

    Returns:
        One prediction or more for every input, in order, computed as they are asked for: one for each face, or one that says
        that there is no face or that the image could not be read. The faces of a photo are ordered by size, largest first,
        those of a video by track.

    Raises:
        MienError: at once, if there is nothing at the path, the model, the detector or the font cannot be used, the head or the
            prior is unknown, a number is out of range, or the folder cannot be created or contains inputs.
    """
    if threads is not None:
        check_number("The number of threads", threads, 0)
    check_number("The smoothing in seconds", smoothing, 0, whole=False)
    if draw is not None:
        check_draw(draw, source)
    elif font is not None:
        raise MienError("The font is for drawings; add --draw DIR, or leave out --font.")
    items = listed(source, every, fetch=fetch)
    cropper = FaceCropper(detector, margin, min_size, min_score, faces)
    pipeline = FacePipeline(open_classifier(model, head, prior, labels), cropper, threshold, batch_size, draw is not None)
    if isinstance(source, str | Path):
        check_names([str(source)], fetch)
    writer = None
    if draw is not None:
        choose_fonts(pipeline.classifier.labels.names, font)  # a font that cannot be used is reported before the work
        writer = AnnotationWriter(Path(draw), font, [path for path in named_files(source) if path.is_dir()])
    return Predictions(_predictions(pipeline.run(items, threads), TrackSmoother(smoothing) if track else None, writer))


def _predictions(
    images: "Generator[ImageFaces, None, None]", smoother: "TrackSmoother | None", writer: AnnotationWriter | None
) -> Generator[Prediction, None, None]:
    # closing ends the threads even if this generator is abandoned, and finishes a video in progress
    with nullcontext() if writer is None else closing(writer), closing(images):
        for image in images:
            rows = image.rows if smoother is None else smoother.update(image.rows, image.view)
            try:
                if writer is not None:
                    writer.add(image.image, rows, image.rate)
            except Exception as problem:  # the rows are right all the same
                note = f"not drawn ({reason_of(problem)})"
                rows = [replace(row, note=f"{row.note}, {note}" if row.note else note) for row in rows]
            yield from rows


@dataclass(eq=False)
class ImageFaces:
    """The rows of one image; of each face its prepared pixels and, if kept, its crop and the image."""

    rows: list[Prediction]
    prepared: list[np.ndarray] = field(default_factory=list)
    crops: list[np.ndarray] = field(default_factory=list)
    image: np.ndarray | None = None
    rate: float | None = None
    view: np.ndarray | None = None  # of a frame, for `is_cut`


class FacePipeline:
    """Reads images, and detects, crops and classifies their faces; the parameters are those of `predict`."""

    def __init__(
        self, classifier: Classifier, cropper: FaceCropper, threshold: float = UNSURE, batch_size: int = 64, keep: bool = False
    ) -> None:
        check_number("The batch size", batch_size, 1)
        check_number("The threshold, a confidence,", threshold, 0, 1, whole=False)
        self.classifier, self._cropper = classifier, cropper
        self._threshold, self._batch_size, self._keep = threshold, batch_size, keep  # images and crops

    def run(self, items: Iterable[Frame | Unread], threads: int | None = None) -> Generator[ImageFaces, None, None]:
        """Process images in threads, or with 0 in the calling one, and yield their faces in order."""
        if threads == 0:
            yield from chain.from_iterable(self.classify([self.find(item)]) for item in items)
            return
        threads = threads or min(usable_cores(), MOST_THREADS)
        groups = prefetched(items, self.find, self.classify, lambda image: len(image.prepared), self._batch_size, threads)
        with closing(groups):
            yield from chain.from_iterable(groups)

    @pixels_in_flight()
    def find(self, item: Frame | Unread) -> ImageFaces:
        """Read an image, and detect, crop and prepare its faces."""
        frame = read(item)
        common: dict[str, Any] = {"frame": frame.frame, "time": frame.time, "note": frame.note, "error": frame.error}
        row = Prediction(frame.source, self.classifier.labels, threshold=self._threshold, **common)
        if frame.image is None:
            return ImageFaces([row])
        kept = frame.image if self._keep else None
        view = None if frame.frame is None else coarse_view(frame.image)
        try:
            faces = self._cropper.faces(frame.image)
            # a copy, since the result may be a view that keeps the whole image alive
            prepared = [prepare(crop, self.classifier.size, self.classifier.channels).copy() for _, crop in faces]
        except Exception as error:  # whatever a detector or damaged pixels raise concerns this image only
            failed = replace(row, error=f"Face detection failed on {frame.source!r} ({reason_of(error)}).")
            return ImageFaces([failed], image=kept, rate=frame.rate, view=view)
        height, width = frame.image.shape[:2]
        rows = []
        for number, (face, _) in enumerate(faces):
            found: dict[str, Any] = {"face": number, "box": face.clipped(width, height), "score": face.score}
            if face.landmarks is not None:
                found |= {"landmarks": face.landmarks.astype(np.float32), "angle": 180 - (180 - face.angle) % 360}
            rows.append(replace(row, **found))
        return ImageFaces(rows or [row], prepared, [crop for _, crop in faces] if self._keep else [], kept, frame.rate, view)

    def classify(self, group: list[ImageFaces]) -> list[ImageFaces]:
        """Add the probabilities to every row with a face."""
        answers = iter(self._classify_faces([face for image in group for face in image.prepared]))
        for image in group:
            image.rows = [row if row.face is None else replace(row, **next(answers)) for row in image.rows]
        return group

    def _classify_faces(self, faces: list[np.ndarray]) -> list[dict[str, Any]]:
        if not faces:
            return []
        try:
            answers = self.classifier.predict_proba(np.stack(faces), self._batch_size)
        except MienError as error:
            if len(faces) == 1:
                return [{"error": str(error)}]
            return [answer for face in faces for answer in self._classify_faces([face])]
        return [{"probabilities": answer} for answer in answers]


def smooth(before: np.ndarray, now: np.ndarray, elapsed: float, time_constant: float) -> np.ndarray:
    """Update an exponential moving average of irregularly spaced values; a time constant of 0 returns the new value."""
    if not time_constant:
        return now
    # EMA_next of Eckner, Algorithms for Unevenly Spaced Time Series: Moving Averages and Other Rolling Operators, 2012
    weight = -math.expm1(-max(0.0, elapsed) / time_constant)
    return np.asarray(before + weight * (now - before))


def coarse_view(image: np.ndarray) -> np.ndarray:
    """Reduce a frame to the means of 8 by 8 fields, float32 (8, 8), from 64 of the pixels of each."""
    rows, columns = (np.linspace(0, side - 1, 64).astype(int) for side in image.shape[:2])
    return np.asarray(image[np.ix_(rows, columns)].reshape(8, 8, 8, 8, -1).mean(axis=(1, 3, 4), dtype=np.float32))


def is_cut(before: np.ndarray, now: np.ndarray) -> bool:
    """Tell from two frames' coarse views whether another shot begins: much has changed, and not the light alone."""
    if np.abs(now - before).mean() < TRACKING.cut_difference:
        return False
    one, other = before - before.mean(), now - now.mean()
    return bool((one * other).sum() < TRACKING.cut_correlation * np.linalg.norm(one) * np.linalg.norm(other))


@dataclass(eq=False)
class Track:
    """One face over time."""

    number: int  # in the order in which the tracks began
    box: np.ndarray  # (4,), float64, at the last detection
    seen: float  # time of the last detection in seconds
    speed: np.ndarray  # (2,), float64, of the centre in pixels per second
    average: np.ndarray | None = None  # (K,), smoothed probabilities
    averaged: float = 0.0  # time of the last update of the average in seconds


class Tracker:
    """Tracks faces by overlap (Bochinski et al., High-Speed Tracking-by-Detection Without Using Image Information, 2017)."""

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self.frame = -1  # number of the last frame, and its coarse view, set by the caller
        self.view: np.ndarray | None = None
        self._count, self._time = 0, 0.0

    def update(self, boxes: Sequence[tuple[float, float, float, float]], time: float) -> list[Track]:
        """Match the boxes of the next frame with tracks; a time before the last one, as in damaged videos, counts as that."""
        time = max(self._time, time)
        self.tracks = [track for track in self.tracks if track.seen == self._time or time - track.seen <= TRACKING.lifetime]
        self._time = time
        found = np.array(boxes, np.float64).reshape(-1, 4)
        matches: dict[int, Track] = {}
        for extrapolate in (True, False):  # faces cross, and faces stop
            tracks = [track for track in self.tracks if track not in matches.values()]
            free = [index for index in range(len(found)) if index not in matches]
            places = [track.box + extrapolate * np.tile(track.speed, 2) * (time - track.seen) for track in tracks]
            overlap = overlaps(np.reshape(places, (-1, 4)), found[free])
            while overlap.size and overlap.max() >= TRACKING.min_overlap:
                row, column = divmod(int(overlap.argmax()), overlap.shape[1])
                matches[free[column]] = tracks[row]
                overlap[row], overlap[:, column] = -1.0, -1.0
        for index, box in enumerate(found):
            if index not in matches:
                matches[index] = Track(self._count, box, time, np.zeros(2))
                self._count += 1
                self.tracks.append(matches[index])
            track = matches[index]
            if (elapsed := time - track.seen) > 0:
                shift = (box - track.box).reshape(2, 2).mean(axis=0)  # of the centre
                track.speed = smooth(track.speed, shift / elapsed, elapsed, TRACKING.speed_smoothing)
            track.box, track.seen = box, time
        return [matches[index] for index in range(len(found))]


class TrackSmoother:
    """Adds tracks to the predictions of videos, and smooths the probabilities of each with this time constant in seconds."""

    def __init__(self, smoothing: float) -> None:
        self._smoothing = smoothing
        self._videos: dict[str, Tracker] = {}  # the most recent last

    def update(self, rows: list[Prediction], view: np.ndarray | None = None) -> list[Prediction]:
        """Return the rows of one image ordered by track, errors last; photos unchanged. A cut ends tracks."""
        first = rows[0]
        if first.frame is None or first.time is None or (first.error and first.face is None):
            return rows
        tracker = self._videos.pop(first.source, None)
        if tracker is None or first.frame <= tracker.frame:
            tracker = Tracker()
        if view is not None and tracker.view is not None and is_cut(tracker.view, view):
            tracker.tracks.clear()
        tracker.frame, tracker.view = first.frame, view
        self._videos[first.source] = tracker
        if len(self._videos) > TRACKING.most_videos:
            del self._videos[next(iter(self._videos))]
        faces = [(row, row.box, row.probabilities) for row in rows if row.box is not None and row.probabilities is not None]
        tracks = tracker.update([box for _, box, _ in faces], first.time)
        tracked = []
        for track, (row, _, now) in sorted(zip(tracks, faces, strict=True), key=lambda pair: pair[0].number):
            before = now if track.average is None else track.average
            track.average = smooth(before, now, track.seen - track.averaged, self._smoothing)
            track.averaged = track.seen
            tracked.append(replace(row, track=track.number, probabilities=track.average.astype(np.float32)))
        tracked += [row for row in rows if row.error]
        return [replace(row, face=number) for number, row in enumerate(tracked)] or rows
