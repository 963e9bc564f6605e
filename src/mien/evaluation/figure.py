"""How every picture of a report looks: its colours, and a figure as PNG or as SVG that follows the page's theme.

Figures are drawn in the light palette on a transparent ground. In the page each colour of the palette becomes a CSS
variable of the same name, so that one drawing serves light, dark and print.
"""

import io
import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

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
