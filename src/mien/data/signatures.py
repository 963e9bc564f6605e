"""Signatures of training faces, which a model file stores, so that copies of these are known without the training data."""

import base64
import hashlib
import json
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np

from mien.data.copies import CHUNK, NEIGHBOURS, SHIFT, SIDE, gray_chunks, in_gray
from mien.data.rows import MISTAKES
from mien.errors import MienError

EXACT, ALIKE, UNKNOWN = "exact", "alike", ""  # whether a face is a copy of a face whose signature is known, or resembles it
WAVES = 80  # bits of a signature: signs of the cosine transform; brightness and compression change few (Zauner, 2010)
DIGEST = 2  # bytes of a signature that describe the exact pixels, for faces whose pictures already agree
BYTES = WAVES // 8 + DIGEST
STRONGEST = 2.0  # waves are clipped at this multiple of the face's median, so that no edge outweighs everything else
BLANK = 1.0  # a face whose grays have a smaller standard deviation shows no picture; only its exact pixels count
MOST_SIGNED = 100_000  # up to this many training faces are stored as signatures, 16 characters each
MOST_DIGESTED = 150_000  # up to this many are stored as digests of their pixels, 1 MB in all; more are not stored
COARSEST = 3  # coarser waves, in half periods per face, show the lighting and where the head is, which strangers share
PIXEL_DIGEST = 5  # bytes of a digest: of 150,000 faces and as many others, one in a hundred runs would see one false copy

SAME_SIGNATURE = 0.90  # least agreement of faces that are alike: near copies, or one person in one place (docs/evaluate.md)
GLANCE = 0.5  # least agreement, unshifted, of candidates: a tenth of the copies shifted by two pixels have less

WAVE_NUMBERS = np.indices((SIDE, SIDE)).reshape(2, -1).T  # half periods down and across of every wave
WAVE_NUMBERS = WAVE_NUMBERS[np.hypot(*WAVE_NUMBERS.T) >= COARSEST]
WAVE_NUMBERS = WAVE_NUMBERS[np.argsort(np.hypot(*WAVE_NUMBERS.T), kind="stable")][:WAVES]  # (WAVES, 2), coarse to fine
MIRROR = np.where(WAVE_NUMBERS[:, 1] % 2, -1, 1).astype(np.float32)  # what mirroring the face multiplies every wave by
Noted = Literal["signatures", "digests", "nothing"]


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
        return TrainingRows("digests", len(images), np.unique(pixel_digests(images, PIXEL_DIGEST), axis=0))
    return TrainingRows("nothing", len(images), np.empty((0, PIXEL_DIGEST), dtype=np.uint8))


def copies_of_training_rows(images: np.ndarray, known: TrainingRows) -> np.ndarray | None:
    """Find copies of training faces and faces like one: (N,), str, `EXACT`, `ALIKE` or `UNKNOWN`; None if none are stored."""
    if known.noted == "digests":
        return np.where(same_rows(pixel_digests(images, PIXEL_DIGEST), known.table), EXACT, UNKNOWN)
    return known_faces(images, known.table) if known.noted == "signatures" else None


def copies_between_folds(images: np.ndarray, fold: np.ndarray) -> tuple[TrainingRows, np.ndarray] | None:
    """Find which faces are copies of faces in other folds, given each face's fold (N,); None where there are too many."""
    kinds = np.full(len(images), UNKNOWN, dtype="U5")
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
    own = signatures(images)
    found = np.where(same_rows(own, known), EXACT, UNKNOWN).astype("U5")
    signs = np.unpackbits(known[:, :-DIGEST], axis=1).astype(np.float32) * 2 - 1
    others = np.flatnonzero(found == UNKNOWN)
    for start in range(0, len(others) if len(known) else 0, CHUNK):
        rows = others[start : start + CHUNK]
        face, other, is_mirrored = _agreeing(in_gray(images[rows]), signs)
        found[rows[face]] = ALIKE
        # the sign of a wave near zero may differ between machines; the digest does not
        same_digest = (own[rows[face], -DIGEST:] == known[other, -DIGEST:]).all(axis=1)
        found[rows[face[same_digest & ~is_mirrored]]] = EXACT
    return found


def _agreeing(gray: np.ndarray, signs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find faces and known ones whose waves agree by weight at some shift: (P,) rows of each, and whether mirrored."""
    from sklearn.neighbors import NearestNeighbors

    weights = _weights(gray)
    weights = np.concatenate([weights, weights * MIRROR])
    # all signatures have the same length, so those nearest by distance are those that agree best
    search = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(signs)), algorithm="brute").fit(signs)
    nearest = search.kneighbors(weights, return_distance=False)
    row, place = np.nonzero(np.einsum("fw,fnw->fn", weights, signs[nearest]) >= GLANCE)
    face, other, is_mirrored = row % len(gray), nearest[row, place], row >= len(gray)
    wanted, place = np.unique(face, return_inverse=True)  # only these are shifted
    expected = signs[other] * np.where(is_mirrored[:, None], MIRROR, 1)
    agreement = np.zeros(len(face), dtype=np.float32)
    for down, across in product(range(-SHIFT, SHIFT + 1), repeat=2):
        shifted = _weights(gray[wanted], down, across)[place]
        np.maximum(agreement, np.einsum("pw,pw->p", shifted, expected), out=agreement)
    same = agreement >= SAME_SIGNATURE
    return face[same], other[same], is_mirrored[same]


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
