from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from mien.evaluation.metrics import measure, reliability
from mien.evaluation.plots import (
    ACCENT,
    FAINT,
    FILL,
    ON_FILL,
    as_png,
    as_svg,
    plot_confusion,
    plot_coverage,
    plot_crowd,
    plot_curves,
    plot_labels,
    plot_reliability,
    plot_subgroups,
)
from mien.evaluation.record import measure_crowd, measure_subgroups
from mien.labels import LabelSet

LABELS = LabelSet(("happy", "sad", "neutral"))
PROBABILITIES = np.array(
    [(0.8, 0.1, 0.1), (0.6, 0.3, 0.1), (0.2, 0.7, 0.1), (0.1, 0.8, 0.1), (0.9, 0.05, 0.05)], dtype=np.float32
)
TARGETS = np.eye(3, dtype=np.float32)[[0, 0, 0, 1, 1]]  # nothing neutral


@pytest.fixture(scope="module")
def metrics():
    return measure(PROBABILITIES, TARGETS, LABELS)


def words(axes):
    return [text.get_text() for text in axes.texts]


def test_the_confusion_shows_shares_and_counts_by_row(metrics):
    (axes,) = plot_confusion(metrics).axes
    assert words(axes) == ["67%", "2", "33%", "1", "0%", "0", "50%", "1", "50%", "1", "0%", "0", "no rows"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["happy", "sad", "neutral"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first label is at the top


def test_its_colours_are_the_shares(metrics):
    (axes,) = plot_confusion(metrics).axes
    shares = [patch.get_alpha() for patch in axes.patches][1::2]  # each cell: a ground, then its share
    assert shares == pytest.approx([2 / 3, 1 / 3, 0, 1 / 2, 1 / 2, 0, 0, 0, 0])


def test_text_on_the_darkest_cells_is_white():
    (axes,) = plot_confusion(measure(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32), LabelSet(("a", "b")))).axes
    assert [text.get_color() == ON_FILL for text in axes.texts] == [True, True, False, False, False, False, True, True]


@pytest.mark.parametrize("size", [2, 13, 25])
def test_any_number_of_labels_can_be_drawn(size):
    labels = LabelSet(f"a rather long name of label {i}" for i in range(size))
    rows = np.eye(size, dtype=np.float32)
    metrics = measure(rows, rows, labels)
    for figure in (plot_confusion(metrics), plot_labels(metrics)):
        assert as_png(figure, dots_per_inch=20).startswith(b"\x89PNG")


def test_the_bars_are_recall_and_precision(metrics):
    (axes,) = plot_labels(metrics).axes
    recall = [bar.get_width() for bar in axes.patches if bar.get_facecolor()[:3] == pytest.approx(rgb(FILL))]
    precision = [bar.get_width() for bar in axes.patches if bar.get_facecolor()[:3] != pytest.approx(rgb(FILL))]
    assert recall == pytest.approx([2 / 3, 1 / 2])
    assert precision == pytest.approx([2 / 3, 1 / 2])  # happy: 2 of 3 answers, sad: 1 of 2
    assert words(axes) == ["no rows"]
    low, high = axes.lines[0].get_xdata()
    assert low < 2 / 3 < high


def rgb(colour):
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))


def test_the_reliability_diagram_shows_every_bin_that_has_rows(metrics):
    above, below = plot_reliability(metrics).axes
    curve = above.lines[-1]
    # bins of a fifteenth: 0.6 alone (right), 0.7 alone (wrong), 0.8 twice (right), 0.9 alone (wrong)
    assert curve.get_xdata() == pytest.approx([0.6, 0.7, 0.8, 0.9])
    assert list(curve.get_ydata()) == [1, 0, 1, 0]
    assert sorted(bar.get_height() for bar in below.patches)[-4:] == [1, 1, 1, 2]
    assert sum(bar.get_height() for bar in below.patches) == 5


def test_the_reliability_of_worse_copies_lies_behind_that_of_the_faces_as_they_are(metrics):
    bins = reliability(np.array([0.5, 0.95, 0.95]), np.array([True, False, True]))
    figure = plot_reliability(metrics, replace(metrics, reliability=bins, expected_calibration_error=0.1234))
    worse, plain = (line for line in figure.axes[0].lines if line.get_marker() in "so")
    assert list(zip(worse.get_xdata(), worse.get_ydata(), strict=True)) == [(0.5, 1), (0.95, 0.5)]
    assert plain.get_xdata() == pytest.approx([0.6, 0.7, 0.8, 0.9])
    error = f"as they are: ECE {metrics.expected_calibration_error:.3f}"
    assert [text.get_text() for text in figure.legends[0].texts] == ["worse copies: ECE 0.123", error]
    assert [text.get_text() for text in plot_reliability(metrics).legends[0].texts] == [error]


