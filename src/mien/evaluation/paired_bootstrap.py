"""Variants trained with several seeds and measured on the same rows: their figures, and how they differ from the first."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mien.errors import MienError

FIGURES = ("accuracy", "macro-F1", "recall")
"""What is computed of every variant; recall is that of one label."""

RESAMPLES = 2000
"""At 2,000 an end of a 95% interval is the 50th value from its side."""


@dataclass(frozen=True)
class Answers:
    """What one model answered, from the predictions.csv of a report.

    Attributes:
        ids: the rows' ids.
        labels: the K label names, in the model's order.
        truth: (N,), int64: each row's label.
        predicted: (N,), int64: the likeliest label.
    """

    ids: tuple[str, ...]
    labels: tuple[str, ...]
    truth: np.ndarray
    predicted: np.ndarray


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval.

    Attributes:
        value: on the rows as they are.
        low: 2.5th percentile over the resamples.
        high: 97.5th percentile over the resamples.
    """

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside the interval."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class VariantFigure:
    """One figure of one variant.

    Attributes:
        mean: over the seeds.
        difference: of `mean` to that of the first variant, on the same rows of each resample.
        by_seed: the figure of each seed.
    """

    mean: Estimate
    difference: Estimate
    by_seed: tuple[float, ...]


def read_answers(path: Path) -> Answers:
    """Read a report's predictions.csv.

    Raises:
        MienError: if it is not there, or is not such a file.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = list(csv.reader(file))
        labels = [name.removeprefix("probability_") for name in header[3:] if name.startswith("probability_")]
        if header[:3] != ["id", "true", "predicted"] or not rows:
            raise ValueError("it has other columns, or no rows")
        truth, predicted = ([labels.index(row[column]) for row in rows] for column in (1, 2))
    except (OSError, ValueError, IndexError) as error:
        raise MienError(f"Cannot read {path} as the predictions.csv of a report: {error}.") from None
    return Answers(tuple(row[0] for row in rows), tuple(labels), np.array(truth), np.array(predicted))


def compare_variants(
    answers: Mapping[str, list[Answers]], label: str, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, dict[str, VariantFigure]]:
    """Compare variants by a paired bootstrap over the rows.

    Rows are drawn with replacement, as many as there are, the same for all models; in each resample the figures of a
    variant's seeds are averaged. So the intervals say how figures change with the rows, the trained models being given; how
    they change with the seed is to be seen in `by_seed` alone.

    Source: Efron and Tibshirani, An introduction to the bootstrap, 1993 (percentile intervals).

    Args:
        answers: for each variant those of its models, the same seeds in the same order; the first variant is what the others
            are compared with.
        label: the one whose recall is wanted. Resamples without its rows say nothing of it.
        resamples: how many; memory is 8 bytes for each and each row.
        seed: the same seed draws the same rows.

    Returns:
        For each variant its `FIGURES`, by their names.

    Raises:
        MienError: if models were not measured on the same rows, variants have not as many seeds, or no row bears the label.
    """
    every = [each for models in answers.values() for each in models]
    first = every[0]
    if any((each.ids, each.labels, each.truth.tolist()) != (first.ids, first.labels, first.truth.tolist()) for each in every):
        raise MienError("These runs were not all measured on the same rows; a paired comparison needs that.")
    if len({len(models) for models in answers.values()}) > 1:
        raise MienError("Every variant needs the same seeds; train those that are missing.")
    if label not in first.labels or first.labels.index(label) not in first.truth:
        raise MienError(f"No row bears the label {label!r}, so it has no recall.")

    count = len(first.truth)
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    predicted, wanted = np.stack([each.predicted for each in every]), first.labels.index(label)
    shape = (-1, len(answers), len(every) // len(answers), len(FIGURES))
    as_they_are = _figures(np.ones((1, count)), first.truth, predicted, wanted).reshape(shape)[0]
    resampled = _figures(drawn.astype(np.float64), first.truth, predicted, wanted).reshape(shape).mean(axis=2)
    means = as_they_are.mean(axis=1)
    return {
        variant: {
            name: VariantFigure(
                mean=_estimate(means[v, f], resampled[:, v, f]),
                difference=_estimate(means[v, f] - means[0, f], resampled[:, v, f] - resampled[:, 0, f]),
                by_seed=tuple(as_they_are[v, :, f].tolist()),
            )
            for f, name in enumerate(FIGURES)
        }
        for v, variant in enumerate(answers)
    }


def _figures(weights: np.ndarray, truth: np.ndarray, predicted: np.ndarray, label: int) -> np.ndarray:
    """Compute the figures of models with rows counted several times, all of them by matrix products.

    Args:
        weights: (B, N), float64: how often each row counts.
        truth: (N,), labels.
        predicted: (R, N), labels, of R models.
        label: the one whose recall is wanted.

    Returns:
        (B, R, 3), in the order of `FIGURES`; NaN for the recall of a label without rows.
    """
    every = np.arange(max(truth.max(), predicted.max()) + 1)
    bears = truth == every[:, None]  # (K, N)
    answered = predicted[:, None] == every[:, None]  # (R, K, N)
    models, labels, count = answered.shape
    support = (weights @ bears.T)[:, None]  # (B, 1, K)
    hits, given = (
        (weights @ flags.reshape(-1, count).T).reshape(-1, models, labels) for flags in (answered & bears, answered)
    )  # (B, R, K)
    there = support > 0
    f1 = np.divide(2 * hits, support + given, out=np.zeros_like(hits), where=there)
    recall = np.divide(hits, support, out=np.full_like(hits, np.nan), where=there)
    accuracy = hits.sum(axis=2) / weights.sum(axis=1)[:, None]
    return np.stack([accuracy, f1.sum(axis=2) / there.sum(axis=2), recall[:, :, label]], axis=2)


def _estimate(value: float, resampled: np.ndarray) -> Estimate:
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return Estimate(float(value), float(low), float(high))
