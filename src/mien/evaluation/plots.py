"""Figures of a report; each `plot_` function returns a matplotlib figure in the light palette."""

import io
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import precision_recall_curve, roc_curve

from mien.evaluation.metrics import ConfidenceBin, Metrics, accuracy_by_coverage
from mien.evaluation.record import BeforeTemperature
from mien.evaluation.statistics import Proportion
from mien.evaluation.subgroups import CrowdAgreement, Group

INK = "#1d2733"  # text
FAINT = "#6b7785"  # secondary text, axes, secondary lines
MUTED = "#a8b1bb"  # the secondary series as an area
RULE = "#dde2e8"  # hairlines and grids
FILL = "#1f5f9e"  # the accent colour as a background of text
ACCENT = "#1f5f9f"  # the accent colour as a line or a mark; not quite FILL, so that a dark page can lighten it alone
ON_FILL = "#ffffff"  # text on FILL
WRONG = "#b3470f"  # a mistake; never its only sign
SERIES = ("#20609f", "#b3480f", "#2f7d4f", "#7a4fa3", "#98700f", "#4a5561")
"""Runs in one figure; each has a marker of its own too."""

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
"""The CSS variables of the colours, defined in `page/report.css`, those of `SERIES` in `page/comparison.css`."""

DASHED: dict[str, Any] = {"color": FAINT, "linewidth": 1, "linestyle": (0, (4, 3))}
"""The style of reference lines."""

FEWEST_SHOWN = 20
"""The accuracy of fewer predictions than this is too noisy to draw, if there are more rows."""

Curve = tuple[np.ndarray, np.ndarray]
LegendPlace = Literal["outside lower center", "outside upper right"]


def new_figure(width: float, height: float) -> Figure:
    """Make an empty, transparent figure, with sides in inches; it is not registered with pyplot, so it is freed when unused."""
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.05, h_pad=0.05), facecolor="none")


def new_rows(names: Sequence[str], width: float, row: float, margin: float) -> tuple[Figure, Axes]:
    """Make a figure with one row per name, from top to bottom, over shares from 0 to 1; sides in inches."""
    figure = new_figure(width, row * len(names) + margin)
    axes = style_axes(figure.subplots(), grid="x", percent="x")
    axes.set(xlim=(0, 1), ylim=(len(names) - 0.5, -0.5))
    axes.set_yticks(range(len(names)), names, color=INK)
    return figure, axes


def new_grid(
    count: int, columns: int, side: float, gap: tuple[float, float], margin: tuple[float, float, float, float]
) -> tuple[Figure, list[Axes]]:
    """Make a figure of square panels, row by row, on a fixed grid, which needs no layout and does not move with its texts.

    All sizes are in inches: the side of a panel, the gap to the right and below, the margin at the left, right, top and bottom.
    """
    rows = math.ceil(count / columns)
    left, right, top, bottom = margin
    width = left + columns * side + (columns - 1) * gap[0] + right
    height = top + rows * side + (rows - 1) * gap[1] + bottom
    figure = Figure(figsize=(width, height), facecolor="none")
    grid = figure.add_gridspec(
        rows,
        columns,
        left=left / width,
        right=1 - right / width,
        bottom=bottom / height,
        top=1 - top / height,
        wspace=gap[0] / side,
        hspace=gap[1] / side,
    )
    return figure, [figure.add_subplot(grid[divmod(index, columns)]) for index in range(count)]


def style_axes(axes: Axes, grid: str = "", percent: str = "") -> Axes:
    """Remove box and ticks, with small grey numbers; `grid` is x, y or both, `percent` x, y or xy."""
    axes.set_facecolor("none")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, colors=FAINT, labelsize=9)
    axes.xaxis.label.set_color(FAINT)
    axes.yaxis.label.set_color(FAINT)
    if grid:
        axes.grid(axis=grid, color=RULE, linewidth=0.8)  # type: ignore[arg-type]
        axes.set_axisbelow(True)
    if "x" in percent:
        axes.xaxis.set_major_formatter("{x:.0%}")
    if "y" in percent:
        axes.yaxis.set_major_formatter("{x:.0%}")
    return axes


def add_legend(figure: Figure, axes: Axes, place: LegendPlace = "outside lower center") -> None:
    """Add a legend outside the axes, which names each label once."""
    handles, names = axes.get_legend_handles_labels()
    unique = dict(zip(names, handles, strict=True))
    figure.legend(unique.values(), unique.keys(), loc=place, ncols=2, frameon=False, fontsize=9, labelcolor=FAINT)


