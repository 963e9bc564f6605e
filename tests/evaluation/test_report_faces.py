import numpy as np
import pytest

from mien.evaluation.plots import WRONG, as_svg
from mien.evaluation.report import choose_faces, plot_faces
from mien.labels import LabelSet

LABELS = LabelSet(("happy", "sad"))
PROBABILITIES = np.array([(0.9, 0.1), (0.6, 0.4), (0.3, 0.7), (0.8, 0.2)], dtype=np.float32)
TARGETS = np.eye(2, dtype=np.float32)[[0, 1, 0, 1]]  # right, then wrong by 0.6, 0.7 and 0.8


MANY = np.tile(PROBABILITIES, (250, 1)), np.tile(TARGETS, (250, 1))


def test_the_worst_mistakes_are_those_made_with_the_most_confidence():
    assert choose_faces(PROBABILITIES, TARGETS)["worst"].tolist() == [3, 2, 1]
    assert choose_faces(*MANY)["worst"].tolist() == list(range(3, 99, 4))


def test_the_most_uncertain_are_those_of_the_least_confidence():
    assert choose_faces(PROBABILITIES, TARGETS)["uncertain"].tolist() == [1, 2, 3, 0]
    assert choose_faces(*MANY)["uncertain"].tolist() == list(range(1, 65, 4))


def test_without_mistakes_there_are_no_worst_ones():
    assert len(choose_faces(PROBABILITIES[:1], TARGETS[:1])["worst"]) == 0


def test_random_rows_are_distinct_and_the_same_each_time():
    rows = choose_faces(*MANY)["random"].tolist()
    assert len(set(rows)) == 9
    assert rows == choose_faces(*MANY)["random"].tolist()
    assert max(rows) > 8


def test_of_three_rows_three_are_chosen():
    assert choose_faces(PROBABILITIES[:3], TARGETS[:3])["random"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("shape", [(4, 48, 48), (4, 48, 48, 3)])
def test_a_sheet_shows_the_true_and_the_predicted_label_of_every_face(shape):
    figure = plot_faces(np.zeros(shape, dtype=np.uint8), PROBABILITIES, TARGETS, LABELS, columns=3)
    said = [[text.get_text() for text in panel.texts] for panel in figure.axes]
    assert said == [["happy", "happy 90%"], ["sad", "✗ happy 60%"], ["happy", "✗ sad 70%"], ["sad", "✗ happy 80%"]]
    assert [panel.texts[1].get_color() == WRONG for panel in figure.axes[:4]] == [False, True, True, True]


def test_the_faces_are_shown_as_they_are():
    image = np.arange(48 * 48, dtype=np.uint32).reshape(1, 48, 48).astype(np.uint8)
    (panel,) = plot_faces(image, PROBABILITIES[:1], TARGETS[:1], LABELS, columns=1).axes
    (shown,) = panel.images
    assert np.array_equal(shown.get_array(), image[0])
    assert shown.get_clim() == (0, 255)


def test_large_faces_are_shrunk_for_the_page():
    image = np.random.default_rng(0).integers(0, 256, (1, 448, 448, 3), dtype=np.uint8)
    figure = plot_faces(image, PROBABILITIES[:1], TARGETS[:1], LABELS, columns=1)
    assert figure.axes[0].images[0].get_array().shape == (112, 112, 3)
    assert len(as_svg(figure, "")) < 90_000
