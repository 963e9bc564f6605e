import numpy as np
import pytest

from mien.evaluation.metrics import measure, reliability
from mien.evaluation.plots import FILL, ON_FILL, as_png, plot_confusion, plot_crowd, plot_labels, plot_reliability
from mien.evaluation.record import BeforeTemperature
from mien.evaluation.subgroups import measure_crowd
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


def test_the_reliability_before_the_temperature_lies_behind_that_after(metrics):
    bins = reliability(np.array([0.5, 0.95, 0.95]), np.array([True, False, True]))
    figure = plot_reliability(metrics, BeforeTemperature(1.5, 0.7, 0.1, bins))
    before, after = (line for line in figure.axes[0].lines if line.get_marker() == "o")
    assert list(zip(before.get_xdata(), before.get_ydata(), strict=True)) == [(0.5, 1), (0.95, 0.5)]
    assert after.get_xdata() == pytest.approx([0.6, 0.7, 0.8, 0.9])
    assert [text.get_text() for text in figure.legends[0].texts] == [
        "without temperature",
        "with temperature",
    ]
    assert not plot_reliability(metrics).legends


def test_accuracy_by_the_crowds_agreement_is_a_bar_each():
    votes = np.array([(1, 0), (1, 0), (0.6, 0.4), (0.5, 0.5)])
    crowd = measure_crowd(votes, np.zeros(4, dtype=int), np.array([0, 1, 0, 1]), judged_by_votes=False)
    (axes,) = plot_crowd(crowd).axes
    assert [bar.get_width() for bar in axes.patches] == [0, 1, 0.5]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["up to 50%, 1 faces", "up to 70%, 1 faces", "up to 90%, 0 faces", "over 90%, 2 faces"]
    assert words(axes) == ["no rows"]
