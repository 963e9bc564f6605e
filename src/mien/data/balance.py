"""What can be done about rare labels: numbers in, numbers out."""

import numpy as np


def class_weights(counts: np.ndarray) -> np.ndarray:
    """Weigh labels by how rare they are, as scikit-learn's "balanced" does (King and Zeng, 2001).

    Args:
        counts: (K,), rows of each label.

    Returns:
        (K,), float32: rows / (labels with rows * rows of the label); 0 for a label without rows.
    """
    counts = np.asarray(counts, dtype=np.float64)
    there = counts > 0
    weights = np.divide(counts.sum(), there.sum() * counts, out=np.zeros_like(counts), where=there)
    return np.asarray(weights, dtype=np.float32)


def sampling_probabilities(classes: np.ndarray) -> np.ndarray:
    """Give each row the probability with which a weighted sampler draws it: every label is drawn equally often.

    Args:
        classes: (N,), the label of each row.

    Returns:
        (N,), float64, summing to 1.
    """
    counts = np.bincount(classes)
    return np.asarray(1.0 / (np.count_nonzero(counts) * counts[classes]))


def minority_copies(classes: np.ndarray, seed: int) -> np.ndarray:
    """Choose rows to be repeated until every label has as many as the largest.

    Every row of a label is repeated equally often, but for a remainder drawn at random; a label without rows stays without.

    Args:
        classes: (N,), the label of each row.
        seed: the same seed chooses the same rows.

    Returns:
        (M,), int64: rows to be added to the N.
    """
    random = np.random.default_rng(seed)
    counts = np.bincount(classes)
    added = [np.empty(0, dtype=np.int64)]
    for label in np.flatnonzero(counts):
        rows = np.flatnonzero(classes == label)
        rounds, rest = divmod(counts.max() - len(rows), len(rows))
        added += [np.tile(rows, rounds), random.permutation(rows)[:rest]]
    return np.concatenate(added)
