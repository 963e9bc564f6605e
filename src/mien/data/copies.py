"""Find copies among faces, faces that resemble each other, and copies of training faces by what a model file stores of them."""

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from types import SimpleNamespace
from typing import Literal

import numpy as np

from mien.data.pack import Result, in_threads
from mien.data.rows import MISTAKES
from mien.errors import MienError, load_table
from mien.images import prepare

SIDE = 48  # faces are compared in gray at this height and width, those of FER-2013
CHUNK = 16_384  # faces processed at a time, which bounds memory
SAME_PHOTO = 0.25  # largest `_difference` of near copies: above it, shots of one person in one pose begin (docs/fer2013.md)
EXACT, ALIKE, UNKNOWN = "exact", "alike", ""  # whether a face is a copy of a face whose signature is known, or resembles it
MOST_SIGNED = 100_000  # up to this many training faces are stored as signatures, 16 characters each
MOST_DIGESTED = 150_000  # up to this many are stored as digests of their pixels, 1 MB in all; more are not stored
VALUES = SimpleNamespace(**load_table(__file__))
THUMBNAIL = 12  # height and width of a fingerprint in pixels
SHIFT = 2  # largest offset between the crops of two copies, in pixels of 48
DIGEST = 2  # bytes of a signature that describe the exact pixels, for faces whose pictures already agree
BYTES = VALUES.waves // 8 + DIGEST  # of a signature
WAVE_NUMBERS = np.indices((SIDE, SIDE)).reshape(2, -1).T  # half periods down and across of every wave
WAVE_NUMBERS = WAVE_NUMBERS[np.hypot(*WAVE_NUMBERS.T) >= VALUES.coarsest]
WAVE_NUMBERS = WAVE_NUMBERS[np.argsort(np.hypot(*WAVE_NUMBERS.T), kind="stable")][: VALUES.waves]  # (waves, 2), coarse to fine
MIRROR = np.where(WAVE_NUMBERS[:, 1] % 2, -1, 1).astype(np.float32)  # what mirroring the face multiplies every wave by
Noted = Literal["signatures", "digests", "nothing"]


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
    pairs, shifts, is_mirrored = _resembling(images, original, VALUES.resembling)
    difference = np.concatenate([np.empty(0, np.float32), *_measured(_difference, images, pairs, is_mirrored, shifts)])
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
    _, first_row, number = np.unique(connected_components(graph, directed=False)[1], return_index=True, return_inverse=True)
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
    return np.asarray(np.divide(found, np.where(length > 0.5, length, np.inf), out=found))  # shorter ones are rounding errors


def mirrored(prints: np.ndarray) -> np.ndarray:
    """Compute the fingerprints of the mirrored faces from those of the faces."""
    return prints.reshape(-1, THUMBNAIL, THUMBNAIL)[:, :, ::-1].reshape(len(prints), -1)


