"""Pictures of a model's figures; each function returns a matplotlib figure in the light palette."""

import io
import math
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import precision_recall_curve, roc_curve

from mien.evaluation.crowd import CrowdAgreement
from mien.evaluation.metrics import ConfidenceBin, Metrics, accuracy_by_coverage
from mien.evaluation.record import BeforeTemperature
from mien.evaluation.subgroups import Subgroups

# How every picture of a report looks: its colours, and a figure as PNG or as SVG that follows the page's theme.

INK = "#1d2733"
"""Text."""
FAINT = "#6b7785"
"""Secondary text, axes, quiet lines."""
MUTED = "#a8b1bb"
"""The quiet second series as an area."""
RULE = "#dde2e8"
"""Hairlines and grids."""
FILL = "#1f5f9e"
"""The one accent, as a ground behind text."""
ACCENT = "#1f5f9f"
"""The one accent, as a line or a mark. It differs from FILL by a hair, so that a dark page can lighten it alone."""
ON_FILL = "#ffffff"
"""Text on FILL."""
WRONG = "#b3470f"
"""A mistake; never the only sign of one."""

SERIES = ("#20609f", "#b3480f", "#2f7d4f", "#7a4fa3", "#98700f", "#4a5561")
"""Runs in one picture, each with a mark of its own too."""

THEME = {
    INK: "ink",
    FAINT: "faint",
    MUTED: "muted",
    RULE: "rule",
    FILL: "fill",
    ACCENT: "accent",
    ON_FILL: "on-fill",
    WRONG: "wrong",
    **{colour: f"series-{number}" for number, colour in enumerate(SERIES, start=1)},
}
"""The palette and the CSS variables of `page/report.css`; those of `SERIES` stand in `page/comparison.css`."""


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure with a transparent ground; it lives outside pyplot, so nothing keeps it alive.

    Args:
        width: inches.
        height: inches.
    """
    layout = ConstrainedLayoutEngine(w_pad=0.05, h_pad=0.05)
    return Figure(figsize=(width, height), layout=layout, facecolor="none")


def new_grid(
    count: int,
    columns: int,
    side: float,
    gap: tuple[float, float],
    margin: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0),
) -> tuple[Figure, list[Axes]]:
    """Make a figure of square panels on a fixed grid, which costs nothing to lay out and which no text can move.

    Args:
        count: panels wanted; the rest of the last row stays empty.
        columns: panels side by side.
        side: of a panel, in inches.
        gap: between panels, across and down, in inches.
        margin: left, right, top and bottom, in inches.

    Returns:
        The figure and its panels, row by row.
    """
    rows = math.ceil(count / columns)
    left, right, top, bottom = margin
    width = left + columns * side + (columns - 1) * gap[0] + right
    height = top + rows * side + (rows - 1) * gap[1] + bottom
    figure = Figure(figsize=(width, height), facecolor="none")
    across, down = (side + gap[0]) / width, (side + gap[1]) / height
    panels = []
    for row, column in (divmod(index, columns) for index in range(count)):
        corner = (left / width + column * across, 1 - (top + side) / height - row * down)
        panels.append(figure.add_axes((*corner, side / width, side / height)))
    return figure, panels


def calm(axes: Axes, grid: str | None = None) -> Axes:
    """Take away what an axes has too much of: the box and the ticks; small faint numbers, a hairline grid if asked.

    Args:
        axes: the axes.
        grid: "x", "y" or "both".
    """
    axes.set_facecolor("none")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, colors=FAINT, labelsize=9)
    axes.xaxis.label.set_color(FAINT)
    axes.yaxis.label.set_color(FAINT)
    if grid:
        axes.grid(axis=grid, color=RULE, linewidth=0.8)  # type: ignore[arg-type]
        axes.set_axisbelow(True)
    return axes


def plain(text: str, longest: int = 24) -> str:
    """Make a label name fit for a picture: shortened, and not read as a formula by matplotlib for its dollar signs.

    Args:
        text: the name.
        longest: characters there is room for.
    """
    short = text if len(text) <= longest else f"{text[: longest - 1]}…"
    return short.replace("$", r"\$")


def as_png(figure: Figure, dots_per_inch: int = 150) -> bytes:
    """Draw a figure on white."""
    buffer = io.BytesIO()
    with _missing_glyphs_ignored():
        figure.savefig(buffer, format="png", dpi=dots_per_inch, facecolor="white")
    return buffer.getvalue()


def as_svg(figure: Figure, title: str) -> str:
    """Draw a figure as an <svg> element for a page: its text stays text, its colours are the page's variables.

    Args:
        figure: drawn in this module's palette.
        title: what the picture shows, for those who cannot see it.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "mien"}), _missing_glyphs_ignored():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    drawing = buffer.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<style.*?</style>", "", drawing, flags=re.DOTALL)  # it would style the whole page
    drawing = re.sub(r' id="[a-z_A-Z.]+_?\d*"(?=>)', "", drawing)  # group names, the same in every figure
    drawing = re.sub(r" font-family: [^;\"]+;?", "", drawing)  # the page's font
    for colour, name in THEME.items():
        drawing = drawing.replace(colour, f"var(--{name})")
    width, height = (round(float(side) * 96) for side in figure.get_size_inches())
    escaped = title.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    start = f'<svg role="img" aria-label="{escaped}" width="{width}" height="{height}"'
    return re.sub(r'<svg ([^>]*?)width="[^"]*" height="[^"]*"', rf"{start} \1", drawing, count=1)


@contextmanager
def _missing_glyphs_ignored() -> Iterator[None]:
    """Keep quiet about letters the bundled font lacks: the page draws them with the browser's fonts."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


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


# Curves of every label against all others, and of accuracy against coverage; each function returns a matplotlib figure.

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


# The picture of groups side by side: a dot and an interval for each.

TITLE = "Accuracy of every group, with 95% intervals"


def plot_subgroups(subgroups: Subgroups, accuracy: float) -> Figure:
    """Draw the accuracy of every group with its 95% interval; hollow and faint where its rows are too few to tell.

    Args:
        subgroups: the groups of one column.
        accuracy: of all rows, 0 to 1: the dashed line.
    """
    groups = subgroups.groups
    figure = new_figure(7.0, 0.36 * len(groups) + 0.9)
    axes = calm(figure.subplots(), grid="x")
    axes.axvline(accuracy, color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
    for row, each in enumerate(groups):
        colour = ACCENT if each.enough else FAINT
        axes.plot([each.accuracy.low, each.accuracy.high], [row, row], color=colour, linewidth=1.6, solid_capstyle="butt")
        inside = colour if each.enough else "none"
        axes.plot(each.accuracy.value, row, "o", color=colour, markerfacecolor=inside, markersize=6.5)
    axes.set(xlim=(0, 1), ylim=(len(groups) - 0.5, -0.5), xlabel="accuracy; the dashed line is that of all rows")
    axes.set_yticks(range(len(groups)), [f"{plain(each.group)}, {each.n:,} faces" for each in groups], color=INK)
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    return figure
