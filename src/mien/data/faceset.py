"""Labelled faces: pixels, target distributions, crowd votes, the split and the id of every row."""

import hashlib
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Protocol, TypeAlias

import numpy as np

from mien.data.rows import MISTAKES
from mien.data.source import DataSource
from mien.errors import MienError, check_number, say, shortened
from mien.files import cache_folder
from mien.labels import LabelMap, LabelSet, move_shares

SPLITS = ("none", "train", "validation", "test")  # a row's split is stored as its index here; "none": of data without splits
NO_FACE = "no face was found"  # the reason in `Origin.skipped`


def fits_in_memory(size: int) -> bool:
    """Return whether images of so many bytes are at most half of the memory: of the machine, or MIEN_MEMORY gigabytes."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else float("inf")
    try:
        return size <= float(os.environ.get("MIEN_MEMORY") or pages / 1e9) * 1e9 / 2
    except ValueError:
        raise MienError(f"MIEN_MEMORY must be a number of gigabytes, not {os.environ['MIEN_MEMORY']!r}.") from None


@dataclass(frozen=True)
class Origin:
    """Where faces were read from: the detected kind of data, the path, and what was left out."""

    kind: str = "memory"
    path: str = ""
    skipped: tuple[str, ...] = ()  # what was left out, each with the reason
    limit: str = ""  # "500 of 35,887 faces", where only a part of the rows was taken

    @property
    def without_face(self) -> tuple[str, ...]:
        """The photos that were left out because no face was found in them."""
        return tuple(each.removesuffix(f": {NO_FACE}") for each in self.skipped if each.endswith(NO_FACE))

    def write_skipped(self, folder: Path) -> None:
        """Write skipped.txt into a folder, a line for each image that was left out, if there are any."""
        if self.skipped:
            (folder / "skipped.txt").write_text("\n".join([*self.skipped, ""]), encoding="utf-8")


@dataclass(frozen=True, eq=False)
class FaceSet:
    """Labelled faces, in memory or memory-mapped.

    Attributes:
        images: (N, H, W) gray or (N, H, W, 3) RGB, uint8, 0 to 255; H equals W.
        targets: (N, K), float32; each row a distribution over the labels (a hard label is a row with a single 1).
        labels: the K label names.
        splits: (N,), uint8, indices into `SPLITS`.
        ids: (N,), UTF-8 bytes: a path, or the row number in the source.
        origin: where the faces were read from.
        votes: (N, K), float32, or None; crowd votes in addition to the targets, to learn from both: each row a distribution
            over the same labels, or zeros where there are no votes or no clear ones.
        sizes: (N, 2), uint32, or None; height and width in pixels of the images before they were prepared.
        columns: further columns of the data by name, each (N,) of text; empty text is a missing value.
        groups: (N,) of text, or None; rows that belong together, such as those of one person or clip.

    Raises:
        MienError: if the arrays do not match each other or the types above.
    """

    images: np.ndarray
    targets: np.ndarray
    labels: LabelSet
    splits: np.ndarray
    ids: np.ndarray
    origin: Origin = field(default_factory=Origin)
    votes: np.ndarray | None = None
    sizes: np.ndarray | None = None
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    groups: np.ndarray | None = None

    def __post_init__(self) -> None:
        images, count = self.images, len(self)
        if not isinstance(images, np.ndarray):
            raise MienError(MISTAKES["no array"].format(type(images).__name__))
        if images.dtype != np.uint8 or images.ndim not in (3, 4):
            raise MienError(f"Images must be uint8 (N, H, W) or (N, H, W, 3), not {images.dtype} {images.shape}.")
        if images.ndim == 4 and images.shape[3] != 3:
            raise MienError(f"Colour images must be (N, H, W, 3), not {images.shape}.")
        if images.shape[1] != images.shape[2]:
            raise MienError(f"Images must be square, not {images.shape[1]} pixels high and {images.shape[2]} wide.")
        shape = (count, len(self.labels))
        for name, rows, or_zeros in (("targets", self.targets, ""), ("votes", self.votes, ", or zeros where nothing is known")):
            if rows is None:
                continue
            if rows.dtype != np.float32 or rows.shape != shape:
                raise MienError(MISTAKES["distributions"].format(name.capitalize(), shape, rows.dtype, rows.shape))
            total = rows.sum(axis=1)
            good = (rows >= 0).all(axis=1) & (np.isclose(total, 1, atol=1e-3) | (bool(or_zeros) & (total == 0)))
            if len(wrong := np.flatnonzero(~good)):
                raise MienError(MISTAKES["no shares"].format(name, or_zeros, wrong[0], rows[wrong[0]].tolist()))
        if isinstance(self.groups, list | tuple):
            object.__setattr__(self, "groups", np.array(self.groups))
        if self.sizes is not None and self.sizes.shape != (count, 2):
            raise MienError(f"{count} images need as many sizes, height and width, not {self.sizes.shape}.")
        if self.splits.shape != (count,) or self.ids.shape != (count,):
            raise MienError(f"{count} images need {count} splits and ids, not {self.splits.shape} and {self.ids.shape}.")
        if self.splits.dtype != np.uint8 or (self.splits >= len(SPLITS)).any():
            raise MienError(f"Splits must be uint8 indices into {', '.join(SPLITS)}.")
        if self.ids.dtype.kind != "S":
            raise MienError(f"Ids must be UTF-8 bytes, not {self.ids.dtype}.")
        for name, values in {**self.columns, **({} if self.groups is None else {"groups": self.groups})}.items():
            found = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else type(values).__name__
            if found[1:2] != "U" or values.shape != (count,):
                raise MienError(f"{count} images need {count} texts in the column {name!r}, not {found}.")

    @classmethod
    def from_arrays(
        cls,
        images: np.ndarray,
        classes: Sequence[int] | np.ndarray,
        labels: LabelSet,
        splits: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
    ) -> "FaceSet":
        """Make a set from hard labels.

        Args:
            images: (N, H, W) or (N, H, W, 3), uint8.
            classes: (N,) indices into the labels.
            labels: the label names.
            splits: (N,) names from `SPLITS`; by default the rows have none.
            ids: (N,) names of the rows; by default their numbers.

        Raises:
            MienError: if a class is not an index into the labels, a split is unknown, or lengths differ.
        """
        classes = np.asarray(classes)
        if classes.ndim != 1 or (len(classes) and classes.dtype.kind not in "iu"):
            raise MienError(MISTAKES["classes"].format(classes.dtype, classes.shape))
        if len(classes) and (classes.min() < 0 or classes.max() >= len(labels)):
            raise MienError(f"Classes must lie between 0 and {len(labels) - 1}, not {classes.min()} to {classes.max()}.")
        names = ["none"] * len(images) if splits is None else list(splits)
        if unknown := sorted(set(names).difference(SPLITS)):
            raise MienError(f"A split is one of {', '.join(SPLITS)}, not {unknown[0]!r}.")
        ids = [str(i) for i in range(len(images))] if ids is None else list(ids)
        targets = np.eye(len(labels), dtype=np.float32)[classes.astype(np.int64)]
        codes = np.array([SPLITS.index(name) for name in names], dtype=np.uint8)
        return cls(images, targets, labels, codes, np.array([i.encode(errors="backslashreplace") for i in ids], dtype=bytes))

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> int:
        """Height of the images in pixels."""
        return int(self.images.shape[1])

    @property
    def channels(self) -> int:
        """1 for gray, 3 for RGB."""
        return 1 if self.images.ndim == 3 else 3

    @cached_property
    def classes(self) -> np.ndarray:
        """The most probable label of every row, the first of equals: (N,), int64."""
        return np.asarray(self.targets.argmax(axis=1))

    @property
    def split_names(self) -> tuple[str, ...]:
        """The splits that have rows, in the order none, train, validation, test."""
        return tuple(SPLITS[code] for code in np.unique(self.splits))

    def counts(self) -> np.ndarray:
        """Count the rows by their most probable label: (K,), int64."""
        return np.bincount(self.classes, minlength=len(self.labels))

    def id(self, row: int) -> str:
        """Return the id of one row as text."""
        return bytes(self.ids[row]).decode(errors="backslashreplace")

    def take(self, rows: np.ndarray) -> "FaceSet":
        """Take rows by indices, negative ones counted from the end, or by a mask of N booleans; MienError if they do not fit.

        Consecutive rows stay memory-mapped, others are copied: into a temporary file if they do not fit into memory.
        """
        try:
            rows = np.arange(len(self))[rows]
        except IndexError as problem:
            raise MienError(f"These are no rows of {len(self):,} faces: {problem}.") from None
        chosen = slice(rows[0], rows[0] + len(rows)) if len(rows) and (np.diff(rows) == 1).all() else rows
        arrays = {name: getattr(self, name) for name in ("targets", "splits", "ids", "votes", "sizes", "groups")}
        taken: dict[str, Any] = {name: values[chosen] for name, values in arrays.items() if values is not None}
        if isinstance(chosen, slice) or fits_in_memory(len(rows) * self.images[:1].nbytes):
            taken["images"] = self.images[chosen]
        else:
            with TemporaryFile(dir=cache_folder()) as file:  # its space is free again when nothing maps it
                file.writelines(self.images[row].data for row in rows)
                taken["images"] = np.memmap(file, np.uint8, "r", shape=(len(rows), *self.images.shape[1:]))
        return replace(self, **taken, columns={name: values[chosen] for name, values in self.columns.items()})

    def split(self, name: str) -> "FaceSet":
        """Take one split; if there is no such split, the MienError names the existing ones."""
        if name not in SPLITS or not (chosen := self.splits == SPLITS.index(name)).any():
            raise MienError(f"The data have no split {name!r}; {self._describe_splits()}.")
        return self.take(chosen)

    def _describe_splits(self) -> str:
        if self.split_names == ("none",):
            return "they are not divided into splits"
        return "they have " + (", ".join(self.split_names).replace("none", "rows in no split") or "no rows")

    def keep(self, names: Sequence[str]) -> "FaceSet":
        """Keep some labels as `LabelSet.keep` does; drop the rows of other labels, and the shares of these in the rows kept."""
        return self._relabel(*self.labels.keep(names))

    def merge(self, groups: LabelMap) -> "FaceSet":
        """Merge, rename and leave out labels as `LabelSet.merge` does; the shares of the members are added."""
        return self._relabel(*self.labels.merge(groups))

    def _relabel(self, labels: LabelSet, new_index: Sequence[int]) -> "FaceSet":
        """Drop the rows of labels without a new index; move the shares to new labels, and scale every row to sum to 1 again."""
        stays = np.isin(self.classes, [old for old, new in enumerate(new_index) if new >= 0])
        kept = self if stays.all() else self.take(stays)
        votes = None if kept.votes is None else move_shares(kept.votes, new_index, len(labels))
        return replace(kept, targets=move_shares(kept.targets, new_index, len(labels)), votes=votes, labels=labels)

    def judged_by_votes(self) -> "FaceSet":
        """Take the rows with votes, and use the votes as their targets; MienError if there are none."""
        if self.votes is None or not len(voted := np.flatnonzero(self.votes.any(axis=1))):
            raise MienError("No face has crowd votes; read the data with --data.votes FILE --data.votes_as beside.")
        return replace(self.take(voted), targets=self.votes[voted], votes=None)

    def carve(self, amount: int | float, source: str = "train", into: str = "validation", seed: int = 0) -> "FaceSet":
        """Move random rows from one split to another, stratified by label; if the set has `groups`, whole ones.

        Args:
            amount: a whole number is rows per label; a number below 1 is that share of each label (at least one row).
            source: the split the rows are taken from. Without a split train, rows in no split become training rows first.
            into: the split they go to; the order of all rows stays.
            seed: the same seed carves the same rows.

        Raises:
            MienError: if the split does not exist, the splits are the same, or a label would be left without rows.
        """
        if source == "train" and "train" not in self.split_names and "none" in self.split_names:
            return move_split(self, "none", "train").carve(amount, source, into, seed)
        if source not in self.split_names:
            advice = " Give `source` one of these." if self.split_names else ""
            raise MienError(f"Cannot carve out of {source!r}: the data have no such split; {self._describe_splits()}.{advice}")
        if into not in (others := [name for name in SPLITS if name != source]):
            raise MienError(f"Cannot carve rows of {source!r} into {into!r}; name one of {', '.join(others)}.")
        whole = isinstance(amount, (int, np.integer)) and not isinstance(amount, bool)
        if not (whole or isinstance(amount, (float, np.floating))) or not (1 <= amount < 2**63 if whole else 0 < amount < 1):
            given = shortened(amount, form=repr)
            raise MienError(f"Carve a whole number of rows per label or a share between 0 and 1, not {given}.")
        check_number("The seed", seed, 0, 1e18)
        random, splits, classes = np.random.default_rng(seed), np.array(self.splits), self.classes
        for label, name in enumerate(self.labels.names):
            rows = np.flatnonzero((classes == label) & (self.splits == SPLITS.index(source)))
            wanted = int(amount) if whole else max(1, round(float(amount) * len(rows)))
            if 0 < len(rows) <= wanted:
                advice = "carve fewer (--recipe.carve, or `amount`)" if len(rows) > 1 else "add rows, or leave the label out"
                raise MienError(MISTAKES["cannot carve"].format(wanted, len(rows), name, source, advice))
            splits[random.permutation(rows)[:wanted]] = SPLITS.index(into)
        if self.groups is not None:
            rows, moved = np.flatnonzero(self.splits == SPLITS.index(source)), self.take(splits != self.splits).counts()
            splits = np.array(self.splits)
            splits[rows[self.take(rows)._whole_groups(self.groups[rows], moved, random)]] = SPLITS.index(into)
        carved = replace(self, splits=splits)  # sorted by split, each split is a view
        return carved if fits_in_memory(self.images.nbytes) else carved.take(np.argsort(splits, kind="stable"))

    def folds(self, count: int, seed: int = 0) -> np.ndarray:
        """Number each row's fold from 1: (N,), int64, stratified, with whole groups. MienError for too few rows or groups."""
        from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

        check_number("The number of folds", count, 2)
        check_number("The seed", seed, 0, 1e18)
        classes, groups = self.classes, self.groups
        what, units = ("rows", np.arange(len(self))) if groups is None else ("groups", groups)
        found = {what: len(np.unique(units)), "rows of a label": int(self.counts().max())}
        fewest = min(found, key=found.__getitem__)
        if found[fewest] < count:
            raise MienError(MISTAKES["few for folds"].format(count, what, found[fewest], fewest))
        folds, method = np.zeros(len(self), dtype=np.int64), StratifiedKFold if groups is None else StratifiedGroupKFold
        with warnings.catch_warnings(action="ignore"):  # that a label has fewer rows than there are folds
            parts = method(count, shuffle=True, random_state=seed).split(classes, classes, groups)
            for number, (_, rows) in enumerate(parts, start=1):
                folds[rows] = number
        self._check_parted(folds, units, what)
        if len(np.unique(folds)) < count:
            raise MienError(f"The groups are too large for {count} parts; choose fewer.")
        return folds

    def _check_parted(self, parts: np.ndarray, units: np.ndarray, what: str) -> None:
        """Raise a MienError if all rows of a label are in one part."""
        for name, rows in zip(self.labels, np.eye(len(self.labels), dtype=bool)[self.classes].T, strict=True):
            if len(np.unique(parts[rows])) == 1:
                raise MienError(MISTAKES["label in one part"].format(rows.sum(), name, len(np.unique(units[rows])), what))

    def _whole_groups(self, groups: np.ndarray, wanted: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Choose groups with rows of every label, as near to `wanted` (K,) as the best random order gets: (N,), bool."""
        names, group = np.unique(groups, return_inverse=True)
        self._check_parted(group, group, "groups")
        cells, every = np.zeros((len(names), len(wanted)), dtype=np.int64), self.counts()
        np.add.at(cells, (group, self.classes), 1)

        def distance(taken: np.ndarray) -> float:
            if (taken[every > 0] == every[every > 0]).any():  # a label would be left without rows
                return np.inf
            return float(abs(taken - wanted).sum() + wanted.sum() * ((taken == 0) & (wanted > 0)).sum())

        best, nearest = list[int](), np.inf
        for _ in range(2 + 2000 // len(names)):
            chosen, taken, least = list[int](), 0 * wanted, distance(0 * wanted)
            for number in random.permutation(len(names)).tolist():
                if (found := distance(taken + cells[number])) < least:
                    chosen.append(number)
                    taken, least = taken + cells[number], found
            if least < nearest:
                best, nearest = chosen, least
        return np.isin(group, best)

    def fingerprint(self) -> str:
        """Hash pixels, targets, votes and label names: the same rows in the same order give the same 64 hex digits."""
        digest = hashlib.sha256("\n".join(self.labels.names).encode())
        digest.update(self.targets.tobytes())
        digest.update(b"" if self.votes is None else self.votes.tobytes())
        for start in range(0, len(self), 4096):
            digest.update(self.images[start : start + 4096].ravel().data)  # a view, so that large faces are not copied
        return digest.hexdigest()


def move_split(faces: FaceSet, source: str, into: str) -> FaceSet:
    """Move all rows of one split to another; the order of the rows stays."""
    moved = np.where(faces.splits == SPLITS.index(source), SPLITS.index(into), faces.splits)
    return replace(faces, splits=moved.astype(np.uint8))


def check_limit(amount: int | float | None) -> None:
    """Raise a MienError unless it is a number of rows, a share of them, or None."""
    if not (amount is None or (type(amount) is int and 1 <= amount <= 1e9) or (type(amount) is float and 0 < amount < 1)):
        raise MienError(MISTAKES["limit"].format(shortened(amount, form=repr)))


def limited(faces: FaceSet, amount: int | float | None, seed: int = 0) -> FaceSet:
    """Take a number of random rows or a share of them, stratified by label and split, at least one of each; all for None."""
    if amount is None:
        return faces
    check_limit(amount)
    is_share, every = isinstance(amount, float), len(faces)
    if amount >= every:
        say(f"--limit {amount} takes all {every:,} faces")
        return faces
    order = np.random.default_rng(seed).permutation(every)
    kinds = np.unique((faces.classes * len(SPLITS) + faces.splits)[order], return_inverse=True)[1]
    counts, rank = np.bincount(kinds), np.empty(every)
    rank[np.argsort(kinds, kind="stable")] = np.concatenate([np.arange(count) for count in counts])
    wanted = max(len(counts), round(amount * every)) if is_share else int(amount)
    if wanted < len(counts):
        raise MienError(f"--limit {wanted} is too low: {len(counts)} rows are needed for one of each label in each split.")
    first = np.argsort(np.where(rank == 0, 0, (rank + 0.5) / counts[kinds]), kind="stable")[:wanted]
    origin = replace(faces.origin, limit=f"{wanted:,} of {every:,} faces")
    say(f"using a part of the data: {origin.limit}, stratified by label and split (--limit {amount})")
    return replace(faces.take(np.sort(order[first])), origin=origin)


class Pairs(Protocol):
    """A torch Dataset, a list or any other sequence of pairs: an image and its label."""

    def __len__(self) -> int: ...
    def __getitem__(self, row: int, /) -> Any: ...


Data: TypeAlias = FaceSet | DataSource | str | Path | Pairs | Mapping[str, Pairs]
"""Labelled faces: a set of them, where they are on disk, pairs of an image and a label, or such pairs by split."""
