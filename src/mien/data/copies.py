"""Find copies among faces, exact and near ones, and faces that resemble each other."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mien.images import prepare

SIDE = 48  # faces are compared in gray at this height and width, those of FER-2013
CHUNK = 16_384  # faces processed at a time, which bounds memory
PAIRS = 512  # pairs compared at a time
THUMBNAIL = 12  # height and width of a fingerprint in pixels
SHIFT = 2  # largest offset between the crops of two copies, in pixels of 48
NEIGHBOURS = 8  # most candidates per face and mirror image, which bounds the cost where many faces look alike
COMPONENTS = 16  # principal components that trees split on: three quarters of the variance of FER-2013's fingerprints
TREES, LEAF = 24, 256  # number of trees, and most faces in a leaf. A pair is missed only if every tree separates it.

LEAST_LIKENESS = 0.82  # least correlation of the fingerprints of candidates; 4% of FER-2013's near copies have less than 0.85
RESEMBLING = 0.7  # least correlation of the details of pairs that are aligned and compared; cropped copies have that much
SAME_PHOTO = 0.25  # largest `_difference` of near copies: above it, shots of one person in one pose begin (docs/fer2013.md)
EDGE, STEPS, NEARBY = 4, 5, 2.0  # pixels at each side that only the other face needs; steps of alignment; blur of a place
FINE, COARSE = 1.0, 4.0  # blurs between which details lie, in pixels: finer is noise, coarser is lighting and the head's place


@dataclass(frozen=True)
class Copies:
    """The copies among N faces."""

    original: np.ndarray  # (N,), int64: the first row with exactly the same pixels; the row itself where it is the first
    pairs: np.ndarray  # (P, 2), int64: near copies, each an `original` row, the smaller first, by falling difference
    difference: np.ndarray  # (P,), float32: how much they differ once aligned, 0 to `SAME_PHOTO`
    mirrored: np.ndarray  # (P,), bool: whether the second is the mirror image
    group: np.ndarray  # (N,), int64: the first row of all that are copies of it, exact or near, directly or through others


def find_copies(images: np.ndarray) -> Copies:
    """Find copies among images (N, H, W) or (N, H, W, 3), uint8: the same photograph, maybe edited or mirrored (near ones)."""
    original = exact_originals(images)
    pairs, shifts, is_mirrored = _resembling(images, original, RESEMBLING)
    difference = np.empty(len(pairs), dtype=np.float32)
    for part, (first, second) in _in_pairs(images, pairs, is_mirrored):
        difference[part] = _difference(first, second, shifts[part])
    order = np.argsort(-difference, kind="stable")
    order = order[difference[order] <= SAME_PHOTO]
    return Copies(original, pairs[order], difference[order], is_mirrored[order], _joined(original, pairs[order]))


def likeness_groups(images: np.ndarray, threshold: float) -> np.ndarray:
    """Join faces whose details correlate by the threshold, such as frames of a clip: (N,), int64, each group's first row."""
    original = exact_originals(images)
    return _joined(original, _resembling(images, original, threshold)[0])


def _joined(original: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(original)
    first, second = np.concatenate([np.column_stack([np.arange(count), original]), pairs]).T
    graph = coo_array((np.ones(len(first), dtype=bool), (first, second)), shape=(count, count))
    _, number = connected_components(graph, directed=False)
    _, first_row = np.unique(number, return_index=True)
    return np.asarray(first_row[number], dtype=np.int64)


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
    """Find pairs of like fingerprints (P, 2), the smaller row first, and whether mirrored (P,); some are found in both ways."""
    # random projection trees (Dasgupta and Freund, 2008): only the few of a leaf are compared, so time grows as N log N
    symmetric = prints + mirrored(prints)  # what a face and its mirror image share, so one search finds both
    symmetric -= symmetric.mean(axis=0)
    _, axes = np.linalg.eigh(symmetric.T @ symmetric)
    components = np.asarray(symmetric @ axes[:, ::-1][:, :COMPONENTS], dtype=np.float32)
    random, count = np.random.default_rng(0), len(prints)
    shape = (2, count, count)  # of links: orientation, plain or mirrored, row, other row
    nearest = (np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))
    for _ in range(TREES):
        found = [nearest]
        for rows in _leaves(np.arange(count), components, random):
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


