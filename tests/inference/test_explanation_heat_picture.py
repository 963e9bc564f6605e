"""The picture of explanations: its colours say what the numbers say, and its words fit in."""

import numpy as np
import pytest
from PIL import Image

from mien.inference.drawing import measure_text
from mien.inference.explanation import GAP, PANEL, SMALL, WORDS, Explanation, _fitted, draw_explanations
from mien.inference.prediction import Prediction
from mien.labels import FER2013, LabelSet


def explanation(heat, face=None, source="photo.jpg", labels=FER2013, number=0, label=None):
    probabilities = np.full(len(labels), 0.4 / max(1, len(labels) - 1), np.float32)
    probabilities[0] = 0.6
    prediction = Prediction(source, labels, face=number, probabilities=probabilities)
    face = np.full((48, 48, 3), 128, np.uint8) if face is None else face
    return Explanation(prediction, label or labels[0], face, np.asarray(heat, np.float32), 0.1)


def half_and_half():
    heat = np.zeros((48, 48))
    heat[:, :20], heat[:, 28:] = 2, -2
    return heat


def test_what_speaks_for_it_is_orange_and_what_speaks_against_it_blue():
    picture = np.asarray(draw_explanations([explanation(half_and_half())])).astype(int)
    panel = picture[GAP : GAP + PANEL, 2 * GAP + PANEL : 2 * GAP + 2 * PANEL]
    orange, neither, blue = panel[128, 40], panel[128, 128], panel[128, -40]
    assert orange[0] > orange[2] + 100
    assert blue[2] > blue[0] + 100
    assert neither.max() - neither.min() < 40


def test_the_face_itself_keeps_its_colours():
    face = np.full((60, 60, 3), (200, 90, 30), np.uint8)
    picture = np.asarray(draw_explanations([explanation(half_and_half(), face)]))
    assert picture[GAP + 100, GAP + 100].tolist() == [200, 90, 30]


@pytest.mark.parametrize("value", [0, 255])
def test_colour_is_seen_on_black_and_on_white_faces(value):
    face = np.full((48, 48), value, np.uint8)
    picture = np.asarray(draw_explanations([explanation(half_and_half(), face)])).astype(int)
    panel = picture[GAP : GAP + PANEL, 2 * GAP + PANEL :]
    assert np.abs(panel[128, 40] - panel[128, PANEL - 40]).sum() > 200


def test_a_narrow_face_keeps_its_proportions():
    face = np.zeros((120, 60, 3), np.uint8)
    picture = np.asarray(draw_explanations([explanation(np.zeros((48, 48)), face)]))
    row = picture[GAP + 128, GAP : GAP + PANEL].sum(axis=1)
    assert (row == 0).sum() == pytest.approx(PANEL / 2, abs=2)


def test_every_face_has_a_row_and_what_is_none_has_not():
    two = [explanation(half_and_half(), number=number) for number in range(2)]
    nothing = Explanation(Prediction("meadow.jpg", FER2013))
    one, both = draw_explanations(two[:1]), draw_explanations([*two, nothing])
    assert both.height - one.height == PANEL + GAP
    assert both.width == one.width


def test_the_words_of_a_long_name_stay_inside_their_column():
    for text in ("a" * 300, "two\nlines " * 40, "short"):
        assert measure_text(_fitted(text, SMALL, {}))[0] <= WORDS
    assert _fitted("short", SMALL, {})[0][0] == "short"
    assert _fitted("beginning" + "x" * 300 + "end", SMALL, {})[0][0].endswith("end")


def test_odd_labels_and_a_single_one_are_drawn():
    for labels in (LabelSet(("only",)), LabelSet(("a very long label that nobody would read to its end", "b"))):
        picture = draw_explanations([explanation(np.zeros((8, 8)), labels=labels)])
        assert isinstance(picture, Image.Image)
        assert (np.asarray(picture)[1:-1, -GAP + 2 : -1] == 255).all(), "nothing reaches into the margin"
