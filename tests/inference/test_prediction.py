import json
from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest
from PIL import Image

from mien.cli import main
from mien.errors import MienError
from mien.images import prepare
from mien.inference import prediction as module
from mien.inference.classifier import Classifier
from mien.inference.framing import Face, Framing, crop_face
from mien.inference.prediction import Prediction, predict
from mien.labels import FER2013


@dataclass
class Corners:
    """A detector that takes the four corners of an image as faces if the image is large, and fails if it is blue."""

    name: str = "corners"
    framing: Framing | None = field(default_factory=lambda: Framing(1.0, 0.0))

    def detect(self, image):
        if image.ndim == 3 and image[0, 0, 2] > 200 > image[0, 0, 0]:
            raise cv2.error("too\nblue")
        height, width = image.shape[:2]
        if min(height, width) < 60:
            return []
        return [Face((x, y, x + 40, y + 40), 0.9) for x in (-8, width - 32) for y in (-8, height - 32)]


class Counting(Classifier):
    """A classifier that notes the sizes of the batches it is given."""

    batches: list[int]

    def predict_proba(self, faces, batch_size=64):
        self.batches = [*getattr(self, "batches", []), len(faces)]
        return super().predict_proba(faces, batch_size)


@pytest.fixture
def large():
    """An image of 100 x 120 whose quarters have four brightnesses."""
    image = np.zeros((100, 120), np.uint8)
    image[:50, :60], image[50:, :60], image[:50, 60:], image[50:, 60:] = 0, 85, 170, 255
    return image


SMALL = np.zeros((30, 30), np.uint8)
BLUE = np.full((80, 80, 3), (0, 0, 250), np.uint8)


def test_each_face_is_answered_by_the_model_on_its_own_crop(model, large, expected):
    rows = list(predict(large, model, Corners()))
    assert [row.face for row in rows] == [0, 1, 2, 3]
    crops = [prepare(crop_face(large, face, Framing(1.0, 0.0)), 48, 1) for face in Corners().detect(large)]
    np.testing.assert_allclose([row.probabilities for row in rows], expected(np.stack(crops)), atol=1e-4)
    assert [row.label for row in rows] == ["angry", "fear", "sad", "neutral"]
    assert rows[3].confidence == pytest.approx(rows[3].probabilities[6])
    assert rows[0].labels == FER2013


def test_every_input_gives_a_row_in_order_and_none_is_lost(model, large, tmp_path):
    Image.fromarray(large).save(tmp_path / "1 large.png")
    Image.fromarray(SMALL).save(tmp_path / "2 small.png")
    (tmp_path / "3 text.jpg").write_text("no image")
    (tmp_path / "4 empty.png").write_bytes(b"")
    Image.fromarray(BLUE).save(tmp_path / "5 blue.png")
    Image.fromarray(large).save(tmp_path / "6 large.tif")
    rows = list(predict([tmp_path, tmp_path / "gone.png", large], model, Corners()))
    kinds = [(row.source.removeprefix(f"{tmp_path}/"), row.face, row.no_face, bool(row.error)) for row in rows]
    assert kinds == [
        *(("1 large.png", number, False, False) for number in range(4)),
        ("2 small.png", None, True, False),
        ("3 text.jpg", None, False, True),
        ("4 empty.png", None, False, True),
        ("5 blue.png", None, False, True),
        *(("6 large.tif", number, False, False) for number in range(4)),
        ("gone.png", None, False, True),
        *(("image 2", number, False, False) for number in range(4)),
    ]
    assert "(too blue)" in rows[7].error
    assert all((row.probabilities is not None) == (row.face is not None) for row in rows)


def test_faces_are_classified_in_batches_across_images(model, large):
    classifier = Counting(model)
    rows = list(predict([large, SMALL] * 10, classifier, Corners(), batch_size=16))
    assert len(rows) == 50
    assert classifier.batches == [16, 16, 8]


def test_rows_come_while_the_source_goes_on(model, large):
    drawn = []

    def endless():
        while True:
            drawn.append(1)
            yield large

    rows = predict(endless(), model, Corners(), batch_size=8)
    assert next(rows).face == 0
    assert len(drawn) == 2


def test_images_without_faces_do_not_pile_up(model):
    drawn = []
    rows = predict((drawn.append(1) or SMALL for _ in range(10**9)), model, Corners())
    assert next(rows).no_face
    assert len(drawn) <= module.MOST_ROWS


def test_a_row_does_not_wait_longer_than_a_moment(model, large, monkeypatch):
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    drawn = []
    next(predict((drawn.append(1) or large for _ in range(100)), model, Corners()))
    assert len(drawn) == 1


def test_none_takes_each_image_as_it_is(model, expected):
    faces = np.random.default_rng(1).integers(0, 256, (5, 48, 48)).astype(np.uint8)
    rows = list(predict(faces, model, "none"))
    np.testing.assert_allclose([row.probabilities for row in rows], expected(faces), atol=1e-4)
    assert rows[0].box == (0, 0, 48, 48)
    assert rows[0].score is None


def test_boxes_end_at_the_images_border(model, large):
    boxes = [row.box for row in predict(large, model, Corners())]
    assert boxes == [(0, 0, 32, 32), (0, 68, 32, 100), (88, 0, 120, 32), (88, 68, 120, 100)]


def test_a_wrong_model_or_detector_is_said_at_once_and_not_at_the_first_row(model):
    with pytest.raises(MienError, match="no model file"):
        predict("photo.jpg", "gone.onnx")
    with pytest.raises(MienError, match="no detector"):
        predict("photo.jpg", model, "retina")
    with pytest.raises(MienError, match="batch size"):
        predict("photo.jpg", model, "none", batch_size=0)


def test_a_row_as_a_dictionary_holds_plain_values_and_only_what_is_there(model, large):
    row = next(predict(large, model, Corners())).to_dict()
    assert list(row) == ["source", "face", "box", "score", "label", "confidence", "probabilities"]
    assert json.loads(json.dumps(row)) == row
    assert list(row["probabilities"]) == list(FER2013)
    assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert Prediction("a.png", FER2013).to_dict() == {"source": "a.png", "no_face": True}
    assert Prediction("a.png", FER2013, error="It is damaged.").to_dict() == {"source": "a.png", "error": "It is damaged."}
    video = Prediction("a.mp4", FER2013, frame=50, time=2.0001).to_dict()
    assert video == {"source": "a.mp4", "frame": 50, "time": 2.0, "no_face": True}


def test_drawing_changes_no_answer_and_leaves_a_picture_of_every_image_that_was_read(model, large, tmp_path):
    sources = [large, SMALL, tmp_path / "gone.png", BLUE]
    plain = [row.to_dict() for row in predict(sources, model, Corners())]
    drawn = [row.to_dict() for row in predict(sources, model, Corners(), draw=tmp_path / "drawn")]
    assert drawn == plain
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["image 0.png", "image 1.png", "image 3.png"]


def test_the_whole_way_finds_the_face_of_a_real_photo(model, photo):
    (row,) = predict(photo, model, "haar")
    assert row.source == str(photo)
    x1, y1, x2, y2 = row.box
    assert x1 < 240 < x2
    assert y1 < 190 < y2


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
