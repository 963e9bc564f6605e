"""The environment of the templates in page/, and tables of text."""

import math
from collections.abc import Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup

from mien.errors import printable
from mien.evaluation import plots

TEMPLATES = Path(__file__).parent / "page"


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table, aligned in its source too, from the header and the rows; bars and line breaks are escaped."""
    cells = [[printable(" ".join(cell.split())).replace("|", r"\|") for cell in row] for row in rows]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(map(str.ljust, row, widths))} |" for row in cells)


def new_environment(text: bool = False) -> jinja2.Environment:
    """Make the environment of the templates in page/; in text, dash and minus are plain, and most values stay on a line."""
    missing, minus = ("-", "-") if text else ("\N{EN DASH}", "\N{MINUS SIGN}")
    lines = Markup if text else str
    environment = jinja2.Environment(
        finalize=(lambda value: printable(value) if type(value) is str else value) if text else None,
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=jinja2.select_autoescape(),  # in HTML, not in Markdown and text
        undefined=jinja2.StrictUndefined,
        extensions=["jinja2.ext.do"],
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "aligned": lambda rows: lines(aligned(rows)),
        "count": lambda number: f"{number:,}",
        "decimal": lambda number: missing if number is None else f"{number:.3f}",
        "logarithm": math.log,
        "percent": lambda share: missing if share is None else f"{share:.1%}",
        "points": lambda share: missing if share is None else f"{100 * share:+.1f}".replace("-", minus),
        "svg": lambda figure, title: Markup(plots.as_svg(figure, title)),
        "table": lambda rows: lines(markdown_table(rows)),
    }
    return environment


def aligned(rows: Sequence[Sequence[object]]) -> str:
    """Write rows of cells as lines, the first column left-aligned, the others right-aligned."""
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    first, *widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join([name.ljust(first), *map(str.rjust, figures, widths)]) for name, *figures in cells)
