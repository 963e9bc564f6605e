"""Metrics of probabilities against targets; shares, differences and paired tests, each with a 95% interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, confusion_matrix, log_loss, roc_auc_score

from mien.errors import MienError, load_table
from mien.inference.classifier import UNSURE, reweighted
from mien.labels import LabelSet

MISTAKES: dict[str, str] = load_table(__file__, "mistakes")
RESAMPLES = 2000  # of the groups, for intervals
SIGNIFICANT = 0.05  # a difference with a p-value below this counts as significant


@dataclass(frozen=True)
class Proportion:
    """A share of rows with its 95% interval."""

    value: float  # count / of, 0 to 1
    low: float  # of the Wilson interval
    high: float
    count: int  # rows for which it holds
    of: int  # rows in all

    def __str__(self) -> str:
        return f"{self.value:.1%}"

    @property
    def interval(self) -> str:
        """The interval in percent, such as "63.7% to 66.2%"."""
        return f"{self.low:.1%} to {self.high:.1%}"


def proportion(count: int, of: int) -> Proportion:
    """Compute a share with its 95% score interval (Wilson, JASA 22, 1927), valid for few rows and for shares near 0 and 1."""
    low, high = binomtest(count, of).proportion_ci(method="wilson")
    return Proportion(count / of, float(low), float(high), count, of)


def share_true(holds: np.ndarray) -> Proportion | None:
    """Compute the share of rows, booleans (N,), for which it holds; None without rows."""
    return proportion(int(holds.sum()), len(holds)) if len(holds) else None


@dataclass(frozen=True)
class Difference:
    """A difference of two shares, the first minus the second, with its 95% interval; -1 to 1."""

    value: float
    low: float
    high: float


def difference(first: Proportion, second: Proportion, correlation: float = 0.0) -> Difference:
    """Compute the difference of two shares with its 95% interval (Newcombe, Statistics in Medicine 17, 1998, method 10)."""
    value = first.value - second.value
    margins = (first.value - first.low, second.high - second.value), (first.high - first.value, second.value - second.low)
    below, above = (math.sqrt(max(own**2 - 2 * correlation * own * other + other**2, 0)) for own, other in margins)
    return Difference(value, value - below, value + above)


@dataclass(frozen=True)
class PairedTest:
    """Two models compared on the same rows."""

    rows: int
    only_first: int  # rows that only the first model gets right
    only_second: int
    difference: float  # accuracy of the second minus that of the first, -1 to 1
    low: float  # of its 95% interval (Newcombe)
    high: float
    p_value: float  # of McNemar's exact test, two-sided: the binomial test on the rows that only one gets right
    groups: int | None = None  # of the rows, such as people or clips; None where they are unknown
    over_groups: tuple[float, float] | None = None  # 95% interval of the difference over groups; None for fewer than two


def mcnemar(first_right: np.ndarray, second_right: np.ndarray, groups: np.ndarray | None = None) -> PairedTest:
    """Test whether two models are equally accurate, by their right answers, booleans (N,) (McNemar, Psychometrika 12, 1947).

    With the groups (N,) of the rows the difference also has a 95% interval over groups (percentile bootstrap), which contains
    the plain one.
    """
    rows = len(first_right)
    if first_right.shape != second_right.shape or not rows:
        raise MienError(f"A paired test needs the same rows of both models, not {rows} and {len(second_right)} rows.")
    (neither, only_second), (only_first, both) = confusion_matrix(first_right, second_right, labels=[False, True]).tolist()
    first, second = proportion(both + only_first, rows), proportion(both + only_second, rows)
    surplus = both * neither - only_first * only_second
    corrected = max(surplus - rows / 2, 0) if surplus > 0 else surplus  # method 10's continuity correction
    margins = first.count * (rows - first.count) * second.count * (rows - second.count)
    change = difference(second, first, corrected / math.sqrt(margins) if margins else 0.0)
    p_value = float(binomtest(only_second, only_first + only_second).pvalue) if only_first + only_second else 1.0
    test = PairedTest(rows, only_first, only_second, (only_second - only_first) / rows, change.low, change.high, p_value)
    if groups is None:
        return test
    names, group = np.unique(groups, return_inverse=True)
    sizes, hits, others = (np.bincount(group, rows, len(names)) for rows in (np.ones(rows), first_right, second_right))
    drawn = _resampled(np.stack([others - hits, sizes], axis=1))[1:]
    low, high = np.percentile(drawn[:, 0] / drawn[:, 1], (2.5, 97.5)).tolist()
    interval = (min(low, test.low), max(high, test.high)) if len(names) > 1 else None
    return replace(test, groups=len(names), over_groups=interval)


def _resampled(cells: np.ndarray) -> np.ndarray:
    """Sum the cells of groups, (G, C): of each group once, then of G groups drawn with replacement: (1 + RESAMPLES, C)."""
    count, random = len(cells), np.random.default_rng(0)
    drawn = (random.multinomial(count, np.full(count, 1 / count), 100) for _ in range(RESAMPLES // 100))
    return np.concatenate([each @ cells for each in (np.ones((1, count)), *drawn)])


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p-values of several tests (Holm, Scandinavian Journal of Statistics 6, 1979)."""
    order = np.argsort(p_values, kind="stable")
    steps = np.array(p_values)[order] * np.arange(len(order), 0, -1)
    return list(np.minimum(1, np.maximum.accumulate(steps))[np.argsort(order)].tolist())


