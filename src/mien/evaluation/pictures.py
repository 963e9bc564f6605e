"""Which pictures a report shows."""

import numpy as np
from matplotlib.figure import Figure

from mien.evaluation.faces import plot_faces, random_rows, worst_rows
from mien.evaluation.metrics import Metrics
from mien.evaluation.plots import plot_confusion, plot_labels, plot_precision_recall, plot_reliability
from mien.labels import LabelSet

TITLES = {
    "confusion": "Confusion matrix: a row per true label, a column per predicted label",
    "labels": "Recall and precision of every label",
    "reliability": "Accuracy against confidence",
    "precision_recall": "Precision against recall of every label",
    "learning": "Loss and accuracy over the epochs of training",
    "random": "Faces chosen at random, with true and predicted labels",
    "worst": "The wrong answers given with the most confidence",
}
"""What every picture shows, for those who cannot see it."""


def draw(
    images: np.ndarray, probabilities: np.ndarray, targets: np.ndarray, labels: LabelSet, metrics: Metrics
) -> dict[str, Figure]:
    """Draw every picture that the rows allow, by the names of `TITLES`.

    Args:
        images: (N, H, W) or (N, H, W, 3), uint8.
        probabilities: (N, K).
        targets: (N, K).
        labels: the K label names.
        metrics: what `measure` made of these rows.
    """
    figures = {
        "confusion": plot_confusion(metrics),
        "labels": plot_labels(metrics),
        "reliability": plot_reliability(metrics),
        "precision_recall": plot_precision_recall(probabilities, targets, labels, metrics),
    }
    for name, rows, columns in (
        ("random", random_rows(len(images)), 9),
        ("worst", worst_rows(probabilities, targets), 8),
    ):
        if len(rows):
            figures[name] = plot_faces(images[rows], probabilities[rows], targets[rows], labels, columns)
    return figures
