"""What an audit found in labelled faces."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from mien.data.copies import Copies
from mien.data.faceset import SPLITS, FaceSet


@dataclass(frozen=True)
class Finding:
    """The rows of one kind of finding."""

    rows: np.ndarray  # (n,), int64, the most conspicuous first
    partners: np.ndarray  # (n,), int64: the row that each is a copy of or in conflict with; -1 where there is none
    values: np.ndarray  # (n,), float64: what each was found by
    groups: int = 0  # of copies; 0 for kinds without groups


class Overlap(NamedTuple):
    """Rows of a split that have a copy in a split, which may be the same one: an exact copy, or any, exact or near."""

    split: str
    other: str
    exact: int
    any: int


@dataclass(frozen=True)
class Audit:
    """What was found in labelled faces.

    Attributes:
        faces: the faces.
        copies: which rows are copies of which.
        brightness: (N,), float32: mean of each face's pixels, 0 to 255.
        contrast: (N,), float32: their standard deviation.
        findings: by the names of `KINDS`; without "size" where the images' own sizes are not known, and without "crowd" where
            there are no votes beside the labels.
    """

    faces: FaceSet
    copies: Copies
    brightness: np.ndarray
    contrast: np.ndarray
    findings: dict[str, Finding] = field(default_factory=dict)

    @cached_property
    def overlaps(self) -> tuple[Overlap, ...]:
        """Every split of the data with every one, itself first."""
        found = []
        for split in self.faces.split_names:
            rows = self.faces.splits == SPLITS.index(split)
            for other in sorted(self.faces.split_names, key=lambda name: name != split):
                elsewhere = self.faces.splits == SPLITS.index(other)
                counts = []
                for group in (self.copies.original, self.copies.group):
                    members = np.bincount(group[elsewhere], minlength=len(group))
                    counts.append(int((members[group[rows]] > elsewhere[rows]).sum()))  # a row is no copy of itself
                found.append(Overlap(split, other, *counts))
        return tuple(found)

    @property
    def leaks(self) -> tuple[Overlap, ...]:
        """The overlaps of validation and test with an earlier split, which make figures too good."""
        return tuple(each for each in self.overlaps if SPLITS.index(each.split) > SPLITS.index(each.other) > 0)

    def counts(self) -> dict[str, dict[str, int]]:
        """Count the rows of every split by their label."""
        numbers = {name: self.faces.split(name).counts() for name in self.faces.split_names}
        return {name: dict(zip(self.faces.labels.names, counts.tolist(), strict=True)) for name, counts in numbers.items()}

    def table(self) -> str:
        """Format the counts as text for a terminal."""
        lines = [f"{'finding':<12}{'rows':>8}{'groups':>8}"]
        for kind, finding in self.findings.items():
            lines.append(f"{kind:<12}{len(finding.rows):>8,}{f'{finding.groups:,}' if finding.groups else '':>8}".rstrip())
        shown = (each for each in self.overlaps if each.split == each.other or each in self.leaks)
        return "\n".join([*lines, *map(self.describe_overlap, shown)])

    def describe_overlap(self, overlap: Overlap) -> str:
        """Describe an overlap in one sentence."""
        count = int((self.faces.splits == SPLITS.index(overlap.split)).sum())
        of, place = ("", "the data") if overlap.other == "none" else (f"{overlap.split} ", overlap.other)
        either = f"{overlap.any:,} an exact or near one"
        return f"{overlap.exact:,} of {count:,} {of}faces have an exact copy in {place}, {either}."

    def describe_row(self, row: int) -> tuple[str, str, str]:
        """Give a row's id, its split and its label."""
        return self.faces.id(row), SPLITS[self.faces.splits[row]], self.faces.labels[int(self.faces.classes[row])]


def groups_of(group: np.ndarray) -> list[np.ndarray]:
    """Collect the rows that share a number, where they are two or more, in the order of their first rows."""
    order = np.argsort(group, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    return [part for part in parts if len(part) > 1]
