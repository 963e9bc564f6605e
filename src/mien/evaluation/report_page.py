"""The page of a report: one file that opens offline, in light or dark mode, and prints."""

import math
from pathlib import Path

import jinja2
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from mien.evaluation import plots
from mien.evaluation.metrics import Metrics, likely_mislabelled
from mien.evaluation.record import Record, cautions
from mien.evaluation.subgroups import FEWEST_ROWS, WIDEST, copies_unknown_reason
from mien.labels import LabelSet

TEMPLATES = Path(__file__).parent / "page"

MISSING = "\N{EN DASH}"  # text for an undefined metric

TITLES = {
    "confusion": "Confusion matrix: a row per true label, a column per predicted label",
    "labels": "Recall and precision of every label",
    "reliability": "Accuracy against confidence",
    "coverage": "Accuracy against the share of accepted faces",
    "precision_recall": "Precision against recall of every label",
    "roc": "True positive rate against false positive rate of every label",
    "crowd": "Accuracy by crowd agreement",
    "learning": "Loss and accuracy over the epochs of training",
    "random": "Faces chosen at random, with true and predicted labels",
    "worst": "The wrong predictions with the highest confidence",
    "uncertain": "The predictions with the lowest confidence",
    "mislabelled": "The faces whose labels are most likely wrong",
}
"""The text alternative of every figure."""

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


def probability(value: float) -> str:
    """Write a p-value as papers do."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def new_environment() -> jinja2.Environment:
    """Make the environment of the templates in page/: undefined names are errors, the filter `count` writes whole numbers."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=jinja2.select_autoescape(),  # in HTML, not in Markdown
        undefined=jinja2.StrictUndefined,
        extensions=["jinja2.ext.do"],
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = lambda number: f"{number:,}"
    return environment


def render(record: Record, pictures: dict[str, str], recipe: str | None) -> str:
    """Write the page, with the model's recipe as YAML text and pictures by the names of `TITLES` as SVG elements.

    A section without its picture is left out.
    """
    environment = new_environment()
    environment.filters |= {
        "percent": lambda share: MISSING if share is None else f"{share:.1%}",
        "decimal": lambda number: MISSING if number is None else f"{number:.3f}",
        "points": lambda share: MISSING if share is None else f"{100 * share:+.1f}".replace("-", "\N{MINUS SIGN}"),
        "seconds": lambda time: f"{time:.1f} s" if time >= 1 else f"{1000 * time:.0f} ms",
        "probability": probability,
        "logarithm": math.log,
    }
    return environment.get_template("report.html").render(
        record=record,
        confusions=largest_confusions(record.all_rows),
        cautions=cautions(record),
        copies_unknown=copies_unknown_reason((record.model["trained_on"] or {}).get("train_count")),
        enough=(FEWEST_ROWS, round(100 * WIDEST)),
        pictures=pictures,
        recipe=recipe,
    )


def choose_faces(probabilities: np.ndarray, targets: np.ndarray) -> dict[str, np.ndarray]:
    """Choose the rows for each sheet of faces, by the names of `TITLES`."""
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
    """Draw every figure that the rows allow, by the names of `TITLES`; subgroups and learning curves are drawn elsewhere."""
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
