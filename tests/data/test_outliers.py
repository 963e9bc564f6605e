import numpy as np
import pytest

from mien.data.drawn import draw_faces
from mien.data.outliers import FAR_FROM_FACES, brightness_and_contrast, distance_from_faces, robust_deviations


@pytest.fixture(scope="module")
def images():
    return draw_faces(20).images


def test_brightness_and_contrast_are_numpys(images):
    brightness, contrast = brightness_and_contrast(images)
    np.testing.assert_allclose(brightness, [image.mean() for image in images], rtol=1e-5)
    np.testing.assert_allclose(contrast, [image.std() for image in images], rtol=1e-4)


def test_what_shows_no_face_lies_farther_from_the_mean_than_every_face(images):
    sign = np.zeros((2, 48, 48), dtype=np.uint8)
    sign[0, 20:28, 20:28] = 255
    sign[1, :, ::6] = 255
    deviations = robust_deviations(distance_from_faces(np.concatenate([images, sign])))
    assert deviations[:-2].max() < deviations[-2:].min()
    assert deviations[-2:].min() > FAR_FROM_FACES


def test_robust_deviations_are_those_of_a_normal_distribution_and_ignore_outliers():
    values = np.random.default_rng(0).normal(5, 2, 20_001)
    values[:100] = 1e6
    np.testing.assert_allclose(robust_deviations(values)[100:], (values[100:] - 5) / 2, atol=0.15)


def test_equal_values_have_no_outliers():
    assert robust_deviations(np.array([3, 3, 3, 3, 9])).tolist() == [0] * 5
    assert robust_deviations(np.array([])).tolist() == []
