"""Which part of a face carried the answer: parts are hidden one after another, and the model is asked again.

Only the model file is needed, so this works for every network. It says what the model looked at, not what the person feels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from mien.errors import MienError
from mien.files import write_whole
from mien.images import prepare
from mien.inference.classifier import DEFAULT_MODEL, Classifier
from mien.inference.detection import Detector, open_detector
from mien.inference.frame import Frame
from mien.inference.framing import crop_face
from mien.inference.prediction import Prediction
from mien.inference.sources import Source, frames

SIDES = (1 / 8, 5 / 24, 7 / 24)
"""Sides of the hidden patches, as shares of the face's: 6, 10 and 14 of 48 pixels."""

STRIDE = 1 / 12
"""Distance between two patches, as a share of the face's side."""

BATCH = 64
"""Faces in memory at once, each with another patch hidden."""

LEAST_FULL = 0.1
"""Fall of the log-odds, at least, that is shown in full colour: less is next to nothing, 2.5 points of probability at 50%."""

MOST_FACES = 32
"""Faces of one call, and rows of one picture, at most."""

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
"""What a picture may be saved as, by the ending of its file."""

REGIONS = (
    ("upper left", "upper middle", "upper right"),
    ("middle left", "centre", "middle right"),
    ("lower left", "lower middle", "lower right"),
)
"""The ninths of a picture, left and right as one looks at it."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """One face, its answer, and what each part of it did for a label; or an image without a face or that could not be read.

    Attributes:
        prediction: the answer, as `predict` gives it.
        label: the label that is explained; None where there is no face.
        face: the face as it was cut out of its image, uint8, (H, W) or (H, W, 3).
        heat: float32, (size, size), in log-odds of the label, over the face as the model takes it: by how much they fall where
            a pixel's surroundings are hidden. Positive speaks for the label, negative against it.
        hidden: probability of the label with the one patch hidden that speaks for it the most.
    """

    prediction: Prediction
    label: str | None = None
    face: np.ndarray | None = None
    heat: np.ndarray | None = None
    hidden: float | None = None

    @property
    def normalised(self) -> np.ndarray | None:
        """The heat from -1 to 1, its strongest pixel at one of these; paler throughout where nothing in the face matters."""
        if self.heat is None:
            return None
        scaled: np.ndarray = self.heat / max(float(np.abs(self.heat).max()), LEAST_FULL)
        return scaled

    @property
    def region(self) -> str | None:
        """The ninth of the picture that speaks the most for the label, such as "lower middle"; None where nothing does."""
        if self.heat is None or self.heat.max() <= 0:
            return None
        for_it = np.maximum(self.heat, 0)
        parts = np.array([[part.sum() for part in np.array_split(row, 3, axis=1)] for row in np.array_split(for_it, 3)])
        row, column = np.unravel_index(parts.argmax(), parts.shape)
        return REGIONS[row][column]


def explain(
    source: Source,
    label: str | None = None,
    model: str | Path | Classifier = DEFAULT_MODEL,
    detector: str | Detector = "auto",
    head: str | None = None,
    faces: bool = False,
    out: str | Path | None = None,
) -> list[Explanation]:
    """Find the faces of images and say which parts of each carried the answer.

    Args:
        source: as for `predict`; of more than 32 faces the first 32 are explained.
        label: the label to explain; of each face the likeliest one, if not given.
        model: a model file, run folder or name of an embedded model, or a classifier that is open already.
        detector: as for `predict`.
        head: how a model with two heads answers, as for `predict`.
        faces: the images are faces already, cut out.
        out: a picture to write, .png, .jpg or .webp: a row for each face; none is written where there is none.

    Returns:
        One or more for every image, in their order: one for each face, the largest first, or one that says that there is none
        or why the image could not be read.

    Raises:
        MienError: if the model or the detector cannot be opened, the model has no such head or label, or the picture cannot
            be written.
    """
    if out is not None and Path(out).suffix.lower() not in FORMATS:
        raise MienError(f"The picture {str(out)!r} must end in {', '.join(FORMATS)}.")
    classifier = model if isinstance(model, Classifier) else Classifier(model, head=head)
    if head is not None:
        classifier = classifier.with_head(head)
    if label is not None:
        classifier.labels.index(label)
    if faces and detector not in ("auto", "none"):
        raise MienError("Faces that are cut out already are not looked for: leave out the detector, or faces.")
    if faces:
        detector = "none"
    finder = open_detector(detector) if isinstance(detector, str) else detector
    every = (found for frame in frames(source) for found in _explained(frame, classifier, finder, label))
    explanations = list(islice(every, MOST_FACES))
    if out is not None and any(each.heat is not None for each in explanations):
        from mien.inference.heat_picture import draw_explanations  # Pillow's fonts, which nobody else needs

        picture = draw_explanations(explanations)
        form = FORMATS[Path(out).suffix.lower()]
        write_whole(Path(out), lambda part: picture.save(part, form))
    return explanations


def _explained(frame: Frame, classifier: Classifier, finder: Detector, label: str | None) -> Iterator[Explanation]:
    row = Prediction(frame.source, classifier.labels, error=frame.error, frame=frame.frame, time=frame.time, note=frame.note)
    found = [] if frame.image is None else finder.detect(frame.image)
    if frame.image is None or not found:
        yield Explanation(row)
        return
    for number, face in enumerate(found):
        (height, width), (x1, y1, x2, y2) = frame.image.shape[:2], face.box
        crop = crop_face(frame.image, face, finder.framing)
        pixels = prepare(crop, classifier.size, classifier.channels)
        probabilities = classifier.predict_proba(pixels[None])[0]
        name = label or classifier.labels[int(probabilities.argmax())]
        heat, hidden = occlusion_map(classifier, pixels, name)
        prediction = Prediction(
            frame.source,
            classifier.labels,
            face=number,
            box=(max(0.0, x1), max(0.0, y1), min(float(width), x2), min(float(height), y2)),
            score=face.score,
            probabilities=probabilities,
            frame=frame.frame,
            time=frame.time,
            note=frame.note,
        )
        yield Explanation(prediction, name, crop, heat, hidden)


def occlusion_map(classifier: Classifier, face: np.ndarray, label: str) -> tuple[np.ndarray, float]:
    """Measure what each part of a face does for a label, by hiding it (Zeiler and Fergus, 2014).

    A patch is blended over with the face's mean, with soft edges: a hard edge is itself something to see for a network. Patches
    of three sizes are moved over the face; a pixel's heat is the mean fall of the log-odds over the patches that cover it, and
    the mean of that over the sizes. The model is asked about 500 times, whatever the size of its faces. On 40 PublicTest faces
    deletion lowers the answer's mean probability to 0.18 and insertion raises it to 0.66 (RISE: 0.16 and 0.62; hard edges: 0.18
    and 0.62; benchmarks/explanation.py).

    Args:
        classifier: the model.
        face: uint8, (size, size) or (size, size, 3), prepared.
        label: one of the model's labels.

    Returns:
        The heat, float32, (size, size), in log-odds, positive where a part speaks for the label; and the least probability of
        the label with one patch hidden.
    """
    index, size = classifier.labels.index(label), classifier.size
    mean = face.mean(axis=(0, 1))
    whole = _log_odds(classifier.predict_proba(face[None]), index)[0]
    heat, least = np.zeros((size, size)), 1.0
    for share in SIDES:
        total, weight = np.zeros((size, size)), np.zeros((size, size))
        every = list(_patches(size, share))
        for start in range(0, len(every), BATCH):
            patches = every[start : start + BATCH]
            images = np.stack([_hide(face, mean, *patch) for patch in patches])
            answers = classifier.predict_proba(images)
            least = min(least, float(answers[:, index].min()))
            for (area, window), fall in zip(patches, whole - _log_odds(answers, index), strict=True):
                total[area] += fall * window
                weight[area] += window
        heat += total / np.maximum(weight, 1e-6) / len(SIDES)
    return heat.astype(np.float32), least


def _log_odds(probabilities: np.ndarray, index: int) -> np.ndarray:
    """Give log(p / (1 - p)) of one label; 1 - p as the sum of the others, which keeps small ones exact."""
    exact = probabilities.astype(np.float64)
    others = np.delete(exact, index, axis=1).sum(axis=1)
    odds: np.ndarray = np.log(np.maximum(exact[:, index], 1e-9)) - np.log(np.maximum(others, 1e-9))
    return odds


def _patches(size: int, share: float) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
    """List where patches lie in a face, and how much of each pixel they hide, 0 to 1; some reach over the border."""
    side, stride = max(2, round(size * share)), max(1, round(size * STRIDE))
    across = (np.arange(side) + 0.5) / side * 2 - 1
    profile = np.clip(2 * (1 - np.abs(across)), 0, 1)  # flat in the inner half
    window = np.outer(profile, profile)
    starts = range(-(side // 2), size - side // 2 + 1, stride)
    for top in starts:
        for left in starts:
            area = slice(max(0, top), min(size, top + side)), slice(max(0, left), min(size, left + side))
            inner = slice(area[0].start - top, area[0].stop - top), slice(area[1].start - left, area[1].stop - left)
            yield area, window[inner]


def _hide(face: np.ndarray, mean: np.ndarray, area: tuple[slice, slice], window: np.ndarray) -> np.ndarray:
    hidden = face.copy()
    share = window if face.ndim == 2 else window[:, :, None]
    hidden[area] = np.rint(face[area] * (1 - share) + mean * share)
    return hidden
