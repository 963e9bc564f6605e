"""Answers of one face over time, made calmer: an exponential moving average that knows how far apart its frames lie."""

import math

import numpy as np

SMOOTHING = 0.1
"""Seconds of the time constant where nobody chose. On filmed FER-2013 faces it nearly halves how often the label changes where
the face does not (0.47 a second in place of 0.85), and costs expressions of a second 0.7 points and longer ones none; 0.3 s
would cost them 9 (benchmarks/smoothing.py)."""


def smooth(before: np.ndarray, now: np.ndarray, elapsed: float, time_constant: float) -> np.ndarray:
    """Move an average towards a new value: the longer ago the last one, the further.

    The share of the old average that stays is exp(-elapsed / time_constant), whatever the frame rate (Eckner, Algorithms for
    Unevenly Spaced Time Series: Moving Averages and Other Rolling Operators, 2012, EMA_next). Averages of probabilities are
    probabilities: they still sum to 1.

    Args:
        before: the average so far, of any shape.
        now: the new value, of the same shape.
        elapsed: seconds between the two; less than 0 counts as 0.
        time_constant: seconds; 0 gives the new value as it is.
    """
    if not time_constant:
        return now
    weight = -math.expm1(-max(0.0, elapsed) / time_constant)
    return np.asarray(before + weight * (now - before))
