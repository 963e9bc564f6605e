"""What an audit looks for in labelled faces, and what it found: copies, conflicts, blank and faceless images, outliers."""

from dataclasses import dataclass

import numpy as np

from mien.data.copies import Copies, find_copies
from mien.data.faceset import SPLITS, FaceSet
from mien.data.outliers import (
    FAR_FROM_FACES,
    NEARLY_BLANK,
    ODD_SIZE,
    TOO_DARK_OR_BRIGHT,
    brightness_and_contrast,
    distance_from_faces,
    robust_deviations,
    size_deviations,
)
from mien.errors import MienError

KINDS = ("exact-copy", "near-copy", "conflict", "blank", "no-face", "brightness", "size", "crowd")
"""What can be found, as findings.csv calls it. The first four are certain; the others are for a person to look at."""


@dataclass(frozen=True)
class Finding:
    """The rows of one kind of finding.

    Attributes:
        rows: (n,), int64, those to look at first come first.
        partners: (n,), int64: the row it is a copy of or in conflict with; -1 where there is none.
        values: (n,), float64: what they were found by.
        groups: how many groups of copies the rows make; 0 for what has no groups.
    """

    rows: np.ndarray
    partners: np.ndarray
    values: np.ndarray
    groups: int = 0


@dataclass(frozen=True)
class Overlap:
    """Rows of one split that have a copy among the other rows of it, or of another split.

    Attributes:
        split: whose rows are counted.
        other: where the copies are; it may be the same split.
        exact: rows with an exact copy there.
        any: rows with an exact or a near copy there.
    """

    split: str
    other: str
    exact: int
    any: int


@dataclass(frozen=True)
class Audit:
    """What was found.

    Attributes:
        faces: what was looked at.
        copies: which rows are copies of which.
        findings: by the names of `KINDS`; "size" only where the images' own sizes are known, "crowd" only where votes stand
            beside the labels.
        overlaps: every split that is there with every one, itself first.
    """

    faces: FaceSet
    copies: Copies
    findings: dict[str, Finding]
    overlaps: tuple[Overlap, ...]

    @property
    def leaks(self) -> tuple[Overlap, ...]:
        """The overlaps of a measured split (validation, test) with an earlier one: these flatter figures."""
        return tuple(each for each in self.overlaps if SPLITS.index(each.split) > SPLITS.index(each.other) > 0)

    def counts(self) -> dict[str, dict[str, int]]:
        """Count the rows of every split by their likeliest label."""
        numbers = {name: self.faces.split(name).counts() for name in self.faces.split_names}
        return {name: dict(zip(self.faces.labels.names, counts.tolist(), strict=True)) for name, counts in numbers.items()}

    def table(self) -> str:
        """Write the counts as text for a terminal."""
        lines = [f"{'finding':<12}{'rows':>8}{'groups':>8}"]
        for kind, finding in self.findings.items():
            lines.append(f"{kind:<12}{len(finding.rows):>8,}{f'{finding.groups:,}' if finding.groups else '':>8}".rstrip())
        for each in self.overlaps:
            if each.split != each.other and each not in self.leaks:
                continue
            count = int((self.faces.splits == SPLITS.index(each.split)).sum())
            of, place = (f"{each.split} ", each.other) if each.other != "none" else ("", "the data")
            either = f"{each.any:,} an exact or near one"
            lines.append(f"{each.exact:,} of {count:,} {of}faces have an exact copy in {place}, {either}.")
        return "\n".join(lines)


def inspect(faces: FaceSet) -> Audit:
    """Look for everything in `KINDS`.

    Raises:
        MienError: if there are no rows.
    """
    if not len(faces):
        raise MienError("The data have no rows to audit.")
    copies = find_copies(faces.images)
    brightness, contrast = brightness_and_contrast(faces.images)
    blank = contrast < NEARLY_BLANK
    findings = {
        "exact-copy": _exact_copies(copies, faces),
        "near-copy": _near_copies(copies),
        "conflict": _conflicts(copies, faces.classes),
        "blank": _beyond(np.where(blank, -contrast.astype(np.float64), -np.inf), -NEARLY_BLANK, contrast),
        "no-face": _far_from_faces(faces, blank),
        "brightness": _too_dark_or_bright(brightness, blank),
    }
    if faces.sizes is not None:
        deviations = size_deviations(faces.sizes)
        findings["size"] = _beyond(deviations, ODD_SIZE, deviations)
    if faces.votes is not None:
        findings["crowd"] = _crowd_says_otherwise(faces)
    return Audit(faces, copies, findings, _overlaps(copies, faces))


