"""Test-time augmentation: the mean prediction over several views of a face."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from mien.errors import MienError
from mien.evaluation.metrics import mcnemar, proportion
from mien.images import prepare
from mien.inference.classifier import Classifier

VIEWS = {"none": 1, "flip": 2, "ten-crops": 10}  # of each face: with its mirror image, four corners and the centre
CROP = 11 / 12  # side of a crop relative to the face: 44 of 48 pixels
Views = tuple[np.ndarray, float]  # probabilities of each view, (V, N, K), float32, and the seconds they took


def check_kind(kind: str) -> None:
    """Reject an unknown kind of test-time augmentation."""
    if kind not in VIEWS:
        raise MienError(f"There is no test-time augmentation {kind!r}; choose {', '.join(VIEWS)}.")


def predict_plain(model: Classifier, faces: np.ndarray, batch_size: int) -> Views:
    """Classify faces of the model's size as they are: a single view."""
    start = time.perf_counter()
    return model.predict_proba(faces, batch_size)[None], time.perf_counter() - start


def predict_views(model: Classifier, faces: np.ndarray, kind: str, batch_size: int, plain: Views) -> Views:
    """Classify several views of each face (Krizhevsky et al., NIPS 2012), made for `batch_size` faces at a time."""
    check_kind(kind)
    if kind == "none":
        return plain
    start = time.perf_counter()
    parts = []
    for first in range(0, len(faces), batch_size):
        batch = faces[first : first + batch_size]
        views = [mirrored(batch)] if kind == "flip" else [view for crop in five_crops(batch) for view in (crop, mirrored(crop))]
        parts.append(np.stack([model.predict_proba(view, batch_size) for view in views]))
    probabilities, seconds = np.concatenate(parts, axis=1), time.perf_counter() - start
    if kind == "flip":
        return np.concatenate([plain[0], probabilities]), plain[1] + seconds
    return probabilities, seconds


def mean_over_views(views: np.ndarray) -> np.ndarray:
    """Average probabilities (V, N, K) over the views: (N, K), float32."""
    mean: np.ndarray = views.mean(axis=0, dtype=np.float64).astype(np.float32) if len(views) > 1 else views[0]
    return mean


def measure_gain(kind: str, plain: Views, augmented: Views, truth: np.ndarray) -> dict[str, Any]:
    """Measure the gain and the cost of test-time augmentation, by the label indices (N,) that are true."""
    without, with_views = (mean_over_views(views).argmax(axis=1) == truth for views, _ in (plain, augmented))
    return {
        "kind": kind,
        "views": VIEWS[kind],
        "accuracy_without": proportion(int(without.sum()), len(truth)),
        "test": mcnemar(without, with_views),  # without it against with it
        "seconds_without": plain[1],
        "seconds": augmented[1],  # making the views included
        "seconds_ratio": augmented[1] / plain[1],
    }


def mirrored(faces: np.ndarray) -> np.ndarray:
    """Flip faces left to right: (N, H, W) or (N, H, W, 3)."""
    return np.ascontiguousarray(faces[:, :, ::-1])


def five_crops(faces: np.ndarray) -> Iterator[np.ndarray]:
    """Crop faces, uint8 (N, S, S) or (N, S, S, 3), at the four corners and in the centre, each resized to their size."""
    size, channels = faces.shape[1], 1 if faces.ndim == 3 else 3
    side = round(size * CROP)
    far, middle = size - side, (size - side) // 2
    for top, left in ((0, 0), (0, far), (far, 0), (far, far), (middle, middle)):
        crops = faces[:, top : top + side, left : left + side]
        yield np.stack([prepare(np.ascontiguousarray(crop), size, channels) for crop in crops])
