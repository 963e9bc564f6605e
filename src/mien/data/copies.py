"""Which faces are copies of which: exact and near, within and across splits."""

import hashlib
from dataclasses import dataclass

import numpy as np

from mien.data.fingerprints import SIDE, alike, fingerprints, in_gray
from mien.errors import MienError

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
