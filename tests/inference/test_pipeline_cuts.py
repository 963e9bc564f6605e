import numpy as np
import pytest

import mien
from mien.drawn import draw_face
from mien.inference.pipeline import coarse_view, is_cut
from mien.inference.prediction import Frame


@pytest.fixture(scope="module")
def scenes():
    """Two shots of a face in the same place, against other backgrounds."""
    photos = []
    for mood, seed, left, right in (("happy", 1, 40, 230), ("sad", 9, 220, 30)):
        image = np.tile(np.linspace(left, right, 320), (240, 1))[:, :, None].repeat(3, 2).astype(np.uint8)
        image[60:188, 100:228] = draw_face(mood, seed, 128)
        photos.append(image)
    return photos


def tracks(frames):
    return [row.track for row in mien.predict(frames, threads=0)]


def as_frames(images):
    return [Frame("clip", image, frame=number, time=number / 25) for number, image in enumerate(images)]


def test_tracks_end_at_a_cut_although_the_faces_overlap(scenes):
    first, second = scenes
    assert tracks(as_frames([first, first, second, second, first])) == [0, 0, 1, 1, 2]


def test_probabilities_are_not_smoothed_over_a_cut(scenes):
    first, second = scenes
    alone = mien.predict(as_frames([second]), threads=0)[0]
    after = mien.predict(as_frames([first, second]), threads=0, smoothing=5.0)[1]
    np.testing.assert_allclose(after.probabilities, alone.probabilities, atol=1e-5)


def moved(image, step):
    return np.roll(image, step, axis=1)


CHANGES = {
    "nothing": lambda image: image,
    "noise": lambda image: np.clip(image + np.random.default_rng(0).normal(0, 20, image.shape), 0, 255).astype(np.uint8),
    "a flash": lambda image: np.clip(image.astype(int) + 60, 0, 255).astype(np.uint8),
    "darkness": lambda image: image // 2,
    "a pan of 2%": lambda image: moved(image, 6),
    "another face": lambda image: np.where(np.indices(image.shape)[1] > 150, image, image[::-1]),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_is_no_cut_keeps_the_tracks(change, scenes):
    before, after = (coarse_view(image) for image in (scenes[0], change(scenes[0])))
    assert not is_cut(before, after)


def test_black_frames_between_two_shots_are_no_cut_of_their_own(scenes):
    """A face that is seen again after black frames keeps its number: nothing is known of what black frames show."""
    black = np.zeros_like(scenes[0])
    assert not is_cut(coarse_view(black), coarse_view(black))
    assert is_cut(coarse_view(scenes[0]), coarse_view(scenes[1]))


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (64, 64), (63, 65, 3), (1080, 1920, 3)])
def test_views_are_of_any_image(shape):
    view = coarse_view(np.full(shape, 7, np.uint8))
    assert (view.shape, view.dtype, view.max()) == ((8, 8), np.float32, 7)
