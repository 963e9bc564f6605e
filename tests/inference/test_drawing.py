from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mien.inference.drawing import _LOOK, _covered, _place, annotate
from mien.inference.prediction import Prediction
from mien.labels import FER2013


def face(box, likeliest=3):
    return Prediction("a.png", FER2013, 0, box, 0.9, np.eye(7, dtype=np.float32)[likeliest])


def changed(image, picture):
    """The pixels that drawing has changed, as a mask."""
    plain = np.asarray(Image.fromarray(image).convert("RGB").resize(picture.size, Image.Resampling.BICUBIC))
    return np.abs(np.asarray(picture).astype(int) - plain).max(axis=2) > 60


@pytest.mark.parametrize("shade", [0, 90, 128, 255])
def test_box_and_label_stand_out_on_any_background(shade):
    image = np.full((600, 800, 3), shade, np.uint8)
    mask = changed(image, annotate(image, [face((300, 200, 500, 400))]))
    for side in (mask[200:400, 296:306], mask[200:400, 494:504], mask[196:206, 300:500].T, mask[394:404, 300:500].T):
        assert side.any(axis=1).all()
    assert mask[160:195, 300:400].mean() > 0.3
    assert not mask[215:385, 315:485].any()


@pytest.mark.parametrize("shape", [(48, 48), (20, 60, 3), (1, 1), (3000, 4000, 3), (600, 30, 3)])
def test_any_size_is_drawn_on_and_small_images_are_enlarged(shape):
    height, width = shape[:2]
    picture = annotate(np.full(shape, 100, np.uint8), [face((0, 0, width, height))])
    assert max(picture.size) == max(_LOOK.smallest, height, width)
    assert picture.mode == "RGB"
    assert changed(np.full(shape, 100, np.uint8), picture).any()


def test_an_image_without_faces_says_so():
    image = np.full((500, 500, 3), 40, np.uint8)
    mask = changed(image, annotate(image, [Prediction("a.png", FER2013)]))
    assert mask[:60, :150].any()
    assert not mask[60:].any()


def test_the_image_itself_stays_as_it_was():
    image = np.full((500, 500, 3), 40, np.uint8)
    annotate(image, [face((100, 100, 200, 200))])
    assert (image == 40).all()


def test_labels_of_a_crowd_cover_no_other_label_and_stay_in_the_picture():
    random = np.random.default_rng(0)
    taken = []
    for x in range(0, 1000, 100):
        for y in range(0, 600, 100):
            left, top = x + random.integers(0, 12), y + random.integers(0, 12)
            taken.append(_place((90, 18), (1000, 600), (left, top, left + 80, top + 80), 6, taken))
    for number, area in enumerate(taken):
        assert _covered(area, taken[:number]) == 0
        assert area[0] >= 0 <= area[1]
        assert area[2] < 1000
        assert area[3] < 600


def test_the_frame_of_a_video_keeps_its_size_and_its_label_tells_the_track():
    image = np.full((200, 300, 3), 40, np.uint8)
    plain = annotate(image, [face((100, 80, 160, 140))], enlarge=False)
    tracked = annotate(image, [replace(face((100, 80, 160, 140)), track=12)], enlarge=False)
    assert plain.size == tracked.size == (300, 200)
    assert changed(image, tracked)[50:80].any(axis=0).sum() > changed(image, plain)[50:80].any(axis=0).sum() + 10


def test_a_question_mark_ends_the_label_of_an_unsure_answer():
    image = np.full((500, 500, 3), 40, np.uint8)
    sure = face((100, 100, 200, 200))
    plain, marked = (annotate(image, [replace(sure, threshold=bar)]) for bar in (0.9, 1.1))
    drawn = [np.flatnonzero(changed(image, picture)[:98].any(axis=0)) for picture in (plain, marked)]
    assert drawn[0][0] == drawn[1][0]
    assert drawn[1][-1] > drawn[0][-1] + 3
