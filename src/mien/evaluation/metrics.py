"""Every figure of a report, from probabilities and targets."""

import math
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
    roc_auc_score,
)

from mien.errors import MienError
from mien.evaluation.statistics import Proportion, proportion
from mien.labels import LabelSet

# Whether confidence means what it says: accuracy by confidence.

BINS = 15
"""Equal-width bins of confidence, as Guo et al. (2017) take them."""


@dataclass(frozen=True)
class ConfidenceBin:
    """Rows whose confidence lies in (low, high].

    Attributes:
        low: lower edge.
        high: upper edge.
        count: rows in the bin.
        confidence: their mean confidence; None in an empty bin.
        accuracy: the share of them that is right; None in an empty bin.
    """

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: Proportion | None


def reliability(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> tuple[ConfidenceBin, ...]:
    """Sort rows by confidence into bins of equal width and compare mean confidence with accuracy.

    Args:
        confidence: (N,), probability of the predicted label, 0 to 1.
        right: (N,), whether the prediction is right.
        bins: how many.
    """
    edges = np.linspace(0, 1, bins + 1)
    inner = edges[1:-1].astype(confidence.dtype)  # so that a confidence of 0.4 lies on the edge 0.4 in float32 too
    chosen = np.digitize(confidence, inner, right=True)
    found = []
    for index in range(bins):
        inside = chosen == index
        count = int(inside.sum())
        found.append(
            ConfidenceBin(
                low=float(edges[index]),
                high=float(edges[index + 1]),
                count=count,
                confidence=float(confidence[inside].mean(dtype=np.float64)) if count else None,
                accuracy=proportion(int(right[inside].sum()), count) if count else None,
            )
        )
    return tuple(found)


def expected_calibration_error(bins: tuple[ConfidenceBin, ...]) -> float:
    """Average the distance between confidence and accuracy over the bins, weighted by their rows.

    Source: Naeini et al., AAAI 2015; as in Guo et al., On calibration of modern neural networks, ICML 2017.
    """
    gaps = [
        each.count * abs(each.confidence - each.accuracy.value)
        for each in bins
        if each.accuracy and each.confidence is not None
    ]
    return sum(gaps) / sum(each.count for each in bins)


# Accuracy against coverage: what a model is worth that may hold back the answers it is unsure of.

COVERAGES = (1.0, 0.9, 0.8, 0.5)
"""The shares of the rows that a report gives the accuracy of answering."""


@dataclass(frozen=True)
class CoveragePoint:
    """Only rows with at least some confidence answered, the others held back.

    Attributes:
        coverage: the least share of the rows that is to be answered, 0 to 1.
        threshold: the confidence from which on answers are given, 0 to 1; rows that tie there are all answered.
        accuracy: of the answers given; its `of` is how many these are.
    """

    coverage: float
    threshold: float
    accuracy: Proportion


@dataclass(frozen=True)
class SelectiveAccuracy:
    """What holding back answers brings.

    Attributes:
        points: at each of `COVERAGES`.
        area: accuracy averaged over every coverage from one row to all: 1 minus the area under the risk-coverage curve.
        perfect_area: the same if every right answer were surer than every wrong one. If confidence said nothing, the area
            would be the accuracy.
    """

    points: tuple[CoveragePoint, ...]
    area: float
    perfect_area: float


def selective_accuracy(confidence: np.ndarray, right: np.ndarray) -> SelectiveAccuracy:
    """Measure how accuracy rises where the least sure answers are held back.

    Source: El-Yaniv and Wiener, On the foundations of noise-free selective classification, JMLR 11, 2010.

    Args:
        confidence: (N,), probability of the predicted label, 0 to 1; N at least 1.
        right: (N,), whether the prediction is right.
    """
    falling, count = np.sort(confidence)[::-1], len(right)
    points = []
    for coverage in COVERAGES:
        threshold = falling[max(1, math.ceil(round(coverage * count, 6))) - 1]
        answered = confidence >= threshold
        points.append(CoveragePoint(coverage, float(threshold), proportion(int(right[answered].sum()), int(answered.sum()))))
    every = np.arange(1, count + 1)
    perfect = np.minimum(every, int(right.sum())) / every
    return SelectiveAccuracy(tuple(points), float(accuracy_by_coverage(confidence, right).mean()), float(perfect.mean()))


def accuracy_by_coverage(confidence: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Give the accuracy of the k surest answers, for every k.

    Among rows of the same confidence every order is as good, so each counts with their mean.

    Args:
        confidence: (N,), 0 to 1.
        right: (N,), booleans.

    Returns:
        (N,), float64: at k - 1 the accuracy of the k surest.
    """
    order = np.argsort(-confidence, kind="stable")
    _, tie, size = np.unique(confidence, return_inverse=True, return_counts=True)
    shared = (np.bincount(tie, weights=right) / size)[tie]
    accuracies: np.ndarray = np.cumsum(shared[order]) / np.arange(1, len(right) + 1)
    return accuracies


@dataclass(frozen=True)
class LabelMetrics:
    """One label against all others. A label without rows has None everywhere but in its name and its two counts.

    Attributes:
        label: its name.
        support: rows that truly bear it.
        predicted: rows that the model gave it.
        precision: share of the rows predicted so that are so, 0 to 1; None where the model never predicts it.
        recall: share of its rows that the model finds.
        f1: harmonic mean of precision and recall, 0 to 1; 0 where it is never predicted.
        average_precision: area under the precision-recall steps, without interpolation, 0 to 1.
        roc_auc: area under the ROC curve, 0 to 1; None where every row bears this label.
    """

    label: str
    support: int
    predicted: int
    precision: float | None
    recall: Proportion | None
    f1: float | None
    average_precision: float | None
    roc_auc: float | None


@dataclass(frozen=True)
class Metrics:
    """What a model is worth on some rows.

    The truth of a row is its likeliest label. Macro figures are means over the labels that have rows.

    Attributes:
        n: rows measured.
        labels_with_rows: how many labels have rows: what the macro figures are means over.
        accuracy: share of the rows that are right.
        balanced_accuracy: mean recall, 0 to 1.
        macro_f1: mean F1, 0 to 1.
        weighted_f1: mean F1 weighted by support, 0 to 1.
        log_loss: mean of -ln(probability of the truth), in nats; probabilities count as at least 1.2e-7 (float32's epsilon).
        cross_entropy: mean of -sum(target x ln(probability)), in nats, where targets are soft (votes); else None.
        brier: mean squared distance between probabilities and truth, summed over labels, 0 to 2 (Brier, 1950).
        expected_calibration_error: mean distance between confidence and accuracy over `reliability`, weighted by rows, 0 to 1.
        labels: the figures of every label, in the model's order.
        confusion: K rows (truth) of K counts (predicted).
        confusion_shares: the same by the rows of each truth, 0 to 1; None throughout for a label without rows.
        reliability: the 15 bins of confidence.
        selective: accuracy where answers are held back when unsure.
    """

    n: int
    labels_with_rows: int
    accuracy: Proportion
    balanced_accuracy: float
    macro_f1: float
    weighted_f1: float
    log_loss: float
    cross_entropy: float | None
    brier: float
    expected_calibration_error: float
    labels: tuple[LabelMetrics, ...]
    confusion: tuple[tuple[int, ...], ...]
    confusion_shares: tuple[tuple[float | None, ...], ...]
    reliability: tuple[ConfidenceBin, ...]
    selective: SelectiveAccuracy

    @property
    def label_names(self) -> tuple[str, ...]:
        """The K label names in the model's order."""
        return tuple(each.label for each in self.labels)


def measure(probabilities: np.ndarray, targets: np.ndarray, labels: LabelSet) -> Metrics:
    """Measure probabilities against targets.

    Args:
        probabilities: (N, K), each row sums to 1.
        targets: (N, K), each row a distribution: a single 1, or votes.
        labels: the K label names.

    Raises:
        MienError: if there are no rows, shapes differ, or either holds rows that are no distributions (NaN among them).
    """
    _check_distributions("probabilities", probabilities, len(labels))
    _check_distributions("targets", targets, len(labels))
    if len(probabilities) != len(targets):
        raise MienError(
            f"{len(probabilities)} rows of probabilities cannot be measured against {len(targets)} rows of targets."
        )

    probabilities = probabilities.astype(np.float32)
    truth, predicted = targets.argmax(axis=1), probabilities.argmax(axis=1)
    every = np.arange(len(labels))
    confusion = confusion_matrix(truth, predicted, labels=every)
    per_label = _per_label(probabilities, truth, predicted, labels)
    present = [each for each in per_label if each.recall and each.f1 is not None]
    supports = np.array([each.support for each in present])
    f1 = np.array([each.f1 for each in present])
    confidence, right = probabilities.max(axis=1), truth == predicted
    bins = reliability(confidence, right)
    return Metrics(
        n=len(truth),
        labels_with_rows=len(present),
        accuracy=proportion(int(np.trace(confusion)), len(truth)),
        balanced_accuracy=float(np.mean([each.recall.value for each in present if each.recall])),
        macro_f1=float(f1.mean()),
        weighted_f1=float(np.average(f1, weights=supports)),
        log_loss=float(log_loss(truth, probabilities, labels=every)),
        cross_entropy=_cross_entropy(probabilities, targets) if (targets.max(axis=1) < 1 - 1e-6).any() else None,
        brier=float(((probabilities.astype(np.float64) - np.eye(len(labels))[truth]) ** 2).sum(axis=1).mean()),
        expected_calibration_error=expected_calibration_error(bins),
        labels=per_label,
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
        confusion_shares=tuple(tuple(int(count) / row.sum() if row.sum() else None for count in row) for row in confusion),
        reliability=bins,
        selective=selective_accuracy(confidence, right),
    )


def _check_distributions(name: str, rows: np.ndarray, labels: int) -> None:
    if labels < 2:
        raise MienError(f"There is nothing to measure with {labels} label; a model needs at least two.")
    if rows.ndim != 2 or rows.shape[1] != labels:
        raise MienError(f"The {name} must be (N, {labels}), one column per label, not {rows.shape}.")
    if not len(rows):
        raise MienError("There are no rows to measure.")
    if broken := np.flatnonzero(~np.isfinite(rows).all(axis=1)).tolist():
        raise MienError(
            f"The {name} of {len(broken)} of {len(rows)} rows are not numbers (NaN or infinite), first in row {broken[0]}; "
            "nothing can be measured with them."
        )
    wrong = np.flatnonzero((rows < 0).any(axis=1) | (np.abs(rows.sum(axis=1, dtype=np.float64) - 1) > 1e-4)).tolist()
    if wrong:
        raise MienError(f"The {name} of {len(wrong)} of {len(rows)} rows do not sum to 1, first in row {wrong[0]}.")


def _per_label(
    probabilities: np.ndarray, truth: np.ndarray, predicted: np.ndarray, labels: LabelSet
) -> tuple[LabelMetrics, ...]:
    every = np.arange(len(labels))
    precision, _, f1, support = precision_recall_fscore_support(truth, predicted, labels=every, zero_division=0)
    answers = np.bincount(predicted, minlength=len(labels))
    found = []
    for label, name in enumerate(labels):
        rows, given, bears = int(support[label]), int(answers[label]), truth == label
        if not rows:
            found.append(LabelMetrics(name, 0, given, None, None, None, None, None))
            continue
        hits = int((predicted[bears] == label).sum())
        found.append(
            LabelMetrics(
                label=name,
                support=rows,
                predicted=given,
                precision=float(precision[label]) if given else None,
                recall=proportion(hits, rows),
                f1=float(f1[label]),
                average_precision=float(average_precision_score(bears, probabilities[:, label])),
                roc_auc=float(roc_auc_score(bears, probabilities[:, label])) if rows < len(truth) else None,
            )
        )
    return tuple(found)


def _cross_entropy(probabilities: np.ndarray, targets: np.ndarray) -> float:
    logs = np.log(np.clip(probabilities, np.finfo(np.float32).eps, None).astype(np.float64))
    return float(-(targets * logs).sum(axis=1).mean())


# Which labels are the likeliest to be wrong, by what the model makes of the other rows of each label.


def likely_mislabelled(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Find rows that the model confidently takes for another label than theirs.

    A label's threshold is its mean probability over the rows that bear it. A row counts as the likeliest of the labels whose
    thresholds its probabilities reach; where that is another label than its own, its own is likely wrong. This needs a model
    that was not trained on these rows, and finds a model's own confusions as well: what it finds must be looked at.

    Source: the confident joint of Northcutt, Jiang and Chuang, Confident learning: estimating uncertainty in dataset labels,
    JAIR 70, 2021; ranked by their self-confidence, the probability of the label given.

    Args:
        probabilities: (N, K).
        targets: (N, K); the label given is the likeliest.

    Returns:
        Rows, by rising probability of the label given; empty where there are none.
    """
    given, rows = targets.argmax(axis=1), np.arange(len(targets))
    own = probabilities[rows, given].astype(np.float64)
    support = np.bincount(given, minlength=probabilities.shape[1])
    sums = np.bincount(given, weights=own, minlength=probabilities.shape[1])
    # a label without rows has no threshold that anything could reach
    thresholds = np.divide(sums, support, out=np.full(len(sums), np.inf), where=support > 0)
    reached = np.where(probabilities >= thresholds, probabilities, -1.0)
    suspects = np.flatnonzero((reached.max(axis=1) >= 0) & (reached.argmax(axis=1) != given))
    return suspects[np.argsort(own[suspects], kind="stable")]
