import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from mien.cli import main
from mien.errors import MienError
from mien.inference.classifier import Classifier
from mien.inference.detection import Framing
from mien.inference.pipeline import predict
from mien.inference.prediction import Face


def test_a_wrong_model_or_detector_is_said_at_once_and_not_at_the_first_row(model):
    with pytest.raises(MienError, match="no model file"):
        predict("photo.jpg", "gone.onnx")
    with pytest.raises(MienError, match="no detector"):
        predict("photo.jpg", model, "retina")
    for words, says in (
        ({"batch_size": 0}, "batch size"),
        ({"threads": -1}, "number of threads must be at least 0, not -1"),
        ({"threshold": 1.5}, "must be at most 1, not 1.5"),
        ({"margin": -0.5}, "must be at least -0.4, not -0.5"),
        ({"margin": 0.1}, "leave out margin"),
        ({"min_score": 0.5}, "leave out margin and min_score"),
        ({"every": 0}, "at least 1, not 0"),
        ({"smoothing": -0.1}, "seconds must be at least 0, not -0.1"),
        ({"smoothing": float("nan")}, "seconds must be a number, not nan"),
    ):
        with pytest.raises(MienError, match=says):
            predict("photo.jpg", model, "none", **words)
    with pytest.raises(MienError, match="score of a face must be at most 1, not 1"):
        predict("photo.jpg", model, "yunet", min_score=1.0)
    with pytest.raises(MienError, match="leave out the detector, or faces"):
        predict("photo.jpg", model, "yunet", faces=True)


def test_faces_says_the_same_as_the_detector_none(model, large):
    assert [row.to_dict() for row in predict(large, model, faces=True)] == [
        row.to_dict() for row in predict(large, model, "none")
    ]


def test_small_and_doubtful_faces_are_left_out_where_that_is_asked_for(model, large, corners):
    assert len(list(predict(large, model, corners, min_size=40, min_score=0.9))) == 4
    for words in ({"min_size": 40.5}, {"min_score": 0.91}):
        (row,) = predict(large, model, corners, **words)
        assert row.no_face


def test_a_margin_shows_the_classifier_more_around_the_same_middle(make_model, expected):
    image = np.full((200, 200), 255, np.uint8)
    image[80:120, 80:120] = 0

    middle = SimpleNamespace(framing=Framing(1.0, 0.0), detect=lambda image: [Face((80, 80, 120, 120), 0.9)])
    for margin, dark in ((0.0, 1.0), (0.5, 0.25), (1.0, 1 / 9)):
        (row,) = predict(image, make_model(), middle, margin=margin)
        face = np.full((1, 48, 48), round(255 * (1 - dark)), np.uint8)
        np.testing.assert_allclose(row.probabilities, expected(face)[0], atol=0.05)
        assert row.box == (80, 80, 120, 120)


def test_an_answer_under_the_threshold_is_unsure(model, large, corners):
    rows = list(predict(large, model, corners, threshold=0.5))
    assert [row.unsure for row in rows] == [row.confidence < 0.5 for row in rows]
    assert not any(row.unsure for row in predict(large, model, corners, threshold=0))


def test_the_chosen_head_answers_and_the_crowd_where_none_is_chosen(two_heads, expected):
    faces = np.random.default_rng(1).integers(0, 200, (5, 1, 1)).repeat(48, 1).repeat(48, 2).astype(np.uint8)
    label, crowd = expected(faces), expected(faces)[:, ::-1]
    opened = Classifier(two_heads, head="label")
    for model, head, wanted in (
        (two_heads, None, crowd),
        (two_heads, "crowd", crowd),
        (two_heads, "label", label),
        (opened, None, label),
        (opened, "crowd", crowd),
    ):
        rows = list(predict(faces, model, "none", head=head))
        np.testing.assert_allclose([row.probabilities for row in rows], wanted, atol=1e-4)
    assert opened.head == "label"


def test_a_head_that_is_not_there_is_said_at_once(model, two_heads, tmp_path):
    for classifier in (model, Classifier(model)):
        with pytest.raises(MienError, match="no head 'crowd'; choose label"):
            predict("photo.jpg", classifier, "none", head="crowd")
    with pytest.raises(MienError, match="choose label or crowd"):
        predict("photo.jpg", two_heads, "none", draw=tmp_path / "drawn", head="votes")
    assert not (tmp_path / "drawn").exists()


def test_the_head_is_chosen_on_the_command_line(two_heads, model, tmp_path, capsys):
    Image.fromarray(np.zeros((48, 48), np.uint8)).save(tmp_path / "dark.png")
    words = ["predict", str(tmp_path / "dark.png"), "--detector", "none", "--format", "json", "--model"]
    for more, label in (([], "neutral"), (["--head", "crowd"], "neutral"), (["--head", "label"], "angry")):
        assert main([*words, str(two_heads), *more]) == 0
        assert json.loads(capsys.readouterr().out)[0]["label"] == label
    assert main([*words, str(model), "--head", "crowd"]) == 2
    assert capsys.readouterr().err == f"mien: The model {str(model)!r} has no head 'crowd'; choose label.\n"
