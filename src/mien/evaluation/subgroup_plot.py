"""The picture of groups side by side: a dot and an interval for each."""

from matplotlib.figure import Figure

from mien.evaluation.figure import ACCENT, FAINT, INK, calm, new_figure, plain
from mien.evaluation.subgroups import Subgroups

TITLE = "Accuracy of every group, with 95% intervals"


def plot_subgroups(subgroups: Subgroups, accuracy: float) -> Figure:
    """Draw the accuracy of every group with its 95% interval; hollow and faint where its rows are too few to tell.

    Args:
        subgroups: the groups of one column.
        accuracy: of all rows, 0 to 1: the dashed line.
    """
    groups = subgroups.groups
    figure = new_figure(7.0, 0.36 * len(groups) + 0.9)
    axes = calm(figure.subplots(), grid="x")
    axes.axvline(accuracy, color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
    for row, each in enumerate(groups):
        colour = ACCENT if each.enough else FAINT
        axes.plot([each.accuracy.low, each.accuracy.high], [row, row], color=colour, linewidth=1.6, solid_capstyle="butt")
        inside = colour if each.enough else "none"
        axes.plot(each.accuracy.value, row, "o", color=colour, markerfacecolor=inside, markersize=6.5)
    axes.set(xlim=(0, 1), ylim=(len(groups) - 0.5, -0.5), xlabel="accuracy; the dashed line is that of all rows")
    axes.set_yticks(range(len(groups)), [f"{plain(each.group)}, {each.n:,} faces" for each in groups], color=INK)
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    return figure
