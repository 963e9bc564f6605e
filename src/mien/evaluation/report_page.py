"""The report as one page: a file that opens offline, on a light or a dark screen, and prints."""

import math
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from mien.evaluation.metrics import Metrics, likely_mislabelled
from mien.evaluation.plots import (
    FAINT,
    INK,
    WRONG,
    new_grid,
    plain,
    plot_confusion,
    plot_coverage,
    plot_crowd,
    plot_labels,
    plot_precision_recall,
    plot_reliability,
    plot_roc,
)
from mien.evaluation.record import Record, cautions
from mien.evaluation.subgroups import FEWEST_ROWS, WIDEST
from mien.evaluation.training_copies import why_unknown
from mien.labels import LabelSet

TEMPLATES = Path(__file__).parent / "page"

MISSING = "\N{EN DASH}"
"""What stands for a figure that does not exist."""

MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Confusion:
    """One way of being wrong: `count` rows of `true`, which are `share` of it, taken for `predicted`."""

    true: str
    predicted: str
    count: int
    share: float


def largest_confusions(metrics: Metrics, wanted: int = 5) -> list[Confusion]:
    """Find the mistakes made most often, by falling count; those that never happen are left out."""
    names = metrics.label_names
    found = [
        Confusion(names[row], names[column], count, count / metrics.labels[row].support)
        for row, counts in enumerate(metrics.confusion)
        for column, count in enumerate(counts)
        if row != column and count
    ]
    return sorted(found, key=lambda each: -each.count)[:wanted]


def probability(value: float) -> str:
    """Write a p-value as papers do: what it is, or that it lies below a thousandth."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def new_environment() -> jinja2.Environment:
    """Make what renders the templates in page/: names that are missing are errors, and `count` writes whole numbers."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = lambda number: f"{number:,}"
    return environment


def render(record: Record, pictures: dict[str, str], recipe: str | None) -> str:
    """Write the page.

    Args:
        record: what was found.
        pictures: SVG elements by the names of `mien.evaluation.pictures.TITLES`; those that are missing leave their part
            of the page out.
        recipe: the model's recipe as YAML text, or None.
    """
    environment = new_environment()
    environment.filters["percent"] = lambda share: MISSING if share is None else f"{share:.1%}"
    environment.filters["decimal"] = lambda number: MISSING if number is None else f"{number:.3f}"
    environment.filters["points"] = lambda share: MISSING if share is None else f"{100 * share:+.1f}".replace("-", MINUS)
    environment.filters["seconds"] = lambda time: f"{time:.1f} s" if time >= 1 else f"{1000 * time:.0f} ms"
    environment.filters["probability"] = probability
    environment.filters["logarithm"] = math.log
    return environment.get_template("report.html").render(
        record=record,
        metrics=record.all_rows,
        split="all rows" if record.data.split == "all" else f"split {record.data.split}",
        gain=record.test_time_augmentation,
        before=record.before_temperature,
        crowd=record.crowd,
        confusions=largest_confusions(record.all_rows),
        cautions=cautions(record),
        copies=record.training_copies,
        copies_unknown=why_unknown((record.model.trained_on or {}).get("train_count")),
        enough=(FEWEST_ROWS, round(100 * WIDEST)),
        pictures=pictures,
        recipe=recipe,
    )


# Faces as contact sheets, with what they are and what the model takes them for.

THUMBNAIL = 112
"""Longest side of a face on a sheet, in pixels; larger ones are shrunk, so that a page stays small."""

FACE, GAP, CAPTION = 1.06, 0.12, 0.52
"""On a sheet, in inches: the side of a face, the gap to the next one, the room for its two lines below it."""


def random_rows(count: int, wanted: int = 9, seed: int = 0) -> np.ndarray:
    """Choose rows at random; the same seed chooses the same ones.

    Args:
        count: rows there are.
        wanted: rows to choose, or all where there are fewer.
        seed: of the choice.

    Returns:
        Distinct rows, rising.
    """
    return np.sort(np.random.default_rng(seed).permutation(count)[:wanted])


def worst_rows(probabilities: np.ndarray, targets: np.ndarray, wanted: int = 24) -> np.ndarray:
    """Find the mistakes made with the most confidence.

    Args:
        probabilities: (N, K).
        targets: (N, K); the truth is the likeliest label.
        wanted: at most so many.

    Returns:
        Rows that are wrong, by falling confidence; empty where nothing is wrong.
    """
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != targets.argmax(axis=1))
    return wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")][:wanted]


