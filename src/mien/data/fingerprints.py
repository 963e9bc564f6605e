"""Which faces look alike at a glance: small fingerprints, and the nearest of them without comparing every pair."""

from collections.abc import Iterator

import numpy as np

from mien.images import prepare

SIDE = 48
"""Faces are compared in gray at this height and width, whatever their own size; FER-2013 has it."""

THUMBNAIL = 12
"""Height and width of a fingerprint in pixels."""

COMPONENTS = 16
"""Principal components by which fingerprints are divided; they hold three quarters of the variance of FER-2013's."""

TREES, LEAF = 24, 256
"""So often all are divided anew, until at most so many are together: a pair is missed only if every tree parts it."""

NEIGHBOURS = 8
"""At most so many faces are looked at closely for each, which bounds the cost where many are alike."""

LEAST_LIKENESS = 0.82
"""Least correlation of two fingerprints that are worth a closer look. Of FER-2013's near copies 70% correlate by 0.95 or more,
4% by less than 0.85; what lies below 0.82 is not found."""

CHUNK = 16_384
"""Rows worked on at a time, so that memory stays flat."""


def in_gray(images: np.ndarray) -> np.ndarray:
    """Bring faces to `SIDE` pixels in gray, as a model of that size sees them.

    Args:
        images: (N, H, W) or (N, H, W, 3), uint8.

    Returns:
        (N, SIDE, SIDE), uint8; the same array where it is that already.
    """
    if images.shape[1:] == (SIDE, SIDE):
        return images
    return np.array([prepare(image, SIDE, 1) for image in images], dtype=np.uint8).reshape(-1, SIDE, SIDE)


def fingerprints(images: np.ndarray) -> np.ndarray:
    """Shrink faces to thumbnails of mean 0 and length 1, which neither brightness nor contrast changes.

    Args:
        images: (N, H, W) or (N, H, W, 3), uint8.

    Returns:
        (N, THUMBNAIL * THUMBNAIL), float32; zeros for a face of one gray.
    """
    step = SIDE // THUMBNAIL
    found = np.empty((len(images), THUMBNAIL * THUMBNAIL), dtype=np.float32)
    for start in range(0, len(images), CHUNK):
        gray = in_gray(images[start : start + CHUNK]).reshape(-1, THUMBNAIL, step, THUMBNAIL, step)
        found[start : start + CHUNK] = gray.mean(axis=(2, 4), dtype=np.float32).reshape(len(gray), -1)
    found -= found.mean(axis=1, keepdims=True)
    length = np.linalg.norm(found, axis=1, keepdims=True)
    return np.asarray(found / np.where(length > 0.5, length, np.inf), dtype=np.float32)  # below: rounding, no picture


def mirrored(prints: np.ndarray) -> np.ndarray:
    """Give the fingerprints of the mirrored faces.

    Args:
        prints: (N, THUMBNAIL * THUMBNAIL).
    """
    return prints.reshape(-1, THUMBNAIL, THUMBNAIL)[:, :, ::-1].reshape(len(prints), -1)


def alike(prints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find pairs of fingerprints that are nearly the same, or nearly each other's mirror image.

    Random projection trees (Dasgupta and Freund, 2008) divide them in halves until few are left, and only those are compared
    with each other; so time grows as N log N and memory as N. Trees divide by what is the same in a face and its mirror
    image, so that one search finds both. Of copies that are barely alike it finds the fewer the more faces there are, for
    there are more divisions to part them (docs/fer2013.md).

    Args:
        prints: what `fingerprints` made, (N, D).

    Returns:
        Pairs (P, 2), int64, the smaller row first; and (P,) booleans: whether the second is mirrored. A pair can come both
        ways.
    """
    places, random = _symmetric_components(prints), np.random.default_rng(0)
    plain, turned = _Nearest(len(prints)), _Nearest(len(prints))
    for _ in range(TREES):
        for rows in _leaves(places, random):
            own = prints[rows]
            for nearest, others in ((plain, own), (turned, mirrored(own))):
                likeness = own @ others.T
                np.fill_diagonal(likeness, -1)
                first, second = np.nonzero(likeness >= LEAST_LIKENESS)
                nearest.add(rows[first], rows[second], likeness[first, second])
    both = [plain.pairs(), turned.pairs()]
    return np.concatenate(both), np.arange(len(both[0]) + len(both[1])) >= len(both[0])


def _symmetric_components(prints: np.ndarray) -> np.ndarray:
    """Project the part of every fingerprint that mirroring leaves as it is onto its first principal components."""
    symmetric = prints + mirrored(prints)
    symmetric -= symmetric.mean(axis=0)
    _, axes = np.linalg.eigh(symmetric.T @ symmetric)
    return np.asarray(symmetric @ axes[:, ::-1][:, :COMPONENTS], dtype=np.float32)


def _leaves(places: np.ndarray, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Divide rows in halves along random directions; yields rows, at most `LEAF` together."""
    waiting = [np.arange(len(places))]
    while waiting:
        rows = waiting.pop()
        if len(rows) <= LEAF:
            yield rows
            continue
        direction = random.standard_normal(places.shape[1], dtype=np.float32)
        order = np.argpartition(places[rows] @ direction, len(rows) // 2)
        waiting += [rows[order[: len(rows) // 2]], rows[order[len(rows) // 2 :]]]


class _Nearest:
    """The likest few others of every row, of links that come bit by bit and several times: memory stays flat."""

    def __init__(self, count: int) -> None:
        """Begin without links between `count` rows."""
        self.count = count
        self.waiting: list[tuple[np.ndarray, np.ndarray]] = [(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))]
        self.since = 0

    def add(self, rows: np.ndarray, others: np.ndarray, likeness: np.ndarray) -> None:
        """Add links: (n,), (n,) rows and (n,) how they correlate."""
        if len(rows):
            self.waiting.append((rows * self.count + others, likeness))  # one number sorts faster than two
            self.since += len(rows)
        if self.since > 2 * NEIGHBOURS * self.count:
            self._sift()

    def pairs(self) -> np.ndarray:
        """Give the pairs (P, 2), each once, the smaller row first."""
        self._sift()
        pairs = np.sort(np.column_stack(np.divmod(self.waiting[0][0], self.count)), axis=1)
        return np.column_stack(np.divmod(np.unique(pairs[:, 0] * self.count + pairs[:, 1]), self.count))

    def _sift(self) -> None:
        numbers, likeness = (np.concatenate(parts) for parts in zip(*self.waiting, strict=True))
        numbers, first = np.unique(numbers, return_index=True)
        likeness, rows = likeness[first], numbers // self.count
        order = np.lexsort((-likeness, rows))
        starts = np.searchsorted(rows[order], rows[order])
        kept = order[np.arange(len(order)) - starts < NEIGHBOURS]
        self.waiting, self.since = [(numbers[kept], likeness[kept])], 0
