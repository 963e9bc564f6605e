"""Pictures of a model's figures; each function returns a matplotlib figure in the light palette."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import precision_recall_curve

from mien.evaluation.figure import ACCENT, FAINT, FILL, INK, MUTED, ON_FILL, RULE, calm, new_figure, new_grid, plain
from mien.evaluation.metrics import Metrics
from mien.labels import LabelSet


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


def plot_reliability(metrics: Metrics) -> Figure:
    """Draw accuracy against confidence in 15 bins, with 95% intervals; below it how many rows lie in each bin."""
    figure = new_figure(4.6, 4.8)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    calm(above, grid="both").set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    calm(below).set(xlabel="confidence", ylabel="faces")
    above.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
    above.text(0.03, 0.93, "above the line: too modest", color=FAINT, fontsize=9)
    above.text(0.97, 0.04, "below the line: too sure", color=FAINT, fontsize=9, ha="right")
    points = [(each.confidence, each.accuracy) for each in metrics.reliability if each.accuracy and each.confidence is not None]
    for confidence, accuracy in points:
        above.plot([confidence] * 2, [accuracy.low, accuracy.high], color=ACCENT, linewidth=1.2, alpha=0.6)
    means, accuracies = [mean for mean, _ in points], [accuracy.value for _, accuracy in points]
    above.plot(means, accuracies, color=ACCENT, linewidth=1.8, marker="o", markersize=5)
    for each in metrics.reliability:
        below.bar(each.low, each.count, width=each.high - each.low, align="edge", color=ACCENT, alpha=0.45, edgecolor="none")
    below.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    for axis in (above.xaxis, above.yaxis):
        axis.set_major_formatter(lambda share, _: f"{share:.0%}")
    return figure


def plot_precision_recall(probabilities: np.ndarray, targets: np.ndarray, labels: LabelSet, metrics: Metrics) -> Figure:
    """Draw precision against recall, a panel per label; up to 12 labels lie faintly behind each other's.

    The dashed line is what guessing gives: the label's share of the rows.

    Args:
        probabilities: (N, K).
        targets: (N, K).
        labels: the K label names.
        metrics: what `measure` made of the same rows.
    """
    truth = targets.argmax(axis=1)
    curves: list[tuple[np.ndarray, np.ndarray] | None] = []
    for label, each in enumerate(metrics.labels):
        if not each.support:
            curves.append(None)
            continue
        precision, recall, _ = precision_recall_curve(truth == label, probabilities[:, label], drop_intermediate=True)
        curves.append(_thinned(recall, precision))
    columns = min(4, len(labels))
    figure, panels = new_grid(len(labels), columns, 1.85, (0.35, 0.55), (0.75, 0.2, 0.3, 0.6))
    for label, (each, panel) in enumerate(zip(metrics.labels, panels, strict=True)):
        calm(panel, grid="both").set(xlim=(0, 1.01), ylim=(0, 1.01), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        panel.set_title(plain(each.label, 20), loc="left", fontsize=10, color=INK)
        panel.tick_params(labelbottom=label + columns >= len(labels), labelleft=label % columns == 0)
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_formatter(lambda share, _: f"{share:.0%}")
        if (curve := curves[label]) is None:
            panel.text(0.5, 0.5, "no rows", ha="center", va="center", fontsize=9, color=FAINT)
            continue
        for other in curves if len(labels) <= 12 else ():
            if other is not None:
                panel.step(*_thinned(*other, points=40), where="post", color=FAINT, linewidth=0.7, alpha=0.3)
        panel.axhline(each.support / metrics.n, color=FAINT, linewidth=0.9, linestyle=(0, (4, 3)))
        panel.step(*curve, where="post", color=ACCENT, linewidth=1.8)
        panel.set_title(f"{each.average_precision:.3f}", loc="right", fontsize=10, color=ACCENT)
    width, height = figure.get_size_inches()
    figure.supxlabel("recall", y=0.08 / height, va="bottom", fontsize=10, color=FAINT)
    figure.supylabel("precision", x=0.05 / width, ha="left", fontsize=10, color=FAINT)
    return figure


def _thinned(x: np.ndarray, y: np.ndarray, points: int = 160) -> tuple[np.ndarray, np.ndarray]:
    """Keep at most so many points of a curve, evenly along it: a page needs no more, and stays small."""
    if len(x) <= points:
        return x, y
    chosen = np.unique(np.linspace(0, len(x) - 1, points).round().astype(int))
    return x[chosen], y[chosen]
