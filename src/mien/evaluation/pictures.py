"""Which pictures a report shows."""

import numpy as np
from matplotlib.figure import Figure

from mien.evaluation.curves import plot_coverage, plot_precision_recall, plot_roc
from mien.evaluation.faces import plot_faces, random_rows, uncertain_rows, worst_rows
from mien.evaluation.label_errors import likely_mislabelled
from mien.evaluation.plots import plot_confusion, plot_crowd, plot_labels, plot_reliability
from mien.evaluation.record import Record
from mien.labels import LabelSet

TITLES = {
    "confusion": "Confusion matrix: a row per true label, a column per predicted label",
    "labels": "Recall and precision of every label",
    "reliability": "Accuracy against confidence",
    "coverage": "Accuracy against the share of faces that are answered",
    "precision_recall": "Precision against recall of every label",
    "roc": "True positive rate against false positive rate of every label",
    "crowd": "Accuracy by how much the crowd agrees",
    "learning": "Loss and accuracy over the epochs of training",
    "random": "Faces chosen at random, with true and predicted labels",
    "worst": "The wrong answers given with the most confidence",
    "uncertain": "The answers given with the least confidence",
    "mislabelled": "The faces whose labels are the likeliest to be wrong",
}
"""What every picture shows, for those who cannot see it."""


def draw(
    images: np.ndarray, probabilities: np.ndarray, targets: np.ndarray, labels: LabelSet, record: Record
) -> dict[str, Figure]:
    """Draw every picture that the rows allow, by the names of `TITLES`.

    Args:
        images: (N, H, W) or (N, H, W, 3), uint8.
        probabilities: (N, K).
        targets: (N, K).
        labels: the K label names.
        record: what was found on these rows.
    """
    metrics = record.all_rows
    figures = {
        "confusion": plot_confusion(metrics),
        "labels": plot_labels(metrics),
        "reliability": plot_reliability(metrics, record.before_temperature),
        "coverage": plot_coverage(probabilities, targets, metrics),
        "precision_recall": plot_precision_recall(probabilities, targets, metrics),
        "roc": plot_roc(probabilities, targets, metrics),
    }
    if record.crowd:
        figures["crowd"] = plot_crowd(record.crowd)
    suspects = likely_mislabelled(probabilities, targets)[: 24 if record.likely_mislabelled else 0]
    for name, rows, columns in (
        ("random", random_rows(len(images)), 9),
        ("worst", worst_rows(probabilities, targets), 8),
        ("uncertain", uncertain_rows(probabilities), 8),
        ("mislabelled", suspects, 8),
    ):
        if len(rows):
            figures[name] = plot_faces(images[rows], probabilities[rows], targets[rows], labels, columns)
    return figures
