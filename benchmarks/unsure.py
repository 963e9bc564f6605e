"""The default prior and threshold of `mien predict`: accuracy, recalls and calibration by prior, then accuracy by threshold.

    python benchmarks/unsure.py --data fer2013.csv [--votes fer2013new.csv] [--model mien-s]

Changes are from power 0. A head's default is the power with the largest sum of accuracy and half the balanced accuracy, for
which thresholds are given. With --votes the crowd head is judged by votes, else the label head. Intervals: 95%.
"""

import numpy as np

from mien.evaluation.metrics import filled_bins, mcnemar, measure, reliability
from mien.inference.classifier import DEFAULT_MODEL, Classifier
from shared import parse, read_judged


def mean_of_labels(values: np.ndarray, classes: np.ndarray) -> str:
    """Average the values (N,) of each label, then the labels: in points, with the interval's normal approximation."""
    parts = [values[classes == label] for label in np.unique(classes)]
    error = sum(part.var() / len(part) for part in parts) ** 0.5 / len(parts)
    return f"{100 * np.mean([part.mean() for part in parts]):.1f} +- {196 * error:.1f}"


if __name__ == "__main__":
    arguments = parse(__doc__, data=str, votes=None, split="validation", model=DEFAULT_MODEL, threads=1)
    classifier = Classifier(arguments.model, threads=arguments.threads, head="crowd" if arguments.votes else "label")
    faces = read_judged(arguments.data, arguments.votes, arguments.split, classifier.size, classifier.channels)
    plain = np.empty(0)
    for prior in (*np.round(np.arange(0, 1.01, 0.05), 2).tolist(), None):
        probabilities = classifier.with_prior(prior).predict_proba(faces.images)
        confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == faces.classes
        plain = plain if len(plain) else right
        found, test = measure(probabilities, faces.targets, classifier.labels), mcnemar(plain, right)
        balanced = [mean_of_labels(values, faces.classes) for values in (right * 1.0, right * 1.0 - plain)]
        change = f"{100 * test.difference:+.1f}, {100 * test.low:+.1f} to {100 * test.high:+.1f}"
        total = found.accuracy.value + found.balanced_accuracy / 2
        losses = f"log loss {found.log_loss:.3f}; ECE {found.expected_calibration_error:.3f}"
        recalls = [f"{each.label} {each.recall}" for each in found.labels]
        print(f"\n{prior}: {found.accuracy}, {found.accuracy.interval}", change, *balanced, total, losses, *recalls, sep="; ")
        print(*(f"{mean:.1%}: {share} of {n}" for n, mean, share in filled_bins(reliability(confidence, right, 10))), sep="; ")
    for least in np.round(np.arange(0.3, 0.951, 0.05), 2).tolist():
        sure = confidence >= least
        print(f"from {least}: {sure.mean():.1%} of the faces, {right[sure].mean():.1%} right; below {right[~sure].mean():.1%}")
