"""Find copies among faces, exact and near ones, and copies of training faces by signatures that the model file stores."""

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np

from mien.errors import MienError
from mien.images import prepare

SIDE = 48  # faces are compared in gray at this height and width, those of FER-2013
CHUNK = 16_384  # faces processed at a time, which bounds memory
PAIRS = 1024  # pairs compared at a time
THUMBNAIL = 12  # height and width of a fingerprint in pixels
SHIFT = 2  # largest offset between the crops of two copies, in pixels of 48
NEIGHBOURS = 8  # most candidates per face and mirror image, which bounds the cost where many faces look alike
COMPONENTS = 16  # principal components that trees split on: three quarters of the variance of FER-2013's fingerprints
TREES, LEAF = 24, 256  # number of trees, and most faces in a leaf. A pair is missed only if every tree separates it.

LEAST_LIKENESS = 0.82  # least correlation of the fingerprints of candidates; 4% of FER-2013's near copies have less than 0.85
SAME_PICTURE = 0.9  # least correlation of the details of near copies; at 0.80 to 0.85 1 in 10 pairs is none (docs/fer2013.md)
FINE, COARSE = 1.0, 4.0  # blurs between which details lie, in pixels: finer is noise, coarser is lighting and the head's place

EXACT, NEAR, NO_COPY = "exact", "near", ""  # whether a face is a copy of a face whose signature is known
WAVES = 80  # bits of a signature: signs of the cosine transform; brightness and compression change few (Zauner, 2010)
DIGEST = 2  # bytes of a signature that describe the exact pixels, for faces whose pictures already agree
BYTES = WAVES // 8 + DIGEST
STRONGEST = 2.0  # waves are clipped at this multiple of the face's median, so that no edge outweighs everything else
BLANK = 1.0  # a face whose grays have a smaller standard deviation shows no picture; only its exact pixels count
MOST_SIGNED = 100_000  # up to this many training faces are stored as signatures, 16 characters each
MOST_DIGESTED = 150_000  # up to this many are stored as digests of their pixels, 1 MB in all; more are not stored
COARSEST = 3  # coarser waves, in half periods per face, show the lighting and where the head is, which strangers share
PIXEL_DIGEST = 5  # bytes of a digest: of 150,000 faces and as many others, one in a hundred runs would see one false copy

SAME_SIGNATURE = (
    0.90  # least agreement of near copies: 5 of FER-2013's 387 PublicTest faces with it are none (docs/evaluate.md)
)
GLANCE = 0.5  # least agreement, unshifted, of candidates: a tenth of the copies shifted by two pixels have less

WAVE_NUMBERS = np.indices((SIDE, SIDE)).reshape(2, -1).T  # half periods down and across of every wave
WAVE_NUMBERS = WAVE_NUMBERS[np.hypot(*WAVE_NUMBERS.T) >= COARSEST]
WAVE_NUMBERS = WAVE_NUMBERS[np.argsort(np.hypot(*WAVE_NUMBERS.T), kind="stable")][:WAVES]  # (WAVES, 2), coarse to fine
MIRROR = np.where(WAVE_NUMBERS[:, 1] % 2, -1, 1).astype(np.float32)  # what mirroring the face multiplies every wave by
Noted = Literal["signatures", "digests", "nothing"]


@dataclass(frozen=True)
class Copies:
    """The copies among N faces."""

    original: np.ndarray  # (N,), int64: the first row with exactly the same pixels; the row itself where it is the first
    pairs: np.ndarray  # (P, 2), int64: near copies, each an `original` row, the smaller first, by rising correlation
    correlation: np.ndarray  # (P,), float32: of their details, `SAME_PICTURE` to 1
    mirrored: np.ndarray  # (P,), bool: whether the second is the mirror image
    group: np.ndarray  # (N,), int64: the first row of all that are copies of it, exact or near, directly or through others


def find_copies(images: np.ndarray, threshold: float = SAME_PICTURE) -> Copies:
    """Find exact copies, and near ones but for scale and rotation, among images (N, H, W) or (N, H, W, 3), uint8."""
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
    with each other, so time grows as N log N and memory as N. The more faces, the more weakly correlated copies are missed.
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


@dataclass(frozen=True)
class TrainingRows:
    """What a model file stores about its training faces."""

    noted: Noted  # signatures show exact and near copies, digests only exact ones
    rows: int  # how many training faces there were
    table: np.ndarray  # (M, B), uint8: a signature or digest of every distinct face


def describe_training_rows(images: np.ndarray) -> TrainingRows:
    """Describe training faces (N, H, W) or (N, H, W, 3), uint8, in as much detail as a model file has room for."""
    if len(images) <= MOST_SIGNED:
        return TrainingRows("signatures", len(images), np.unique(signatures(images), axis=0))
    if len(images) <= MOST_DIGESTED:
        return TrainingRows("digests", len(images), np.unique(pixel_digests(images, PIXEL_DIGEST), axis=0))
    return TrainingRows("nothing", len(images), np.empty((0, PIXEL_DIGEST), dtype=np.uint8))


def copies_of_training_rows(images: np.ndarray, known: TrainingRows) -> np.ndarray | None:
    """Find which faces are copies of training faces: (N,), str, `EXACT`, `NEAR` or `NO_COPY`; None where nothing is stored."""
    if known.noted == "nothing":
        return None
    if known.noted == "signatures":
        return known_faces(images, known.table)
    return np.where(same_rows(pixel_digests(images, PIXEL_DIGEST), known.table), EXACT, NO_COPY)


