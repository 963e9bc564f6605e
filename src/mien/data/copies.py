"""Find copies among faces: exact and near ones, within and across splits."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from mien.errors import MienError
from mien.images import prepare

SIDE = 48  # faces are compared in gray at this height and width, those of FER-2013
CHUNK = 16_384  # faces processed at a time, which bounds memory
PAIRS = 1024  # pairs compared at a time
THUMBNAIL = 12  # height and width of a fingerprint in pixels
SHIFT = 2  # largest offset between the crops of two copies, in pixels of 48
NEIGHBOURS = 8  # most candidates per face, which bounds the cost where many faces look alike
COMPONENTS = 16  # principal components that trees split on: three quarters of the variance of FER-2013's fingerprints
TREES, LEAF = 24, 256  # number of trees, and most faces in a leaf. A pair is missed only if every tree separates it.

LEAST_LIKENESS = 0.82
"""Least correlation of two fingerprints that makes a candidate. Of FER-2013's near copies 70% correlate by 0.95 or more and 4%
by less than 0.85; those below 0.82 are not found."""

SAME_PICTURE = 0.9
"""Least correlation of the details of near copies. Of FER-2013's pairs at 0.84 to 0.87 nearly all show the same picture; at
0.80 to 0.85 one in ten does not (docs/fer2013.md)."""

FINE, COARSE = 1.0, 4.0  # blurs between which details lie, in pixels: finer is noise, coarser is lighting and the head's place


@dataclass(frozen=True)
class Copies:
    """The copies among N faces."""

    original: np.ndarray  # (N,), int64: the first row with exactly the same pixels; the row itself where it is the first
    pairs: np.ndarray  # (P, 2), int64: near copies, each an `original` row, the smaller first, by rising correlation
    correlation: np.ndarray  # (P,), float32: of their details, `SAME_PICTURE` to 1
    mirrored: np.ndarray  # (P,), bool: whether the second is the mirror image
    group: np.ndarray  # (N,), int64: the first row of all that are copies of it, exact or near, directly or through others


def find_copies(images: np.ndarray, threshold: float = SAME_PICTURE) -> Copies:
    """Find exact and near copies among images (N, H, W) or (N, H, W, 3), uint8.

    Near copies show the same picture with other brightness or contrast, compressed, watermarked, mirrored, or cropped a pixel
    or two apart. Rescaled and rotated copies are not found. `threshold` is the least correlation of the details.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not 0 < threshold <= 1:
        raise MienError(f"The threshold of near copies must lie above 0 and be at most 1, not {threshold}.")
    original = exact_originals(images)
    rows = np.arange(len(images))
    pairs, correlation, is_mirrored = _near_copies(images, np.flatnonzero(original == rows), threshold)
    first, second = np.concatenate([np.column_stack([rows, original]), pairs]).T
    graph = coo_array((np.ones(len(first), dtype=bool), (first, second)), shape=(len(images), len(images)))
    _, number = connected_components(graph, directed=False)
    _, first_row = np.unique(number, return_index=True)
    return Copies(original, pairs, correlation, is_mirrored, np.asarray(first_row[number], dtype=np.int64))


def exact_originals(images: np.ndarray) -> np.ndarray:
    """Find for every face the first row with exactly the same pixels: (N,), int64."""
    seen: dict[bytes, int] = {}
    digests = (hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest() for image in images)
    return np.array([seen.setdefault(digest, row) for row, digest in enumerate(digests)], dtype=np.int64)


def in_gray(images: np.ndarray) -> np.ndarray:
    """Convert faces to gray at `SIDE` pixels, as `prepare` does for a model of that size: (N, SIDE, SIDE), uint8."""
    if images.shape[1:] == (SIDE, SIDE):
        return images
    return np.array([prepare(image, SIDE, 1) for image in images], dtype=np.uint8).reshape(-1, SIDE, SIDE)


def gray_chunks(images: np.ndarray, size: int = CHUNK) -> Iterator[np.ndarray]:
    """Convert some faces at a time with `in_gray`; gives at least one chunk, which may be empty."""
    for start in range(0, max(len(images), 1), size):
        yield in_gray(images[start : start + size])


def fingerprints(images: np.ndarray) -> np.ndarray:
    """Shrink faces to thumbnails of mean 0 and length 1, zeros for a face of one gray: (N, THUMBNAIL**2), float32."""
    step = SIDE // THUMBNAIL
    blocks = (gray.reshape(-1, THUMBNAIL, step, THUMBNAIL, step) for gray in gray_chunks(images))
    found = np.concatenate([each.mean(axis=(2, 4), dtype=np.float32) for each in blocks]).reshape(-1, THUMBNAIL**2)
    found -= found.mean(axis=1, keepdims=True)
    length = np.linalg.norm(found, axis=1, keepdims=True)
    return np.asarray(found / np.where(length > 0.5, length, np.inf), dtype=np.float32)  # shorter ones are rounding errors


def mirrored(prints: np.ndarray) -> np.ndarray:
    """Compute the fingerprints of the mirrored faces from those of the faces."""
    return prints.reshape(-1, THUMBNAIL, THUMBNAIL)[:, :, ::-1].reshape(len(prints), -1)


