"""Curves of every label against all others, and of accuracy against coverage; each function returns a matplotlib figure."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from mien.evaluation.figure import ACCENT, FAINT, INK, calm, new_figure, new_grid, plain
from mien.evaluation.metrics import Metrics
from mien.evaluation.selective import accuracy_by_coverage

Curve = tuple[np.ndarray, np.ndarray]

FEWEST_SHOWN = 20
"""The accuracy of fewer answers than these jumps too much to be drawn, where there are more."""


def plot_precision_recall(probabilities: np.ndarray, targets: np.ndarray, metrics: Metrics) -> Figure:
    """Draw precision against recall, a panel per label; up to 12 labels lie faintly behind each other's.

    The number is the average precision, the dashed line what guessing gives: the label's share of the rows.

    Args:
        probabilities: (N, K).
        targets: (N, K).
        metrics: what `measure` made of the same rows.
    """

    def trace(truth: np.ndarray, scores: np.ndarray) -> Curve:
        precision, recall, _ = precision_recall_curve(truth, scores, drop_intermediate=True)
        return recall, precision

    curves = _curves(probabilities, targets, [bool(each.support) for each in metrics.labels], trace)
    numbers = [each.average_precision for each in metrics.labels]
    guessing = [(each.support / metrics.n,) * 2 for each in metrics.labels]
    return _panel_per_label(metrics, curves, numbers, guessing, ("recall", "precision"), "steps-post")


def plot_roc(probabilities: np.ndarray, targets: np.ndarray, metrics: Metrics) -> Figure:
    """Draw the share of a label's rows that are found against the share of the others taken for it, a panel per label.

    The number is the area under the curve, the dashed diagonal what guessing gives.

    Args:
        probabilities: (N, K).
        targets: (N, K).
        metrics: what `measure` made of the same rows.
    """
    numbers = [each.roc_auc for each in metrics.labels]
    curves = _curves(probabilities, targets, [number is not None for number in numbers], lambda *rows: roc_curve(*rows)[:2])
    guessing = [(0.0, 1.0)] * len(metrics.labels)
    return _panel_per_label(metrics, curves, numbers, guessing, ("false positive rate", "true positive rate"), "default")


def plot_coverage(probabilities: np.ndarray, targets: np.ndarray, metrics: Metrics) -> Figure:
    """Draw the accuracy of the surest answers against their share of the rows; the dots are the points of the table.

    Args:
        probabilities: (N, K).
        targets: (N, K).
        metrics: what `measure` made of the same rows.
    """
    accuracy = accuracy_by_coverage(probabilities.max(axis=1), probabilities.argmax(axis=1) == targets.argmax(axis=1))
    answered = np.arange(1, metrics.n + 1)
    shown = answered >= (FEWEST_SHOWN if metrics.n > FEWEST_SHOWN else 1)
    figure = new_figure(5.4, 3.6)
    axes = calm(figure.subplots(), grid="both")
    axes.plot(*_thinned(answered[shown] / metrics.n, accuracy[shown]), color=ACCENT, linewidth=1.8)
    axes.axhline(metrics.accuracy.value, color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
    for point in metrics.selective.points:
        reached = point.accuracy.of / metrics.n
        axes.plot([reached] * 2, [point.accuracy.low, point.accuracy.high], color=ACCENT, linewidth=1.2, alpha=0.6)
        axes.plot(reached, point.accuracy.value, "o", color=ACCENT, markersize=5)
    axes.set(xlim=(0, 1.03), xlabel="faces answered, the surest first", ylabel="accuracy of these answers")
    axes.set_ylim(min(axes.get_ylim()[0], metrics.accuracy.low) - 0.02, 1.01)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda share, _: f"{share:.0%}")
    return figure


def _curves(
    probabilities: np.ndarray, targets: np.ndarray, defined: Sequence[bool], trace: Callable[[np.ndarray, np.ndarray], Curve]
) -> list[Curve | None]:
    """Trace each label against all others; None for a label without a curve."""
    truth = targets.argmax(axis=1)
    return [_thinned(*trace(truth == label, probabilities[:, label])) if there else None for label, there in enumerate(defined)]


def _panel_per_label(
    metrics: Metrics,
    curves: Sequence[Curve | None],
    numbers: Sequence[float | None],
    guessing: Sequence[tuple[float, float]],
    names: tuple[str, str],
    joined: Literal["default", "steps-post"],
) -> Figure:
    """Draw a curve and its number for each label, above the line that guessing gives, from x of 0 to x of 1."""
    size = len(metrics.labels)
    columns = min(4, size)
    figure, panels = new_grid(size, columns, 1.85, (0.35, 0.55), (0.75, 0.2, 0.3, 0.6))
    for label, (each, panel) in enumerate(zip(metrics.labels, panels, strict=True)):
        calm(panel, grid="both").set(xlim=(-0.01, 1.01), ylim=(0, 1.01), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        panel.set_title(plain(each.label, 20), loc="left", fontsize=10, color=INK)
        panel.tick_params(labelbottom=label + columns >= size, labelleft=label % columns == 0)
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_formatter(lambda share, _: f"{share:.0%}")
        curve, number = curves[label], numbers[label]
        if curve is None or number is None:
            said = "no other rows" if each.support else "no rows"
            panel.text(0.5, 0.5, said, ha="center", va="center", fontsize=9, color=FAINT)
            continue
        for other in curves if size <= 12 else ():
            if other is not None:
                panel.plot(*_thinned(*other, points=40), drawstyle=joined, color=FAINT, linewidth=0.7, alpha=0.3)
        panel.plot((0, 1), guessing[label], color=FAINT, linewidth=0.9, linestyle=(0, (4, 3)))
        panel.plot(*curve, drawstyle=joined, color=ACCENT, linewidth=1.8)
        panel.set_title(f"{number:.3f}", loc="right", fontsize=10, color=ACCENT)
    width, height = figure.get_size_inches()
    figure.supxlabel(names[0], y=0.08 / height, va="bottom", fontsize=10, color=FAINT)
    figure.supylabel(names[1], x=0.05 / width, ha="left", fontsize=10, color=FAINT)
    return figure


def _thinned(x: np.ndarray, y: np.ndarray, points: int = 160) -> Curve:
    """Keep at most so many points of a curve, evenly along it: a page needs no more, and stays small."""
    if len(x) <= points:
        return x, y
    chosen = np.unique(np.linspace(0, len(x) - 1, points).round().astype(int))
    return x[chosen], y[chosen]
