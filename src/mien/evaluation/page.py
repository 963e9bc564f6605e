"""The report as one page: a file that opens offline, on a light or a dark screen, and prints."""

import math
from dataclasses import dataclass
from pathlib import Path

import jinja2

from mien.evaluation.cautions import cautions
from mien.evaluation.metrics import Metrics
from mien.evaluation.record import Record
from mien.evaluation.subgroups import FEWEST_ROWS, WIDEST
from mien.evaluation.training_copies import why_unknown

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