@dataclass(frozen=True)
class ConfidenceBin:
    """Rows whose confidence lies in (low, high]."""

    low: float
    high: float
    count: int
    confidence: float | None  # mean; None in an empty bin
    accuracy: Proportion | None  # None in an empty bin


@dataclass(frozen=True)
class CoveragePoint:
    """The accuracy if only predictions with at least some confidence are accepted."""

    coverage: float  # least share of the rows to accept, 0 to 1
    threshold: float  # least accepted confidence, 0 to 1; rows that tie there are all accepted
    accuracy: Proportion  # of the accepted rows


@dataclass(frozen=True)
class SelectiveAccuracy:
    """The accuracy if the least confident predictions are rejected."""

    points: tuple[CoveragePoint, ...]  # at coverages of 1, 0.9, 0.8 and 0.5
    area: float  # accuracy averaged over every coverage: 1 minus the area under the risk-coverage curve
    perfect_area: float  # the same if every correct prediction were more confident than every wrong one


@dataclass(frozen=True)
class LabelMetrics:
    """One label against all others; a label without rows has its two counts only."""

    label: str
    support: int  # rows whose true label it is
    predicted: int  # rows predicted as it
    precision: float | None = None  # None if it is never predicted
    recall: Proportion | None = None
    f1: float | None = None  # 0 if it is never predicted
    average_precision: float | None = None  # area under the precision-recall steps, without interpolation
    roc_auc: float | None = None  # None if every row has this label


@dataclass(frozen=True)
class Metrics:
    """The metrics of a model on rows, whose true label is the most likely one; macro averages are over labels with rows."""

    n: int  # rows
    labels_with_rows: int
    accuracy: Proportion
    balanced_accuracy: float  # mean recall
    macro_f1: float
    weighted_f1: float  # mean F1 weighted by support
    log_loss: float  # mean -ln(probability of the true label), in nats; probabilities are clipped at float32's epsilon, 1.2e-7
    cross_entropy: float | None  # mean -sum(target x ln(probability)), in nats; None if targets are hard
    brier: float  # mean squared distance between probabilities and one-hot truth, summed over labels, 0 to 2 (Brier, 1950)
    expected_calibration_error: float  # over `reliability`, 0 to 1
    labels: tuple[LabelMetrics, ...]  # in the model's order
    confusion: tuple[tuple[int, ...], ...]  # (K, K) counts: a row per true label, a column per predicted label
    confusion_shares: tuple[tuple[float | None, ...], ...]  # divided by the rows of each true label; None without rows
    reliability: tuple[ConfidenceBin, ...]
    selective: SelectiveAccuracy
    sure: Proportion | None = None  # rows whose confidence reaches the default threshold of `mien predict`
    sure_and_right: Proportion | None = None  # of these; None if there are none


def measure(probabilities: np.ndarray, targets: np.ndarray, labels: LabelSet) -> Metrics:
    """Measure probabilities (N, K) against targets (N, K), one-hot or votes; MienError if a row is not a distribution."""
    _check_distributions("probabilities", probabilities, len(labels))
    _check_distributions("targets", targets, len(labels))
    if len(probabilities) != len(targets):
        raise MienError(f"{len(probabilities)} rows of probabilities do not fit {len(targets)} rows of targets.")
    probabilities = probabilities.astype(np.float32)
    truth, predicted, every = targets.argmax(axis=1), probabilities.argmax(axis=1), np.arange(len(labels))
    confusion = confusion_matrix(truth, predicted, labels=every)
    columns = zip(labels, every, probabilities.T, strict=True)
    per_label = tuple(_measure_label(name, truth == label, predicted == label, scores) for name, label, scores in columns)
    with_rows = [(each.support, each.recall.value, each.f1) for each in per_label if each.recall]
    supports, recalls, f1 = np.array(with_rows, dtype=float).T
    confidence, right = probabilities.max(axis=1), truth == predicted
    bins = reliability(confidence, right)
    logs = np.log(np.clip(probabilities, np.finfo(np.float32).eps, None).astype(np.float64))
    return Metrics(
        n=len(truth),
        labels_with_rows=len(supports),
        accuracy=proportion(int(right.sum()), len(truth)),
        balanced_accuracy=float(recalls.mean()),
        macro_f1=float(f1.mean()),
        weighted_f1=float(np.average(f1, weights=supports)),
        log_loss=float(log_loss(truth, probabilities, labels=every)),
        cross_entropy=float(-(targets * logs).sum(axis=1).mean()) if are_votes(targets) else None,
        brier=float(((probabilities.astype(np.float64) - np.eye(len(labels))[truth]) ** 2).sum(axis=1).mean()),
        expected_calibration_error=expected_calibration_error(bins),
        labels=per_label,
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        confusion_shares=tuple(tuple((row / row.sum()).tolist()) if row.any() else (None,) * len(labels) for row in confusion),
        reliability=bins,
        selective=selective_accuracy(confidence, right),
        sure=share_true(confidence >= UNSURE),
        sure_and_right=share_true(right[confidence >= UNSURE]),
    )


