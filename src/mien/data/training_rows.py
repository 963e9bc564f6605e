"""What a model file notes of the faces it was trained on, so that copies of them are known later without these faces."""

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mien.data.signatures import BYTES, EXACT, NO_COPY, known_faces, pixel_digests, same_rows, signatures
from mien.errors import MienError

MOST_SIGNED = 100_000
"""Of so many training faces at most the signatures are noted: 16 characters each."""

MOST_DIGESTED = 150_000
"""Of so many at most digests of the pixels are: 1 MB."""

DIGEST = 5
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
        return TrainingRows("digests", len(images), np.unique(pixel_digests(images, DIGEST), axis=0))
    return TrainingRows("nothing", len(images), np.empty((0, DIGEST), dtype=np.uint8))


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
        width = {"signatures": BYTES, "digests": DIGEST, "nothing": DIGEST}[note["noted"]]
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
    return np.where(same_rows(pixel_digests(images, DIGEST), known.table), EXACT, NO_COPY)
