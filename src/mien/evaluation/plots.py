"""Figures, tables and templates of pages; each `plot_` function returns a matplotlib figure in the light palette."""

import html
import io
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
from jinja2 import Environment
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import precision_recall_curve, roc_curve

from mien.errors import load_table, load_templates, printable
from mien.evaluation.metrics import Metrics, Proportion, accuracy_by_coverage, filled_bins
from mien.evaluation.record import Group

_PALETTE = load_table(__file__)
INK, FAINT, MUTED, RULE, FILL, ACCENT, ON_FILL, WRONG, *_SERIES = _PALETTE.values()
SERIES = tuple(_SERIES)  # runs in one figure; each has its marker too
THEME = {colour: name for name, colour in _PALETTE.items()}
DASHED: dict[str, Any] = {"color": FAINT, "linewidth": 1, "linestyle": (0, (4, 3))}  # the style of reference lines
Curve = tuple[np.ndarray, np.ndarray]
Sides = tuple[float, ...]  # inches


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


def new_grid(count: int, columns: int, side: float, gap: Sides, margin: Sides) -> tuple[Figure, list[Axes]]:
    """Make a fixed grid of square panels; in inches: side, gap (right, below) and margin (left, right, top, bottom)."""
    rows = math.ceil(count / columns)
    left, right, top, bottom = margin
    width = left + columns * side + (columns - 1) * gap[0] + right
    height = top + rows * side + (rows - 1) * gap[1] + bottom
    figure = Figure(figsize=(width, height), facecolor="none")
    figure.subplots_adjust(left / width, bottom / height, 1 - right / width, 1 - top / height, gap[0] / side, gap[1] / side)
    return figure, [figure.add_subplot(rows, columns, number) for number in range(1, count + 1)]


def style_axes(axes: Axes, grid: str = "", percent: str = "") -> Axes:
    """Remove box and ticks, with small grey numbers; `grid` is x, y or both, `percent` x, y or xy."""
    axes.set(facecolor="none", axisbelow=True)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, colors=FAINT, labelsize=9)
    axes.xaxis.label.set_color(FAINT)
    axes.yaxis.label.set_color(FAINT)
    if grid:
        axes.grid(axis=grid, color=RULE, linewidth=0.8)  # type: ignore[arg-type]
    for name in percent:
        getattr(axes, f"{name}axis").set_major_formatter("{x:.0%}")
    return axes


def add_legend(figure: Figure, axes: Axes, place: str = "outside lower center") -> None:
    """Add a legend outside the axes, which names each label once."""
    handles, names = axes.get_legend_handles_labels()
    unique = dict(zip(names, handles, strict=True))
    style: Any = {"loc": place, "ncols": 2, "frameon": False, "fontsize": 9, "labelcolor": FAINT}
    figure.legend(unique.values(), unique.keys(), **style)


def draw_interval(axes: Axes, share: Any, row: float, colour: str = INK, width: float = 1.2, **style: Any) -> None:
    """Draw the 95% interval of a share, which has `low` and `high`, as a horizontal line."""
    axes.plot([share.low, share.high], [row, row], color=colour, linewidth=width, solid_capstyle="butt", **style)


def draw_share(axes: Axes, share: Proportion | None, row: float, place: float, height: float, label: str = "") -> bool:
    """Draw a share in a row as a bar with its 95% interval; "no rows" and False where there is none."""
    if share is None:
        axes.text(0.01, row, "no rows", va="center", fontsize=9, color=FAINT)
        return False
    axes.barh(place, share.value, height=height, color=FILL, label=label)
    draw_interval(axes, share, place)
    return True


def plain(text: str, longest: int = 24) -> str:
    """Shorten a name to what fits, and escape its dollar signs, which matplotlib would read as a formula."""
    short = text if len(text) <= longest else f"{text[: longest - 1]}…"
    return short.replace("$", r"\$")


