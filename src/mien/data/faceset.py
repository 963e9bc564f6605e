"""Labelled faces: pixels, target distributions, crowd votes, the split and the id of every row."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mien.errors import MienError
from mien.labels import LabelSet

# Shares of the labels, as targets and crowd votes hold them: made of hard labels, checked, and carried to other labels.


def one_hot(classes: Sequence[int] | np.ndarray, count: int) -> np.ndarray:
    """Make shares of hard labels.

    Args:
        classes: (N,) indices into the labels.
        count: K, the number of labels.

    Returns:
        (N, K), float32; each row has a single 1.

    Raises:
        MienError: if a class is no index into the labels.
    """
    classes = np.asarray(classes)
    if classes.ndim != 1 or (len(classes) and classes.dtype.kind not in "iu"):
        raise MienError(f"Classes must be (N,) whole numbers, indices into the labels, not {classes.dtype} {classes.shape}.")
    if len(classes) and (classes.min() < 0 or classes.max() >= count):
        raise MienError(f"Classes must lie between 0 and {count - 1}, not {classes.min()} to {classes.max()}.")
    return np.asarray(np.eye(count, dtype=np.float32)[classes.astype(np.int64)])


def check_shares(name: str, shares: np.ndarray, shape: tuple[int, int], may_be_zeros: bool = False) -> None:
    """Refuse what are no shares of the labels.

    Args:
        name: what they are called, for the sentence.
        shares: wanted as float32; each row not negative and summing to 1.
        shape: (N, K), as it is wanted.
        may_be_zeros: accept rows of zeros, of which nothing is known.

    Raises:
        MienError: if they have another type or shape, or a row is something else.
    """
    if shares.dtype != np.float32 or shares.shape != shape:
        raise MienError(
            f"{name.capitalize()} must be float32 {shape} for these images and labels, not {shares.dtype} {shares.shape}."
        )
    total = shares.sum(axis=1)
    good = (shares >= 0).all(axis=1) & (np.isclose(total, 1, atol=1e-3) | (may_be_zeros & (total == 0)))
    if not good.all():
        row = int(good.argmin())
        zeros = ", or zeros where nothing is known" if may_be_zeros else ""
        raise MienError(f"Every row of the {name} must be shares that sum to 1{zeros}; row {row} is {shares[row].tolist()}.")


def relabelled(shares: np.ndarray, becomes: Sequence[int], count: int) -> np.ndarray:
    """Carry shares over to other labels; what is left of a row sums to 1 again.

    Args:
        shares: (N, K).
        becomes: for each old label its new index, or -1 where it is dropped, as `LabelSet.keep` and `merge` give it.
        count: the number of new labels.

    Returns:
        (N, count), float32; rows of zeros where nothing is left.
    """
    new = np.zeros((len(shares), count), dtype=np.float32)
    for old, index in enumerate(becomes):
        if index >= 0:
            new[:, index] += shares[:, old]
    total = new.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(new, total, out=new, where=total > 0))


# What the arrays of labelled faces must be to fit each other.


def check_images(images: np.ndarray) -> None:
    """Refuse arrays that are no faces.

    Args:
        images: wanted as uint8, (N, H, W) or (N, H, W, 3), H equal to W.

    Raises:
        MienError: if they are something else.
    """
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise MienError(f"Images must be uint8 (N, H, W) or (N, H, W, 3), not {images.dtype} {images.shape}.")
    if images.ndim == 4 and images.shape[3] != 3:
        raise MienError(f"Colour images must be (N, H, W, 3), not {images.shape}.")
    if images.shape[1] != images.shape[2]:
        raise MienError(f"Images must be square, not {images.shape[1]} pixels high and {images.shape[2]} wide.")


def check_rows(
    count: int,
    splits: np.ndarray,
    split_names: Sequence[str],
    ids: np.ndarray,
    sizes: np.ndarray | None,
    columns: Mapping[str, np.ndarray],
) -> None:
    """Refuse what does not describe so many rows.

    Args:
        count: N.
        splits: wanted as uint8, (N,), indices into `split_names`.
        split_names: the names of the splits.
        ids: wanted as bytes, (N,).
        sizes: wanted as (N, 2), or None.
        columns: each wanted as text, (N,).

    Raises:
        MienError: if one of them is something else.
    """
    if sizes is not None and sizes.shape != (count, 2):
        raise MienError(f"{count} images need as many sizes, height and width, not {sizes.shape}.")
    if splits.shape != (count,) or ids.shape != (count,):
        raise MienError(f"{count} images need {count} splits and ids, not {splits.shape} and {ids.shape}.")
    if splits.dtype != np.uint8 or (splits >= len(split_names)).any():
        raise MienError(f"Splits must be uint8 indices into {', '.join(split_names)}.")
    if ids.dtype.kind != "S":
        raise MienError(f"Ids must be UTF-8 bytes, not {ids.dtype}.")
    for name, values in columns.items():
        if values.shape != (count,) or values.dtype.kind != "U":
            raise MienError(f"{count} images need {count} texts in the column {name!r}, not {values.dtype} {values.shape}.")


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
        images: (N, H, W) gray or (N, H, W, 3) RGB, uint8, 0 to 255; H equals W.
        targets: (N, K), float32; each row a distribution over the labels (a hard label is a row with a single 1).
        labels: the K label names.
        splits: (N,), uint8, indices into `SPLITS`.
        ids: (N,), UTF-8 bytes: a path, or the row number in the source.
        origin: what it was read from.
        votes: (N, K), float32, or None; what a crowd says beside the targets, to learn from both: each row a distribution
            over the same labels, or zeros where the crowd is not clear or was not asked.
        sizes: (N, 2), uint32, or None; height and width in pixels that the images had before they were prepared.
        columns: further columns of the data by name, each (N,) of text; an empty one says nothing.

    Raises:
        MienError: if the arrays do not fit each other, or hold other things than these.
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

    def __post_init__(self) -> None:
        check_images(self.images)
        check_shares("targets", self.targets, (len(self), len(self.labels)))
        if self.votes is not None:
            check_shares("votes", self.votes, (len(self), len(self.labels)), may_be_zeros=True)
        check_rows(len(self), self.splits, SPLITS, self.ids, self.sizes, self.columns)

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
            MienError: if a class is no index into the labels, a split is unknown, or lengths differ.
        """
        names = ["none"] * len(images) if splits is None else list(splits)
        if unknown := sorted(set(names).difference(SPLITS)):
            raise MienError(f"A split is one of {', '.join(SPLITS)}, not {unknown[0]!r}.")
        ids = [str(i) for i in range(len(images))] if ids is None else list(ids)
        return cls(
            images=images,
            targets=one_hot(classes, len(labels)),
            labels=labels,
            splits=np.array([SPLITS.index(name) for name in names], dtype=np.uint8),
            ids=np.array([i.encode(errors="backslashreplace") for i in ids], dtype=bytes),
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
        """The likeliest label of every row, the first of equals: (N,), int64."""
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
            rows: indices, those below 0 counted from the end, or a mask of N booleans.

        Raises:
            IndexError: if there is no such row, or the mask has another length.
        """
        rows = np.arange(len(self))[rows]
        chosen: slice | np.ndarray = rows
        if len(rows) and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
            chosen = slice(int(rows[0]), int(rows[0]) + len(rows))
        return replace(
            self,
            images=self.images[chosen],
            targets=self.targets[chosen],
            splits=self.splits[chosen],
            ids=self.ids[chosen],
            votes=None if self.votes is None else self.votes[chosen],
            sizes=None if self.sizes is None else self.sizes[chosen],
            columns={name: values[chosen] for name, values in self.columns.items()},
        )

    def split(self, name: str) -> "FaceSet":
        """Take one split.

        Raises:
            MienError: if there is no such split; the sentence names those there are.
        """
        if name not in SPLITS or not (chosen := self.splits == SPLITS.index(name)).any():
            raise MienError(f"The data have no split {name!r}; {self._splits_said()}.")
        return self.take(chosen)

    def _splits_said(self) -> str:
        if self.split_names == ("none",):
            return "they are not divided into splits"
        return "they have " + (", ".join(self.split_names).replace("none", "rows in no split") or "no rows")

    def keep(self, names: Sequence[str]) -> "FaceSet":
        """Keep some labels, in the order given; rows whose likeliest label is dropped go, and so do shares of dropped labels.

        Raises:
            MienError: if a name is unknown or stands twice, or if there is none.
        """
        labels, becomes = self.labels.keep(names)
        stays = np.isin(self.classes, [old for old, new in enumerate(becomes) if new >= 0])
        return self.take(stays)._relabelled(labels, becomes)

    def merge(self, groups: Mapping[str, Sequence[str]]) -> "FaceSet":
        """Merge labels as `LabelSet.merge` does; the shares of the members are added.

        Raises:
            MienError: if a name is unknown or is merged twice, a group is empty, or a new name equals a label that stays.
        """
        return self._relabelled(*self.labels.merge(groups))

    def _relabelled(self, labels: LabelSet, becomes: Sequence[int]) -> "FaceSet":
        votes = None if self.votes is None else relabelled(self.votes, becomes, len(labels))
        return replace(self, targets=relabelled(self.targets, becomes, len(labels)), votes=votes, labels=labels)

    def judged_by_votes(self) -> "FaceSet":
        """Take the rows with votes, with the votes as their targets.

        Raises:
            MienError: if there are none.
        """
        if self.votes is None or not len(voted := np.flatnonzero(self.votes.any(axis=1))):
            raise MienError("No face has crowd votes; read the data with --data.votes FILE --data.votes_as beside.")
        return replace(self.take(voted), targets=self.votes[voted], votes=None)

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
            MienError: if the split is not there, the other is no other split, or a label would be left without rows.
        """
        if source not in self.split_names:
            raise MienError(f"Cannot carve out of {source!r}: the data have no such split; {self._splits_said()}.")
        if into not in SPLITS or into == source:
            others = ", ".join(name for name in SPLITS if name != source)
            raise MienError(f"Cannot carve rows of {source!r} into {into!r}; name one of {others}.")
        if not (amount >= 1 if (whole := isinstance(amount, (int, np.integer))) else 0 < amount < 1):
            raise MienError(f"Carve a whole number of rows per label or a share between 0 and 1, not {amount}.")
        random, splits, classes = np.random.default_rng(seed), np.array(self.splits), self.classes
        for label, name in enumerate(self.labels.names):
            if not len(rows := np.flatnonzero((classes == label) & (self.splits == SPLITS.index(source)))):
                continue
            wanted = int(amount) if whole else max(1, round(float(amount) * len(rows)))
            if wanted >= len(rows):
                advice = "carve fewer (--recipe.carve)" if len(rows) > 1 else "add rows, or leave the label out"
                raise MienError(
                    f"Cannot carve {wanted} of the {len(rows)} rows of {name!r} out of {source!r}, for one must stay; {advice}."
                )
            splits[random.permutation(rows)[:wanted]] = SPLITS.index(into)
        return replace(self, splits=splits)

    def fingerprint(self) -> str:
        """Digest pixels, targets, votes and label names: the same rows in the same order give the same 64 hex digits."""
        digest = hashlib.sha256("\n".join(self.labels.names).encode())
        digest.update(self.targets.tobytes())
        digest.update(b"" if self.votes is None else self.votes.tobytes())
        for start in range(0, len(self), 4096):
            digest.update(self.images[start : start + 4096].ravel().data)  # a view: large faces are not copied
        return digest.hexdigest()


# Rows moved as a whole from one split to another.


def move_split(faces: FaceSet, source: str, into: str) -> FaceSet:
    """Move all rows of one split to another; without such rows nothing changes.

    Args:
        faces: labelled faces.
        source: one of `SPLITS`.
        into: one of `SPLITS`.

    Returns:
        The same rows in the same order; only their splits have changed.
    """
    moved = np.where(faces.splits == SPLITS.index(source), SPLITS.index(into), faces.splits)
    return replace(faces, splits=moved.astype(np.uint8))
