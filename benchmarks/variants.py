"""Compare variants of a recipe, each trained with several seeds and measured on the same rows, by a paired bootstrap."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mien.errors import MienError
from mien.evaluation.comparison import Answers

FIGURES = ("accuracy", "macro-F1", "recall")
"""Computed for every variant; recall is that of one label."""

RESAMPLES = 2000
"""With 2,000 each end of a 95% interval is the 50th value from its side."""


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval, percentiles over the resamples."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside the interval."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class VariantFigure:
    """One figure of a variant: the mean over seeds, its difference from that of the first variant, and each seed's own."""

    mean: Estimate
    difference: Estimate
    by_seed: tuple[float, ...]


def compare_variants(
    answers: Mapping[str, list[Answers]], label: str, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, dict[str, VariantFigure]]:
    """Compare variants with the first one by a paired bootstrap over the rows.

    Rows are drawn with replacement, the same for all models, and in each resample a variant's figures are averaged over its
    seeds. So the intervals describe how figures change with the rows; `by_seed` shows how they change with the seed.

    Source: Efron and Tibshirani, An introduction to the bootstrap, 1993 (percentile intervals).

    Args:
        answers: for each variant those of its models, the same seeds in the same order.
        label: whose recall is wanted; resamples without its rows are ignored for it.
        resamples: how many; memory is 8 bytes for each and each row.
        seed: of the draws.

    Returns:
        For each variant its `FIGURES`, by their names.

    Raises:
        MienError: if models were measured on different rows, variants have different numbers of seeds, or no row has the label.
    """
    every = [each for models in answers.values() for each in models]
    first = every[0]
    if any((each.ids, each.labels, each.truth.tolist()) != (first.ids, first.labels, first.truth.tolist()) for each in every):
        raise MienError("These runs were not all measured on the same rows; a paired comparison needs that.")
    if len({len(models) for models in answers.values()}) > 1:
        raise MienError("Every variant needs the same seeds; train those that are missing.")
    if label not in first.labels or first.labels.index(label) not in first.truth:
        raise MienError(f"No row has the label {label!r}, so it has no recall.")

    count = len(first.truth)
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    predicted, wanted = np.stack([each.predicted for each in every]), first.labels.index(label)
    shape = (-1, len(answers), len(every) // len(answers), len(FIGURES))
    observed = compute_figures(np.ones((1, count)), first.truth, predicted, wanted).reshape(shape)[0]
    resampled = compute_figures(drawn.astype(np.float64), first.truth, predicted, wanted).reshape(shape).mean(axis=2)
    means = observed.mean(axis=1)
    return {
        variant: {
            name: VariantFigure(
                mean=_estimate(means[v, f], resampled[:, v, f]),
                difference=_estimate(means[v, f] - means[0, f], resampled[:, v, f] - resampled[:, 0, f]),
                by_seed=tuple(observed[v, :, f].tolist()),
            )
            for f, name in enumerate(FIGURES)
        }
        for v, variant in enumerate(answers)
    }


def compute_figures(weights: np.ndarray, truth: np.ndarray, predicted: np.ndarray, label: int) -> np.ndarray:
    """Compute the figures of R models with weighted rows, by matrix products.

    Args:
        weights: (B, N), float64: how often each row counts in each resample.
        truth: (N,), labels.
        predicted: (R, N), labels.
        label: whose recall is wanted.

    Returns:
        (B, R, 3), in the order of `FIGURES`; NaN for the recall of a label without rows.
    """
    every = np.arange(max(truth.max(), predicted.max()) + 1)
    is_true = truth == every[:, None]  # (K, N)
    is_predicted = predicted[:, None] == every[:, None]  # (R, K, N)
    models, labels, count = is_predicted.shape
    support = (weights @ is_true.T)[:, None]  # (B, 1, K)
    hits, given = (
        (weights @ flags.reshape(-1, count).T).reshape(-1, models, labels) for flags in (is_predicted & is_true, is_predicted)
    )  # (B, R, K)
    has_rows = support > 0
    f1 = np.divide(2 * hits, support + given, out=np.zeros_like(hits), where=has_rows)
    recall = np.divide(hits, support, out=np.full_like(hits, np.nan), where=has_rows)
    accuracy = hits.sum(axis=2) / weights.sum(axis=1)[:, None]
    return np.stack([accuracy, f1.sum(axis=2) / has_rows.sum(axis=2), recall[:, :, label]], axis=2)


def _estimate(value: float, resampled: np.ndarray) -> Estimate:
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return Estimate(float(value), float(low), float(high))
