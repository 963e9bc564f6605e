"""What an audit looks for in labelled faces, and what it found: copies, conflicts, blank and faceless images, outliers."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mien.data.copies import CHUNK, SIDE, Copies, find_copies, in_gray
from mien.data.faceset import SPLITS, FaceSet
from mien.errors import MienError
from mien.files import write_whole

# Which faces are hardly pictures at all: blank, without a face, far too dark or too bright, or of an odd size.

NEARLY_BLANK = 5.0
"""Standard deviation of the pixels below which nothing can be seen, in grays of 256. FER-2013's faintest face has 9."""

FAR_FROM_FACES = 4.0
"""Robust standard deviations from the usual distance beyond which an image may show no face: 78% of these rows of FER-2013
are "not a face" by FER+'s votes (docs/fer2013.md)."""

TOO_DARK_OR_BRIGHT = 3.0
"""Robust standard deviations from the usual brightness."""

ODD_SIZE = 3.0
"""Robust standard deviations from the usual height, width or shape, in logarithms."""

LEAST_SPREAD = 1 / 3
"""Sizes count as spread by at least so many octaves, so that nothing within a factor of 2 (`ODD_SIZE` times this) is odd where
all others are equal."""


def brightness_and_contrast(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Measure the mean and the standard deviation of every face's pixels.

    Args:
        images: (N, H, W) or (N, H, W, 3), uint8.

    Returns:
        Two of (N,), float32, in grays of 0 to 255.
    """
    mean, deviation = np.empty((2, len(images)), dtype=np.float32)
    for start, gray in _chunks(images):
        mean[start : start + len(gray)] = gray.mean(axis=(1, 2), dtype=np.float32)
        deviation[start : start + len(gray)] = gray.std(axis=(1, 2), dtype=np.float32)
    return mean, deviation


def distance_from_faces(images: np.ndarray) -> np.ndarray:
    """Measure how far every image lies from the mean of all, by its histograms of oriented gradients.

    This is the distance from face space of Turk and Pentland (Eigenfaces, 1991) with gradients (Dalal and Triggs, 2005) in
    place of pixels and the mean alone in place of components, which found FER-2013's images without a face better: average
    precision 0.39 instead of 0.10. It takes for granted that most images show a face.

    Args:
        images: (N, H, W) or (N, H, W, 3), uint8.

    Returns:
        (N,), float32.
    """
    cell = SIDE // 6
    histograms = cv2.HOGDescriptor((SIDE, SIDE), (2 * cell, 2 * cell), (cell, cell), (cell, cell), 9)
    total = np.zeros(histograms.getDescriptorSize(), dtype=np.float64)
    for _, gray in _chunks(images):
        total += sum(np.asarray(histograms.compute(face)).ravel() for face in gray)
    mean = total / max(len(images), 1)
    distance = np.empty(len(images), dtype=np.float32)
    for start, gray in _chunks(images):  # computed twice rather than kept: 900 numbers a face are more than its pixels
        for row, face in enumerate(gray, start):
            distance[row] = np.linalg.norm(np.asarray(histograms.compute(face)).ravel() - mean)
    return distance


def robust_deviations(values: np.ndarray) -> np.ndarray:
    """Say how many standard deviations every value lies from the median, the deviation estimated from the median one.

    Args:
        values: (N,).

    Returns:
        (N,), float64, signed; zeros where more than half of the values are equal.
    """
    if not len(values):
        return np.zeros(0)
    distance = values.astype(np.float64) - np.median(values)
    deviation = 1.4826 * np.median(np.abs(distance))  # that of a normal distribution (Hampel, 1974)
    return np.asarray(distance / deviation) if deviation > 0 else np.zeros(len(values))


def size_deviations(sizes: np.ndarray) -> np.ndarray:
    """Say how many robust standard deviations the size of every image lies from the usual.

    Height, width and their ratio are compared by their logarithms with the medians of all; of the three the farthest counts.
    A deviation is never taken for less than `LEAST_SPREAD` octaves.

    Args:
        sizes: (N, 2), height and width in pixels, above 0.

    Returns:
        (N,), float64, 0 and more.
    """
    farthest = np.zeros(len(sizes))
    if not len(sizes):
        return farthest
    height, width = np.log2(sizes.astype(np.float64)).T
    for octaves in (height, width, height - width):
        distance = np.abs(octaves - np.median(octaves))
        deviation = max(1.4826 * float(np.median(distance)), LEAST_SPREAD)
        farthest = np.maximum(farthest, distance / deviation)
    return farthest


def _chunks(images: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, len(images), CHUNK):
        yield start, np.ascontiguousarray(in_gray(images[start : start + CHUNK]))


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


# Which rows to leave out of training after an audit, and why.

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
