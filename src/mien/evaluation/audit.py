"""The kinds of finding of an audit: how each is found, shown and left out of training."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from mien.data.copies import SAME_PICTURE, find_copies
from mien.data.faceset import SPLITS, FaceSet
from mien.errors import MienError
from mien.evaluation.findings import Audit, Finding, groups_of
from mien.evaluation.outliers import (
    FAR_FROM_FACES,
    NEARLY_BLANK,
    ODD_SIZE,
    TOO_DARK_OR_BRIGHT,
    brightness_and_contrast,
    distance_from_faces,
    robust_deviations,
    size_deviations,
)

TRAIN = SPLITS.index("train")


class Tile(NamedTuple):
    """A picture or several side by side on the page, each the rows that share it, and a note; the last may be mirrored."""

    pictures: tuple[np.ndarray, ...]
    note: str
    mirrored: bool = False


@dataclass(frozen=True)
class Kind:
    """A kind of finding: how it is found, shown and left out of training."""

    name: str  # in findings.csv and audit.json
    title: str
    method: str  # how it is found, in sentences
    find: Callable[[Audit], Finding | None]  # None where the data lack what it needs
    tiles: Callable[[Audit, Finding], list[Tile]]  # for the page
    order: str  # of the tiles
    unit: str = "images"  # what a tile shows, in the plural
    threshold: float | None = None  # the value beyond which a row is found
    leave_out: Callable[[Audit], dict[int, str]] | None = None  # rows, with reasons; None where a person has to decide


def inspect(faces: FaceSet) -> Audit:
    """Look for everything in `KINDS`.

    Args:
        faces: at any size; they are compared in gray at 48 pixels.

    Raises:
        MienError: if there are no rows.
    """
    if not len(faces):
        raise MienError("The data have no rows to audit.")
    audit = Audit(faces, find_copies(faces.images), *brightness_and_contrast(faces.images))
    found = {kind.name: kind.find(audit) for kind in KINDS}
    return replace(audit, findings={name: finding for name, finding in found.items() if finding is not None})


def rows_to_leave_out(audit: Audit) -> dict[int, str]:
    """List the rows that training is better without, rising, with the reasons, by the kinds of finding that are certain.

    Rows of test always stay, and rows of validation too unless test has a copy of them, so that figures with and without the
    list are measured on the same rows.
    """
    reasons: dict[int, str] = {}
    for leave_out in dict.fromkeys(kind.leave_out for kind in KINDS if kind.leave_out):
        reasons |= leave_out(audit)
    return dict(sorted(reasons.items()))


def _copies_to_leave_out(audit: Audit) -> dict[int, str]:
    """List rows with a copy in a later split, and within training (or data without splits) all copies but the first.

    Where the labels of copies within training conflict, the first goes too.
    """
    faces, splits, reasons = audit.faces, audit.faces.splits, {}
    for members in groups_of(audit.copies.group):
        latest = int(splits[members].max())
        is_latest = splits[members] == latest
        own = members[is_latest]
        for row in members[~is_latest].tolist():
            reasons[row] = f"copy of {faces.id(int(own[0]))} in {SPLITS[latest]}"
        if latest <= TRAIN:
            conflict = len(np.unique(faces.classes[members])) > 1
            for row in (own if conflict else own[1:]).tolist():
                reasons[row] = "copies of it have other labels" if conflict else f"copy of {faces.id(int(own[0]))}"
    return reasons


def _blanks_to_leave_out(audit: Audit) -> dict[int, str]:
    """List the blank rows of training, or of data without splits."""
    return {row: "blank" for row in audit.findings["blank"].rows.tolist() if audit.faces.splits[row] <= TRAIN}


# Finding


def _exact_copies(audit: Audit) -> Finding:
    """Find rows with the same pixels; the partner is in another split where possible."""
    splits, groups, found = audit.faces.splits, groups_of(audit.copies.original), []
    for members in groups:
        for row in members:
            elsewhere = members[splits[members] != splits[row]]
            found.append((row, elsewhere[0] if len(elsewhere) else members[members != row][0], 1.0))
    return _finding(found, len(groups))


def _near_copies(audit: Audit) -> Finding:
    """Find rows with a near copy; the partner is the best one. Rows that resemble theirs least come first."""
    copies = audit.copies
    best: dict[int, tuple[float, int]] = {}
    for (first, second), value in zip(copies.pairs.tolist(), copies.correlation.tolist(), strict=True):
        best[first], best[second] = (value, second), (value, first)  # pairs come by rising correlation
    ordered = sorted((*best[original], row) for row, original in enumerate(copies.original.tolist()) if original in best)
    found = [(row, partner, value) for value, partner, row in ordered]
    return _finding(found, len({copies.group[row] for row, _, _ in found}))


def _conflicts(audit: Audit) -> Finding:
    """Find groups of copies with several labels; the partner has another label, and the value counts the labels."""
    found, groups = [], _conflicting_groups(audit)
    for members in groups:
        labels = audit.faces.classes[members]
        count = float(len(np.unique(labels)))
        found += [(row, members[np.argmax(labels != label)], count) for row, label in zip(members, labels, strict=True)]
    return _finding(found, len(groups))


def _conflicting_groups(audit: Audit) -> list[np.ndarray]:
    return [rows for rows in groups_of(audit.copies.group) if len(np.unique(audit.faces.classes[rows])) > 1]


def _blank(audit: Audit) -> Finding:
    return _beyond(-audit.contrast, -NEARLY_BLANK, audit.contrast)


def _without_face(audit: Audit) -> Finding:
    deviations = robust_deviations(distance_from_faces(audit.faces.images))
    return _beyond(np.where(audit.contrast < NEARLY_BLANK, -np.inf, deviations), FAR_FROM_FACES, deviations)


def _dark_or_bright(audit: Audit) -> Finding:
    deviations = np.abs(robust_deviations(audit.brightness))
    return _beyond(np.where(audit.contrast < NEARLY_BLANK, -np.inf, deviations), TOO_DARK_OR_BRIGHT, audit.brightness)


def _odd_sizes(audit: Audit) -> Finding | None:
    if audit.faces.sizes is None:
        return None
    deviations = size_deviations(audit.faces.sizes)
    return _beyond(deviations, ODD_SIZE, deviations)


def _crowd_disagrees(audit: Audit) -> Finding | None:
    """Find rows whose own label got no clear vote; the value is the share of the votes for another label."""
    votes = audit.faces.votes
    if votes is None:
        return None
    own, most = votes[np.arange(len(votes)), audit.faces.classes], votes.max(axis=1)
    return _beyond(np.where(own == 0, most, 0), 0, most)


def _beyond(scores: np.ndarray, threshold: float, values: np.ndarray) -> Finding:
    """Find the rows whose score lies above a threshold, highest first."""
    rows = np.flatnonzero(scores > threshold)
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    return _finding([(row, -1, values[row]) for row in rows.tolist()])


def _finding(found: list[tuple[int, int, float]], groups: int = 0) -> Finding:
    """Make a finding of (row, partner, value)."""
    rows, partners, values = zip(*found, strict=True) if found else ((), (), ())
    return Finding(np.array(rows, np.int64), np.array(partners, np.int64), np.array(values, np.float64), groups)


# Arranging findings for the page


def _exact_tiles(audit: Audit, _: Finding) -> list[Tile]:
    splits, groups = audit.faces.splits, groups_of(audit.copies.original)
    groups.sort(key=lambda rows: (len(np.unique(splits[rows])) == 1, -len(rows)))
    return [Tile((rows,), f"{len(rows)} rows") for rows in groups]


def _near_tiles(audit: Audit, _: Finding) -> list[Tile]:
    pairs = zip(audit.copies.pairs, audit.copies.correlation, audit.copies.mirrored.tolist(), strict=True)
    return [
        Tile((pair[:1], pair[1:]), f"{value:.3f}" + (", the second mirrored" if mirrored else ""), mirrored)
        for pair, value, mirrored in pairs
    ]


def _conflict_tiles(audit: Audit, _: Finding) -> list[Tile]:
    tiles = []
    for rows in sorted(_conflicting_groups(audit), key=lambda rows: -len(rows)):
        labels, first, counts = np.unique(audit.faces.classes[rows], return_index=True, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        note = ", ".join(f"{counts[i]} {audit.faces.labels[int(labels[i])]}" for i in order)
        tiles.append(Tile(tuple(rows[[first[i]]] for i in order), note))
    return tiles


def _one_by_one(note: Callable[[Audit, int, float], str]) -> Callable[[Audit, Finding], list[Tile]]:
    """Show every row of a finding by itself, with a note made of the row and its value."""
    return lambda audit, finding: [
        Tile((np.array([row]),), note(audit, row, value))
        for row, value in zip(finding.rows.tolist(), finding.values.tolist(), strict=True)
    ]


def _size_note(audit: Audit, row: int, _: float) -> str:
    assert audit.faces.sizes is not None
    height, width = audit.faces.sizes[row]
    return f"{width}\N{MULTIPLICATION SIGN}{height} pixels"


def _crowd_note(audit: Audit, row: int, value: float) -> str:
    assert audit.faces.votes is not None
    return f"crowd: {audit.faces.labels[int(audit.faces.votes[row].argmax())]} {value:.0%}"


KINDS = (
    Kind(
        "exact-copy",
        "Exact copies",
        "The same pixels, at {size} by {size} pixels. Each face stands for its group.",
        _exact_copies,
        _exact_tiles,
        "groups across splits first, then the largest",
        "groups",
        leave_out=_copies_to_leave_out,
    ),
    Kind(
        "near-copy",
        "Near copies",
        "The same picture with other pixels: brighter, compressed, watermarked, mirrored, or cropped a pixel or two of 48 "
        "apart. Candidates are the nearest small thumbnails; a pair is confirmed where the details (the difference of two "
        f"Gaussian blurs, of 1 pixel and of 4) correlate by {SAME_PICTURE:g} or more.",
        _near_copies,
        _near_tiles,
        "the least similar first, so the others are more certain",
        "pairs",
        SAME_PICTURE,
        _copies_to_leave_out,
    ),
    Kind(
        "conflict",
        "Copies with conflicting labels",
        "Groups of copies, exact or near, directly or through another copy, with more than one label.",
        _conflicts,
        _conflict_tiles,
        "the largest groups first, a face for each label",
        "groups",
        leave_out=_copies_to_leave_out,
    ),
    Kind(
        "blank",
        "Constant and nearly blank",
        f"The standard deviation of the pixels is below {NEARLY_BLANK:g} grays of 256.",
        _blank,
        _one_by_one(lambda _, __, value: f"contrast {value:.1f}" if value else "constant"),
        "the lowest contrast first",
        threshold=NEARLY_BLANK,
        leave_out=_blanks_to_leave_out,
    ),
    Kind(
        "no-face",
        "May show no face",
        "The histogram of oriented gradients lies farther from the mean of all images than usual, by more than "
        f"{FAR_FROM_FACES:g} robust standard deviations. This is a hint, not proof: profiles are far from the mean too.",
        _without_face,
        _one_by_one(lambda _, __, value: f"{value:.1f} deviations"),
        "the farthest first",
        threshold=FAR_FROM_FACES,
    ),
    Kind(
        "brightness",
        "Much darker or brighter than the rest",
        f"The mean of the pixels lies more than {TOO_DARK_OR_BRIGHT:g} robust standard deviations from the median. This is a "
        "hint: such faces can be good ones.",
        _dark_or_bright,
        _one_by_one(lambda _, __, value: f"mean {value:.0f}"),
        "the farthest first",
        "faces",
        TOO_DARK_OR_BRIGHT,
    ),
    Kind(
        "size",
        "Of another size or shape than the rest",
        "Height, width or their ratio, before the image was resized to {size} by {size} pixels, lies more than "
        f"{ODD_SIZE:g} robust standard deviations from the median (in logarithms), and more than a factor of 2. Small images "
        "were enlarged and are blurred; odd shapes were stretched.",
        _odd_sizes,
        _one_by_one(_size_note),
        "the farthest first",
        threshold=ODD_SIZE,
    ),
    Kind(
        "crowd",
        "The crowd chose another label",
        "The label of the row has none of the clear votes.",
        _crowd_disagrees,
        _one_by_one(_crowd_note),
        "the highest agreement first",
        "faces",
    ),
)
"""Every kind of finding. The first four are certain; the others are for a person to judge."""
