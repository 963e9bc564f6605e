"""Pictures of a model's figures; each function returns a matplotlib figure in the light palette."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from mien.evaluation.calibration import ConfidenceBin
from mien.evaluation.crowd import CrowdAgreement
from mien.evaluation.figure import ACCENT, FAINT, FILL, INK, MUTED, ON_FILL, RULE, calm, new_figure, plain
from mien.evaluation.metrics import Metrics
from mien.evaluation.temperature import BeforeTemperature


def plot_confusion(metrics: Metrics) -> Figure:
    """Draw what is taken for what: a row per true label, its shares as colour and percent, its counts below them.

    With more than 12 labels the cells hold percent only, with more than 24 no text.
    """
    names, counts = [plain(name) for name in metrics.label_names], np.array(metrics.confusion)
    size = len(names)
    support = counts.sum(axis=1)
    cell = 0.86 if size <= 12 else 0.5 if size <= 24 else 0.25
    figure = new_figure(max(4.0, cell * size + 2.0), max(3.2, 0.8 * cell * size + 0.9))
    axes = calm(figure.subplots())
    for row, column in np.ndindex(size, size):
        share = counts[row, column] / support[row] if support[row] else 0.0
        axes.add_patch(Rectangle((column - 0.48, row - 0.48), 0.96, 0.96, facecolor=RULE, alpha=0.35, linewidth=0))
        axes.add_patch(Rectangle((column - 0.48, row - 0.48), 0.96, 0.96, facecolor=FILL, alpha=share, linewidth=0))
        if size > 24 or not support[row]:
            continue
        colour = ON_FILL if share > 0.7 else INK
        both = size <= 12
        axes.text(column, row - 0.12 * both, f"{share:.0%}", ha="center", va="center", fontsize=11 if both else 8, color=colour)
        if both:
            axes.text(column, row + 0.23, f"{counts[row, column]:,}", ha="center", va="center", fontsize=8, color=colour)
    for row in np.flatnonzero(support == 0).tolist():
        axes.text((size - 1) / 2, row, "no rows", ha="center", va="center", fontsize=9, color=FAINT)
    axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), xlabel="predicted", ylabel="true")
    rotation = 90 if size > 24 else 45 if size > 12 or max(map(len, names)) > 10 else 0
    axes.set_xticks(range(size), names, color=INK, rotation=rotation, ha="right" if rotation == 45 else "center")
    axes.set_yticks(range(size), names, color=INK)
    return figure


def plot_labels(metrics: Metrics) -> Figure:
    """Draw recall (accent, with its 95% interval) over precision (grey) for every label."""
    names = [plain(name) for name in metrics.label_names]
    figure = new_figure(7.0, 0.52 * len(names) + 0.9)
    axes = calm(figure.subplots(), grid="x")
    for row, each in enumerate(metrics.labels):
        if each.recall is None:
            axes.text(0.01, row, "no rows", va="center", fontsize=9, color=FAINT)
            continue
        axes.barh(row - 0.17, each.recall.value, height=0.3, color=FILL, label="recall, 95% interval")
        axes.plot([each.recall.low, each.recall.high], [row - 0.17] * 2, color=INK, linewidth=1.2, solid_capstyle="butt")
        axes.barh(row + 0.17, each.precision or 0.0, height=0.3, color=MUTED, label="precision")
    axes.set(xlim=(0, 1), ylim=(len(names) - 0.5, -0.5))
    axes.set_yticks(range(len(names)), names, color=INK)
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(
        handles.values(), handles.keys(), loc="outside upper right", ncols=2, frameon=False, fontsize=9, labelcolor=FAINT
    )
    return figure


def plot_reliability(metrics: Metrics, before: BeforeTemperature | None = None) -> Figure:
    """Draw accuracy against confidence in 15 bins, with 95% intervals; below it how many rows lie in each bin.

    Args:
        metrics: the figures.
        before: without the model's temperature; drawn behind, in grey, where it is given.
    """
    figure = new_figure(4.6, 4.8)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    calm(above, grid="both").set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    calm(below).set(xlabel="confidence", ylabel="faces")
    above.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
    above.text(0.03, 0.93, "above the line: too modest", color=FAINT, fontsize=9)
    above.text(0.97, 0.04, "below the line: too sure", color=FAINT, fontsize=9, ha="right")
    if before:
        means, accuracies = _points(before.reliability)
        above.plot(means, accuracies, color=FAINT, linewidth=1.2, marker="o", markersize=3.5, label="before temperature")
    for each in metrics.reliability:
        if each.accuracy and each.confidence is not None:
            above.plot([each.confidence] * 2, [each.accuracy.low, each.accuracy.high], color=ACCENT, linewidth=1.2, alpha=0.6)
    means, accuracies = _points(metrics.reliability)
    above.plot(means, accuracies, color=ACCENT, linewidth=1.8, marker="o", markersize=5, label="after it, as the model answers")
    if before:
        figure.legend(
            *above.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=9, labelcolor=FAINT
        )
    for each in metrics.reliability:
        below.bar(each.low, each.count, width=each.high - each.low, align="edge", color=ACCENT, alpha=0.45, edgecolor="none")
    below.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    for axis in (above.xaxis, above.yaxis):
        axis.set_major_formatter(lambda share, _: f"{share:.0%}")
    return figure


def plot_crowd(crowd: CrowdAgreement) -> Figure:
    """Draw the model's accuracy, with 95% intervals, on faces where the crowd agrees little to those where it does wholly."""
    figure = new_figure(5.4, 0.5 * len(crowd.bands) + 0.8)
    axes = calm(figure.subplots(), grid="x")
    for row, band in enumerate(crowd.bands):
        if band.accuracy is None:
            axes.text(0.01, row, "no rows", va="center", fontsize=9, color=FAINT)
            continue
        axes.barh(row, band.accuracy.value, height=0.5, color=FILL)
        axes.plot([band.accuracy.low, band.accuracy.high], [row] * 2, color=INK, linewidth=1.2, solid_capstyle="butt")
    names = [f"over {band.low:.0%}" if band.high == 1 else f"up to {band.high:.0%}" for band in crowd.bands]
    counts = [band.accuracy.of if band.accuracy else 0 for band in crowd.bands]
    axes.set(xlim=(0, 1), ylim=(len(names) - 0.5, -0.5), xlabel="accuracy of the model")
    axes.set_yticks(
        range(len(names)), [f"{name}, {count:,} faces" for name, count in zip(names, counts, strict=True)], color=INK
    )
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    return figure


def _points(bins: tuple[ConfidenceBin, ...]) -> tuple[list[float], list[float]]:
    found = [(each.confidence, each.accuracy.value) for each in bins if each.accuracy and each.confidence is not None]
    return [confidence for confidence, _ in found], [accuracy for _, accuracy in found]