def draw_interval(axes: Axes, share: Proportion, row: float, colour: str = INK, width: float = 1.2) -> None:
    """Draw the 95% interval of a share as a horizontal line."""
    axes.plot([share.low, share.high], [row, row], color=colour, linewidth=width, solid_capstyle="butt")


def plain(text: str, longest: int = 24) -> str:
    """Shorten a name to what fits, and escape its dollar signs, which matplotlib would read as a formula."""
    short = text if len(text) <= longest else f"{text[: longest - 1]}…"
    return short.replace("$", r"\$")


def as_png(figure: Figure, dots_per_inch: int = 150) -> bytes:
    """Draw a figure on white."""
    buffer = io.BytesIO()
    with _ignore_missing_glyphs():
        figure.savefig(buffer, format="png", dpi=dots_per_inch, facecolor="white")
    return buffer.getvalue()


def as_svg(figure: Figure, title: str) -> str:
    """Draw a figure as an <svg> element for a page: text stays text, colours are CSS variables, `title` is its description."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "mien"}), _ignore_missing_glyphs():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    drawing = buffer.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<style.*?</style>", "", drawing, flags=re.DOTALL)  # it would apply to the whole page
    drawing = re.sub(r' id="[a-z_A-Z.]+_?\d*"(?=>)', "", drawing)  # group names, the same in every figure
    drawing = re.sub(r" font-family: [^;\"]+;?", "", drawing)  # the page's font
    for colour, name in THEME.items():
        drawing = drawing.replace(colour, f"var(--{name})")
    width, height = (round(float(side) * 96) for side in figure.get_size_inches())
    escaped = title.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    start = f'<svg role="img" aria-label="{escaped}" width="{width}" height="{height}"'
    return re.sub(r'<svg ([^>]*?)width="[^"]*" height="[^"]*"', rf"{start} \1", drawing, count=1)


@contextmanager
def _ignore_missing_glyphs() -> Iterator[None]:
    """Ignore warnings about letters that the bundled font lacks: the page draws them with the browser's fonts."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def plot_confusion(metrics: Metrics) -> Figure:
    """Plot the confusion matrix: a row per true label, its shares as colour and percent, its counts below them.

    With more than 12 labels the cells show percent only, with more than 24 no text.
    """
    names, counts = [plain(name) for name in metrics.label_names], np.array(metrics.confusion)
    size, support = len(names), counts.sum(axis=1)
    cell = 0.86 if size <= 12 else 0.5 if size <= 24 else 0.25
    figure = new_figure(max(4.0, cell * size + 2.0), max(3.2, 0.8 * cell * size + 0.9))
    axes = style_axes(figure.subplots())
    text: dict[str, Any] = {"ha": "center", "va": "center"}
    for row, column in np.ndindex(size, size):
        share = counts[row, column] / support[row] if support[row] else 0.0
        for colour, alpha in ((RULE, 0.35), (FILL, share)):
            corner = (column - 0.48, row - 0.48)
            axes.add_patch(Rectangle(corner, 0.96, 0.96, facecolor=colour, alpha=alpha, linewidth=0))
        if size > 24 or not support[row]:
            continue
        colour = ON_FILL if share > 0.7 else INK
        if size <= 12:
            axes.text(column, row - 0.12, f"{share:.0%}", fontsize=11, color=colour, **text)
            axes.text(column, row + 0.23, f"{counts[row, column]:,}", fontsize=8, color=colour, **text)
        else:
            axes.text(column, row, f"{share:.0%}", fontsize=8, color=colour, **text)
    for row in np.flatnonzero(support == 0).tolist():
        axes.text((size - 1) / 2, row, "no rows", fontsize=9, color=FAINT, **text)
    axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), xlabel="predicted", ylabel="true")
    rotation = 90 if size > 24 else 45 if size > 12 or max(map(len, names)) > 10 else 0
    axes.set_xticks(range(size), names, color=INK, rotation=rotation, ha="right" if rotation == 45 else "center")
    axes.set_yticks(range(size), names, color=INK)
    return figure


def plot_labels(metrics: Metrics) -> Figure:
    """Plot recall (accent, with its 95% interval) above precision (grey) for every label."""
    figure, axes = new_rows([plain(name) for name in metrics.label_names], 7.0, 0.52, 0.9)
    for row, each in enumerate(metrics.labels):
        if each.recall is None:
            axes.text(0.01, row, "no rows", va="center", fontsize=9, color=FAINT)
            continue
        axes.barh(row - 0.17, each.recall.value, height=0.3, color=FILL, label="recall, 95% interval")
        draw_interval(axes, each.recall, row - 0.17)
        axes.barh(row + 0.17, each.precision or 0.0, height=0.3, color=MUTED, label="precision")
    add_legend(figure, axes, "outside upper right")
    return figure


