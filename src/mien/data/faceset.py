"""Labelled faces: pixels, target distributions, the split and the id of every row."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mien.errors import MienError
from mien.labels import LabelSet

SPLITS = ("none", "train", "validation", "test")
"""A row's split is stored as its index here; "none" is a row of data without splits."""


@dataclass(frozen=True)
class Origin:
    """Where faces came from: the kind of data it was taken for, its path, and what could not be read."""

    kind: str = "memory"
    path: str = ""
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class FaceSet:
    """Labelled faces, in memory or memory-mapped.

    Attributes:
        images: (N, H, W) gray or (N, H, W, 3) RGB, uint8, 0 to 255.
        targets: (N, K), float32; each row a distribution over the labels (a hard label is a row with a single 1).
        labels: the K label names.
        splits: (N,), uint8, indices into `SPLITS`.
        ids: (N,), UTF-8 bytes: a path, or the row number in the source.
        origin: what it was read from.

    Raises:
        MienError: if the arrays do not fit each other.
    """

    images: np.ndarray
    targets: np.ndarray
    labels: LabelSet
    splits: np.ndarray
    ids: np.ndarray
    origin: Origin = field(default_factory=Origin)

    def __post_init__(self) -> None:
        count = len(self.images)
        if self.images.dtype != np.uint8 or self.images.ndim not in (3, 4):
            raise MienError(f"Images must be uint8 (N, H, W) or (N, H, W, 3), not {self.images.dtype} {self.images.shape}.")
        if self.images.ndim == 4 and self.images.shape[3] != 3:
            raise MienError(f"Colour images must be (N, H, W, 3), not {self.images.shape}.")
        if self.targets.shape != (count, len(self.labels)):
            raise MienError(f"Targets must be {(count, len(self.labels))} for these images and labels, not {self.targets.shape}.")
        if len(self.splits) != count or len(self.ids) != count:
            raise MienError(f"{count} images need {count} splits and ids, not {len(self.splits)} and {len(self.ids)}.")

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
            splits: (N,) names out of `SPLITS`; without them the rows have none.
            ids: (N,) names of the rows; without them they are numbered.

        Raises:
            MienError: if a class lies outside the labels, a split is unknown, or lengths differ.
        """
        classes = np.asarray(classes, dtype=np.int64)
        if len(classes) and (classes.min() < 0 or classes.max() >= len(labels)):
            raise MienError(f"Classes must lie between 0 and {len(labels) - 1}, not {classes.min()} to {classes.max()}.")
        names = ["none"] * len(images) if splits is None else list(splits)
        if unknown := sorted(set(names).difference(SPLITS)):
            raise MienError(f"A split is one of {', '.join(SPLITS)}, not {unknown[0]!r}.")
        ids = [str(i) for i in range(len(images))] if ids is None else list(ids)
        return cls(
            images=images,
            targets=np.eye(len(labels), dtype=np.float32)[classes],
            labels=labels,
            splits=np.array([SPLITS.index(name) for name in names], dtype=np.uint8),
            ids=np.array([i.encode() for i in ids], dtype=bytes),
        )

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

    @property
    def classes(self) -> np.ndarray:
        """The likeliest label of every row: (N,), int64."""
        return np.asarray(self.targets.argmax(axis=1))

    @property
    def split_names(self) -> tuple[str, ...]:
        """The splits that have rows, in the order none, train, validation, test."""
        return tuple(SPLITS[code] for code in np.unique(self.splits))

    def counts(self) -> np.ndarray:
        """Count the rows by their likeliest label: (K,), int64."""
        return np.bincount(self.classes, minlength=len(self.labels))

    def id(self, row: int) -> str:
        """Name one row."""
        return bytes(self.ids[row]).decode()

    def take(self, rows: np.ndarray) -> "FaceSet":
        """Take rows by index or by mask; a run of neighbours stays memory-mapped, anything else is copied.

        Args:
            rows: indices, or a mask of N booleans.
        """
        rows = np.asarray(rows)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.int64)
        chosen: slice | np.ndarray = rows
        if len(rows) and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
            chosen = slice(int(rows[0]), int(rows[0]) + len(rows))
        return replace(
            self, images=self.images[chosen], targets=self.targets[chosen], splits=self.splits[chosen], ids=self.ids[chosen]
        )

    def split(self, name: str) -> "FaceSet":
        """Take one split.

        Raises:
            MienError: if there is no such split; the sentence names those there are.
        """
        if name not in SPLITS or not (chosen := self.splits == SPLITS.index(name)).any():
            raise MienError(f"The data have no split {name!r}; they have {', '.join(self.split_names) or 'no rows'}.")
        return self.take(chosen)

    def keep(self, names: Sequence[str]) -> "FaceSet":
        """Keep some labels, in the order given; rows whose likeliest label is dropped go, votes for it too.

        Raises:
            MienError: if a name is unknown.
        """
        labels, becomes = self.labels.keep(names)
        stays = np.isin(self.classes, [old for old, new in enumerate(becomes) if new >= 0])
        return self.take(stays)._relabelled(labels, becomes)

    def merge(self, groups: Mapping[str, Sequence[str]]) -> "FaceSet":
        """Merge labels as `LabelSet.merge` does; the targets of the members are added.

        Raises:
            MienError: if a name is unknown or the groups overlap.
        """
        return self._relabelled(*self.labels.merge(groups))

    def _relabelled(self, labels: LabelSet, becomes: Sequence[int]) -> "FaceSet":
        targets = np.zeros((len(self), len(labels)), dtype=np.float32)
        for old, new in enumerate(becomes):
            if new >= 0:
                targets[:, new] += self.targets[:, old]
        total = targets.sum(axis=1, keepdims=True)
        return replace(self, targets=np.divide(targets, total, out=targets, where=total > 0), labels=labels)

    def carve(self, amount: int | float, source: str = "train", into: str = "validation", seed: int = 0) -> "FaceSet":
        """Move rows from one split to another, stratified by label and at random.

        Args:
            amount: a whole number is rows per label; a number below 1 is that share of each label (at least one row).
            source: the split the rows are taken from.
            into: the split they go to.
            seed: the same seed carves the same rows.

        Returns:
            The same rows in the same order; only their splits have changed.

        Raises:
            MienError: if the split is not there, or a label would be left without rows.
        """
        if into not in SPLITS or source not in self.split_names:
            raise MienError(f"Cannot carve {into!r} out of {source!r}; the data have {', '.join(self.split_names)}.")
        if amount <= 0 or (isinstance(amount, float) and amount >= 1):
            raise MienError(f"Carve a whole number of rows per label or a share between 0 and 1, not {amount}.")
        random = np.random.default_rng(seed)
        splits, classes = np.array(self.splits), self.classes
        for label, name in enumerate(self.labels.names):
            rows = np.flatnonzero((classes == label) & (self.splits == SPLITS.index(source)))
            if not len(rows):
                continue
            wanted = amount if isinstance(amount, int) else max(1, round(amount * len(rows)))
            if wanted >= len(rows):
                raise MienError(f"Cannot carve {wanted} rows of {name!r} out of {source!r}, which has {len(rows)}; carve fewer.")
            splits[random.permutation(rows)[:wanted]] = SPLITS.index(into)
        return replace(self, splits=splits)

    def fingerprint(self) -> str:
        """Digest pixels, targets and label names: the same rows in the same order give the same 64 hex digits."""
        digest = hashlib.sha256("\n".join(self.labels.names).encode())
        digest.update(self.targets.tobytes())
        for start in range(0, len(self), 4096):
            digest.update(self.images[start : start + 4096].tobytes())
        return digest.hexdigest()