def as_png(figure: Figure, dots_per_inch: int = 150) -> bytes:
    """Draw a figure on white."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format="png", dpi=dots_per_inch, facecolor="white")
    return buffer.getvalue()


def write_for_paper(folder: Path, figures: Mapping[str, Figure], record: Any) -> list[str]:
    """Write a report's tables in LaTeX, and its plots as PDF and SVG, in paper/; return the files' names in the folder."""
    (tables := folder / "paper" / "tables.tex").parent.mkdir()
    tables.write_text(new_environment(text=True).get_template("tables.tex").render(record=record), encoding="utf-8")
    paths, style = [tables], {"svg.fonttype": "none", "svg.hashsalt": "mien", "pdf.fonttype": 42}  # text stays text
    with matplotlib.rc_context(style), warnings.catch_warnings():  # type: ignore[arg-type]
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        for name, figure in figures.items():
            for kind, date in (("pdf", "CreationDate"), ("svg", "Date")):
                paths.append(tables.with_name(f"{re.sub(r'[^-.0-9A-Za-z]+', '-', name)}.{kind}"))
                figure.savefig(paths[-1], format=kind, metadata={date: None})
    return [path.relative_to(folder).as_posix() for path in paths]


def as_svg(figure: Figure, title: str) -> str:
    """Draw a figure as an <svg> element for a page: text stays text, colours are CSS variables, `title` is its description."""
    buffer = io.StringIO()
    style: Any = {"svg.fonttype": "none", "svg.hashsalt": "mien"}
    with matplotlib.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # the page draws them with the browser's fonts
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    # without styles, which would apply to the whole page, names of groups, the same in every figure, and fonts
    unwanted = r'^.*?(?=<svg)|<style.*?</style>| id="[a-z_A-Z.]+_?\d*"(?=>)| font-family: [^;"]+;?'
    drawing = re.sub(unwanted, "", buffer.getvalue(), flags=re.DOTALL)
    for colour, name in THEME.items():
        drawing = drawing.replace(colour, f"var(--{name})")
    width, height = (round(float(side) * 96) for side in figure.get_size_inches())
    start = f'<svg role="img" aria-label="{html.escape(title)}" width="{width}" height="{height}"'
    return re.sub(r'<svg ([^>]*?)width="[^"]*" height="[^"]*"', rf"{start} \1", drawing, count=1)


def plot_confusion(metrics: Metrics) -> Figure:
    """Plot shares and counts of the confusion matrix; with more than 12 labels percent only, with more than 24 no text."""
    names = [plain(each.label) for each in metrics.labels]
    size = len(names)
    cell = 0.86 if size <= 12 else 0.5 if size <= 24 else 0.25
    figure = new_figure(max(4.0, cell * size + 2.0), max(3.2, 0.8 * cell * size + 0.9))
    axes = style_axes(figure.subplots())
    centred: Any = {"ha": "center", "va": "center"}
    for row, column in np.ndindex(size, size):
        share = metrics.confusion_shares[row][column]
        for colour, alpha in ((RULE, 0.35), (FILL, share or 0.0)):
            axes.add_patch(Rectangle((column - 0.48, row - 0.48), 0.96, 0.96, facecolor=colour, alpha=alpha, linewidth=0))
        if share is None or size > 24:
            continue
        colour = ON_FILL if share > 0.7 else INK
        count = [(0.23, f"{metrics.confusion[row][column]:,}", 8)] if size <= 12 else []
        for down, text, height in [(-0.12, f"{share:.0%}", 11) if count else (0, f"{share:.0%}", 8), *count]:
            axes.text(column, row + down, text, fontsize=height, color=colour, **centred)
    for row, each in enumerate(metrics.labels):
        if not each.support:
            axes.text((size - 1) / 2, row, "no rows", fontsize=9, color=FAINT, **centred)
    axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), xlabel="predicted", ylabel="true")
    rotation = 90 if size > 24 else 45 if size > 12 or max(map(len, names)) > 10 else 0
    axes.set_xticks(range(size), names, color=INK, rotation=rotation, ha="right" if rotation == 45 else "center")
    axes.set_yticks(range(size), names, color=INK)
    return figure


def plot_labels(metrics: Metrics) -> Figure:
    """Plot recall (accent, with its 95% interval) above precision (grey) for every label."""
    figure, axes = new_rows([plain(each.label) for each in metrics.labels], 7.0, 0.52, 0.9)
    for row, each in enumerate(metrics.labels):
        if draw_share(axes, each.recall, row, row - 0.17, 0.3, "recall, 95% interval"):
            axes.barh(row + 0.17, each.precision or 0.0, height=0.3, color=MUTED, label="precision")
    add_legend(figure, axes, "outside upper right")
    return figure


def plot_reliability(metrics: Metrics, worse: Metrics | None = None) -> Figure:
    """Plot accuracy against confidence, with 95% intervals, grey for worse copies; below it the faces in each bin."""
    figure = new_figure(4.6, 4.8)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    style_axes(above, grid="both", percent="xy").set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    style_axes(below).set(xlabel="confidence", ylabel="faces")
    above.plot([0, 1], [0, 1], **DASHED)
    above.text(0.03, 0.93, "above the line: underconfident", color=FAINT, fontsize=9)
    above.text(0.97, 0.04, "below the line: overconfident", color=FAINT, fontsize=9, ha="right")
    for each in metrics.reliability:
        below.bar(each.low, each.count, width=each.high - each.low, align="edge", color=ACCENT, alpha=0.45, edgecolor="none")
    below.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    for name, marks, colour, found in (("worse copies", "s-", FAINT, worse), ("as they are", "o-", ACCENT, metrics)):
        if found:
            points = [(mean, share.value, share.low, share.high) for _, mean, share in filled_bins(found.reliability)]
            x, y, low, high = np.array(points).T
            name = f"{name}: ECE {found.expected_calibration_error:.3f}"
            ends = ((y - low).clip(0), (high - y).clip(0))
            above.errorbar(x, y, ends, fmt=marks, color=colour, markersize=4.5, elinewidth=1, label=name)
    add_legend(figure, above)
    return figure


def plot_crowd(bands: Sequence[Mapping[str, Any]]) -> Figure:
    """Plot the model's accuracy, with 95% intervals, in bands of crowd agreement as `measure_crowd` gives them."""
    edges = [f"over {band['low']:.0%}" if band["high"] == 1 else f"up to {band['high']:.0%}" for band in bands]
    shares = [band["accuracy"] for band in bands]
    names = [f"{edge}, {share.of if share else 0:,} faces" for edge, share in zip(edges, shares, strict=True)]
    figure, axes = new_rows(names, 5.4, 0.5, 0.8)
    for row, share in enumerate(shares):
        draw_share(axes, share, row, row, 0.5)
    axes.set_xlabel("accuracy of the model")
    return figure


