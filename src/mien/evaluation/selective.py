"""Accuracy against coverage: what a model is worth that may hold back the answers it is unsure of."""

import math
from dataclasses import dataclass

import numpy as np

from mien.evaluation.proportion import Proportion, proportion

COVERAGES = (1.0, 0.9, 0.8, 0.5)
"""The shares of the rows that a report gives the accuracy of answering."""


@dataclass(frozen=True)
class CoveragePoint:
    """Only rows with at least some confidence answered, the others held back.

    Attributes:
        coverage: the least share of the rows that is to be answered, 0 to 1.
        threshold: the confidence from which on answers are given, 0 to 1; rows that tie there are all answered.
        accuracy: of the answers given; its `of` is how many these are.
    """

    coverage: float
    threshold: float
    accuracy: Proportion


@dataclass(frozen=True)
class SelectiveAccuracy:
    """What holding back answers brings.

    Attributes:
        points: at each of `COVERAGES`.
        area: accuracy averaged over every coverage from one row to all: 1 minus the area under the risk-coverage curve.
        perfect_area: the same if every right answer were surer than every wrong one. If confidence said nothing, the area
            would be the accuracy.
    """

    points: tuple[CoveragePoint, ...]
    area: float
    perfect_area: float


def selective_accuracy(confidence: np.ndarray, right: np.ndarray) -> SelectiveAccuracy:
    """Measure how accuracy rises where the least sure answers are held back.

    Source: El-Yaniv and Wiener, On the foundations of noise-free selective classification, JMLR 11, 2010.

    Args:
        confidence: (N,), probability of the predicted label, 0 to 1; N at least 1.
        right: (N,), whether the prediction is right.
    """
    falling, count = np.sort(confidence)[::-1], len(right)
    points = []
    for coverage in COVERAGES:
        threshold = falling[max(1, math.ceil(round(coverage * count, 6))) - 1]
        answered = confidence >= threshold
        points.append(CoveragePoint(coverage, float(threshold), proportion(int(right[answered].sum()), int(answered.sum()))))
    every = np.arange(1, count + 1)
    perfect = np.minimum(every, int(right.sum())) / every
    return SelectiveAccuracy(tuple(points), float(accuracy_by_coverage(confidence, right).mean()), float(perfect.mean()))


def accuracy_by_coverage(confidence: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Give the accuracy of the k surest answers, for every k.

    Among rows of the same confidence every order is as good, so each counts with their mean.

    Args:
        confidence: (N,), 0 to 1.
        right: (N,), booleans.

    Returns:
        (N,), float64: at k - 1 the accuracy of the k surest.
    """
    order = np.argsort(-confidence, kind="stable")
    _, tie, size = np.unique(confidence, return_inverse=True, return_counts=True)
    shared = (np.bincount(tie, weights=right) / size)[tie]
    accuracies: np.ndarray = np.cumsum(shared[order]) / np.arange(1, len(right) + 1)
    return accuracies
