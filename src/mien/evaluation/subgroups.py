"""Metrics on parts of the rows: subgroups by a column, bands of crowd agreement, copies of training faces."""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.stats import ttest_1samp, ttest_ind

from mien.data.copies import EXACT, NEAR, NO_COPY, Noted, TrainingRows, copies_of_training_rows, from_text
from mien.data.faceset import FaceSet
from mien.errors import MienError
from mien.evaluation.metrics import LabelMetrics, Metrics, measure
from mien.evaluation.statistics import Difference, Proportion, difference, share_true
from mien.inference.classifier import Classifier
from mien.labels import LabelSet

NOT_SAID = "not said"  # the group of the rows with an empty cell in the column
MOST_GROUPS = 50  # a column with more values than this is rejected
FEWEST_ROWS, WIDEST = 30, 0.20
"""A group with fewer rows, or with a wider 95% interval of its accuracy, is too small: the rule of the National Survey of
Children's Health (United States Census Bureau, 2016) for its subgroups."""

BANDS = (0.0, 0.5, 0.7, 0.9, 1.0)  # edges of the bands of crowd agreement, the share of votes for the most frequent label
TRAINING_ROWS_KEY = "mien.train_rows"  # metadata key of a model file that holds signatures of its training faces


@dataclass(frozen=True)
class Group:
    """The metrics of the rows with one value in a column."""

    group: str  # the value, or "not said"
    n: int  # rows
    enough: bool  # whether there are enough rows, see FEWEST_ROWS
    accuracy: Proportion
    balanced_accuracy: float
    macro_f1: float
    expected_calibration_error: float
    labels: tuple[LabelMetrics, ...]
    gap: Difference | None  # accuracy minus that of all other rows; None if there are no others


def group_values(rows: FaceSet, by: Sequence[str]) -> dict[str, np.ndarray]:
    """Look up the group of every row, for each column: (N,), str."""
    found = {}
    for column in by:
        if column not in rows.columns:
            present = f"they have {', '.join(rows.columns)}" if rows.columns else "they have no columns"
            raise MienError(
                f"The faces have no column {column!r} to group by; {present}. In Python, read a manifest that has it with "
                f"DataSource(path, columns=[{column!r}])."
            )
        values = np.char.strip(rows.columns[column])
        found[column] = np.where(values == "", NOT_SAID, values)
        if (count := len(np.unique(found[column]))) > MOST_GROUPS:
            raise MienError(
                f"The column {column!r} has {count:,} different values in {len(rows):,} rows, more than {MOST_GROUPS} groups; "
                "name a coarser column, such as age groups instead of ages."
            )
    return found


def measure_subgroups(
    values: Mapping[str, np.ndarray], probabilities: np.ndarray, targets: np.ndarray, labels: LabelSet
) -> dict[str, tuple[Group, ...]]:
    """Measure every group of every column, as `group_values` gives them; within a column in the order of the values."""
    right = probabilities.argmax(axis=1) == targets.argmax(axis=1)

    def measure_group(name: str, members: np.ndarray) -> Group:
        metrics, others = measure(probabilities[members], targets[members], labels), share_true(right[~members])
        enough = metrics.n >= FEWEST_ROWS and metrics.accuracy.high - metrics.accuracy.low <= WIDEST
        same = ("n", "accuracy", "balanced_accuracy", "macro_f1", "expected_calibration_error", "labels")
        gap = difference(metrics.accuracy, others) if others else None
        return Group(group=name, enough=enough, gap=gap, **{field: getattr(metrics, field) for field in same})

    return {
        column: tuple(measure_group(name, of_rows == name) for name in sorted(set(of_rows.tolist()), key=_group_order))
        for column, of_rows in values.items()
    }


def _group_order(name: str) -> tuple[bool, float, str]:
    """Sort by the number a name begins with, then by name; rows without a value come last."""
    number = re.match(r"[<>≤≥]?\s*(\d+(?:\.\d+)?)", name)
    return (name == NOT_SAID, float(number[1]) if number else float("inf"), name.casefold())


@dataclass(frozen=True)
class Mean:
    """A mean, or a difference of two means, with its 95% interval."""

    value: float
    low: float | None  # by Student's t, for a difference by Welch's; None with fewer than two rows
    high: float | None
    rows: int  # for a difference those of both means


