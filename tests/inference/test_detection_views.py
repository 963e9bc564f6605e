import cv2
import numpy as np
import pytest

from mien.inference.detection import distinct, search_resized
from mien.inference.prediction import Face


def scene(height=300, width=400, middle=(280, 90)):
    """A dark image with a bright block of 40 x 20 pixels, and its box."""
    image = np.full((height, width), 20, np.uint8)
    x, y = middle
    image[y - 10 : y + 10, x - 20 : x + 20] = 250
    return image, (x - 20, y - 10, x + 20, y + 10)


def blocks(image):
    """Find what is bright in an RGB image: a face whose landmarks are five times its middle."""
    rows, columns = np.nonzero(image[:, :, 0] > 200)
    box = (float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1))
    middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    return [Face(box, 0.9, np.array([middle] * 5, dtype=np.float32))]


@pytest.mark.parametrize("longest", [100, 400, 1000])
def test_faces_found_at_another_size_come_back_in_the_images_pixels(longest):
    image, box = scene()
    seen = []
    (face,) = search_resized(image, longest, lambda small: seen.append(small.shape[:2]) or blocks(small))
    assert max(seen[0]) == longest
    assert face.box == pytest.approx(box, abs=400 / longest + 1e-6)
    assert face.landmarks[0] == pytest.approx((280, 90), abs=400 / longest)
    assert face.score == 0.9


@pytest.mark.parametrize("degrees", [30, -30, 90, -90, 180])
def test_faces_found_in_a_turned_image_come_back_with_their_turn(degrees):
    image, _ = scene()
    (face,) = search_resized(image, 400, blocks, (degrees,))
    assert face.angle == degrees
    assert face.centre == pytest.approx((280, 90), abs=1.5)
    assert ((face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2) == pytest.approx((280, 90), abs=1.5)
    if abs(degrees) == 90:
        assert face.size == pytest.approx((40, 20), abs=1.5)


def test_turning_is_counterclockwise_and_loses_no_corner():
    image = np.zeros((40, 60), np.uint8)
    image[0, 0] = image[0, -1] = image[-1, 0] = image[-1, -1] = 255
    seen = []
    search_resized(image, 60, lambda turned: seen.append(turned) or [], (90,))
    assert seen[0].shape == (60, 40, 3)
    assert np.abs(seen[0][:, :, 0].astype(int) - cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE)).max() <= 1


def test_of_overlapping_faces_the_first_is_kept_and_the_largest_comes_first():
    first, second = Face((10, 10, 50, 50), 0.7), Face((12, 12, 52, 52), 0.9)
    apart, large = Face((60, 10, 90, 40), 0.8), Face((200, 200, 300, 300), 0.8)
    boxes = np.array([face.box for face in (first, second, apart, large)])
    assert distinct(boxes, 0.4) == [0, 2, 3]
    assert distinct(np.empty((0, 4)), 0.4) == []
