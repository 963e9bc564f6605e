import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from mien.evaluation.metrics import measure
from mien.evaluation.plots import as_png, as_svg, plot_coverage, plot_precision_recall, plot_roc
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


def test_precision_against_recall_has_a_panel_per_label(metrics):
    happy, sad, neutral = plot_precision_recall(PROBABILITIES, TARGETS, metrics).axes[:3]
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
    figure = plot_precision_recall(rows, targets, measure(rows, targets, labels))
    recall = figure.axes[0].lines[-1].get_xdata()
    assert (len(recall), recall[0], recall[-1]) == (160, 1, 0)
    assert len(as_svg(figure, "")) < 60_000


def test_the_roc_runs_through_the_rates_counted_by_hand(metrics):
    happy, sad, neutral = plot_roc(PROBABILITIES, TARGETS, metrics).axes[:3]
    assert words(neutral) == ["no rows"]
    # by falling probability of happy: 0.9 another's, 0.8 its own, 0.6 its own, 0.2 its own, 0.1 another's
    drawn = set(
        zip(np.round(happy.lines[-1].get_xdata(), 3).tolist(), np.round(happy.lines[-1].get_ydata(), 3).tolist(), strict=True)
    )
    assert {(0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (1.0, 1.0)} <= drawn
    assert happy.get_title(loc="right") == "0.500"
    assert sad.get_title(loc="right") == f"{metrics.labels[1].roc_auc:.3f}"
    assert [list(line.get_ydata()) for line in happy.lines[-2:-1]] == [[0, 1]]


def test_where_every_row_bears_one_label_its_roc_is_not_drawn():
    rows = np.array([(0.9, 0.1, 0), (0.8, 0.2, 0), (0.4, 0.6, 0)], dtype=np.float32)
    targets = np.eye(3, dtype=np.float32)[[0, 0, 0]]
    happy, sad = plot_roc(rows, targets, measure(rows, targets, LABELS)).axes[:2]
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
def test_any_number_of_labels_can_be_drawn(size):
    labels = LabelSet(f"a rather long name of label {i}" for i in range(size))
    rows = np.eye(size, dtype=np.float32)
    metrics = measure(rows, rows, labels)
    for plot in (plot_precision_recall, plot_roc, plot_coverage):
        assert as_png(plot(rows, rows, metrics), dots_per_inch=20).startswith(b"\x89PNG")