def measure_crowd(votes: np.ndarray, truth: np.ndarray, predicted: np.ndarray, judged_by_votes: bool) -> dict[str, Any] | None:
    """Compare votes (N, K), zeros where unclear, with mistakes; None without votes. Predictions without a column are -1."""
    voted = votes.any(axis=1)
    if not voted.any():
        return None
    favourite, truth, predicted = votes[voted].argmax(axis=1), truth[voted], predicted[voted]
    agreement = votes[voted].max(axis=1).astype(np.float64).round(6)  # 7 of 10 in float32 must not lie above 0.7
    hit = truth == predicted
    right, wrong = agreement[hit], agreement[~hit]
    members = np.digitize(agreement, BANDS[1:-1], right=True)
    return {
        "rows": len(hit),  # with votes
        "right": _mean(right) if len(right) else None,  # agreement on the rows that the model gets right
        "wrong": _mean(wrong) if len(wrong) else None,
        "difference": _mean(right, wrong) if len(right) and len(wrong) else None,
        "bands": [  # accuracy of the model on rows whose agreement lies in (low, high]
            {"low": low, "high": high, "accuracy": share_true(hit[members == band])}
            for band, (low, high) in enumerate(pairwise(BANDS))
        ],
        # wrong rows whose most frequent vote is the prediction, or the label; None if the votes themselves are the labels
        "mistakes_shared": None if judged_by_votes else share_true((favourite == predicted)[~hit]),
        "mistakes_opposed": None if judged_by_votes else share_true((favourite == truth)[~hit]),
    }


def _mean(values: np.ndarray, subtracted: np.ndarray | None = None) -> Mean:
    """Average values, or subtract the mean of others from their mean."""
    with warnings.catch_warnings():  # of too few rows, and of rows that all agree equally, whose interval has no width
        warnings.simplefilter("ignore", RuntimeWarning)
        test: Any = ttest_1samp(values, 0) if subtracted is None else ttest_ind(values, subtracted, equal_var=False)
        low, high = (None if np.isnan(end) else float(end) for end in test.confidence_interval())
    if subtracted is None:
        return Mean(float(values.mean()), low, high, len(values))
    return Mean(float(values.mean() - subtracted.mean()), low, high, len(values) + len(subtracted))


@dataclass(frozen=True)
class TrainingCopies:
    """Which rows are copies of training faces, and the metrics without them."""

    noted: Noted  # what the model file stores: signatures, or digests, by which only exact copies are found
    training_rows: int
    exact: int  # rows with exactly the pixels of a training face
    near: int | None  # rows that show the same picture; None if only exact copies can be found
    on_copies: Proportion | None  # accuracy on the copies; None without copies
    without: Metrics | None  # on all other rows; None if every row is a copy
    gap: Difference | None  # accuracy on the copies minus that on the other rows; None if either has no rows
    worth: Difference | None  # accuracy on all rows minus that without the copies: `gap` times the share of the copies

    @property
    def count(self) -> int:
        """The number of copies, exact or near."""
        return self.exact + (self.near or 0)


def find_training_copies(model: Classifier, images: np.ndarray) -> tuple[TrainingRows, np.ndarray] | None:
    """Find which faces are copies of training faces, with what the model file stores of these; None if it stores nothing."""
    text = model.metadata.get(TRAINING_ROWS_KEY)
    known = from_text(text) if text else None
    kinds = copies_of_training_rows(images, known) if known else None
    return None if known is None or kinds is None else (known, kinds)


def measure_training_copies(
    known: TrainingRows, kinds: np.ndarray, probabilities: np.ndarray, targets: np.ndarray, labels: LabelSet
) -> TrainingCopies:
    """Measure with and without the copies, as `find_training_copies` gives them."""
    copies = kinds != NO_COPY
    on_copies = share_true((probabilities.argmax(axis=1) == targets.argmax(axis=1))[copies])
    without = None if copies.all() else measure(probabilities[~copies], targets[~copies], labels)
    gap = difference(on_copies, without.accuracy) if on_copies and without else None
    return TrainingCopies(
        noted=known.noted,
        training_rows=known.rows,
        exact=int((kinds == EXACT).sum()),
        near=int((kinds == NEAR).sum()) if known.noted == "signatures" else None,
        on_copies=on_copies,
        without=without,
        gap=gap,
        worth=gap.times(float(copies.mean())) if gap else None,
    )
