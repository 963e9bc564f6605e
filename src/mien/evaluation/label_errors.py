"""Which labels are the likeliest to be wrong, by what the model makes of the other rows of each label."""

import numpy as np


def likely_mislabelled(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Find rows that the model confidently takes for another label than theirs.

    A label's threshold is its mean probability over the rows that bear it. A row counts as the likeliest of the labels whose
    thresholds its probabilities reach; where that is another label than its own, its own is likely wrong. This needs a model
    that was not trained on these rows, and finds a model's own confusions as well: what it finds must be looked at.

    Source: the confident joint of Northcutt, Jiang and Chuang, Confident learning: estimating uncertainty in dataset labels,
    JAIR 70, 2021; ranked by their self-confidence, the probability of the label given.

    Args:
        probabilities: (N, K).
        targets: (N, K); the label given is the likeliest.

    Returns:
        Rows, by rising probability of the label given; empty where there are none.
    """
    given, rows = targets.argmax(axis=1), np.arange(len(targets))
    own = probabilities[rows, given].astype(np.float64)
    support = np.bincount(given, minlength=probabilities.shape[1])
    sums = np.bincount(given, weights=own, minlength=probabilities.shape[1])
    # a label without rows has no threshold that anything could reach
    thresholds = np.divide(sums, support, out=np.full(len(sums), np.inf), where=support > 0)
    reached = np.where(probabilities >= thresholds, probabilities, -1.0)
    suspects = np.flatnonzero((reached.max(axis=1) >= 0) & (reached.argmax(axis=1) != given))
    return suspects[np.argsort(own[suspects], kind="stable")]
