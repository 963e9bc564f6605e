"""Predict the expressions of faces: read, detect, crop, prepare, and classify in batches across images."""

from collections.abc import Generator, Iterable
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from mien.errors import MienError, check_number
from mien.images import prepare
from mien.inference.classifier import DEFAULT_MODEL, UNSURE, Classifier, Prior, open_classifier, usable_cores
from mien.inference.detection import Detector, FaceCropper
from mien.inference.drawing import AnnotationWriter, choose_fonts
from mien.inference.output import check_draw
from mien.inference.prediction import Frame, Holder, Prediction, Unread, read
from mien.inference.prefetch import prefetched
from mien.inference.sources import Source, listed
from mien.inference.tracking import SMOOTHING, TrackSmoother
from mien.inputs import pixels_in_flight, reason_of

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
) -> Generator[Prediction, None, None]:
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
        threads: CPU threads that detect and classify faces; by default as many as this process may use, at most 8.
        font: a font file for the labels in drawings; by default one that is installed, where Pillow's own lacks letters.
        fetch: download the photos whose http or https address is given; without it their rows say so.

    Returns:
        One prediction or more for every input, in order, as they come: one for each face, or one that says that there is
        no face or that the image could not be read. The faces of a photo are ordered by size, largest first, those of a
        video by track.

    Raises:
        MienError: at once, if the model or the detector cannot be opened, the model has no such head, the prior is unknown, a
            number is out of range, the folder cannot be created or contains inputs, or the font cannot be used.
    """
    if threads is not None:
        check_number("The number of threads", threads, 1)
    check_number("The smoothing in seconds", smoothing, 0, whole=False)
    if draw is not None:
        check_draw(draw, source)
    elif font is not None:
        raise MienError("The font is for drawings; add --draw DIR, or leave out --font.")
    items = listed(source, every, fetch=fetch)
    cropper = FaceCropper(detector, margin, min_size, min_score, faces)
    pipeline = FacePipeline(open_classifier(model, head, prior, labels), cropper, threshold, batch_size, draw is not None)
    writer = None
    if draw is not None:
        choose_fonts(pipeline.classifier.labels.names, font)  # a font that cannot be used is reported before the work
        writer = AnnotationWriter(Path(draw), font)
    return _predictions(pipeline.run(items, threads), TrackSmoother(smoothing) if track else None, writer)


def _predictions(
    images: "Generator[ImageFaces, None, None]", smoother: TrackSmoother | None, writer: AnnotationWriter | None
) -> Generator[Prediction, None, None]:
    # closing ends the threads even if this generator is abandoned, and finishes a video in progress
    with nullcontext() if writer is None else closing(writer), closing(images):
        for image in images:
            rows = image.rows if smoother is None else smoother.update(image.rows)
            try:
                if writer is not None:
                    writer.add(image.image, rows, image.rate)
            except Exception as problem:  # the rows are right all the same
                note = f"not drawn ({reason_of(problem)})"
                rows = [replace(row, note=f"{row.note}, {note}" if row.note else note) for row in rows]
            yield from rows


@dataclass(eq=False)
class ImageFaces(Holder):
    """The rows of one image; of each face its prepared pixels and, if kept, its crop and the image."""

    rows: list[Prediction]
    prepared: list[np.ndarray] = field(default_factory=list)
    crops: list[np.ndarray] = field(default_factory=list)
    image: np.ndarray | None = None
    rate: float | None = None


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
        """Process images in threads, and yield their faces in order."""
        threads = threads or min(usable_cores(), MOST_THREADS)
        groups = prefetched(items, self.find, self.classify, lambda image: len(image.prepared), self._batch_size, threads)
        with closing(groups):
            yield from chain.from_iterable(groups)

    @pixels_in_flight()
    def find(self, item: Frame | Unread) -> ImageFaces:
        """Read an image, and detect, crop and prepare its faces."""
        frame = read(item)
        moment: dict[str, Any] = {"frame": frame.frame, "time": frame.time, "note": frame.note, "error": frame.error}
        row = Prediction(frame.source, self.classifier.labels, threshold=self._threshold, **moment)
        if frame.image is None:
            return ImageFaces([row])
        kept = frame.image if self._keep else None
        try:
            faces = self._cropper.faces(frame.image)
            # a copy, since the result may be a view that keeps the whole image alive
            prepared = [prepare(crop, self.classifier.size, self.classifier.channels).copy() for _, crop in faces]
        except Exception as error:  # whatever a detector or damaged pixels raise concerns this image only
            failed = replace(row, error=f"Face detection failed on {frame.source!r} ({reason_of(error)}).")
            return ImageFaces([failed], image=kept, rate=frame.rate)
        height, width = frame.image.shape[:2]
        rows = []
        for number, (face, _) in enumerate(faces):
            found: dict[str, Any] = {"face": number, "box": face.clipped(width, height), "score": face.score}
            if face.landmarks is not None:
                found |= {"landmarks": face.landmarks.astype(np.float32), "angle": 180 - (180 - face.angle) % 360}
            rows.append(replace(row, **found))
        return ImageFaces(rows or [row], prepared, [crop for _, crop in faces] if self._keep else [], kept, frame.rate)

    def classify(self, group: list[ImageFaces]) -> list[ImageFaces]:
        """Add the probabilities to every row with a face."""
        answers = iter(self._answers([face for image in group for face in image.prepared]))
        for image in group:
            image.rows = [row if row.face is None else replace(row, **next(answers)) for row in image.rows]
        return group

    def _answers(self, faces: list[np.ndarray]) -> list[dict[str, Any]]:
        if not faces:
            return []
        try:
            answers = self.classifier.predict_proba(np.stack(faces), self._batch_size)
        except MienError as error:
            if len(faces) == 1:
                return [{"error": str(error)}]
            return [answer for face in faces for answer in self._answers([face])]
        return [{"probabilities": answer} for answer in answers]