def _check_distributions(name: str, rows: np.ndarray, labels: int) -> None:
    if labels < 2:
        raise MienError(f"A model needs at least two labels to be measured, not {labels}.")
    if rows.ndim != 2 or rows.shape[1] != labels:
        raise MienError(f"The {name} must be (N, {labels}), one column per label, not {rows.shape}.")
    if not len(rows):
        raise MienError("There are no rows to measure.")
    if broken := np.flatnonzero(~np.isfinite(rows).all(axis=1)).tolist():
        raise MienError(MISTAKES["not numbers"].format(name, len(broken), len(rows), broken[0]))
    if wrong := np.flatnonzero((rows < 0).any(axis=1) | (np.abs(rows.sum(axis=1, dtype=np.float64) - 1) > 1e-4)).tolist():
        raise MienError(f"The {name} of {len(wrong)} of {len(rows)} rows do not sum to 1, first in row {wrong[0]}.")


def _measure_label(name: str, is_label: np.ndarray, is_predicted: np.ndarray, scores: np.ndarray) -> LabelMetrics:
    hits, support, predicted = (int(rows.sum()) for rows in (is_label & is_predicted, is_label, is_predicted))
    if not support:
        return LabelMetrics(name, support, predicted)
    precision, f1 = hits / predicted if predicted else None, 2 * hits / (support + predicted)
    average_precision = float(average_precision_score(is_label, scores))
    roc_auc = float(roc_auc_score(is_label, scores)) if support < len(is_label) else None
    return LabelMetrics(name, support, predicted, precision, proportion(hits, support), f1, average_precision, roc_auc)


def are_votes(targets: np.ndarray) -> bool:
    """Whether any row of the targets (N, K) is a distribution over several labels."""
    return bool((targets.max(axis=1) < 1 - 1e-6).any())


def reliability(confidence: np.ndarray, right: np.ndarray, bins: int = 15) -> tuple[ConfidenceBin, ...]:
    """Compare mean confidence with accuracy in bins of equal width, 15 as in Guo et al. (2017); both arrays are (N,)."""
    edges = np.linspace(0, 1, bins + 1)
    inner = edges[1:-1].astype(confidence.dtype)  # so that a confidence of 0.4 lies on the edge 0.4 in float32 too
    members = np.digitize(confidence, inner, right=True)
    found = []
    for index, (low, high) in enumerate(pairwise(edges.tolist())):
        inside = members == index
        mean = float(confidence[inside].mean(dtype=np.float64)) if inside.any() else None
        found.append(ConfidenceBin(low, high, int(inside.sum()), mean, share_true(right[inside])))
    return tuple(found)


def filled_bins(bins: Sequence[ConfidenceBin]) -> list[tuple[int, float, Proportion]]:
    """List count, mean confidence and accuracy of the bins that have rows."""
    return [(each.count, each.confidence, each.accuracy) for each in bins if each.confidence is not None and each.accuracy]


def expected_calibration_error(bins: Sequence[ConfidenceBin]) -> float:
    """Average the distance between confidence and accuracy, weighted by the rows of the bins (Naeini et al., AAAI 2015)."""
    filled = filled_bins(bins)
    gaps = [abs(confidence - accuracy.value) for _, confidence, accuracy in filled]
    return float(np.average(gaps, weights=[count for count, _, _ in filled]))


def selective_accuracy(confidence: np.ndarray, right: np.ndarray) -> SelectiveAccuracy:
    """Measure accuracy without the least confident predictions (El-Yaniv and Wiener, JMLR 11, 2010); both arrays are (N,)."""
    falling, count = np.sort(confidence)[::-1], len(right)
    points = []
    for coverage in (1.0, 0.9, 0.8, 0.5):
        threshold = falling[max(1, math.ceil(round(coverage * count, 6))) - 1]
        accepted = right[confidence >= threshold]
        points.append(CoveragePoint(coverage, float(threshold), proportion(int(accepted.sum()), len(accepted))))
    every = np.arange(1, count + 1)
    perfect = np.minimum(every, int(right.sum())) / every
    return SelectiveAccuracy(tuple(points), float(accuracy_by_coverage(confidence, right).mean()), float(perfect.mean()))


