"""The page of a report: one file that opens offline, in light or dark mode, and prints."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from mien.data.signatures import MOST_DIGESTED
from mien.evaluation import plots
from mien.evaluation.metrics import Metrics, likely_mislabelled
from mien.evaluation.record import Record
from mien.evaluation.subgroups import FEWEST_ROWS, WIDEST
from mien.labels import LabelSet

TEMPLATES = Path(__file__).parent / "page"

THUMBNAIL = 112
"""Longest side of a face on a sheet, in pixels; larger ones are scaled down, so that a page stays small."""

FACE, GAP, CAPTION = 1.06, 0.12, 0.52
"""Inches on a sheet of faces: the side of a face, the gap between faces, the two lines below a face."""


def largest_confusions(metrics: Metrics, wanted: int = 5) -> list[tuple[str, str, int, float]]:
    """Find the most frequent mistakes: true label, predicted label, count, and share of the true label's rows."""
    found = [
        (true.label, predicted.label, count, count / true.support)
        for true, counts in zip(metrics.labels, metrics.confusion, strict=True)
        for predicted, count in zip(metrics.labels, counts, strict=True)
        if true is not predicted and count
    ]
    return sorted(found, key=lambda mistake: -mistake[2])[:wanted]


def new_environment(text: bool = False) -> jinja2.Environment:
    """Make the environment of the templates in page/, in which undefined names are errors; text has a plain dash and minus."""
    missing, minus = ("-", "-") if text else ("\N{EN DASH}", "\N{MINUS SIGN}")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=jinja2.select_autoescape(),  # in HTML, not in Markdown and text
        undefined=jinja2.StrictUndefined,
        extensions=["jinja2.ext.do"],
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "aligned": aligned,
        "count": lambda number: f"{number:,}",
        "decimal": lambda number: missing if number is None else f"{number:.3f}",
        "logarithm": math.log,
        "percent": lambda share: missing if share is None else f"{share:.1%}",
        "points": lambda share: missing if share is None else f"{100 * share:+.1f}".replace("-", minus),
        "svg": lambda figure, title: Markup(plots.as_svg(figure, title)),
    }
    return environment


def aligned(rows: Sequence[Sequence[object]]) -> str:
    """Write rows of cells as lines, the first column left-aligned, the others right-aligned."""
    cells = [list(map(str, row)) for row in rows]
    first, *widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join([name.ljust(first), *(text.rjust(width) for text, width in zip(figures, widths, strict=True))])
        for name, *figures in cells
    )


def render(record: Record, figures: Mapping[str, Figure], recipe: str | None) -> str:
    """Write the page, with the model's recipe as YAML text; a section without its figure is left out."""
    environment = new_environment()
    return environment.get_template("report.html").render(
        record=record,
        confusions=largest_confusions(record.all_rows),
        cautions=cautions(record),
        most_stored=MOST_DIGESTED,
        enough=(FEWEST_ROWS, round(100 * WIDEST)),
        figures=figures,
        recipe=recipe,
    )


def render_text(record: Record) -> str:
    """Write the metrics as text for a terminal: what was evaluated, the tables, then cautions."""
    template = new_environment(text=True).get_template("report.txt")
    return template.render(record=record, cautions=cautions(record, "training_cautions.txt")).strip()


def cautions(record: Record, template: str = "cautions.txt") -> list[str]:
    """List what makes the metrics less reliable; training_cautions.txt has what is known of rows of the training."""
    return new_environment(text=True).get_template(template).render(record=record).splitlines()


def choose_faces(probabilities: np.ndarray, targets: np.ndarray) -> dict[str, np.ndarray]:
    """Choose the rows for each sheet of faces."""
    falling = np.argsort(-probabilities.max(axis=1), kind="stable")
    wrong = probabilities.argmax(axis=1) != targets.argmax(axis=1)
    return {
        "random": np.sort(np.random.default_rng(0).permutation(len(targets))[:9]),
        "worst": falling[wrong[falling]][:24],
        "uncertain": np.argsort(probabilities.max(axis=1), kind="stable")[:16],
        "mislabelled": likely_mislabelled(probabilities, targets)[:24],
    }


def plot_faces(
    images: np.ndarray, probabilities: np.ndarray, targets: np.ndarray, labels: LabelSet, columns: int = 8
) -> Figure:
    """Draw faces side by side: the true label, below it the predicted one with its probability, marked if wrong."""
    figure, panels = plots.new_grid(len(images), min(columns, len(images)), FACE, (GAP, CAPTION), (0, GAP, 0, CAPTION))
    for panel, image, given, target in zip(panels, images, probabilities, targets, strict=True):
        panel.set_axis_off()
        small = Image.fromarray(image)
        small.thumbnail((THUMBNAIL, THUMBNAIL))
        panel.imshow(np.asarray(small), cmap="gray", vmin=0, vmax=255, interpolation="none")
        truth, predicted = int(target.argmax()), int(given.argmax())
        if truth == predicted:
            prediction, colour = f"{plots.plain(labels[predicted], 10)} {given[predicted]:.0%}", plots.FAINT
        else:
            prediction, colour = f"✗ {plots.plain(labels[predicted], 8)} {given[predicted]:.0%}", plots.WRONG
        for height, text, ink in ((-0.04, plots.plain(labels[truth], 14), plots.INK), (-0.2, prediction, colour)):
            panel.text(0.5, height, text, transform=panel.transAxes, ha="center", va="top", fontsize=9, color=ink)
    return figure


def draw(
    images: np.ndarray, probabilities: np.ndarray, targets: np.ndarray, labels: LabelSet, record: Record
) -> dict[str, Figure]:
    """Draw every figure that the rows allow; subgroups and learning curves are drawn elsewhere."""
    metrics = record.all_rows
    figures = {
        "confusion": plots.plot_confusion(metrics),
        "labels": plots.plot_labels(metrics),
        "reliability": plots.plot_reliability(metrics, record.before_temperature),
        "coverage": plots.plot_coverage(probabilities, targets, metrics),
        "precision_recall": plots.plot_curves("precision_recall", probabilities, targets, metrics),
        "roc": plots.plot_curves("roc", probabilities, targets, metrics),
    }
    if record.crowd:
        figures["crowd"] = plots.plot_crowd(record.crowd["bands"])
    for name, rows in choose_faces(probabilities, targets).items():
        if len(rows) and (name != "mislabelled" or record.likely_mislabelled):
            columns = 9 if name == "random" else 8
            figures[name] = plot_faces(images[rows], probabilities[rows], targets[rows], labels, columns)
    return figures
