"""Which faces are copies of which: exact and near, within and across splits."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mien.errors import MienError
from mien.images import prepare

# Which faces look alike at a glance: small fingerprints, and the nearest of them without comparing every pair.

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


SAME_PICTURE = 0.9
"""Least correlation of the details of two near copies. Of FER-2013's pairs at 0.84 to 0.87 nearly all show the same picture,
of those at 0.80 to 0.85 one in ten does not (docs/fer2013.md)."""

SHIFT = 2
"""Two copies may be cut out so many pixels apart, of 48."""

FINE, COARSE = 1.0, 4.0
"""Details are what a Gaussian blur of FINE pixels leaves and one of COARSE takes away: below is noise and compression, above
is the light and the place of the head, in which strangers are alike."""

PAIRS = 1024
"""Pairs compared at a time."""


@dataclass(frozen=True)
class Copies:
    """What is a copy of what among N faces.

    Attributes:
        original: (N,), int64: the first row with exactly the same pixels; the row itself where it is the first.
        pairs: (P, 2), int64: near copies, each an `original` row, the smaller first, by rising correlation.
        correlation: (P,), float32: of their details, `SAME_PICTURE` to 1.
        mirrored: (P,), bool: whether the second is the mirror image.
        group: (N,), int64: faces with the same number are copies of each other, exact or near, if not directly then by way
            of others; the number is the first row of the group.
    """

    original: np.ndarray
    pairs: np.ndarray
    correlation: np.ndarray
    mirrored: np.ndarray
    group: np.ndarray


def find_copies(images: np.ndarray, threshold: float = SAME_PICTURE) -> Copies:
    """Find exact and near copies.

    Near copies show the same picture: brighter, in another contrast, compressed, with a watermark, mirrored, or cut out a
    pixel or two apart. What was cut out larger or turned is not found.

    Args:
        images: (N, H, W) or (N, H, W, 3), uint8.
        threshold: least correlation of the details, in (0, 1].

    Raises:
        MienError: if threshold lies outside (0, 1].
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    original = exact_originals(images)
    unique = np.flatnonzero(original == np.arange(len(images)))
    pairs, correlation, mirrored = near_copies(images, unique, threshold)
    links = np.concatenate([np.column_stack([np.arange(len(images)), original]), pairs])
    graph = coo_array((np.ones(len(links), dtype=bool), (links[:, 0], links[:, 1])), shape=(len(images), len(images)))
    _, number = connected_components(graph, directed=False)
    _, first = np.unique(number, return_index=True)
    return Copies(original, pairs, correlation, mirrored, np.asarray(first[number], dtype=np.int64))


def exact_originals(images: np.ndarray) -> np.ndarray:
    """Find for every face the first one with exactly the same pixels.

    Args:
        images: (N, ...), uint8.

    Returns:
        (N,), int64: a row; the row itself where it is the first.
    """
    seen: dict[bytes, int] = {}
    digests = (hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest() for image in images)
    return np.array([seen.setdefault(digest, row) for row, digest in enumerate(digests)], dtype=np.int64)


def near_copies(
    images: np.ndarray, rows: np.ndarray, threshold: float = SAME_PICTURE
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find near copies: candidates by their fingerprints, confirmed by their details.

    Args:
        images: (N, H, W) or (N, H, W, 3), uint8.
        rows: which of them to compare; one of each group of exact copies is enough.
        threshold: least correlation of the details, in (0, 1].

    Returns:
        Pairs (P, 2), the smaller row first, by rising correlation; their correlation (P,), float32; and (P,) booleans:
        whether the second is the mirror image of the first.

    Raises:
        MienError: if threshold lies outside (0, 1].
    """
    if not 0 < threshold <= 1:
        raise MienError(f"The threshold of near copies lies above 0 and is at most 1, not {threshold}.")
    prints = fingerprints(images) if len(rows) == len(images) else fingerprints(images[rows])
    seen = np.flatnonzero(prints.any(axis=1))  # a face of one gray is like no other
    if len(seen) < 2:
        return np.empty((0, 2), dtype=np.int64), np.empty(0, dtype=np.float32), np.empty(0, dtype=bool)
    pairs, mirrored = alike(prints[seen])
    pairs = np.sort(np.asarray(rows)[seen][pairs], axis=1)
    correlation = detail_correlation(images, pairs, mirrored)
    likest = np.lexsort((mirrored, -correlation))  # of a pair found both ways the likelier stays, plain before mirrored
    _, first = np.unique(pairs[likest], axis=0, return_index=True)
    kept = likest[first]
    order = kept[np.argsort(correlation[kept], kind="stable")]
    order = order[correlation[order] >= threshold]
    return pairs[order], correlation[order], mirrored[order]


def detail_correlation(images: np.ndarray, pairs: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    """Correlate the details of pairs of faces, at the best of all shifts up to `SHIFT` pixels.

    Args:
        images: (N, H, W) or (N, H, W, 3), uint8.
        pairs: (P, 2), rows.
        mirrored: (P,), bool: whether the second is to be mirrored.

    Returns:
        (P,), float32, -1 to 1.
    """
    found = np.empty(len(pairs), dtype=np.float32)
    for start in range(0, len(pairs), PAIRS):
        part = slice(start, start + PAIRS)
        first, second = (_details(in_gray(images[rows])) for rows in pairs[part].T)
        turned = mirrored[part]
        second[turned] = second[turned][:, :, ::-1]
        found[part] = _best_correlation(first, second)
    return found


def _details(gray: np.ndarray) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    faces = gray.astype(np.float32)
    return np.asarray(gaussian_filter(faces, (0, FINE, FINE)) - gaussian_filter(faces, (0, COARSE, COARSE)))


def _best_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Correlate the middle of each first with the second's window at every shift, and take the best: (P, H, W) to (P,)."""
    extent = SIDE - 2 * SHIFT
    middle = first[:, SHIFT : SHIFT + extent, SHIFT : SHIFT + extent]
    middle = middle - middle.mean(axis=(1, 2), keepdims=True)
    length = np.sqrt(np.einsum("nij,nij->n", middle, middle))
    best = np.full(len(first), -1, dtype=np.float32)
    for down in range(2 * SHIFT + 1):
        for across in range(2 * SHIFT + 1):
            window = second[:, down : down + extent, across : across + extent]
            # the middle has mean 0, so that of the window matters for its length alone
            squares = np.einsum("nij,nij->n", window, window) - window.sum(axis=(1, 2)) ** 2 / extent**2
            scale = length * np.sqrt(np.maximum(squares, 0))
            product = np.einsum("nij,nij->n", middle, window)
            np.maximum(best, product / np.where(scale > 0, scale, np.inf), out=best)
    return best