def accuracy_by_coverage(confidence: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Compute the accuracy of the k most confident predictions for every k: (N,) float64, at k - 1."""
    order = np.argsort(-confidence, kind="stable")
    _, tie, size = np.unique(confidence, return_inverse=True, return_counts=True)
    shared = (np.bincount(tie, weights=right) / size)[tie]  # rows of equal confidence each count with their mean
    return np.asarray(np.cumsum(shared[order]) / np.arange(1, len(right) + 1))


def likely_mislabelled(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Find rows (M,) not trained on that have a confident other label (confident joint: Northcutt et al., JAIR 70, 2021)."""
    given, rows = targets.argmax(axis=1), np.arange(len(targets))
    own = probabilities[rows, given].astype(np.float64)
    of_labels = [own[given == label] for label in range(probabilities.shape[1])]
    thresholds = [each.mean() if len(each) else np.inf for each in of_labels]  # that of a label without rows cannot be reached
    reached = np.where(probabilities >= thresholds, probabilities, -1.0)
    suspects = np.flatnonzero((reached.max(axis=1) >= 0) & (reached.argmax(axis=1) != given))
    return suspects[np.argsort(own[suspects], kind="stable")]


def without_temperature(probabilities: np.ndarray, temperature: float, factors: np.ndarray | None = None) -> np.ndarray:
    """Undo the temperature of probabilities (..., K), which were multiplied by the factors (K,) of a prior after it."""
    # logits were the temperature times ln(probability), up to a constant
    powers = (probabilities / probabilities.max(axis=-1, keepdims=True)).astype(np.float64) ** temperature
    before = np.asarray(powers / powers.sum(axis=-1, keepdims=True), dtype=np.float32)
    return before if factors is None else reweighted(before, np.where(factors > 0, factors, 1.0) ** (1 - temperature))


def measure_over_groups(groups: np.ndarray, known: np.ndarray, truth: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    """Count the groups of the rows (N,), and those `known` from training, and give 95% intervals over groups, (low, high)."""
    names, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    count, labels = len(names), probabilities.shape[1]
    cells = np.zeros((count, labels, labels))
    np.add.at(cells, (group, truth, probabilities.argmax(axis=1)), 1)
    confusion = _resampled(cells.reshape(count, -1)).reshape(-1, labels, labels)  # the first is that of the rows themselves
    hits, support = np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(axis=2)
    rows = np.where(support > 0, support, np.nan)  # a label without rows does not count
    recall, f1 = hits / rows, 2 * hits / (rows + confusion.sum(axis=1))

    def interval(values: np.ndarray, among: int = count, of: int = 0) -> tuple[float, float] | None:
        """Percentile bootstrap (Davison and Hinkley, 1997, section 3.8); that of a share of rows contains Wilson's interval."""
        if among < 2:
            return None
        low, high = np.nanpercentile(values[1:], (2.5, 97.5)).tolist()
        if of:
            of = among if values[0] in (0, 1) else of  # if all rows are right, or all wrong, each group counts once
            share = proportion(round(values[0] * of), of)
            low, high = min(low, share.low), max(high, share.high)
        return (low, high) if low < high else None

    with_label = zip((cells.sum(axis=2) > 0).sum(axis=0).tolist(), support[0].astype(int).tolist(), strict=True)
    return {
        "count": count,
        "largest": int(sizes.max()),
        "in_training": int(np.isin(names, known).sum()),
        "accuracy": interval(hits.sum(axis=1) / support.sum(axis=1), of=len(truth)),
        "balanced_accuracy": interval(np.nanmean(recall, axis=1)),
        "macro_f1": interval(np.nanmean(f1, axis=1)),
        "recall": [interval(recall[:, label], among, of) for label, (among, of) in enumerate(with_label)],
    }


def measure_folds(fold: np.ndarray, probabilities: np.ndarray, targets: np.ndarray, labels: LabelSet) -> dict[str, Any]:
    """Measure every fold, by its number for every row (N,); the deviation is the standard deviation over the folds."""
    every = [measure(probabilities[fold == number], targets[fold == number], labels) for number in np.unique(fold)]
    names = ("n", "labels_with_rows", "accuracy", "balanced_accuracy", "macro_f1", "log_loss")
    found = [{name: getattr(metrics, name) for name in names} for metrics in every]
    figures = [(each.accuracy.value, each.balanced_accuracy, each.macro_f1, each.log_loss) for each in every]
    return {"folds": found, "deviation": dict(zip(names[2:], np.std(figures, axis=0, ddof=1).tolist(), strict=True))}
