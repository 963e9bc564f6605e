"""Every figure per group of rows, such as age groups, and how far each group lies from all other rows."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mien.data.faceset import FaceSet
from mien.errors import MienError
from mien.evaluation.metrics import measure
from mien.evaluation.statistics import Difference, Proportion, difference, proportion
from mien.labels import LabelSet

NOT_SAID = "not said"
"""The group of the rows with nothing in the column."""

MOST_GROUPS = 50
"""A column with more values than these is none to group by."""

FEWEST_ROWS, WIDEST = 30, 0.20
"""A group with fewer rows, or with an accuracy whose 95% interval is wider, is too small to tell: the rule of the National
Survey of Children's Health (United States Census Bureau, 2016) for its subgroups."""


@dataclass(frozen=True)
class LabelRecall:
    """How many of a label's rows in a group are found; `recall` is None where it has none."""

    label: str
    support: int
    recall: Proportion | None


@dataclass(frozen=True)
class Group:
    """The rows with one value in a column.

    Attributes:
        group: the value, or "not said".
        n: rows.
        enough: whether they are enough to tell; see `FEWEST_ROWS`.
        accuracy: share of them that is right.
        balanced_accuracy: mean recall over the labels that have rows in the group.
        macro_f1: mean F1 over these labels.
        expected_calibration_error: as of all rows.
        labels: the recall of every label.
        gap: accuracy of the group less that of all other rows, Newcombe's interval; None where there are no others.
    """

    group: str
    n: int
    enough: bool
    accuracy: Proportion
    balanced_accuracy: float
    macro_f1: float
    expected_calibration_error: float
    labels: tuple[LabelRecall, ...]
    gap: Difference | None


@dataclass(frozen=True)
class Subgroups:
    """The rows divided by a column of the data; groups in the order of their values, "not said" last."""

    column: str
    groups: tuple[Group, ...]


def group_values(rows: FaceSet, by: Sequence[str]) -> dict[str, np.ndarray]:
    """Find the group of every row, for each column.

    Args:
        rows: the rows.
        by: names of columns.

    Returns:
        By column (N,), str.

    Raises:
        MienError: if a column is not there, or has too many values.
    """
    found = {}
    for column in by:
        if column not in rows.columns:
            there = f"they have {', '.join(rows.columns)}" if rows.columns else "they have no columns"
            raise MienError(
                f"The faces have no column {column!r} to group by; {there}. In Python, read a manifest that has it with "
                f"DataSource(path, columns=[{column!r}])."
            )
        values = np.char.strip(rows.columns[column])
        found[column] = np.where(values == "", NOT_SAID, values)
        if (count := len(np.unique(found[column]))) > MOST_GROUPS:
            raise MienError(
                f"The column {column!r} has {count:,} different values in {len(rows):,} rows, too many for groups (at most "
                f"{MOST_GROUPS}); name a coarser column, such as age groups in place of ages."
            )
    return found


def measure_subgroups(
    values: Mapping[str, np.ndarray], probabilities: np.ndarray, targets: np.ndarray, labels: LabelSet
) -> tuple[Subgroups, ...]:
    """Measure every group of every column.

    Args:
        values: by column the group of every row, (N,), str.
        probabilities: (N, K).
        targets: (N, K).
        labels: the K label names.
    """
    right = probabilities.argmax(axis=1) == targets.argmax(axis=1)
    return tuple(
        Subgroups(
            column,
            tuple(
                _measure_group(name, of_rows == name, right, probabilities, targets, labels)
                for name in sorted(np.unique(of_rows).tolist(), key=_place)
            ),
        )
        for column, of_rows in values.items()
    )


def _measure_group(
    name: str, members: np.ndarray, right: np.ndarray, probabilities: np.ndarray, targets: np.ndarray, labels: LabelSet
) -> Group:
    metrics = measure(probabilities[members], targets[members], labels)
    accuracy, others = metrics.accuracy, right[~members]
    return Group(
        group=name,
        n=metrics.n,
        enough=metrics.n >= FEWEST_ROWS and accuracy.high - accuracy.low <= WIDEST,
        accuracy=accuracy,
        balanced_accuracy=metrics.balanced_accuracy,
        macro_f1=metrics.macro_f1,
        expected_calibration_error=metrics.expected_calibration_error,
        labels=tuple(LabelRecall(each.label, each.support, each.recall) for each in metrics.labels),
        gap=difference(accuracy, proportion(int(others.sum()), len(others))) if len(others) else None,
    )


def _place(name: str) -> tuple[bool, float, str]:
    """Order groups by the number they begin with, then by name; rows of which nothing is said come last."""
    number = re.match(r"[<>≤≥]?\s*(\d+(?:\.\d+)?)", name)
    return (name == NOT_SAID, float(number[1]) if number else float("inf"), name.casefold())