def alike(prints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find pairs of fingerprints that are nearly the same, or nearly mirror images.

    Random projection trees (Dasgupta and Freund, 2008) halve the fingerprints until few are left, and only those are compared
    with each other, so time grows as N log N and memory as N; comparing all pairs would take hours for a million faces.
    The more faces there are, the more weakly correlated copies are missed, because more splits separate them (docs/fer2013.md).
    Returns pairs (P, 2), the smaller row first, and whether the second is mirrored (P,); a pair can occur in both orientations.
    """
    symmetric = prints + mirrored(prints)  # what a face and its mirror image share, so one search finds both
    symmetric -= symmetric.mean(axis=0)
    _, axes = np.linalg.eigh(symmetric.T @ symmetric)
    components = np.asarray(symmetric @ axes[:, ::-1][:, :COMPONENTS], dtype=np.float32)
    random, count = np.random.default_rng(0), len(prints)
    shape = (2, count, count)  # of links: orientation, plain or mirrored, row, other row
    nearest = (np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))
    for _ in range(TREES):
        found = [nearest]
        for rows in _leaves(components, random):
            for orientation, others in enumerate((prints[rows], mirrored(prints[rows]))):
                likeness = prints[rows] @ others.T
                np.fill_diagonal(likeness, -1)
                first, second = np.nonzero(likeness >= LEAST_LIKENESS)
                link = ((orientation * count + rows[first]) * count + rows[second], likeness[first, second])
                found.append(link if len(first) <= NEIGHBOURS * len(rows) else _nearest([link], count))
        nearest = _nearest(found, count)
    turned, first, second = np.unravel_index(nearest[0], shape)
    numbers = np.ravel_multi_index((turned, np.minimum(first, second), np.maximum(first, second)), shape)
    turned, first, second = np.unravel_index(np.unique(numbers), shape)
    return np.column_stack([first, second]), turned == 1


def _leaves(components: np.ndarray, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Halve the rows along random directions until a part has at most `LEAF`; yields the rows of each part."""
    waiting = [np.arange(len(components))]
    while waiting:
        rows = waiting.pop()
        if len(rows) <= LEAF:
            yield rows
            continue
        direction = random.standard_normal(components.shape[1], dtype=np.float32)
        order = np.argpartition(components[rows] @ direction, len(rows) // 2)
        waiting += [rows[order[: len(rows) // 2]], rows[order[len(rows) // 2 :]]]


def _nearest(links: list[tuple[np.ndarray, np.ndarray]], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Merge links, each (n,) numbers, which sort faster than three columns, and (n,) likeness; keep each row's best."""
    numbers, likeness = (np.concatenate(parts) for parts in zip(*links, strict=True))
    numbers, first = np.unique(numbers, return_index=True)
    likeness, rows = likeness[first], numbers // count
    order = np.lexsort((-likeness, rows))
    starts = np.searchsorted(rows[order], rows[order])
    kept = order[np.arange(len(order)) - starts < NEIGHBOURS]
    return numbers[kept], likeness[kept]


def _near_copies(images: np.ndarray, rows: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the near copies of `Copies` among some rows by their fingerprints, and confirm them by their details."""
    prints = fingerprints(images)[rows]
    seen = np.flatnonzero(prints.any(axis=1))  # a face of one gray resembles no other
    if len(seen) < 2:
        return np.empty((0, 2), dtype=np.int64), np.empty(0, dtype=np.float32), np.empty(0, dtype=bool)
    pairs, is_mirrored = alike(prints[seen])
    pairs = np.sort(rows[seen][pairs], axis=1)
    correlation = _detail_correlation(images, pairs, is_mirrored)
    best = np.lexsort((is_mirrored, -correlation))  # of a pair found in both orientations the better one stays
    kept = best[np.unique(pairs[best], axis=0, return_index=True)[1]]
    order = kept[np.argsort(correlation[kept], kind="stable")]
    order = order[correlation[order] >= threshold]
    return pairs[order], correlation[order], is_mirrored[order]


def _detail_correlation(images: np.ndarray, pairs: np.ndarray, is_mirrored: np.ndarray) -> np.ndarray:
    """Correlate the details of pairs of faces at their best shift: (P, 2) rows and (P,) flags to (P,), float32, -1 to 1."""
    from scipy.ndimage import gaussian_filter

    extent = SIDE - 2 * SHIFT
    best = np.full(len(pairs), -1, dtype=np.float32)
    for start in range(0, len(pairs), PAIRS):
        part = slice(start, start + PAIRS)
        gray = np.stack([in_gray(images[rows]) for rows in pairs[part].T]).astype(np.float32)  # (2, P, SIDE, SIDE)
        turned = is_mirrored[part]
        gray[1, turned] = gray[1, turned, :, ::-1]
        first, second = gaussian_filter(gray, (0, 0, FINE, FINE)) - gaussian_filter(gray, (0, 0, COARSE, COARSE))
        middle = first[:, SHIFT:-SHIFT, SHIFT:-SHIFT]
        middle = middle - middle.mean(axis=(1, 2), keepdims=True)
        length = np.sqrt(np.einsum("nij,nij->n", middle, middle))
        for down, across in product(range(2 * SHIFT + 1), repeat=2):
            window = second[:, down : down + extent, across : across + extent]
            # the middle has mean 0, so the window's mean matters only for its length
            squares = np.einsum("nij,nij->n", window, window) - window.sum(axis=(1, 2)) ** 2 / extent**2
            scale = length * np.sqrt(np.maximum(squares, 0))
            likeness = np.einsum("nij,nij->n", middle, window)
            np.maximum(best[part], likeness / np.where(scale > 0, scale, np.inf), out=best[part])
    return best
