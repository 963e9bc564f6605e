import cv2
import numpy as np
import pytest

from mien.inference.detection import YUNET_FRAMING, Framing, crop_face
from mien.inference.prediction import Face

PICTURE = np.random.default_rng(0).integers(0, 256, size=(120, 160, 3)).astype(np.uint8)
EXACT = Framing(side=1.0, rise=0.0)


def landmarks(middle, eyes, down, degrees=0.0):
    """Five points of a symmetric face: its middle, the distance of the eyes, from eyes to mouth, and its turn clockwise."""
    upright = np.array([[-eyes / 2, -down / 2], [eyes / 2, -down / 2], [0, 0], [-eyes / 3, down / 2], [eyes / 3, down / 2]])
    turn = np.radians(degrees)
    return upright @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + middle


def smooth(height, width):
    """An image without symmetry that bears resampling."""
    rows, columns = np.mgrid[:height, :width]
    return (127 + 60 * np.sin(rows / 9) + 60 * np.cos(columns / 13 + rows / 50)).astype(np.uint8)


@pytest.mark.parametrize("picture", [PICTURE, PICTURE[:, :, 0]])
def test_an_upright_square_is_cut_out_pixel_for_pixel(picture):
    crop = crop_face(picture, Face((30, 20, 78, 68)), EXACT)
    assert np.array_equal(crop, picture[20:68, 30:78])


def test_the_side_grows_about_the_middle_and_the_rise_lifts_it():
    crop = crop_face(PICTURE, Face((50, 40, 80, 70)), Framing(side=1.6, rise=0.125))
    assert np.array_equal(crop, PICTURE[31 - 6 : 79 - 6, 41:89])


def test_beyond_the_image_its_border_is_repeated():
    crop = crop_face(PICTURE, Face((-10, -5, 38, 43)), EXACT)
    assert np.array_equal(crop, np.pad(PICTURE, ((5, 0), (10, 0), (0, 0)), mode="edge")[:48, :48])
    far = crop_face(PICTURE, Face((150, 110, 198, 158)), EXACT)
    assert np.array_equal(far[:10, :10], PICTURE[110:, 150:])
    assert (far[10:, 10:] == PICTURE[-1, -1]).all()


@pytest.mark.parametrize("degrees", [-40, -15, 8, 30, 90])
def test_a_turned_face_comes_out_upright(degrees):
    picture = smooth(300, 300)
    middle = (149.5, 149.5)
    turned = cv2.warpAffine(picture, cv2.getRotationMatrix2D(middle, -degrees, 1.0), (300, 300))
    upright = crop_face(picture, Face((110, 100, 190, 200), landmarks=landmarks((150, 150), 36, 40)), YUNET_FRAMING)
    face = Face((110, 100, 190, 200), landmarks=landmarks((150, 150), 36, 40, degrees), angle=degrees)
    crop = crop_face(turned, face, YUNET_FRAMING)
    assert crop.shape == upright.shape
    assert np.abs(crop.astype(int) - upright)[2:-2, 2:-2].mean() < 2
    assert np.abs(crop_face(turned, Face(face.box, landmarks=face.landmarks), YUNET_FRAMING).astype(int) - upright).mean() > 6


def test_the_frame_follows_the_landmarks_not_the_box():
    face = Face((0, 0, 10, 10), landmarks=landmarks((80, 60), 30, 40))
    assert face.centre == pytest.approx((80, 60))
    assert face.extent == pytest.approx(50)  # 3-4-5
    assert crop_face(PICTURE, face, YUNET_FRAMING).shape == (95, 95, 3)


def test_without_a_framing_the_box_is_taken_as_it_is():
    assert np.array_equal(crop_face(PICTURE, Face((0, 0, 160, 120)), None), PICTURE)


def test_an_image_wider_than_opencv_turns_is_no_obstacle():
    wide = np.zeros((60, 40_000), np.uint8)
    wide[:, 35_000:35_048] = 200
    crop = crop_face(wide, Face((35_000, 6, 35_048, 54), angle=10.0), EXACT)
    assert crop.shape == (48, 48)
    assert crop[24, 24] == 200


def test_a_face_of_no_size_still_gives_a_pixel():
    assert crop_face(PICTURE, Face((5, 5, 5, 5)), EXACT).shape == (1, 1, 3)
