"""Every figure of a report, from probabilities and targets."""

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
from mien.evaluation.calibration import ConfidenceBin, expected_calibration_error, reliability
from mien.evaluation.proportion import Proportion, proportion
from mien.evaluation.selective import SelectiveAccuracy, selective_accuracy
from mien.labels import LabelSet


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
