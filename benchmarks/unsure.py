"""The default prior and threshold of `mien predict`: accuracy, recalls and calibration by prior, then accuracy by threshold.

    python benchmarks/unsure.py --data fer2013.csv [--votes fer2013new.csv] [--model mien-s]

Changes are from power 0. A head's default is the power with the largest sum of accuracy and half the balanced accuracy, for
which thresholds are given: shares of the faces that reach them, and of these right, as they are and in worse copies, then the
right share of both together. With --votes the crowd head is judged by votes, else the label head. Intervals: 95%.
"""

import numpy as np

from mien.data.worse_photos import worse_copies
from mien.evaluation.metrics import filled_bins, mcnemar, measure, reliability, share_true
from mien.inference.classifier import DEFAULT_MODEL, Classifier, reweighted
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
    by_training = classifier.with_prior("training")
    views, plain = [by_training.predict_proba(each) for each in (faces.images, worse_copies(faces.images))], np.empty(0)
    for prior in (*np.round(np.arange(0, 1.01, 0.05), 2).tolist(), None):
        factors = classifier.with_prior(prior).prior_factors
        both = [each if factors is None else reweighted(each, factors) for each in views]
        confidence, right = both[0].max(axis=1), both[0].argmax(axis=1) == faces.classes
        plain = plain if len(plain) else right
        (found, on_worse), test = (measure(each, faces.targets, classifier.labels) for each in both), mcnemar(plain, right)
        balanced = [mean_of_labels(values, faces.classes) for values in (right * 1.0, right * 1.0 - plain)]
        change = f"{100 * test.difference:+.1f}, {100 * test.low:+.1f} to {100 * test.high:+.1f}"
        total = found.accuracy.value + found.balanced_accuracy / 2
        losses = f"log loss {found.log_loss:.3f}; ECE {found.expected_calibration_error:.3f}"
        losses += f", of worse copies {on_worse.expected_calibration_error:.3f}"
        recalls = [f"{each.label} {each.recall}" for each in found.labels]
        print(f"\n{prior}: {found.accuracy}, {found.accuracy.interval}", change, *balanced, total, losses, *recalls, sep="; ")
        print(*(f"{mean:.1%}: {share} of {n}" for n, mean, share in filled_bins(reliability(confidence, right, 10))), sep="; ")
        for least in np.round(np.arange(0.3, 0.951, 0.05), 2).tolist() if prior in (0, 1, None) else ():
            print(f"from {least}: below {right[confidence < least].mean():.1%}", end="")
            for name, each in (("as they are", both[0]), ("worse", both[1]), ("together", np.concatenate(both))):
                sure, hits = each.max(axis=1) >= least, each.argmax(axis=1) == np.resize(faces.classes, len(each))
                share = share_true(hits[sure])
                print(f"; {name} {sure.mean():.1%}, {share} ({share.interval}) right", end="")
            print()
