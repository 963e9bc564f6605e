"""Test-time augmentation: the mean of the answers to several views of a face."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mien.errors import MienError
from mien.evaluation.statistics import PairedTest, Proportion, mcnemar, proportion
from mien.images import prepare
from mien.inference.classifier import Classifier

VIEWS = {"none": 1, "flip": 2, "ten-crops": 10}
"""The kinds of test-time augmentation, and of how many views each takes the mean."""

CROP = 11 / 12
"""Side of a crop, of the face's: 44 of 48 pixels."""


@dataclass(frozen=True)
class Answers:
    """What a model answers to faces.

    Attributes:
        views: (V, N, K), float32: the probabilities of each view.
        seconds: what making and answering the views took.
    """

    views: np.ndarray
    seconds: float

    @property
    def probabilities(self) -> np.ndarray:
        """The mean over the views, (N, K), float32."""
        mean: np.ndarray = (
            self.views.mean(axis=0, dtype=np.float64).astype(np.float32) if len(self.views) > 1 else self.views[0]
        )
        return mean


@dataclass(frozen=True)
class AugmentationGain:
    """What test-time augmentation brought and cost.

    Attributes:
        kind: flip or ten-crops.
        views: how many views of each face were answered.
        accuracy_without: of the same model on the same rows, without it.
        test: without it (first) against with it (second).
        seconds_without: what answering took without it.
        seconds: what it took with it, views included.
        seconds_ratio: `seconds` by `seconds_without`.
    """

    kind: str
    views: int
    accuracy_without: Proportion
    test: PairedTest
    seconds_without: float
    seconds: float
    seconds_ratio: float


def check_kind(kind: str) -> None:
    """Refuse a kind that there is not.

    Raises:
        MienError: if it is none of `VIEWS`.
    """
    if kind not in VIEWS:
        raise MienError(f"There is no test-time augmentation {kind!r}; choose {', '.join(VIEWS)}.")


def answer(model: Classifier, faces: np.ndarray, batch_size: int) -> Answers:
    """Answer faces as they are.

    Args:
        model: the opened model.
        faces: uint8, (N, H, W) or (N, H, W, 3), of the model's size.
        batch_size: faces per run of the model.
    """
    start = time.perf_counter()
    return Answers(model.predict_proba(faces, batch_size)[None], time.perf_counter() - start)


def answer_views(model: Classifier, faces: np.ndarray, kind: str, batch_size: int, plain: Answers) -> Answers:
    """Answer several views of each face.

    flip: the face and its mirror image. ten-crops: the four corners and the centre, each a crop of 11/12 of the side brought
    back to the model's size, and their mirror images.

    Source: Krizhevsky, Sutskever and Hinton, ImageNet classification with deep convolutional neural networks, NIPS 2012.

    Args:
        model: the opened model.
        faces: uint8, (N, H, W) or (N, H, W, 3), of the model's size.
        kind: one of `VIEWS`.
        batch_size: faces per run of the model; views are made for so many at a time.
        plain: what `answer` gave for these faces; it is the first view of flip.

    Raises:
        MienError: if there is no such kind.
    """
    check_kind(kind)
    if kind == "none":
        return plain
    start, make = time.perf_counter(), _mirrored_alone if kind == "flip" else _ten_crops
    parts = [
        np.stack([model.predict_proba(view, batch_size) for view in make(faces[first : first + batch_size])])
        for first in range(0, len(faces), batch_size)
    ]
    views, seconds = np.concatenate(parts, axis=1), time.perf_counter() - start
    return Answers(np.concatenate([plain.views, views]), plain.seconds + seconds) if kind == "flip" else Answers(views, seconds)


def gain(kind: str, plain: Answers, augmented: Answers, truth: np.ndarray) -> AugmentationGain:
    """Say what test-time augmentation brought and cost.

    Args:
        kind: one of `VIEWS`, but not none.
        plain: the answers without it.
        augmented: the answers with it.
        truth: (N,), label indices.
    """
    without, with_it = (each.probabilities.argmax(axis=1) == truth for each in (plain, augmented))
    return AugmentationGain(
        kind=kind,
        views=VIEWS[kind],
        accuracy_without=proportion(int(without.sum()), len(truth)),
        test=mcnemar(without, with_it),
        seconds_without=plain.seconds,
        seconds=augmented.seconds,
        seconds_ratio=augmented.seconds / plain.seconds,
    )


def mirrored(faces: np.ndarray) -> np.ndarray:
    """Turn faces left to right: (N, H, W) or (N, H, W, 3)."""
    return np.ascontiguousarray(faces[:, :, ::-1])


def five_crops(faces: np.ndarray) -> Iterator[np.ndarray]:
    """Crop faces at the four corners and in the centre, each brought back to their size.

    Args:
        faces: uint8, (N, S, S) or (N, S, S, 3).
    """
    size, channels = faces.shape[1], 1 if faces.ndim == 3 else 3
    side = round(size * CROP)
    far, middle = size - side, (size - side) // 2
    for top, left in ((0, 0), (0, far), (far, 0), (far, far), (middle, middle)):
        crops = faces[:, top : top + side, left : left + side]
        yield np.stack([prepare(np.ascontiguousarray(crop), size, channels) for crop in crops])


def _mirrored_alone(faces: np.ndarray) -> Iterator[np.ndarray]:
    yield mirrored(faces)


def _ten_crops(faces: np.ndarray) -> Iterator[np.ndarray]:
    for crops in five_crops(faces):
        yield crops
        yield mirrored(crops)
