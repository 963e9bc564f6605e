"""Which rows to leave out of training after an audit, and why."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from mien.data.faceset import SPLITS
from mien.errors import MienError
from mien.evaluation.audit import Audit, groups_of
from mien.files import write_whole

COLUMNS = ("id", "split", "label", "reason")
"""The columns of the list."""


def rows_to_leave_out(audit: Audit) -> dict[int, str]:
    """Choose the rows that training is better without, from what is certain: copies, conflicts, blanks.

    - A row with a copy in a later split goes: the training row, never the test row.
    - Of copies within training (or data without splits) the first stays; where their labels conflict, all go.
    - Blank rows of training (or data without splits) go.

    What is measured on stays as it is otherwise: rows of test always, rows of validation unless test has a copy of them, so
    that figures with and without the list are on the same rows.

    Returns:
        The reason by the row, rows rising.
    """
    faces, splits, classes = audit.faces, audit.faces.splits, audit.faces.classes
    reasons = {}
    for row in audit.findings["blank"].rows.tolist():
        if splits[row] <= SPLITS.index("train"):
            reasons[row] = "blank"
    for members in groups_of(audit.copies.group):
        latest = int(splits[members].max())
        for row in members[splits[members] < latest].tolist():
            partner = int(members[np.argmax(splits[members] == latest)])
            reasons.setdefault(row, f"copy of {faces.id(partner)} in {SPLITS[latest]}")
        if latest > SPLITS.index("train"):
            continue
        own = members[splits[members] == latest]
        conflict = len(np.unique(classes[members])) > 1
        for row in (own if conflict else own[1:]).tolist():
            reasons.setdefault(row, "copies of it bear other labels" if conflict else f"copy of {faces.id(int(own[0]))}")
    return dict(sorted(reasons.items()))


def write_list(path: Path, audit: Audit) -> int:
    """Write the rows to leave out as CSV, for `--data.drop`.

    Args:
        path: the file; an earlier list there is replaced.
        audit: what was found.

    Returns:
        How many rows it lists.
    """
    reasons = rows_to_leave_out(audit)
    write_table(path, COLUMNS, ((*describe_row(audit, row), reason) for row, reason in reasons.items()))
    return len(reasons)


def describe_row(audit: Audit, row: int) -> tuple[str, str, str]:
    """Name a row by its id, its split and its likeliest label."""
    return audit.faces.id(row), SPLITS[audit.faces.splits[row]], audit.faces.labels[int(audit.faces.classes[row])]


def write_table(path: Path, columns: Sequence[str], records: Iterable[Sequence[object]]) -> None:
    """Write a CSV file, whole or not at all."""

    def write(part: Path) -> None:
        with part.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(columns)
            table.writerows(records)

    write_whole(path, write)


def check_list_can_be_written(path: Path) -> None:
    """Make sure that a list may be written to a path, before an audit takes its time.

    Raises:
        MienError: if something else than an earlier list is there, or the folder is not.
    """
    if path.is_dir():
        raise MienError(f"{path} is a folder; name a file for the list, such as {path / 'clean.csv'}.")
    if not path.exists():
        if path.parent.exists() and not path.parent.is_dir():
            raise MienError(f"{path.parent} is a file, so the list cannot be written into it; choose another --write.")
        return
    with path.open("rb") as file:
        first = file.readline(200)
    if first.strip() != ",".join(COLUMNS).encode():
        raise MienError(f"{path} exists and is no list that mien audit wrote; choose another --write.")