def plot_reliability(metrics: Metrics, before: BeforeTemperature | None = None) -> Figure:
    """Plot accuracy against confidence in bins, with 95% intervals, above the number of faces in each bin.

    The curve without the model's temperature, if `before` is given, is drawn behind in grey.
    """
    figure = new_figure(4.6, 4.8)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    style_axes(above, grid="both", percent="xy").set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    style_axes(below).set(xlabel="confidence", ylabel="faces")
    above.plot([0, 1], [0, 1], **DASHED)
    above.text(0.03, 0.93, "above the line: underconfident", color=FAINT, fontsize=9)
    above.text(0.97, 0.04, "below the line: overconfident", color=FAINT, fontsize=9, ha="right")
    if before:
        curve = _reliability_curve(before.reliability)
        above.plot(*curve, color=FAINT, linewidth=1.2, marker="o", markersize=3.5, label="without temperature")
    for each in metrics.reliability:
        if each.accuracy and each.confidence is not None:
            above.plot([each.confidence] * 2, [each.accuracy.low, each.accuracy.high], color=ACCENT, linewidth=1.2, alpha=0.6)
        below.bar(each.low, each.count, width=each.high - each.low, align="edge", color=ACCENT, alpha=0.45, edgecolor="none")
    curve = _reliability_curve(metrics.reliability)
    above.plot(*curve, color=ACCENT, linewidth=1.8, marker="o", markersize=5, label="with temperature")
    if before:
        add_legend(figure, above)
    below.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    return figure


def _reliability_curve(bins: Sequence[ConfidenceBin]) -> Curve:
    points = [(each.confidence, each.accuracy.value) for each in bins if each.accuracy and each.confidence is not None]
    confidence, accuracy = np.array(points).reshape(-1, 2).T
    return confidence, accuracy


def plot_crowd(crowd: CrowdAgreement) -> Figure:
    """Plot the model's accuracy, with 95% intervals, by how much the crowd agrees."""
    names = []
    for band in crowd.bands:
        edge = f"over {band.low:.0%}" if band.high == 1 else f"up to {band.high:.0%}"
        names.append(f"{edge}, {band.accuracy.of if band.accuracy else 0:,} faces")
    figure, axes = new_rows(names, 5.4, 0.5, 0.8)
    for row, band in enumerate(crowd.bands):
        if band.accuracy is None:
            axes.text(0.01, row, "no rows", va="center", fontsize=9, color=FAINT)
            continue
        axes.barh(row, band.accuracy.value, height=0.5, color=FILL)
        draw_interval(axes, band.accuracy, row)
    axes.set_xlabel("accuracy of the model")
    return figure


def plot_subgroups(groups: Sequence[Group], accuracy: float) -> Figure:
    """Plot the accuracy of every group with its 95% interval; groups with too few rows are hollow and grey.

    The dashed line is `accuracy`, that of all rows.
    """
    figure, axes = new_rows([f"{plain(each.group)}, {each.n:,} faces" for each in groups], 7.0, 0.36, 0.9)
    axes.axvline(accuracy, **DASHED)
    for row, each in enumerate(groups):
        colour = ACCENT if each.enough else FAINT
        draw_interval(axes, each.accuracy, row, colour, 1.6)
        inside = colour if each.enough else "none"
        axes.plot(each.accuracy.value, row, "o", color=colour, markerfacecolor=inside, markersize=6.5)
    axes.set_xlabel("accuracy; dashed: all rows")
    return figure