def copies_between_folds(images: np.ndarray, fold: np.ndarray) -> tuple[TrainingRows, np.ndarray] | None:
    """Find which faces are copies of faces in other folds, given each face's fold (N,); None where there are too many."""
    kinds = np.full(len(images), NO_COPY, dtype="U5")
    for number in np.unique(fold):
        known = describe_training_rows(images[fold != number])
        if (found := copies_of_training_rows(images[fold == number], known)) is None:
            return None
        kinds[fold == number] = found
    return known, kinds


def as_text(known: TrainingRows) -> str:
    """Write `known` as the text that `from_text` reads: JSON, with the table in base64."""
    return json.dumps({"noted": known.noted, "rows": known.rows, "table": base64.b64encode(known.table.tobytes()).decode()})


def from_text(text: str) -> TrainingRows:
    """Read what a model file stores; MienError if it is damaged, or of a kind that a later mien writes."""
    try:
        note = json.loads(text)
        width = {"signatures": BYTES, "digests": PIXEL_DIGEST, "nothing": PIXEL_DIGEST}[note["noted"]]
        table = np.frombuffer(base64.b64decode(note["table"], validate=True), dtype=np.uint8).reshape(-1, width)
        return TrainingRows(note["noted"], int(note["rows"]), table)
    except (ValueError, KeyError, TypeError) as error:
        advice = "they are damaged, or a later mien wrote them. Export the model again, or install that mien"
        raise MienError(f"The model file's notes of its training faces cannot be read ({error}): {advice}.") from None


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
    """Find which faces are copies of faces whose signatures (M, BYTES) are known: (N,), str, `EXACT`, `NEAR` or `NO_COPY`."""
    own = signatures(images)
    found = np.where(same_rows(own, known), EXACT, NO_COPY).astype("U5")
    signs = np.unpackbits(known[:, :-DIGEST], axis=1).astype(np.float32) * 2 - 1
    others = np.flatnonzero(found == NO_COPY)
    for start in range(0, len(others) if len(known) else 0, CHUNK):
        rows = others[start : start + CHUNK]
        face, other, is_mirrored = _agreeing(in_gray(images[rows]), signs)
        found[rows[face]] = NEAR
        # the sign of a wave near zero may differ between machines; the digest does not
        same_digest = (own[rows[face], -DIGEST:] == known[other, -DIGEST:]).all(axis=1)
        found[rows[face[same_digest & ~is_mirrored]]] = EXACT
    return found


def _agreeing(gray: np.ndarray, signs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find faces and known ones whose waves agree by weight at some shift: (P,) rows of each, and whether mirrored."""
    weights = _weights(gray)
    candidates = [_candidates(each, signs) for each in (weights, weights * MIRROR)]
    is_mirrored = np.repeat([False, True], [len(face) for face, _ in candidates])
    face, other = (np.concatenate(parts) for parts in zip(*candidates, strict=True))
    wanted, place = np.unique(face, return_inverse=True)  # only these are shifted
    expected = signs[other] * np.where(is_mirrored[:, None], MIRROR, 1)
    agreement = np.zeros(len(face), dtype=np.float32)
    for down, across in product(range(-SHIFT, SHIFT + 1), repeat=2):
        shifted = _weights(gray[wanted], down, across)[place]
        np.maximum(agreement, np.einsum("pw,pw->p", shifted, expected), out=agreement)
    same = agreement >= SAME_SIGNATURE
    return face[same], other[same], is_mirrored[same]


def _candidates(weights: np.ndarray, signs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find for each face the known ones that agree best without a shift: two arrays (P,), rows of each."""
    from sklearn.neighbors import NearestNeighbors

    # all signatures have the same length, so those nearest by distance are those that agree best
    search = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(signs)), algorithm="brute").fit(signs)
    nearest = search.kneighbors(weights, return_distance=False)
    face, place = np.nonzero(np.einsum("fw,fnw->fn", weights, signs[nearest]) >= GLANCE)
    return face, nearest[face, place]


def _weights(gray: np.ndarray, down: int = 0, across: int = 0) -> np.ndarray:
    """Weight the waves of a face, signed, so that their sizes add up to 1: (N, WAVES), float32; 0 for a blank one."""
    waves = _coefficients(gray, down, across)
    limit = STRONGEST * np.median(np.abs(waves), axis=1, keepdims=True)
    waves = np.clip(waves, -limit, limit)
    return np.asarray(waves / np.maximum(np.abs(waves).sum(axis=1, keepdims=True), 1e-6), dtype=np.float32)


def _coefficients(gray: np.ndarray, down: int = 0, across: int = 0) -> np.ndarray:
    """Transform the middle of the faces, shifted by some pixels: (N, SIDE, SIDE) to (N, WAVES), float32; 0 for blank ones."""
    from scipy.fft import dctn

    top, left, extent = SHIFT + down, SHIFT + across, SIDE - 2 * SHIFT
    middle = gray[:, top : top + extent, left : left + extent].astype(np.float32)
    waves = dctn(middle, axes=(1, 2), norm="ortho")[:, *WAVE_NUMBERS.T]
    is_blank = gray.std(axis=(1, 2)) < BLANK
    fineness = np.hypot(*WAVE_NUMBERS.T)  # in faces, strength falls about in proportion to it
    return np.asarray(waves * fineness * ~is_blank[:, None], dtype=np.float32)