def alike(prints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find pairs of like fingerprints (P, 2), the smaller row first, and whether mirrored (P,); some are found in both ways."""
    from threadpoolctl import threadpool_limits

    # random projection trees (Dasgupta and Freund, 2008): only the few of a leaf are compared, so time grows as N log N
    symmetric = mirrored(prints)
    symmetric += prints  # what a face and its mirror image share, so one search finds both
    symmetric -= symmetric.mean(axis=0)
    _, axes = np.linalg.eigh(symmetric.T @ symmetric)
    components = np.asarray(symmetric @ axes[:, ::-1][:, : VALUES.components], dtype=np.float32)
    random, count = np.random.default_rng(0), len(prints)
    shape = (2, count, count)  # of links: orientation, plain or mirrored, row, other row
    nearest = (np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))

    def links(task: tuple[np.ndarray, int]) -> tuple[np.ndarray, np.ndarray]:
        rows, orientation = task
        likeness = prints[rows] @ (mirrored(prints[rows]) if orientation else prints[rows]).T
        np.fill_diagonal(likeness, -1)
        first, second = np.nonzero(likeness >= VALUES.least_likeness)
        found = ((orientation * count + rows[first]) * count + rows[second], likeness[first, second])
        return found if len(first) <= VALUES.neighbours * len(rows) else _nearest([found], count)

    with threadpool_limits(1):  # BLAS threads would wait for each other
        for _ in range(VALUES.trees):
            leaves = _leaves(np.arange(count), components, random)
            nearest = _nearest([nearest, *in_threads(links, product(leaves, (0, 1)), 16)], count)
    turned, first, second = np.unravel_index(nearest[0], shape)
    numbers = np.ravel_multi_index((turned, np.minimum(first, second), np.maximum(first, second)), shape)
    turned, first, second = np.unravel_index(np.unique(numbers), shape)
    return np.column_stack([first, second]), turned == 1


def _leaves(rows: np.ndarray, components: np.ndarray, random: np.random.Generator) -> list[np.ndarray]:
    """Halve the rows along random directions until each part is small enough for a leaf."""
    if len(rows) <= VALUES.leaf:
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
    kept = order[np.arange(len(order)) - np.searchsorted(rows[order], rows[order]) < VALUES.neighbours]
    return numbers[kept], likeness[kept]


def _resembling(images: np.ndarray, original: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find pairs of `original` rows that resemble each other: (P, 2), the best shifts (P, 2), and whether mirrored (P,)."""
    prints = fingerprints(images)
    rows = np.flatnonzero((original == np.arange(len(original))) & prints.any(axis=1))  # one gray resembles no other
    prints, none = prints[rows], (np.empty((0, 2), dtype=np.int64), np.empty(0, dtype=bool))
    pairs, is_mirrored = alike(prints) if len(rows) > 1 else none
    pairs = rows[pairs]
    parts = [(np.empty(0, np.float32), np.empty((0, 2), np.int64)), *_measured(_detail_correlation, images, pairs, is_mirrored)]
    correlation, shifts = map(np.concatenate, zip(*parts, strict=True))
    best = np.lexsort((is_mirrored, -correlation))  # of a pair found in both orientations the better one stays
    kept = best[np.unique(pairs[best], axis=0, return_index=True)[1]]
    kept = kept[correlation[kept] >= threshold]
    return pairs[kept], shifts[kept], is_mirrored[kept]


def _measured(
    measure: Callable[..., Result], images: np.ndarray, pairs: np.ndarray, is_mirrored: np.ndarray, *more: np.ndarray
) -> Iterator[Result]:
    """Call `measure` in threads with some pairs: (P, SIDE, SIDE), float32, twice, the mirrored turned back, rows of `more`."""

    def work(start: int) -> Result:
        part = slice(start, start + VALUES.pairs)
        gray = np.stack([in_gray(images[rows]) for rows in pairs[part].T]).astype(np.float32)
        gray[1, is_mirrored[part]] = gray[1, is_mirrored[part], :, ::-1]
        return measure(*gray, *(each[part] for each in more))

    return in_threads(work, range(0, len(pairs), VALUES.pairs), 1)


def _details(gray: np.ndarray) -> np.ndarray:
    """Keep what lies between two blurs, of images (..., size, size)."""
    from scipy.ndimage import gaussian_filter

    # a product with the filtered identity gives what the filter gives, in a third of its time
    fine, coarse = (gaussian_filter(np.float32(np.eye(gray.shape[-1])), blur, axes=0) for blur in (VALUES.fine, VALUES.coarse))
    return np.asarray(fine @ gray @ fine.T - coarse @ gray @ coarse.T)


def _detail_correlation(gray: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlate the details of faces (P, SIDE, SIDE) and others at the best shift: (P,), -1 to 1, and shifts (P, 2)."""
    middle, details = _details(gray)[:, SHIFT:-SHIFT, SHIFT:-SHIFT], _details(other)
    middle = middle - middle.mean(axis=(1, 2), keepdims=True)
    windows = np.lib.stride_tricks.sliding_window_view(details, middle.shape[1:], axis=(1, 2))
    # the middle has mean 0, so the window's mean matters only for its length
    sums = np.lib.stride_tricks.sliding_window_view(np.eye(SIDE, dtype=np.float32), middle.shape[1], axis=0).sum(axis=2)
    squares = sums @ details**2 @ sums.T - (sums @ details @ sums.T) ** 2 / middle[0].size
    scale = np.sqrt(np.einsum("nij,nij->n", middle, middle)[:, None, None] * np.maximum(squares, 0))
    likeness = np.einsum("nij,nabij->nab", middle, windows) / np.where(scale > 0, scale, np.inf)
    places = likeness.reshape(len(gray), -1).argmax(axis=1)
    return likeness.max(axis=(1, 2)), np.column_stack(np.unravel_index(places, likeness.shape[1:])) - SHIFT


def _difference(gray: np.ndarray, other: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Measure what another crop, light and sharpness do not explain, where it is strongest: (P, SIDE, SIDE) twice to (P,)."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    count, inner, extent = len(gray), slice(VALUES.edge, -VALUES.edge), SIDE - 2 * VALUES.edge
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
    for _ in range(VALUES.steps):
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
    local = gaussian_filter(residual, VALUES.nearby, axes=(1, 2), mode="constant")[:, 2:-2, 2:-2].max(axis=(1, 2))
    return np.asarray(local**2 / np.maximum(residual.mean(axis=(1, 2)) * (details**2).mean(axis=(1, 2)), 1e-6))


@dataclass(frozen=True)
class TrainingRows:
    """What a model file stores about its training faces."""

    noted: Noted  # signatures show exact copies and faces that are alike, digests only exact copies
    rows: int  # how many training faces there were
    table: np.ndarray  # (M, B), uint8: a signature or digest of every distinct face


def describe_training_rows(images: np.ndarray) -> TrainingRows:
    """Describe training faces (N, H, W) or (N, H, W, 3), uint8, in as much detail as a model file has room for."""
    if len(images) <= MOST_SIGNED:
        return TrainingRows("signatures", len(images), np.unique(signatures(images), axis=0))
    if len(images) <= MOST_DIGESTED:
        return TrainingRows("digests", len(images), np.unique(pixel_digests(images, VALUES.pixel_digest), axis=0))
    return TrainingRows("nothing", len(images), np.empty((0, VALUES.pixel_digest), dtype=np.uint8))


def copies_of_training_rows(images: np.ndarray, known: TrainingRows) -> np.ndarray | None:
    """Find copies of training faces and faces like one: (N,), str, `EXACT`, `ALIKE` or `UNKNOWN`; None if none are stored."""
    if known.noted == "digests":
        return np.where(same_rows(pixel_digests(images, VALUES.pixel_digest), known.table), EXACT, UNKNOWN)
    return known_faces(images, known.table) if known.noted == "signatures" else None


def copies_between_folds(images: np.ndarray, fold: np.ndarray) -> tuple[TrainingRows, np.ndarray] | None:
    """Find which faces are copies of faces in other folds, given each face's fold (N,); None where there are too many."""
    kinds = np.full(len(images), UNKNOWN, dtype="U5")
    for number in np.unique(fold):
        known = describe_training_rows(images[fold != number])
        if known.noted == "nothing":
            return None
        kinds[fold == number] = copies_of_training_rows(images[fold == number], known)
    return known, kinds


def as_text(known: TrainingRows) -> str:
    """Write `known` as the text that `from_text` reads: JSON, with the table in base64."""
    return json.dumps({"noted": known.noted, "rows": known.rows, "table": base64.b64encode(known.table.tobytes()).decode()})


def from_text(text: str) -> TrainingRows:
    """Read what a model file stores; MienError if it is damaged, or of a kind that a later mien writes."""
    try:
        note = json.loads(text)
        width = {"signatures": BYTES, "digests": VALUES.pixel_digest, "nothing": VALUES.pixel_digest}[note["noted"]]
        table = np.frombuffer(base64.b64decode(note["table"], validate=True), dtype=np.uint8).reshape(-1, width)
        return TrainingRows(note["noted"], int(note["rows"]), table)
    except (ValueError, KeyError, TypeError) as error:
        raise MienError(MISTAKES["damaged notes"].format(error)) from None


def signatures(images: np.ndarray) -> np.ndarray:
    """Compute signatures (N, BYTES), uint8: which waves of the middle of the face are positive, then a digest of the pixels."""
    positive = np.concatenate([_coefficients(gray) > 0 for gray in gray_chunks(images)])
    return np.concatenate([np.packbits(positive, axis=1), pixel_digests(images, DIGEST)], axis=1)


def pixel_digests(images: np.ndarray, length: int) -> np.ndarray:
    """Compute digests of the pixels of faces in gray: (N, length), uint8."""
    faces = (np.ascontiguousarray(face).data for gray in gray_chunks(images) for face in gray)
    digests = b"".join(hashlib.blake2b(face, digest_size=length).digest() for face in faces)
    return np.frombuffer(digests, dtype=np.uint8).reshape(len(images), length)


def same_rows(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Find which rows of the first occur in the second: (N, B) and (M, B), uint8, to (N,) booleans."""
    one, other = (np.ascontiguousarray(rows).view(f"V{rows.shape[1]}")[:, 0] for rows in (first, second))
    return np.isin(one, other)


def known_faces(images: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Find copies of faces whose signatures (M, BYTES) are known, and faces like one: as `copies_of_training_rows` does."""
    from sklearn.neighbors import NearestNeighbors

    own = signatures(images)
    found = np.where(same_rows(own, known), EXACT, UNKNOWN).astype("U5")
    signs = np.unpackbits(known[:, :-DIGEST], axis=1).astype(np.float32) * 2 - 1
    # all signatures have the same length, so those nearest by distance are those that agree best
    search = NearestNeighbors(n_neighbors=min(VALUES.neighbours, len(signs)), algorithm="brute")
    others = np.flatnonzero(found == UNKNOWN)
    for start in range(0, len(others) if len(known) else 0, CHUNK):
        rows = others[start : start + CHUNK]
        gray = in_gray(images[rows])
        weights = _weights(gray)
        weights = np.concatenate([weights, weights * MIRROR])
        nearest = search.fit(signs).kneighbors(weights, return_distance=False)
        row, place = np.nonzero(np.einsum("fw,fnw->fn", weights, signs[nearest]) >= VALUES.glance)
        face, other, is_mirrored = row % len(gray), nearest[row, place], row >= len(gray)
        wanted, place = np.unique(face, return_inverse=True)  # only these are shifted
        expected = signs[other] * np.where(is_mirrored[:, None], MIRROR, 1)
        agreement = np.zeros(len(face), dtype=np.float32)
        for down, across in product(range(-SHIFT, SHIFT + 1), repeat=2):
            shifted = _weights(gray[wanted], down, across)[place]
            np.maximum(agreement, np.einsum("pw,pw->p", shifted, expected), out=agreement)
        same = agreement >= VALUES.same_signature
        found[rows[face[same]]] = ALIKE
        # the sign of a wave near zero may differ between machines; the digest does not
        same &= ~is_mirrored & (own[rows[face], -DIGEST:] == known[other, -DIGEST:]).all(axis=1)
        found[rows[face[same]]] = EXACT
    return found


def _weights(gray: np.ndarray, down: int = 0, across: int = 0) -> np.ndarray:
    """Weight the waves of a face, signed, so that their sizes add up to 1: (N, waves), float32; 0 for a blank one."""
    waves = _coefficients(gray, down, across)
    limit = VALUES.strongest * np.median(np.abs(waves), axis=1, keepdims=True)
    waves = np.clip(waves, -limit, limit)
    return np.asarray(waves / np.maximum(np.abs(waves).sum(axis=1, keepdims=True), 1e-6), dtype=np.float32)


def _coefficients(gray: np.ndarray, down: int = 0, across: int = 0) -> np.ndarray:
    """Transform the middle of the faces, shifted by some pixels: (N, SIDE, SIDE) to (N, waves), float32; 0 for blank ones."""
    from scipy.fft import dctn

    top, left, extent = SHIFT + down, SHIFT + across, SIDE - 2 * SHIFT
    middle = gray[:, top : top + extent, left : left + extent].astype(np.float32)
    waves = dctn(middle, axes=(1, 2), norm="ortho")[:, *WAVE_NUMBERS.T]
    fineness = np.hypot(*WAVE_NUMBERS.T)  # in faces, strength falls about in proportion to it
    return np.asarray(waves * fineness * (gray.std(axis=(1, 2)) >= VALUES.blank)[:, None], dtype=np.float32)