def test_accuracy_by_the_crowds_agreement_is_a_bar_each():
    votes = np.array([(1, 0), (1, 0), (0.6, 0.4), (0.5, 0.5)])
    crowd = measure_crowd(votes, np.zeros(4, dtype=int), np.array([0, 1, 0, 1]), judged_by_votes=False)
    (axes,) = plot_crowd(crowd["bands"]).axes
    assert [bar.get_width() for bar in axes.patches] == [0, 1, 0.5]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["up to 50%, 1 faces", "up to 70%, 1 faces", "up to 90%, 0 faces", "over 90%, 2 faces"]
    assert words(axes) == ["no rows"]


def test_precision_against_recall_has_a_panel_per_label(metrics):
    happy, sad, neutral = plot_curves("precision_recall", PROBABILITIES, TARGETS, metrics).axes[:3]
    assert words(neutral) == ["no rows"]
    assert [panel.get_title(loc="left") for panel in (happy, sad, neutral)] == ["happy", "sad", "neutral"]
    expected = average_precision_score([1, 1, 1, 0, 0], PROBABILITIES[:, 0])
    assert happy.get_title(loc="right") == f"{expected:.3f}"
    guessing, curve = happy.lines[-2:]
    assert list(guessing.get_ydata()) == [0.6, 0.6]
    # by falling probability of happy: 0.9 wrong, 0.8 right, 0.6 right, 0.2 right
    drawn = set(zip(np.round(curve.get_xdata(), 3).tolist(), np.round(curve.get_ydata(), 3).tolist(), strict=True))
    assert {(1.0, 0.75), (0.333, 0.5), (0.0, 1.0)} <= drawn


def test_a_long_curve_is_thinned_and_keeps_its_ends():
    random = np.random.default_rng(0)
    classes = random.integers(0, 2, 5000)
    scores = random.uniform(size=5000) * 0.5 + classes * 0.3
    rows = np.stack([1 - scores, scores], axis=1).astype(np.float32)
    targets, labels = np.eye(2, dtype=np.float32)[classes], LabelSet(("a", "b"))
    figure = plot_curves("precision_recall", rows, targets, measure(rows, targets, labels))
    recall = figure.axes[0].lines[-1].get_xdata()
    assert (len(recall), recall[0], recall[-1]) == (160, 1, 0)
    assert len(as_svg(figure, "")) < 60_000


def test_the_roc_runs_through_the_rates_counted_by_hand(metrics):
    happy, sad, neutral = plot_curves("roc", PROBABILITIES, TARGETS, metrics).axes[:3]
    assert words(neutral) == ["no rows"]
    # by falling probability of happy: 0.9 another's, 0.8 its own, 0.6 its own, 0.2 its own, 0.1 another's
    drawn = set(
        zip(np.round(happy.lines[-1].get_xdata(), 3).tolist(), np.round(happy.lines[-1].get_ydata(), 3).tolist(), strict=True)
    )
    assert {(0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (1.0, 1.0)} <= drawn
    assert happy.get_title(loc="right") == "0.500"
    assert sad.get_title(loc="right") == f"{metrics.labels[1].roc_auc:.3f}"
    assert [list(line.get_ydata()) for line in happy.lines[-2:-1]] == [[0, 1]]


def test_if_every_row_has_the_same_label_its_roc_is_not_drawn():
    rows = np.array([(0.9, 0.1, 0), (0.8, 0.2, 0), (0.4, 0.6, 0)], dtype=np.float32)
    targets = np.eye(3, dtype=np.float32)[[0, 0, 0]]
    happy, sad = plot_curves("roc", rows, targets, measure(rows, targets, LABELS)).axes[:2]
    assert (words(happy), words(sad)) == (["no other rows"], ["no rows"])


def test_accuracy_is_drawn_against_the_share_of_rows_answered(metrics):
    (axes,) = plot_coverage(PROBABILITIES, TARGETS, metrics).axes
    # confidence 0.9 wrong, 0.8 twice right, 0.7 wrong, 0.6 right
    curve, everything = axes.lines[0], axes.lines[1]
    assert curve.get_xdata() == pytest.approx([0.2, 0.4, 0.6, 0.8, 1])
    assert curve.get_ydata() == pytest.approx([0, 1 / 2, 2 / 3, 2 / 4, 3 / 5])
    assert list(everything.get_ydata()) == [0.6, 0.6]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [dot.get_xdata()[0] for dot in dots] == pytest.approx([1, 1, 0.8, 0.6])
    assert [dot.get_ydata()[0] for dot in dots] == pytest.approx([3 / 5, 3 / 5, 2 / 4, 2 / 3])


@pytest.mark.parametrize("size", [2, 13, 25])
def test_curves_of_any_number_of_labels_can_be_drawn(size):
    labels = LabelSet(f"a rather long name of label {i}" for i in range(size))
    rows = np.eye(size, dtype=np.float32)
    metrics = measure(rows, rows, labels)
    for plot in (partial(plot_curves, "precision_recall"), partial(plot_curves, "roc"), plot_coverage):
        assert as_png(plot(rows, rows, metrics), dots_per_inch=20).startswith(b"\x89PNG")


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
