"""Faces as contact sheets, with what they are and what the model takes them for."""

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from mien.evaluation.figure import FAINT, INK, WRONG, new_grid, plain
from mien.labels import LabelSet

THUMBNAIL = 112
"""Longest side of a face on a sheet, in pixels; larger ones are shrunk, so that a page stays small."""

FACE, GAP, CAPTION = 1.06, 0.12, 0.52
"""On a sheet, in inches: the side of a face, the gap to the next one, the room for its two lines below it."""


def random_rows(count: int, wanted: int = 9, seed: int = 0) -> np.ndarray:
    """Choose rows at random; the same seed chooses the same ones.

    Args:
        count: rows there are.
        wanted: rows to choose, or all where there are fewer.
        seed: of the choice.

    Returns:
        Distinct rows, rising.
    """
    return np.sort(np.random.default_rng(seed).permutation(count)[:wanted])


def worst_rows(probabilities: np.ndarray, targets: np.ndarray, wanted: int = 24) -> np.ndarray:
    """Find the mistakes made with the most confidence.

    Args:
        probabilities: (N, K).
        targets: (N, K); the truth is the likeliest label.
        wanted: at most so many.

    Returns:
        Rows that are wrong, by falling confidence; empty where nothing is wrong.
    """
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != targets.argmax(axis=1))
    return wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")][:wanted]


def uncertain_rows(probabilities: np.ndarray, wanted: int = 16) -> np.ndarray:
    """Find the answers given with the least confidence: those that are held back first.

    Args:
        probabilities: (N, K).
        wanted: at most so many.

    Returns:
        Rows, by rising confidence.
    """
    return np.argsort(probabilities.max(axis=1), kind="stable")[:wanted]


def plot_faces(
    images: np.ndarray, probabilities: np.ndarray, targets: np.ndarray, labels: LabelSet, columns: int = 8
) -> Figure:
    """Draw faces on a sheet, in the order given: the true label, below it the predicted one with its probability.

    Where the prediction is wrong it is marked by colour and by a cross.

    Args:
        images: (N, H, W) or (N, H, W, 3), uint8.
        probabilities: (N, K).
        targets: (N, K).
        labels: the K label names.
        columns: faces side by side.
    """
    figure, panels = new_grid(len(images), min(columns, len(images)), FACE, (GAP, CAPTION), (0, GAP, 0, CAPTION))
    for panel, image, given, target in zip(panels, images, probabilities, targets, strict=True):
        panel.set_axis_off()
        small = Image.fromarray(image)
        small.thumbnail((THUMBNAIL, THUMBNAIL))
        panel.imshow(np.asarray(small), cmap="gray", vmin=0, vmax=255, interpolation="none")
        truth, predicted = int(target.argmax()), int(given.argmax())
        right = truth == predicted
        answer = plain(labels[predicted], 10 if right else 8)
        panel.text(
            0.5, -0.04, plain(labels[truth], 14), transform=panel.transAxes, ha="center", va="top", fontsize=9, color=INK
        )
        panel.text(
            0.5, -0.2, f"{answer} {given[predicted]:.0%}" if right else f"✗ {answer} {given[predicted]:.0%}",
            transform=panel.transAxes, ha="center", va="top", fontsize=9, color=FAINT if right else WRONG,
        )  # fmt: skip
    return figure
