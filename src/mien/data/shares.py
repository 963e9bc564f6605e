"""Shares of the labels, as targets and crowd votes hold them: made of hard labels, checked, and carried to other labels."""

from collections.abc import Sequence

import numpy as np

from mien.errors import MienError


def one_hot(classes: Sequence[int] | np.ndarray, count: int) -> np.ndarray:
    """Make shares of hard labels.

    Args:
        classes: (N,) indices into the labels.
        count: K, the number of labels.

    Returns:
        (N, K), float32; each row has a single 1.

    Raises:
        MienError: if a class is no index into the labels.
    """
    classes = np.asarray(classes)
    if classes.ndim != 1 or (len(classes) and classes.dtype.kind not in "iu"):
        raise MienError(f"Classes must be (N,) whole numbers, indices into the labels, not {classes.dtype} {classes.shape}.")
    if len(classes) and (classes.min() < 0 or classes.max() >= count):
        raise MienError(f"Classes must lie between 0 and {count - 1}, not {classes.min()} to {classes.max()}.")
    return np.asarray(np.eye(count, dtype=np.float32)[classes.astype(np.int64)])


def check_shares(name: str, shares: np.ndarray, shape: tuple[int, int], may_be_zeros: bool = False) -> None:
    """Refuse what are no shares of the labels.

    Args:
        name: what they are called, for the sentence.
        shares: wanted as float32; each row not negative and summing to 1.
        shape: (N, K), as it is wanted.
        may_be_zeros: accept rows of zeros, of which nothing is known.

    Raises:
        MienError: if they have another type or shape, or a row is something else.
    """
    if shares.dtype != np.float32 or shares.shape != shape:
        raise MienError(
            f"{name.capitalize()} must be float32 {shape} for these images and labels, not {shares.dtype} {shares.shape}."
        )
    total = shares.sum(axis=1)
    good = (shares >= 0).all(axis=1) & (np.isclose(total, 1, atol=1e-3) | (may_be_zeros & (total == 0)))
    if not good.all():
        row = int(good.argmin())
        zeros = ", or zeros where nothing is known" if may_be_zeros else ""
        raise MienError(f"Every row of the {name} must be shares that sum to 1{zeros}; row {row} is {shares[row].tolist()}.")


def relabelled(shares: np.ndarray, becomes: Sequence[int], count: int) -> np.ndarray:
    """Carry shares over to other labels; what is left of a row sums to 1 again.

    Args:
        shares: (N, K).
        becomes: for each old label its new index, or -1 where it is dropped, as `LabelSet.keep` and `merge` give it.
        count: the number of new labels.

    Returns:
        (N, count), float32; rows of zeros where nothing is left.
    """
    new = np.zeros((len(shares), count), dtype=np.float32)
    for old, index in enumerate(becomes):
        if index >= 0:
            new[:, index] += shares[:, old]
    total = new.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(new, total, out=new, where=total > 0))
