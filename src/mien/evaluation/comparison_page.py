"""Compare finished runs on one page that opens offline, on a light or a dark screen, and prints."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mien import __version__
from mien.evaluation import comparison
from mien.evaluation.plots import FAINT, INK, SERIES, add_legend, as_svg, new_figure, new_rows, plain, style_axes
from mien.evaluation.report_page import new_environment
from mien.evaluation.run_summary import RunSummary
from mien.evaluation.statistics import proportion

TITLE = "Comparison of runs"

MARKS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("solid", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))

Places = Mapping[str, int]  # of a run among all runs of the page, by its name, for its colour, mark and dashes


def render(
    summaries: Sequence[RunSummary],
    title: str | None = None,
    command: str | None = None,
    predictions: Mapping[str, Path] | None = None,
) -> str:
    """Write the page for the runs and predictions that `mien.evaluation.comparison.read_runs` gives."""
    places = {each.name: place for place, each in enumerate(summaries)}
    groups = comparison.group_by_faces(summaries, predictions)
    sections = []
    for group in groups:
        accuracies = as_svg(plot_accuracies(group.runs, places), f"Accuracy of every run with its 95% interval; {group.faces}")
        sections.append(
            {
                "group": group,
                "reached": comparison.table(group.runs, group.reached),
                "recalls": comparison.recall_table(group.runs),
                "accuracies_drawn": accuracies if len(group.runs) > 1 else "",
                "recalls_drawn": as_svg(
                    plot_recalls(group.runs, places), f"Recall of every label with its 95% interval, by run; {group.faces}"
                ),
            }
        )
    trained = trainings(summaries)
    curves = as_svg(plot_trainings(trained, places), "Validation accuracy of every run over the epochs") if trained else ""
    is_augmented = any(each.test_time_augmentation for each in summaries)
    template = new_environment().get_template("comparison.html")
    return template.render(
        title=title or TITLE,
        version=__version__,
        date=datetime.now(UTC).isoformat(timespec="minutes"),
        command=command,
        notes=[comparison.ABOUT_ACCURACY, *([comparison.AUGMENTED] if is_augmented else [])],
        cautions=[comparison.OTHER_FACES] if len(groups) > 1 else [],
        sections=sections,
        curves=curves,
        cost=comparison.table(summaries, comparison.COST),
        making=comparison.table(summaries, comparison.MAKING)[1:],
    )


def plot_accuracies(runs: Sequence[RunSummary], places: Places) -> Figure:
    """Draw the accuracy of runs on the same faces, a row each from top to bottom, with 95% intervals."""
    figure, axes = new_rows([plain(each.name, 36) for each in runs], width=7.6, row=0.36, margin=0.75)
    for row, each in enumerate(runs):
        colour, mark = _colour_and_mark(places[each.name])
        axes.plot([each.low, each.high], [row] * 2, color=colour, linewidth=1.8, solid_capstyle="butt")
        axes.plot(each.accuracy, row, mark, color=colour, markersize=6.5)
        axes.annotate(
            f"{each.accuracy:.1%}", (each.high, row), (6, 0), textcoords="offset points", va="center", fontsize=9, color=INK
        )
    low, high = min(each.low for each in runs), max(each.high for each in runs)
    room = max(high - low, 0.02)
    axes.set_xlim(max(0, low - 0.06 * room), high + 0.16 * room)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter("{x:.0%}" if room > 0.06 else "{x:.1%}")
    return figure


def plot_recalls(runs: Sequence[RunSummary], places: Places) -> Figure:
    """Draw the recall of every label that has faces, a row each, with a mark and a 95% interval (Wilson) for each run."""
    labels = list(dict.fromkeys(label for each in runs for label, value in each.recall.items() if value is not None))
    step = 0.8 / len(runs)
    row = max(0.42, 0.13 * len(runs) + 0.1)
    figure, axes = new_rows([plain(label) for label in labels], width=7.6, row=row, margin=0.75 + _legend_height(runs))
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
    if len(runs) > 1:
        add_legend(figure, axes)
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
    figure = new_figure(7.6, 3.4 + _legend_height(runs))
    axes = style_axes(figure.subplots(), grid="y", percent="y")
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
    add_legend(figure, axes)
    return figure


def _legend_height(runs: Collection[object]) -> float:
    return 0.22 * -(-len(runs) // 2)  # inches for two columns


def _colour_and_mark(place: int) -> tuple[str, str]:
    return SERIES[place % len(SERIES)], MARKS[place % len(MARKS)]
