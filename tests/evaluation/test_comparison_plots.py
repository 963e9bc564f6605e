from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest

from mien.evaluation.comparison import RunSummary, plot_accuracies, plot_recalls, plot_trainings, trainings
from mien.evaluation.plots import SERIES, as_svg

WIDE = RunSummary(
    name="wide", recipe="", network="wide_cnn", rows=300, data="a" * 64, split="validation", accuracy=0.66, low=0.6, high=0.71,
    macro_f1=0.6, recall={"happy": 0.85, "sad": 0.5, "neutral": None}, support={"happy": 200, "sad": 100, "neutral": 0},
    parameters=1, multiply_adds=None, epochs=3, best_epoch=2, validation_accuracy_by_epoch=[0.4, 0.66, 0.65],
    training_seconds=9, seconds_an_epoch=3, faces_a_second=100, hardware=None, command=None,
)  # fmt: skip
SIX = replace(WIDE, name="six", accuracy=0.5, low=0.44, high=0.56, recall={"happy": 1.0, "sad": 0.0, "neutral": None})
PLACES = {"wide": 0, "six": 1}


def signs(axes):
    """Of every mark its colour and shape."""
    return [(line.get_color(), line.get_marker()) for line in axes.lines if line.get_marker() != "None"]


def test_accuracies_are_marks_on_their_intervals():
    (axes,) = plot_accuracies([WIDE, SIX], PLACES).axes
    drawn = [(line.get_xdata().tolist(), line.get_ydata().tolist()) for line in axes.lines]
    assert drawn == [([0.6, 0.71], [0, 0]), ([0.66], [0]), ([0.44, 0.56], [1, 1]), ([0.5], [1])]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["wide", "six"]
    assert [text.get_text() for text in axes.texts] == ["66.0%", "50.0%"]
    low, high = axes.get_xlim()
    assert low < 0.44
    assert high > 0.71


def test_recalls_have_the_intervals_that_scipy_gives_their_counts():
    (axes,) = plot_recalls([WIDE, SIX], PLACES).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["happy", "sad"]  # neutral has no faces
    intervals = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 2][:4]
    expected = [
        binomtest(hits, of).proportion_ci(method="wilson") for hits, of in ((170, 200), (50, 100), (200, 200), (0, 100))
    ]
    np.testing.assert_allclose(intervals, [(each.low, each.high) for each in expected], atol=1e-9)
    marks = [line for line in axes.lines if line.get_marker() not in ("None", "")]
    assert [line.get_xdata()[0] for line in marks] == [0.85, 0.5, 1.0, 0.0]
    assert [round(line.get_ydata()[0]) for line in marks] == [0, 1, 0, 1]


def test_curves_are_the_logs_with_a_mark_at_the_epoch_that_was_kept():
    (axes,) = plot_trainings({"wide": WIDE}, PLACES).axes
    (curve,) = axes.lines
    assert curve.get_xdata().tolist() == [1, 2, 3]
    assert curve.get_ydata().tolist() == [0.4, 0.66, 0.65]
    assert curve.get_markevery() == [1]


def test_a_run_has_one_colour_and_mark_in_all_pictures():
    runs = [WIDE, SIX]
    for figure in (plot_accuracies(runs, PLACES), plot_trainings({each.name: each for each in runs}, PLACES)):
        assert signs(figure.axes[0]) == [(SERIES[0], "o"), (SERIES[1], "s")]
    assert set(signs(plot_recalls(runs, PLACES).axes[0])) == {(SERIES[0], "o"), (SERIES[1], "s")}


def test_forty_runs_differ_in_colour_and_mark_together():
    places = {f"run {number}": number for number in range(40)}
    runs = [replace(WIDE, name=name) for name in places]
    assert len(set(signs(plot_accuracies(runs, places).axes[0]))) == 40


def test_several_reports_on_one_training_are_one_curve():
    other_data = replace(WIDE, name="wide/report-test", data="b" * 64)
    namesake = replace(WIDE, name="wide/elsewhere", validation_accuracy_by_epoch=[0.1])
    unknown = replace(WIDE, name="unknown", validation_accuracy_by_epoch=[np.nan, np.nan])
    found = trainings([other_data, WIDE, namesake, SIX, unknown])
    assert {name: each.name for name, each in found.items()} == {
        "wide": "wide/report-test", "wide/elsewhere": "wide/elsewhere", "six": "six",
    }  # fmt: skip


@pytest.mark.parametrize("runs", [[WIDE], [WIDE, SIX]])
def test_colours_follow_the_theme_of_the_page(runs):
    for draw in (plot_accuracies, plot_recalls):
        drawing = as_svg(draw(runs, PLACES), "runs")
        assert "var(--series-1)" in drawing
        assert not any(colour in drawing for colour in SERIES)
