import numpy as np

from mien.evaluation.plots import ACCENT, FAINT, plot_subgroups
from mien.evaluation.subgroups import measure_subgroups
from mien.labels import LabelSet


def test_every_group_has_a_dot_and_its_interval_and_those_too_small_are_hollow():
    truth, groups = np.zeros(210, dtype=int), np.array(["many"] * 200 + ["$few$"] * 10)
    answers = np.eye(2, dtype=np.float32)[np.arange(210) % 4 // 3]
    found = measure_subgroups({"x": groups}, answers, np.eye(2, dtype=np.float32)[truth], LabelSet(("a", "b")))["x"]
    axes = plot_subgroups(found, 0.75).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [r"\$few\$, 10 faces", "many, 200 faces"]
    dashed, *marks = axes.lines
    assert list(dashed.get_xdata()) == [0.75, 0.75]
    intervals, dots = marks[::2], marks[1::2]
    for each, interval, dot in zip(found, intervals, dots, strict=True):
        assert list(interval.get_xdata()) == [each.accuracy.low, each.accuracy.high]
        assert list(dot.get_xdata()) == [each.accuracy.value]
    assert [dot.get_markerfacecolor() for dot in dots] == ["none", ACCENT]
    assert [interval.get_color() for interval in intervals] == [FAINT, ACCENT]
