"""Signatures of faces: 12 bytes each, by which copies are known without the faces themselves."""

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from mien.data.copies import CHUNK, SHIFT, SIDE, in_gray
from mien.errors import MienError

EXACT, NEAR, NO_COPY = "exact", "near", ""
"""What a face is to those whose signatures are known."""

WAVES = 80
"""Bits of a signature that tell the picture: the signs of so many coefficients of the cosine transform."""

COARSEST = 3
"""Half waves across the face, below which waves tell the light and the place of the head, in which strangers are alike."""

DIGEST = 2
"""Bytes of a signature that tell the exact pixels, of faces whose pictures agree already."""

BYTES = WAVES // 8 + DIGEST

SAME_PICTURE = 0.90
"""Least agreement of near copies. Of the 387 PublicTest faces of FER-2013 that reach it without being exact copies, 5 do not
show the same picture as the training face they agree with (docs/evaluate.md)."""

GLANCE = 0.5
"""Least agreement, unshifted, that is worth a closer look: one face in ten that is two pixels aside, and half of those two
pixels aside and two up, have less."""

NEIGHBOURS = 8
"""At most so many of the known faces are looked at closely for each face, plain and mirrored."""

STRONGEST = 2.0
"""A wave counts up to so many times the face's median one, so that no edge outweighs all the rest."""

BLANK = 1.0
"""A face whose grays have a smaller standard deviation shows no picture; only its exact pixels count."""

AT_ONCE = 2**23
"""Agreements computed at a time: 32 MB."""


def signatures(images: np.ndarray) -> np.ndarray:
    """Sign faces: which of the waves of the middle of the face, in gray, are positive, then a digest of the pixels.

    Signs of a cosine transform change little with brightness, contrast and compression (Zauner, Implementation and
    benchmarking of perceptual image hash functions, 2010). No face can be made of one.

    Args:
        images: (N, H, W) or (N, H, W, 3), uint8.

    Returns:
        (N, BYTES), uint8.
    """
    found = np.empty((len(images), BYTES), dtype=np.uint8)
    for start in range(0, len(images), CHUNK):
        gray = in_gray(images[start : start + CHUNK])
        positive = (_coefficients(gray, 0, 0) > 0) & ~_blank(gray)[:, None]
        found[start : start + len(gray), :-DIGEST] = np.packbits(positive, axis=1)
        found[start : start + len(gray), -DIGEST:] = _digests(gray, DIGEST)
    return found


def pixel_digests(images: np.ndarray, length: int) -> np.ndarray:
    """Digest the pixels of faces in gray: (N, length), uint8."""
    parts = [_digests(in_gray(images[start : start + CHUNK]), length) for start in range(0, len(images), CHUNK)]
    return np.concatenate([np.empty((0, length), dtype=np.uint8), *parts])