def plot_subgroups(groups: Sequence[Group], accuracy: float) -> Figure:
    """Plot the accuracy of every group with its 95% interval, hollow and grey with too few rows; dashed: all rows."""
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
    shown = accepted >= (20 if metrics.n > 20 else 1)  # the accuracy of fewer predictions is too noisy to draw
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


def plot_curves(kind: str, probabilities: np.ndarray, targets: np.ndarray, metrics: Metrics) -> Figure:
    """Plot "precision_recall" or "roc" curves with their areas, in a panel per label; dashed is a random classifier."""
    truth, size, columns = targets.argmax(axis=1), len(metrics.labels), min(4, len(metrics.labels))
    style: Literal["default", "steps-post"] = "default" if kind == "roc" else "steps-post"

    def curve(label: int) -> Curve:
        if kind == "roc":
            return roc_curve(truth == label, probabilities[:, label])[:2]  # type: ignore[no-any-return]
        precision, recall, _ = precision_recall_curve(truth == label, probabilities[:, label], drop_intermediate=True)
        return recall, precision

    areas = [each.roc_auc if kind == "roc" else each.average_precision for each in metrics.labels]
    curves = {label: curve(label) for label, area in enumerate(areas) if area is not None}
    figure, panels = new_grid(size, columns, 1.85, (0.35, 0.55), (0.75, 0.2, 0.3, 0.6))
    for label, (each, area, panel) in enumerate(zip(metrics.labels, areas, panels, strict=True)):
        style_axes(panel, grid="both", percent="xy")
        panel.set(xlim=(-0.01, 1.01), ylim=(0, 1.01), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        panel.set_title(plain(each.label, 20), loc="left", fontsize=10, color=INK)
        panel.tick_params(labelbottom=label + columns >= size, labelleft=label % columns == 0)
        if area is None:
            reason = "no other rows" if each.support else "no rows"
            panel.text(0.5, 0.5, reason, ha="center", va="center", fontsize=9, color=FAINT)
            continue
        for other in curves.values() if size <= 12 else ():
            panel.plot(*_thinned(*other, points=40), drawstyle=style, color=FAINT, linewidth=0.7, alpha=0.3)
        panel.plot((0, 1), (0, 1) if kind == "roc" else (each.support / metrics.n,) * 2, **DASHED)
        panel.plot(*_thinned(*curves[label]), drawstyle=style, color=ACCENT, linewidth=1.8)
        panel.set_title(f"{area:.3f}", loc="right", fontsize=10, color=ACCENT)
    width, height = figure.get_size_inches()
    x_name, y_name = ("false positive rate", "true positive rate") if kind == "roc" else ("recall", "precision")
    figure.supxlabel(x_name, y=0.08 / height, va="bottom", fontsize=10, color=FAINT)
    figure.supylabel(y_name, x=0.05 / width, ha="left", fontsize=10, color=FAINT)
    return figure


def plot_learning(log: dict[str, np.ndarray]) -> Figure:
    """Draw loss and accuracy of training (grey) and validation (accent) over the epochs; a dot marks the best on validation."""
    figure = new_figure(9.0, 3.1)
    for axes, name, best in zip(figure.subplots(1, 2), ("loss", "accuracy"), (np.nanargmin, np.nanargmax), strict=True):
        style_axes(axes, grid="y", percent="y" if name == "accuracy" else "").set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        marker = "o" if len(log["epoch"]) == 1 else None  # one epoch is a dot, not a line
        for part, colour in (("train", FAINT), ("validation", ACCENT)):
            axes.plot(log["epoch"], log[f"{part}_{name}"], color=colour, linewidth=1.8, marker=marker, label=part)
        title, values = name, log[f"validation_{name}"]
        if np.isfinite(values).any():
            top = best(values)
            axes.plot(log["epoch"][top], values[top], "o", color=ACCENT, markersize=6)
            title += f", at best {values[top]:{'.3f' if name == 'loss' else '.1%'}} on validation"
        axes.set_title(title, loc="left", fontsize=10, color=INK)
    add_legend(figure, axes)
    return figure


def _thinned(x: np.ndarray, y: np.ndarray, points: int = 160) -> Curve:
    """Keep at most that many points of a curve, evenly spaced, so that a page stays small."""
    chosen = np.linspace(0, len(x) - 1, min(len(x), points)).round().astype(int)
    return x[chosen], y[chosen]


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table, aligned in its source too, from the header and the rows; bars and line breaks are escaped."""
    cells = [[printable(" ".join(cell.split())).replace("|", r"\|") for cell in row] for row in rows]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(map(str.ljust, row, widths))} |" for row in cells)


def new_environment(text: bool = False) -> Environment:
    """Make the environment of the templates in page/; in text, dash and minus are plain, and most values stay on a line."""
    missing, minus = ("-", "-") if text else ("\N{EN DASH}", "\N{MINUS SIGN}")
    environment = load_templates(__file__, "page", text)
    environment.filters |= {
        "decimal": lambda number: missing if number is None else f"{number:.3f}",
        "logarithm": math.log,
        "percent": lambda share: missing if share is None else f"{share:.1%}",
        "points": lambda share: missing if share is None else f"{100 * share:+.1f}".replace("-", minus),
        "svg": lambda figure, title: Markup(as_svg(figure, title)),
        "table": lambda rows: Markup(markdown_table(rows)),
    }
    return environment