def _leaves(rows: np.ndarray, components: np.ndarray, random: np.random.Generator) -> list[np.ndarray]:
    """Halve the rows along random directions until each part has at most `LEAF`."""
    if len(rows) <= LEAF:
        return [rows]
    direction = random.standard_normal(components.shape[1], dtype=np.float32)
    order = np.argpartition(components[rows] @ direction, len(rows) // 2)
    first, second = np.split(rows[order], [len(rows) // 2])
    return [*_leaves(second, components, random), *_leaves(first, components, random)]


def _nearest(links: list[tuple[np.ndarray, np.ndarray]], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Merge links, each (n,) numbers, which sort faster than three columns, and (n,) likeness; keep each row's best."""
    numbers, likeness = (np.concatenate(parts) for parts in zip(*links, strict=True))
    numbers, first = np.unique(numbers, return_index=True)
    likeness, rows = likeness[first], numbers // count
    order = np.lexsort((-likeness, rows))
    starts = np.searchsorted(rows[order], rows[order])
    kept = order[np.arange(len(order)) - starts < NEIGHBOURS]
    return numbers[kept], likeness[kept]


def _resembling(images: np.ndarray, original: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find pairs of `original` rows that resemble each other: (P, 2), the best shifts (P, 2), and whether mirrored (P,)."""
    prints = fingerprints(images)
    rows = np.flatnonzero((original == np.arange(len(original))) & prints.any(axis=1))  # one gray resembles no other
    pairs, is_mirrored = alike(prints[rows]) if len(rows) > 1 else (np.empty((0, 2), dtype=np.int64), np.empty(0, dtype=bool))
    pairs = rows[pairs]
    correlation, shifts = np.empty(len(pairs), dtype=np.float32), np.empty((len(pairs), 2), dtype=np.int64)
    for part, faces in _in_pairs(images, pairs, is_mirrored):
        correlation[part], shifts[part] = _detail_correlation(*faces)
    best = np.lexsort((is_mirrored, -correlation))  # of a pair found in both orientations the better one stays
    kept = best[np.unique(pairs[best], axis=0, return_index=True)[1]]
    kept = kept[correlation[kept] >= threshold]
    return pairs[kept], shifts[kept], is_mirrored[kept]


def _in_pairs(images: np.ndarray, pairs: np.ndarray, is_mirrored: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Give the faces of some pairs at a time: which pairs, and (2, P, SIDE, SIDE), float32, the mirrored turned back."""
    for start in range(0, len(pairs), PAIRS):
        part = slice(start, start + PAIRS)
        gray = np.stack([in_gray(images[rows]) for rows in pairs[part].T]).astype(np.float32)
        gray[1, is_mirrored[part]] = gray[1, is_mirrored[part], :, ::-1]
        yield part, gray


def _details(gray: np.ndarray) -> np.ndarray:
    """Keep what lies between two blurs, of images (..., height, width)."""
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(gray, FINE, axes=(-2, -1)) - gaussian_filter(gray, COARSE, axes=(-2, -1)))


def _detail_correlation(gray: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlate the details of faces (P, SIDE, SIDE) and others at the best shift: (P,), -1 to 1, and shifts (P, 2)."""
    middle = _details(gray)[:, SHIFT:-SHIFT, SHIFT:-SHIFT]
    middle = middle - middle.mean(axis=(1, 2), keepdims=True)
    windows = np.lib.stride_tricks.sliding_window_view(_details(other), middle.shape[1:], axis=(1, 2))
    # the middle has mean 0, so the window's mean matters only for its length
    squares = np.einsum("nabij,nabij->nab", windows, windows) - windows.sum(axis=(3, 4)) ** 2 / middle[0].size
    scale = np.sqrt(np.einsum("nij,nij->n", middle, middle)[:, None, None] * np.maximum(squares, 0))
    likeness = np.einsum("nij,nabij->nab", middle, windows) / np.where(scale > 0, scale, np.inf)
    places = likeness.reshape(len(gray), -1).argmax(axis=1)
    return likeness.max(axis=(1, 2)), np.column_stack(np.unravel_index(places, likeness.shape[1:])) - SHIFT


def _difference(gray: np.ndarray, other: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Measure what another crop, light and sharpness do not explain, where it is strongest: (P, SIDE, SIDE) twice to (P,)."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    count, inner, extent = len(gray), slice(EDGE, -EDGE), SIDE - 2 * EDGE
    places = np.indices((SIDE, SIDE), dtype=np.float32)[:, inner, inner].reshape(2, -1)
    terms = np.stack([np.ones_like(places[0]), *(2 * places / SIDE - 1)])  # (3, n) of an affine motion
    motion = np.stack([shifts, 0 * shifts, 0 * shifts], axis=2).astype(np.float32)
    starts = SIDE * np.arange(count, dtype=np.float32)[:, None]  # of the faces, which are stacked to one tall image

    def moved(faces: np.ndarray) -> np.ndarray:
        down, across = (places + motion @ terms).transpose(1, 0, 2)
        at = [starts + down.clip(0, SIDE - 1), across]
        return np.asarray(map_coordinates(faces.reshape(-1, SIDE), at, order=1, mode="nearest"))

    def least_squares(columns: np.ndarray) -> np.ndarray:
        turned = columns.transpose(0, 2, 1)
        return np.asarray(np.linalg.pinv(turned @ columns, rcond=1e-6, hermitian=True) @ turned)

    # Lucas and Kanade (1981) with the gradients of the first face, which stay the same (Baker and Matthews, 2004)
    first, second = _details(gray), _details(other)
    slopes = np.stack(np.gradient(first, axis=(1, 2)))[:, :, inner, inner].reshape(2, count, -1)
    solve, wanted = least_squares(np.einsum("dpn,tn->pndt", slopes, terms).reshape(count, -1, 6)), first[:, inner, inner]
    for _ in range(STEPS):
        face = moved(second).reshape(wanted.shape)
        gain = np.einsum("pij,pij->p", wanted, face) / np.maximum(np.einsum("pij,pij->p", face, face), 1e-6)
        motion += (solve @ (wanted - gain[:, None, None] * face).reshape(count, -1, 1)).reshape(-1, 2, 3)
    face = moved(other).reshape(wanted.shape)
    face = (face - face.mean(axis=(1, 2), keepdims=True)) / np.maximum(face.std(axis=(1, 2), keepdims=True), 1e-3)
    ramp, own = np.linspace(-1, 1, extent, dtype=np.float32), _details(face)
    lights = map(_details, (face * ramp, face * ramp[:, None], face**2, face**3))
    columns = np.stack([own, own - gaussian_filter(own, 1, axes=(1, 2)), *lights], axis=3).reshape(count, extent**2, -1)
    details = _details(gray[:, inner, inner]).reshape(count, -1, 1)
    residual = ((details - columns @ (least_squares(columns) @ details)) ** 2).reshape(wanted.shape)
    # compression and noise leave a little everywhere, another mouth or eyes much in one place
    local = gaussian_filter(residual, NEARBY, axes=(1, 2), mode="constant")[:, 2:-2, 2:-2].max(axis=(1, 2))
    return np.asarray(local**2 / np.maximum(residual.mean(axis=(1, 2)) * (details**2).mean(axis=(1, 2)), 1e-6))
