"""Rows moved as a whole from one split to another."""

from dataclasses import replace

import numpy as np

from mien.data.faceset import SPLITS, FaceSet


def move_split(faces: FaceSet, source: str, into: str) -> FaceSet:
    """Move all rows of one split to another; without such rows nothing changes.

    Args:
        faces: labelled faces.
        source: one of `SPLITS`.
        into: one of `SPLITS`.

    Returns:
        The same rows in the same order; only their splits have changed.
    """
    moved = np.where(faces.splits == SPLITS.index(source), SPLITS.index(into), faces.splits)
    return replace(faces, splits=moved.astype(np.uint8))