def plot_coverage(probabilities: np.ndarray, targets: np.ndarray, metrics: Metrics) -> Figure:
    """Plot the accuracy of the most confident predictions against their share of the rows; dots are the rows of the table."""
    accuracy = accuracy_by_coverage(probabilities.max(axis=1), probabilities.argmax(axis=1) == targets.argmax(axis=1))
    accepted = np.arange(1, metrics.n + 1)
    shown = accepted >= (FEWEST_SHOWN if metrics.n > FEWEST_SHOWN else 1)
    figure = new_figure(5.4, 3.6)
    axes = style_axes(figure.subplots(), grid="both", percent="xy")
    axes.plot(*_thinned(accepted[shown] / metrics.n, accuracy[shown]), color=ACCENT, linewidth=1.8)
    axes.axhline(metrics.accuracy.value, **DASHED)
    for point in metrics.selective.points:
        share = point.accuracy.of / metrics.n
        axes.plot([share] * 2, [point.accuracy.low, point.accuracy.high], color=ACCENT, linewidth=1.2, alpha=0.6)
        axes.plot(share, point.accuracy.value, "o", color=ACCENT, markersize=5)
    axes.set(xlim=(0, 1.03), xlabel="share of faces, most confident first", ylabel="accuracy on these faces")
    axes.set_ylim(min(axes.get_ylim()[0], metrics.accuracy.low) - 0.02, 1.01)
    return figure


def plot_precision_recall(probabilities: np.ndarray, targets: np.ndarray, metrics: Metrics) -> Figure:
    """Plot precision against recall, a panel per label, with the average precision.

    The dashed line is a random classifier: the label's share of the rows.
    """
    truth, numbers = targets.argmax(axis=1), [each.average_precision for each in metrics.labels]
    curves: list[Curve | None] = [None] * len(numbers)
    for label, number in enumerate(numbers):
        if number is not None:
            precision, recall, _ = precision_recall_curve(truth == label, probabilities[:, label], drop_intermediate=True)
            curves[label] = recall, precision
    chance = [(each.support / metrics.n,) * 2 for each in metrics.labels]
    return _plot_panels(metrics, curves, numbers, chance, ("recall", "precision"), "steps-post")


def plot_roc(probabilities: np.ndarray, targets: np.ndarray, metrics: Metrics) -> Figure:
    """Plot the ROC curve, a panel per label, with the area under it; the dashed diagonal is a random classifier."""
    truth, numbers = targets.argmax(axis=1), [each.roc_auc for each in metrics.labels]
    curves = [
        None if number is None else roc_curve(truth == label, probabilities[:, label])[:2]
        for label, number in enumerate(numbers)
    ]
    chance = [(0.0, 1.0)] * len(numbers)
    return _plot_panels(metrics, curves, numbers, chance, ("false positive rate", "true positive rate"), "default")


def _plot_panels(
    metrics: Metrics,
    curves: Sequence[Curve | None],
    numbers: Sequence[float | None],
    chance: Sequence[tuple[float, float]],
    names: tuple[str, str],
    style: Literal["default", "steps-post"],
) -> Figure:
    """Draw a curve and its number for each label, with a dashed line; up to 12 labels have the other curves behind in grey."""
    size = len(metrics.labels)
    columns = min(4, size)
    figure, panels = new_grid(size, columns, 1.85, (0.35, 0.55), (0.75, 0.2, 0.3, 0.6))
    for label, (each, panel) in enumerate(zip(metrics.labels, panels, strict=True)):
        style_axes(panel, grid="both", percent="xy")
        panel.set(xlim=(-0.01, 1.01), ylim=(0, 1.01), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        panel.set_title(plain(each.label, 20), loc="left", fontsize=10, color=INK)
        panel.tick_params(labelbottom=label + columns >= size, labelleft=label % columns == 0)
        curve, number = curves[label], numbers[label]
        if curve is None or number is None:
            reason = "no other rows" if each.support else "no rows"
            panel.text(0.5, 0.5, reason, ha="center", va="center", fontsize=9, color=FAINT)
            continue
        for other in curves if size <= 12 else ():
            if other is not None:
                panel.plot(*_thinned(*other, points=40), drawstyle=style, color=FAINT, linewidth=0.7, alpha=0.3)
        panel.plot((0, 1), chance[label], **DASHED)
        panel.plot(*_thinned(*curve), drawstyle=style, color=ACCENT, linewidth=1.8)
        panel.set_title(f"{number:.3f}", loc="right", fontsize=10, color=ACCENT)
    width, height = figure.get_size_inches()
    figure.supxlabel(names[0], y=0.08 / height, va="bottom", fontsize=10, color=FAINT)
    figure.supylabel(names[1], x=0.05 / width, ha="left", fontsize=10, color=FAINT)
    return figure


def _thinned(x: np.ndarray, y: np.ndarray, points: int = 160) -> Curve:
    """Keep at most that many points of a curve, evenly spaced, so that a page stays small."""
    if len(x) <= points:
        return x, y
    chosen = np.unique(np.linspace(0, len(x) - 1, points).round().astype(int))
    return x[chosen], y[chosen]