def uncertain_rows(probabilities: np.ndarray, wanted: int = 16) -> np.ndarray:
    """Find the answers given with the least confidence: those that are held back first.

    Args:
        probabilities: (N, K).
        wanted: at most so many.

    Returns:
        Rows, by rising confidence.
    """
    return np.argsort(probabilities.max(axis=1), kind="stable")[:wanted]


def plot_faces(
    images: np.ndarray, probabilities: np.ndarray, targets: np.ndarray, labels: LabelSet, columns: int = 8
) -> Figure:
    """Draw faces on a sheet, in the order given: the true label, below it the predicted one with its probability.

    Where the prediction is wrong it is marked by colour and by a cross.

    Args:
        images: (N, H, W) or (N, H, W, 3), uint8.
        probabilities: (N, K).
        targets: (N, K).
        labels: the K label names.
        columns: faces side by side.
    """
    figure, panels = new_grid(len(images), min(columns, len(images)), FACE, (GAP, CAPTION), (0, GAP, 0, CAPTION))
    for panel, image, given, target in zip(panels, images, probabilities, targets, strict=True):
        panel.set_axis_off()
        small = Image.fromarray(image)
        small.thumbnail((THUMBNAIL, THUMBNAIL))
        panel.imshow(np.asarray(small), cmap="gray", vmin=0, vmax=255, interpolation="none")
        truth, predicted = int(target.argmax()), int(given.argmax())
        right = truth == predicted
        answer = plain(labels[predicted], 10 if right else 8)
        panel.text(
            0.5, -0.04, plain(labels[truth], 14), transform=panel.transAxes, ha="center", va="top", fontsize=9, color=INK
        )
        panel.text(
            0.5, -0.2, f"{answer} {given[predicted]:.0%}" if right else f"✗ {answer} {given[predicted]:.0%}",
            transform=panel.transAxes, ha="center", va="top", fontsize=9, color=FAINT if right else WRONG,
        )  # fmt: skip
    return figure


# Which pictures a report shows.

TITLES = {
    "confusion": "Confusion matrix: a row per true label, a column per predicted label",
    "labels": "Recall and precision of every label",
    "reliability": "Accuracy against confidence",
    "coverage": "Accuracy against the share of faces that are answered",
    "precision_recall": "Precision against recall of every label",
    "roc": "True positive rate against false positive rate of every label",
    "crowd": "Accuracy by how much the crowd agrees",
    "learning": "Loss and accuracy over the epochs of training",
    "random": "Faces chosen at random, with true and predicted labels",
    "worst": "The wrong answers given with the most confidence",
    "uncertain": "The answers given with the least confidence",
    "mislabelled": "The faces whose labels are the likeliest to be wrong",
}
"""What every picture shows, for those who cannot see it."""


def draw(
    images: np.ndarray, probabilities: np.ndarray, targets: np.ndarray, labels: LabelSet, record: Record
) -> dict[str, Figure]:
    """Draw every picture that the rows allow, by the names of `TITLES`.

    Args:
        images: (N, H, W) or (N, H, W, 3), uint8.
        probabilities: (N, K).
        targets: (N, K).
        labels: the K label names.
        record: what was found on these rows.
    """
    metrics = record.all_rows
    figures = {
        "confusion": plot_confusion(metrics),
        "labels": plot_labels(metrics),
        "reliability": plot_reliability(metrics, record.before_temperature),
        "coverage": plot_coverage(probabilities, targets, metrics),
        "precision_recall": plot_precision_recall(probabilities, targets, metrics),
        "roc": plot_roc(probabilities, targets, metrics),
    }
    if record.crowd:
        figures["crowd"] = plot_crowd(record.crowd)
    suspects = likely_mislabelled(probabilities, targets)[: 24 if record.likely_mislabelled else 0]
    for name, rows, columns in (
        ("random", random_rows(len(images)), 9),
        ("worst", worst_rows(probabilities, targets), 8),
        ("uncertain", uncertain_rows(probabilities), 8),
        ("mislabelled", suspects, 8),
    ):
        if len(rows):
            figures[name] = plot_faces(images[rows], probabilities[rows], targets[rows], labels, columns)
    return figures
