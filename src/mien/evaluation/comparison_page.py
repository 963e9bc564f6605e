"""Compare finished runs on one page that opens offline, on a light or a dark screen, and prints."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mien import __version__
from mien.evaluation import comparison
from mien.evaluation.plots import FAINT, INK, SERIES, as_svg, new_figure, plain, style_axes
from mien.evaluation.report_page import new_environment
from mien.evaluation.run_summary import RunSummary
from mien.evaluation.statistics import proportion

TITLE = "Comparison of runs"

MARKS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("solid", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))

Places = Mapping[str, int]
"""Position of a run among all runs of the page, by its name; it decides colour, mark and dashes."""


def render(
    summaries: Sequence[RunSummary],
    title: str | None = None,
    command: str | None = None,
    predictions: Mapping[str, Path] | None = None,
) -> str:
    """Write the page for the runs and predictions that `mien.evaluation.comparison.read_runs` gives."""
    places = {each.name: place for place, each in enumerate(summaries)}
    groups = []
    for runs in comparison.by_faces(summaries):
        faces, tests = comparison.describe_faces(runs[0]), comparison.tests_within(runs, predictions)
        accuracies = as_svg(plot_accuracies(runs, places), f"Accuracy of every run with its 95% interval; {faces}")
        groups.append(
            {
                "faces": faces,
                "reached": comparison.table(runs, comparison.reached_columns(runs)),
                "recalls": comparison.recall_table(runs),
                "accuracies_drawn": accuracies if len(runs) > 1 else "",
                "recalls_drawn": as_svg(
                    plot_recalls(runs, places), f"Recall of every label with its 95% interval, by run; {faces}"
                ),
                "tested": comparison.describe_tests(tests) if tests else "",
                "tests": comparison.paired_table(tests) if tests else [],
            }
        )
    trained = trainings(summaries)
    curves = as_svg(plot_trainings(trained, places), "Validation accuracy of every run over the epochs") if trained else ""
    template = new_environment().get_template("comparison.html")
    return template.render(
        title=title or TITLE,
        version=__version__,
        date=datetime.now(UTC).isoformat(timespec="minutes"),
        command=command,
        notes=[comparison.ABOUT_ACCURACY, *([comparison.AUGMENTED] if comparison.is_augmented(summaries) else [])],
        cautions=[comparison.OTHER_FACES] if len(groups) > 1 else [],
        groups=groups,
        curves=curves,
        cost=comparison.table(summaries, comparison.COST),
        making=comparison.table(summaries, comparison.MAKING)[1:],
    )


def plot_accuracies(runs: Sequence[RunSummary], places: Places) -> Figure:
    """Draw the accuracy of runs on the same faces, a row each from top to bottom, with 95% intervals."""
    figure = new_figure(7.6, 0.36 * len(runs) + 0.75)
    axes = style_axes(figure.subplots(), grid="x")
    for row, each in enumerate(runs):
        colour, mark = _colour_and_mark(places[each.name])
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
    """Draw the recall of every label that has faces, a row each, with a mark and a 95% interval (Wilson) for each run."""
    labels = list(dict.fromkeys(label for each in runs for label, value in each.recall.items() if value is not None))
    step = 0.8 / len(runs)
    figure = new_figure(7.6, max(0.42, 0.13 * len(runs) + 0.1) * len(labels) + 0.75 + 0.22 * -(-len(runs) // 3))
    axes = style_axes(figure.subplots(), grid="x")
    for number, each in enumerate(runs):
        colour, mark = _colour_and_mark(places[each.name])
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
        shown = [plain(each.name, 30) for each in runs]
        _legend(figure, [handles[names.index(name)] for name in shown], shown)
    return figure


def trainings(runs: Sequence[RunSummary]) -> dict[str, RunSummary]:
    """Find the trainings of runs, because several reports on one model share one.

    Returns the first run of each training that has a figure for an epoch, by the name of the run folder; where two folders of
    one name trained differently, by the run's own name.
    """
    found: dict[str, RunSummary] = {}
    for each in runs:
        folder, curve = each.name.partition("/")[0], each.validation_accuracy_by_epoch
        if not np.isfinite(np.array(curve, dtype=float)).any():
            continue
        if found.setdefault(folder, each).validation_accuracy_by_epoch != curve:
            found[each.name] = each
    return found


def plot_trainings(runs: Mapping[str, RunSummary], places: Places) -> Figure:
    """Draw validation accuracy over the epochs, a curve for each training, with a mark at the epoch whose weights were kept."""
    figure = new_figure(7.6, 3.4 + 0.22 * -(-len(runs) // 3))
    axes = style_axes(figure.subplots(), grid="y")
    for name, each in runs.items():
        place = places[each.name]
        colour, mark = _colour_and_mark(place)
        curve = np.array(each.validation_accuracy_by_epoch, dtype=float)
        axes.plot(
            np.arange(1, len(curve) + 1),
            curve,
            color=colour,
            linewidth=1.6,
            linestyle=DASHES[place // len(SERIES) % len(DASHES)],
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


def _colour_and_mark(place: int) -> tuple[str, str]:
    return SERIES[place % len(SERIES)], MARKS[place % len(MARKS)]
