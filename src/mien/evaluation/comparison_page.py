"""Runs side by side as one page, that opens offline, on a light or a dark screen, and prints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mien import __version__
from mien.evaluation import comparison
from mien.evaluation.comparison import paired_rows, tests_within, what_is_tested
from mien.evaluation.plots import FAINT, INK, SERIES, as_svg, calm, new_figure, plain
from mien.evaluation.report_page import new_environment
from mien.evaluation.run_summary import RunSummary
from mien.evaluation.statistics import proportion

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
    reached: comparison.Table
    recalls: comparison.Table
    accuracies_drawn: str
    recalls_drawn: str
    tested: str
    tests: comparison.Table


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
    groups = [_group(runs, places, predictions) for runs in comparison.by_faces(summaries)]
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
            words=comparison.WHAT_THE_FIGURES_ARE,
            cautions=[comparison.OTHER_FACES] if len(groups) > 1 else [],
            augmented=comparison.AUGMENTED if comparison.is_augmented(summaries) else "",
            groups=groups,
            curves=curves,
            cost=comparison.cost(summaries),
            making=comparison.making(summaries)[1:],
        )
    )


def _group(runs: list[RunSummary], places: Mapping[str, int], predictions: Mapping[str, Path] | None) -> Group:
    faces, tests = comparison.faces(runs[0]), tests_within(runs, predictions)
    return Group(
        faces=faces,
        reached=comparison.reached(runs),
        recalls=comparison.recalls(runs),
        accuracies_drawn=as_svg(plot_accuracies(runs, places), f"Accuracy of every run with its 95% interval; {faces}")
        if len(runs) > 1
        else "",
        recalls_drawn=as_svg(plot_recalls(runs, places), f"Recall of every label with its 95% interval, by run; {faces}"),
        tested=what_is_tested(tests) if tests else "",
        tests=paired_rows(tests) if tests else [],
    )


# Pictures of runs side by side; each function returns a matplotlib figure in the light palette.

MARKS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("solid", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))

Places = Mapping[str, int]
"""A run's place among all runs of the page, by its name."""


def plot_accuracies(runs: Sequence[RunSummary], places: Places) -> Figure:
    """Draw the accuracy of runs on the same faces, a row each: a mark, and its 95% interval as a line.

    Args:
        runs: from top to bottom.
        places: of all runs.
    """
    figure = new_figure(7.6, 0.36 * len(runs) + 0.75)
    axes = calm(figure.subplots(), grid="x")
    for row, each in enumerate(runs):
        colour, mark = _sign(places[each.name])
        axes.plot([each.low, each.high], [row] * 2, color=colour, linewidth=1.8, solid_capstyle="butt")
        axes.plot(each.accuracy, row, mark, color=colour, markersize=6.5)
        axes.annotate(
            f"{each.accuracy:.1%}", (each.high, row), (6, 0), textcoords="offset points", va="center", fontsize=9, color=INK
        )
    low, high = min(each.low for each in runs), max(each.high for each in runs)
    room = max(high - low, 0.02)
    axes.set(xlim=(max(0, low - 0.06 * room), high + 0.16 * room), ylim=(len(runs) - 0.5, -0.5))
    axes.set_yticks(range(len(runs)), [plain(each.name, 36) for each in runs], color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}" if room > 0.06 else f"{share:.1%}")
    return figure


def plot_recalls(runs: Sequence[RunSummary], places: Places) -> Figure:
    """Draw the recall of every label that has faces, a row each with a mark and a 95% interval (Wilson) for each run.

    Args:
        runs: on the same faces; in a label's row from top to bottom.
        places: of all runs.
    """
    labels = list(dict.fromkeys(label for each in runs for label, value in each.recall.items() if value is not None))
    step = 0.8 / len(runs)
    figure = new_figure(7.6, max(0.42, 0.13 * len(runs) + 0.1) * len(labels) + 0.75 + 0.22 * -(-len(runs) // 3))
    axes = calm(figure.subplots(), grid="x")
    for number, each in enumerate(runs):
        colour, mark = _sign(places[each.name])
        for row, label in enumerate(labels):
            if (value := each.recall.get(label)) is None:
                continue
            support = each.support[label]
            share = proportion(round(value * support), support)
            height = row + (number - (len(runs) - 1) / 2) * step
            axes.plot([share.low, share.high], [height] * 2, color=colour, linewidth=1.2, alpha=0.55, solid_capstyle="butt")
            axes.plot(share.value, height, mark, color=colour, markersize=5, clip_on=False, label=plain(each.name, 30))
    for line in range(1, len(labels)):
        axes.axhline(line - 0.5, color=FAINT, linewidth=0.5, alpha=0.35)
    axes.set(xlim=(0, 1), ylim=(len(labels) - 0.5, -0.5))
    axes.set_yticks(range(len(labels)), [plain(label) for label in labels], color=INK)
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    if len(runs) > 1:
        handles, names = axes.get_legend_handles_labels()
        handles = [handles[names.index(plain(each.name, 30))] for each in runs]
        _legend(figure, handles, [plain(each.name, 30) for each in runs])
    return figure


def trainings(runs: Sequence[RunSummary]) -> dict[str, RunSummary]:
    """Find the trainings behind runs: several reports on one model have the same one.

    Returns:
        The first of the runs of each training that has a figure for an epoch, by the run folder's name; where two folders of
        one name trained differently, by the run's own name.
    """
    found: dict[str, RunSummary] = {}
    for each in runs:
        folder, curve = each.name.partition("/")[0], each.validation_accuracy_by_epoch
        if not np.isfinite(np.array(curve, dtype=float)).any():
            continue
        same = found.get(folder)
        if same is None or same.validation_accuracy_by_epoch == curve:
            found.setdefault(folder, each)
        else:
            found[each.name] = each
    return found


def plot_trainings(runs: Mapping[str, RunSummary], places: Places) -> Figure:
    """Draw accuracy on validation over the epochs, a curve for each training, its mark at the epoch whose weights were kept.

    Args:
        runs: as `trainings` gives them, at least one.
        places: of all runs.
    """
    rows = -(-len(runs) // 3)
    figure = new_figure(7.6, 3.4 + 0.22 * rows)
    axes = calm(figure.subplots(), grid="y")
    for name, each in runs.items():
        place = places[each.name]
        colour, mark = _sign(place)
        curve = np.array(each.validation_accuracy_by_epoch, dtype=float)
        dash = DASHES[place // len(SERIES) % len(DASHES)]
        axes.plot(
            np.arange(1, len(curve) + 1),
            curve,
            color=colour,
            linewidth=1.6,
            linestyle=dash,
            marker=mark,
            markersize=6.5,
            markevery=[] if each.best_epoch is None else [each.best_epoch - 1],
            label=plain(name, 30),
        )
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    _legend(figure, *axes.get_legend_handles_labels())
    return figure


def _legend(figure: Figure, handles: Sequence[Artist], names: Sequence[str]) -> None:
    figure.legend(
        handles, names, loc="outside lower center", ncols=3, frameon=False, fontsize=9, labelcolor=FAINT, handlelength=3
    )


def _sign(place: int) -> tuple[str, str]:
    """Give the colour and the mark of a run."""
    return SERIES[place % len(SERIES)], MARKS[place % len(MARKS)]