def known_faces(images: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Tell which faces are copies of faces of which only the signatures are known.

    The face at hand is not reduced to signs: its waves are weighed by how strong they are, for weak ones change their signs
    first. The agreement is the weight of the waves whose signs agree less that of those that do not, at the best of all
    shifts up to `SHIFT` pixels; a mirror image is a near copy.

    Time grows as the product of both numbers; memory stays flat.

    Args:
        images: (N, H, W) or (N, H, W, 3), uint8.
        known: (M, BYTES), uint8, what `signatures` made.

    Returns:
        (N,), str: `EXACT`, `NEAR` or `NO_COPY`.
    """
    own = signatures(images)
    found = np.where(same_rows(own, known), EXACT, NO_COPY).astype("U5")
    signs = np.unpackbits(known[:, :-DIGEST], axis=1).astype(np.float32) * 2 - 1
    others, step = np.flatnonzero(found == NO_COPY), AT_ONCE // max(1, len(known)) + 1
    for start in range(0, len(others) if len(known) else 0, step):
        rows = others[start : start + step]
        found[rows] = _near(in_gray(images[rows]), own[rows, -DIGEST:], signs, known[:, -DIGEST:])
    return found


def same_rows(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Tell which rows of the first stand in the second: (N, B) and (M, B), uint8, to (N,) booleans."""
    one, other = (np.ascontiguousarray(rows).view(f"V{rows.shape[1]}")[:, 0] for rows in (first, second))
    return np.isin(one, other)


def _near(gray: np.ndarray, digests: np.ndarray, signs: np.ndarray, known_digests: np.ndarray) -> np.ndarray:
    """Tell which of some faces are near copies, by the signs of the known ones: (N,), str."""
    kinds, mirror, shifts = np.full(len(gray), NO_COPY, dtype="U5"), _waves()[1], range(-SHIFT, SHIFT + 1)
    weights = _weights(gray, 0, 0)
    pairs = [_likeliest(weights * turn, signs) for turn in (np.ones_like(mirror), mirror)]
    mirrored = np.repeat([False, True], [len(one) for one, _ in pairs])
    face, other = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    wanted, place = np.unique(face, return_inverse=True)  # shifted weights are made of these alone
    looked = signs[other] * np.where(mirrored[:, None], mirror, 1)
    agreement = np.zeros(len(face), dtype=np.float32)
    for down in shifts:
        for across in shifts:
            shifted = _weights(gray[wanted], down, across)[place]
            np.maximum(agreement, np.einsum("pw,pw->p", shifted, looked), out=agreement)
    same = agreement >= SAME_PICTURE
    kinds[face[same]] = NEAR
    # a wave of next to nothing may change its sign from machine to machine; the digest does not
    digest = (digests[face] == known_digests[other]).all(axis=1)
    kinds[face[same & digest & ~mirrored]] = EXACT
    return kinds


def _likeliest(weights: np.ndarray, signs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find for each face the few known ones that agree best at a glance: two arrays (P,), rows of each."""
    agreement = weights @ signs.T
    face, other = np.nonzero(agreement >= GLANCE)
    order = np.lexsort((-agreement[face, other], face))
    face, other = face[order], other[order]
    kept = np.arange(len(face)) - np.searchsorted(face, face) < NEIGHBOURS
    return face[kept], other[kept]


def _weights(gray: np.ndarray, down: int, across: int) -> np.ndarray:
    """Weigh the waves of a face, signed, so that they sum to 1 without their signs: (N, WAVES), float32; 0 for a blank one."""
    waves = _coefficients(gray, down, across) * ~_blank(gray)[:, None]
    strength = STRONGEST * np.median(np.abs(waves), axis=1, keepdims=True)
    waves = np.clip(waves, -strength, strength)
    return np.asarray(waves / np.maximum(np.abs(waves).sum(axis=1, keepdims=True), 1e-6), dtype=np.float32)


def _coefficients(gray: np.ndarray, down: int, across: int) -> np.ndarray:
    """Transform the middle of the faces, so many pixels away from the centre: (N, SIDE, SIDE) to (N, WAVES), float32."""
    top, left, extent = SHIFT + down, SHIFT + across, SIDE - 2 * SHIFT
    middle = gray[:, top : top + extent, left : left + extent].reshape(len(gray), extent**2).astype(np.float32)
    return np.asarray(middle @ _waves()[0])


@cache
def _waves() -> tuple[np.ndarray, np.ndarray]:
    """Make the waves, coarse to fine, as pixels (P, WAVES); and (WAVES,) what mirroring the face multiplies each by.

    Each is as strong as it is fine, for in faces the coarse ones are the stronger, about in proportion.
    """
    extent = SIDE - 2 * SHIFT
    numbers = [(down, across) for down in range(SIDE) for across in range(SIDE) if np.hypot(down, across) >= COARSEST]
    numbers = sorted(numbers, key=lambda wave: (np.hypot(*wave), wave))[:WAVES]
    places = (np.arange(extent) + 0.5) * np.pi / extent
    waves = np.array([np.outer(np.cos(down * places), np.cos(across * places)).ravel() for down, across in numbers])
    fineness = np.array([np.hypot(*wave) for wave in numbers])
    waves *= (fineness / np.linalg.norm(waves, axis=1))[:, None]
    mirror = np.array([(-1.0) ** across for _, across in numbers])
    return waves.T.astype(np.float32), mirror.astype(np.float32)


def _blank(gray: np.ndarray) -> np.ndarray:
    return np.asarray(gray.std(axis=(1, 2)) < BLANK)


def _digests(gray: np.ndarray, length: int) -> np.ndarray:
    digests = [hashlib.blake2b(np.ascontiguousarray(face).data, digest_size=length).digest() for face in gray]
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(len(gray), length)


# What a model file notes of the faces it was trained on, so that copies of them are known later without these faces.

MOST_SIGNED = 100_000
"""Of so many training faces at most the signatures are noted: 16 characters each."""

MOST_DIGESTED = 150_000
"""Of so many at most digests of the pixels are: 1 MB."""

DIGEST_training_rows = 5
"""Bytes of a digest: of 150,000 faces and as many others about one in a hundred runs would take one for a copy that is none."""

Noted = Literal["signatures", "digests", "nothing"]


@dataclass(frozen=True)
class TrainingRows:
    """What is known of training faces.

    Attributes:
        noted: signatures, by which exact and near copies are known; digests, by which exact ones are; or nothing.
        rows: how many training faces there were.
        table: (M, B), uint8: of each face that differs from the others a signature, or a digest.
    """

    noted: Noted
    rows: int
    table: np.ndarray


def describe_training_rows(images: np.ndarray) -> TrainingRows:
    """Describe training faces in as much detail as there is room for in a model file.

    Args:
        images: (N, H, W) or (N, H, W, 3), uint8.
    """
    if len(images) <= MOST_SIGNED:
        return TrainingRows("signatures", len(images), np.unique(signatures(images), axis=0))
    if len(images) <= MOST_DIGESTED:
        return TrainingRows("digests", len(images), np.unique(pixel_digests(images, DIGEST_training_rows), axis=0))
    return TrainingRows("nothing", len(images), np.empty((0, DIGEST_training_rows), dtype=np.uint8))


def as_text(known: TrainingRows) -> str:
    """Write what is known as the text that `from_text` reads: JSON, with the table in base64."""
    return json.dumps({"noted": known.noted, "rows": known.rows, "table": base64.b64encode(known.table.tobytes()).decode()})


def from_text(text: str) -> TrainingRows:
    """Read what a model file notes.

    Raises:
        MienError: if it is damaged, or of a kind that a later mien writes.
    """
    try:
        note = json.loads(text)
        width = {"signatures": BYTES, "digests": DIGEST_training_rows, "nothing": DIGEST_training_rows}[note["noted"]]
        table = np.frombuffer(base64.b64decode(note["table"], validate=True), dtype=np.uint8).reshape(-1, width)
        return TrainingRows(note["noted"], int(note["rows"]), table)
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise MienError(
            f"What the model file notes of its training faces cannot be read ({error}); "
            "it is damaged, or made by a later mien. Export the model again, or install that mien."
        ) from None


def copies_of_training_rows(images: np.ndarray, known: TrainingRows) -> np.ndarray | None:
    """Tell which faces are copies of training faces.

    Args:
        images: (N, H, W) or (N, H, W, 3), uint8.
        known: what the model file notes.

    Returns:
        (N,), str: `EXACT`, `NEAR` or `NO_COPY`; None where nothing is noted.
    """
    if known.noted == "nothing":
        return None
    if known.noted == "signatures":
        return known_faces(images, known.table)
    return np.where(same_rows(pixel_digests(images, DIGEST_training_rows), known.table), EXACT, NO_COPY)
