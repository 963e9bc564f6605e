import threading
from contextlib import closing
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image

from mien.images import prepare, read_image
from mien.inference import prefetch
from mien.inference.classifier import Classifier
from mien.inference.detection import Framing, crop_face
from mien.inference.pipeline import predict
from mien.inference.prediction import Face, Frame
from mien.labels import FER2013


class Counting(Classifier):
    """A classifier that notes the sizes of the batches it is given."""

    batches: list[int]

    def predict_proba(self, faces, batch_size=64):
        self.batches = [*getattr(self, "batches", []), len(faces)]
        return super().predict_proba(faces, batch_size)


SMALL = np.zeros((30, 30), np.uint8)
BLUE = np.full((80, 80, 3), (0, 0, 250), np.uint8)


def test_each_face_is_answered_by_the_model_on_its_own_crop(model, large, expected, corners):
    rows = list(predict(large, model, corners))
    assert [row.face for row in rows] == [0, 1, 2, 3]
    crops = [prepare(crop_face(large, face, Framing(1.0, 0.0)), 48, 1) for face in corners.detect(large)]
    np.testing.assert_allclose([row.probabilities for row in rows], expected(np.stack(crops)), atol=1e-4)
    assert [row.label for row in rows] == ["angry", "fear", "sad", "neutral"]
    assert rows[3].confidence == pytest.approx(rows[3].probabilities[6])
    assert rows[0].labels == FER2013


def test_every_input_gives_a_row_in_order_and_none_is_lost(model, large, tmp_path, corners):
    Image.fromarray(large).save(tmp_path / "1 large.png")
    Image.fromarray(SMALL).save(tmp_path / "2 small.png")
    (tmp_path / "3 text.jpg").write_text("no image")
    (tmp_path / "4 empty.png").write_bytes(b"")
    Image.fromarray(BLUE).save(tmp_path / "5 blue.png")
    Image.fromarray(large).save(tmp_path / "6 large.tif")
    rows = list(predict([tmp_path, tmp_path / "gone.png", large], model, corners))
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


def test_faces_are_classified_in_batches_across_images(model, large, corners):
    classifier = Counting(model)
    rows = list(predict([large, SMALL] * 10, classifier, corners, batch_size=16))
    assert len(rows) == 50
    assert sorted(classifier.batches) == [8, 16, 16]


def test_a_face_outside_of_its_image_is_an_error_and_aborts_nothing(model, large):
    outside = SimpleNamespace(framing=None, detect=lambda image: [Face((200, 200, 240, 240), 0.9)])
    (row,) = predict(large, model, outside)
    assert "Face detection failed on" in row.error


def test_rows_come_while_the_source_goes_on(model, large, corners):
    drawn = []

    def endless():
        while True:
            drawn.append(1)
            yield large

    with closing(predict(endless(), model, corners, batch_size=8, threads=2)) as rows:
        assert next(rows).face == 0
    assert len(drawn) < prefetch.AHEAD + 8
    assert not any(thread.name.startswith("mien") for thread in threading.enumerate())


def test_images_without_faces_do_not_pile_up(model, corners):
    drawn = []
    with closing(predict((drawn.append(1) or SMALL for _ in range(10**9)), model, corners)) as rows:
        assert next(rows).no_face
    assert len(drawn) <= 3 * prefetch.AHEAD


def test_a_row_does_not_wait_until_its_batch_is_full(model, large, monkeypatch, corners):
    monkeypatch.setattr(prefetch, "LONGEST_WAIT", 0.1)
    more = threading.Event()

    def slow():
        yield large
        more.wait(30)

    rows = predict(slow(), model, corners)
    assert next(rows).face == 0
    more.set()
    assert len(list(rows)) == 3


def test_many_threads_give_the_rows_of_one_and_of_the_calling_one_in_the_same_order(model, photo):
    image = cv2.resize(read_image(photo), (256, 300))
    images = [np.roll(image, 3 * shift, axis=1) for shift in range(12)] + [SMALL, BLUE]
    rows = [[row.to_dict() for row in predict(images, model, batch_size=3, threads=threads)] for threads in (1, 4)]
    assert rows[0] == rows[1]
    assert sum("face" in row for row in rows[0]) >= 12
    read = []

    def watched():
        for image in images:
            read.append(threading.current_thread())
            yield image

    with closing(predict(watched(), model, threads=0)) as alone:
        next(alone)
        assert len(read) == 1  # nothing is read ahead
        assert [row.to_dict().keys() for row in alone] == [row.keys() for row in rows[0][1:]]
    assert set(read) == {threading.main_thread()}


def test_one_pillow_image_given_many_times_is_read_by_many_threads(model, photo):
    with Image.open(photo) as image:
        rows = list(predict([image] * 8, model, "none", threads=4))
    assert len({row.to_dict()["confidence"] for row in rows}) == 1
    assert len(rows) == 8


def test_none_takes_each_image_as_it_is(model, expected):
    faces = np.random.default_rng(1).integers(0, 256, (5, 48, 48)).astype(np.uint8)
    rows = list(predict(faces, model, "none"))
    np.testing.assert_allclose([row.probabilities for row in rows], expected(faces), atol=1e-4)
    assert rows[0].box == (0, 0, 48, 48)
    assert rows[0].score is None


def test_boxes_end_at_the_images_border(model, large, corners):
    boxes = [row.box for row in predict(large, model, corners)]
    assert boxes == [(0, 0, 32, 32), (0, 68, 32, 100), (88, 0, 120, 32), (88, 68, 120, 100)]


def test_frames_of_your_own_keep_their_number_and_time(model, large, corners):
    rows = list(predict([Frame("mine", SMALL, frame=7, time=0.25), Frame("mine", error="Too dark.")], model, corners))
    assert [(row.source, row.frame, row.time, row.error) for row in rows] == [
        ("mine", 7, 0.25, ""),
        ("mine", None, None, "Too dark."),
    ]


def test_drawing_changes_no_answer_and_leaves_a_picture_of_every_image_that_was_read(model, large, tmp_path, corners):
    sources = [large, SMALL, tmp_path / "gone.png", BLUE]
    plain = [row.to_dict() for row in predict(sources, model, corners)]
    drawn = [row.to_dict() for row in predict(sources, model, corners, draw=tmp_path / "drawn")]
    assert drawn == plain
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["image 0.png", "image 1.png", "image 3.png"]


def test_the_whole_way_finds_the_face_of_a_real_photo(model, photo):
    (row,) = predict(photo, model)
    assert row.source == str(photo)
    x1, y1, x2, y2 = row.box
    assert x1 < 240 < x2
    assert y1 < 190 < y2
