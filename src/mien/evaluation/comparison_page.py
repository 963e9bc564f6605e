"""Runs side by side as one page, that opens offline, on a light or a dark screen, and prints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mien._version import __version__
from mien.evaluation import comparison_tables as tables
from mien.evaluation.comparison import tests_within
from mien.evaluation.comparison_plots import plot_accuracies, plot_recalls, plot_trainings, trainings
from mien.evaluation.figure import as_svg
from mien.evaluation.page import new_environment
from mien.evaluation.paired_table import paired_rows, what_is_tested
from mien.evaluation.run_summary import RunSummary

TITLE = "Runs side by side"


@dataclass(frozen=True)
class Group:
    """Runs that were measured on the same faces.

    Attributes:
        faces: what these are, in words.
        reached: the table of what they reached.
        recalls: the table of their recalls.
        accuracies_drawn: an SVG element; empty where there is one run alone.
        recalls_drawn: an SVG element.
        tested: what the paired tests ask; empty where there are none.
        tests: their table.
    """

    faces: str
    reached: tables.Table
    recalls: tables.Table
    accuracies_drawn: str
    recalls_drawn: str
    tested: str
    tests: tables.Table


def render(
    summaries: Sequence[RunSummary],
    title: str | None = None,
    command: str | None = None,
    predictions: Mapping[str, Path] | None = None,
) -> str:
    """Write the page.

    Args:
        summaries: as `mien.evaluation.comparison.compare` gives them, at least one.
        title: its heading.
        command: the command line that writes this.
        predictions: as `mien.evaluation.comparison.find_predictions` gives it.

    Raises:
        MienError: if predictions cannot be read, or are not of as many rows as another run's on the same faces.
    """
    places = {each.name: place for place, each in enumerate(summaries)}
    groups = [_group(runs, places, predictions) for runs in tables.by_faces(summaries)]
    trained = trainings(summaries)
    curves = as_svg(plot_trainings(trained, places), "Accuracy on validation over the epochs, a curve a run") if trained else ""
    return (
        new_environment()
        .get_template("comparison.html")
        .render(
            title=title or TITLE,
            version=__version__,
            date=datetime.now(UTC).isoformat(timespec="minutes"),
            command=command,
            words=tables.WHAT_THE_FIGURES_ARE,
            cautions=[tables.OTHER_FACES] if len(groups) > 1 else [],
            augmented=tables.AUGMENTED if tables.is_augmented(summaries) else "",
            groups=groups,
            curves=curves,
            cost=tables.cost(summaries),
            making=tables.making(summaries)[1:],
        )
    )


def _group(runs: list[RunSummary], places: Mapping[str, int], predictions: Mapping[str, Path] | None) -> Group:
    faces, tests = tables.faces(runs[0]), tests_within(runs, predictions)
    return Group(
        faces=faces,
        reached=tables.reached(runs),
        recalls=tables.recalls(runs),
        accuracies_drawn=as_svg(plot_accuracies(runs, places), f"Accuracy of every run with its 95% interval; {faces}")
        if len(runs) > 1
        else "",
        recalls_drawn=as_svg(plot_recalls(runs, places), f"Recall of every label with its 95% interval, by run; {faces}"),
        tested=what_is_tested(tests) if tests else "",
        tests=paired_rows(tests) if tests else [],
    )
