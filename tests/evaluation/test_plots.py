import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from mien.evaluation.figure import FILL, ON_FILL, as_png, as_svg
from mien.evaluation.metrics import measure
from mien.evaluation.plots import plot_confusion, plot_labels, plot_precision_recall, plot_reliability
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
    for figure in (plot_confusion(metrics), plot_labels(metrics), plot_precision_recall(rows, rows, labels, metrics)):
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


def test_precision_against_recall_has_a_panel_per_label(metrics):
    happy, sad, neutral = plot_precision_recall(PROBABILITIES, TARGETS, LABELS, metrics).axes[:3]
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
    figure = plot_precision_recall(rows, targets, labels, measure(rows, targets, labels))
    recall = figure.axes[0].lines[-1].get_xdata()
    assert (len(recall), recall[0], recall[-1]) == (160, 1, 0)
    assert len(as_svg(figure, "")) < 60_000
