import numpy as np
import pytest

from mien.data.copies import alike, fingerprints, in_gray, mirrored
from mien.drawn import draw_faces


@pytest.fixture(scope="module")
def images():
    return draw_faces(3).images


def test_a_fingerprint_has_mean_zero_and_length_one(images):
    prints = fingerprints(images)
    assert prints.shape == (21, 144)
    np.testing.assert_allclose(prints.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(prints, axis=1), 1, rtol=1e-5)


def test_brightness_and_contrast_leave_a_fingerprint_as_it_is(images):
    other = (images // 2 + 60).astype(np.uint8)
    assert np.einsum("ij,ij->i", fingerprints(images), fingerprints(other)).min() > 0.999


def test_a_face_of_one_gray_has_a_fingerprint_of_zeros():
    assert not fingerprints(np.full((1, 48, 48), 77, dtype=np.uint8)).any()


def test_a_mirrored_face_has_the_mirrored_fingerprint(images):
    np.testing.assert_allclose(fingerprints(images[:, :, ::-1]), mirrored(fingerprints(images)), atol=1e-6)


def test_large_faces_in_colour_are_compared_small_and_in_gray():
    gray, colour = draw_faces(1, size=96), draw_faces(1, size=96, channels=3)
    assert in_gray(colour.images).shape == (7, 48, 48)
    assert np.einsum("ij,ij->i", fingerprints(gray.images), fingerprints(colour.images)).min() > 0.999


def test_the_pairs_are_those_that_comparing_all_with_all_finds():
    random = np.random.default_rng(0)
    prints = random.normal(size=(300, 144)) * np.arange(1, 145) ** -0.8
    prints[200:260] = prints[:60] + random.normal(size=(60, 144)) * 0.01
    prints -= prints.mean(axis=1, keepdims=True)
    prints = (prints / np.linalg.norm(prints, axis=1, keepdims=True)).astype(np.float32)
    expected = {(row, row + 200) for row in range(60)}
    likeness = np.triu(prints @ prints.T, 1)
    assert {tuple(pair) for pair in np.argwhere(likeness > 0.97).tolist()} >= expected
    pairs, is_mirrored = alike(prints)
    assert expected <= {tuple(pair) for pair in pairs[~is_mirrored].tolist()}
    assert len({tuple(pair) for pair in pairs.tolist()}) == len(pairs)
    assert (pairs[:, 0] < pairs[:, 1]).all()
