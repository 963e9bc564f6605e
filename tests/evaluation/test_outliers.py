import numpy as np
import pytest

from mien.drawn import draw_faces
from mien.evaluation.audit import (
    THRESHOLDS,
    brightness_and_contrast,
    distance_from_faces,
    robust_deviations,
    size_deviations,
)


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
    assert deviations[-2:].min() > THRESHOLDS["no-face"]


def test_robust_deviations_are_those_of_a_normal_distribution_and_ignore_outliers():
    values = np.random.default_rng(0).normal(5, 2, 20_001)
    values[:100] = 1e6
    np.testing.assert_allclose(robust_deviations(values)[100:], (values[100:] - 5) / 2, atol=0.15)


def test_equal_values_have_no_outliers():
    assert robust_deviations(np.array([3, 3, 3, 3, 9])).tolist() == [0] * 5
    assert robust_deviations(np.array([])).tolist() == []


def test_a_size_is_odd_beyond_a_factor_of_two_where_all_others_are_equal():
    sizes = np.array([[48, 48]] * 9 + [[97, 97], [95, 95], [23, 48], [48, 97], [25, 48]])
    assert np.flatnonzero(size_deviations(sizes) > THRESHOLDS["size"]).tolist() == [9, 11, 12]


def test_a_shape_is_odd_though_height_and_width_are_usual():
    squares = [[side, side] for side in range(100, 500, 4)]
    deviations = size_deviations(np.array([*squares, [400, 40], [40, 400]]))
    assert np.flatnonzero(deviations > THRESHOLDS["size"]).tolist() == [100, 101]
    assert deviations[-1] == pytest.approx(np.log2(10) / (1 / 3))  # the others have no spread in shape


def test_sizes_that_vary_are_measured_by_their_own_spread():
    random = np.random.default_rng(0)
    sizes = np.repeat((2 ** random.normal(8, 1, 20_001)).round().astype(np.uint32)[:, None], 2, axis=1)
    octaves = np.log2(sizes[:, 0])
    np.testing.assert_allclose(size_deviations(sizes), np.abs(octaves - np.median(octaves)), rtol=0.05, atol=0.01)
    assert size_deviations(np.empty((0, 2), dtype=np.uint32)).tolist() == []