def _exact_copies(copies: Copies, faces: FaceSet) -> Finding:
    rows, groups = _rows_in_groups(copies.original)
    partners = _partners(copies.original, rows, faces.splits)
    return Finding(rows, partners, np.ones(len(rows)), groups)


def _near_copies(copies: Copies) -> Finding:
    """List every row with a near copy, and the likest of them; the rows that are least like theirs come first."""
    likest: dict[int, tuple[float, int]] = {}
    for (first, second), value in zip(copies.pairs.tolist(), copies.correlation.tolist(), strict=True):
        likest[first], likest[second] = (value, second), (value, first)  # pairs come by rising correlation
    found = [(*likest[original], row) for row, original in enumerate(copies.original.tolist()) if original in likest]
    values, partners, rows = (np.array(column) for column in zip(*sorted(found), strict=True)) if found else ([], [], [])
    groups = np.unique(copies.group[np.array(rows, dtype=np.int64)])
    return Finding(np.array(rows, dtype=np.int64), np.array(partners, dtype=np.int64), np.array(values), len(groups))


def _conflicts(copies: Copies, classes: np.ndarray) -> Finding:
    """List the groups whose rows differ in their label, with a row of another label beside each; the value counts labels."""
    rows, partners, values, groups = [], [], [], 0
    for members in groups_of(copies.group):
        labels = classes[members]
        if (different := len(np.unique(labels))) < 2:
            continue
        groups += 1
        for row, label in zip(members, labels, strict=True):
            rows.append(row)
            partners.append(members[int(np.argmax(labels != label))])
            values.append(float(different))
    return Finding(np.array(rows, dtype=np.int64), np.array(partners, dtype=np.int64), np.array(values), groups)


def _far_from_faces(faces: FaceSet, blank: np.ndarray) -> Finding:
    deviations = robust_deviations(distance_from_faces(faces.images))
    return _beyond(np.where(blank, -np.inf, deviations), FAR_FROM_FACES, deviations)


def _too_dark_or_bright(brightness: np.ndarray, blank: np.ndarray) -> Finding:
    deviations = np.abs(robust_deviations(brightness))
    return _beyond(np.where(blank, -np.inf, deviations), TOO_DARK_OR_BRIGHT, brightness)


def _crowd_says_otherwise(faces: FaceSet) -> Finding:
    """List the rows whose own label got no clear vote, by the falling share of what the crowd says instead."""
    votes = faces.votes if faces.votes is not None else np.zeros_like(faces.targets)
    own = votes[np.arange(len(faces)), faces.classes]
    instead = votes.max(axis=1)
    return _beyond(np.where(own == 0, instead, 0), 0, instead)


def _beyond(scores: np.ndarray, threshold: float, values: np.ndarray) -> Finding:
    """List the rows whose score lies beyond a threshold, highest first."""
    rows = np.flatnonzero(scores > threshold)
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    return Finding(rows, np.full(len(rows), -1, dtype=np.int64), values[rows].astype(np.float64))


def groups_of(group: np.ndarray) -> list[np.ndarray]:
    """Gather the rows that share a number, where they are two or more, in the order of their first rows."""
    order = np.argsort(group, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    return [part for part in parts if len(part) > 1]


def _rows_in_groups(group: np.ndarray) -> tuple[np.ndarray, int]:
    groups = groups_of(group)
    return np.concatenate([np.empty(0, dtype=np.int64), *groups]), len(groups)


def _partners(group: np.ndarray, rows: np.ndarray, splits: np.ndarray) -> np.ndarray:
    """Name for every row another of its group, one of another split where there is one."""
    partners = np.full(len(group), -1, dtype=np.int64)
    for members in groups_of(group):
        for row in members:
            elsewhere = members[splits[members] != splits[row]]
            partners[row] = elsewhere[0] if len(elsewhere) else members[members != row][0]
    return np.asarray(partners[rows])


def _overlaps(copies: Copies, faces: FaceSet) -> tuple[Overlap, ...]:
    found = []
    for split in faces.split_names:
        rows = faces.splits == SPLITS.index(split)
        for other in sorted(faces.split_names, key=lambda name: name != split):
            elsewhere = faces.splits == SPLITS.index(other)
            counts = [_with_a_copy(group, rows, elsewhere) for group in (copies.original, copies.group)]
            found.append(Overlap(split, other, *counts))
    return tuple(found)


def _with_a_copy(group: np.ndarray, rows: np.ndarray, elsewhere: np.ndarray) -> int:
    """Count the rows that share their number with a row elsewhere other than themselves."""
    members = np.bincount(group[elsewhere], minlength=len(group))
    return int((members[group[rows]] > elsewhere[rows]).sum())
