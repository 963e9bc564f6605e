import numpy as np
import pytest

from mien.evaluation.report import five_crops, mean_over_views, measure_gain, mirrored, predict_plain, predict_views


class ByBrightness:
    """Answers with the mean brightness of a face's left half, and what is left to 1; counts the faces it is given."""

    def __init__(self):
        self.seen = 0

    def predict_proba(self, faces, batch_size):
        self.seen += len(faces)
        bright = faces[:, :, : faces.shape[2] // 2].reshape(len(faces), -1).mean(axis=1) / 255
        return np.stack([bright, 1 - bright], axis=1).astype(np.float32)


@pytest.fixture
def faces():
    return np.random.default_rng(0).integers(0, 256, (5, 24, 24), dtype=np.uint8)


def test_flip_is_the_mean_of_the_answers_to_the_face_and_its_mirror_image(model, answered):
    # the model reads its answer off the first three pixels, so of the mirror image off the last three
    faces = answered([(80, 10, 10), (60, 30, 10)], [0, 1])
    faces.images[0, 0, -3:] = (70, 20, 10)  # mirrored: 10, 20, 70
    faces.images[1, 0, -3:] = (0, 90, 10)
    plain = predict_plain(model, faces.images, 256)
    both = predict_views(model, faces.images, "flip", 256, plain)
    assert mean_over_views(plain[0]) == pytest.approx(np.array([(0.8, 0.1, 0.1), (0.6, 0.3, 0.1)]))
    assert mean_over_views(both[0]) == pytest.approx(np.array([(0.45, 0.15, 0.4), (0.35, 0.6, 0.05)]))
    found = measure_gain("flip", plain, both, np.array([0, 1]), groups=None)
    assert (found["accuracy_without"].count, found["test"].only_first, found["test"].only_second, found["views"]) == (
        1,
        0,
        1,
        2,
    )
    assert found["test"].difference == 0.5
    assert found["seconds"] > found["seconds_without"] > 0
    assert found["seconds_ratio"] == pytest.approx(found["seconds"] / found["seconds_without"])


def test_crops_are_five_squares_of_eleven_twelfths_brought_back_to_size(faces):
    crops = list(five_crops(faces))
    corners = [(0, 0), (0, 2), (2, 0), (2, 2), (1, 1)]
    assert len(crops) == 5
    centres = (np.arange(24) + 0.5) * 22 / 24 - 0.5
    for crop, (top, left) in zip(crops, corners, strict=True):
        cut = faces[:, top : top + 22, left : left + 22].astype(float)
        for axis in (1, 2):
            cut = np.apply_along_axis(lambda line: np.interp(centres, np.arange(22), line), axis, cut)
        assert np.abs(crop - cut).max() <= 1  # Pillow rounds after each of the two passes


def test_ten_crops_are_these_and_their_mirror_images(faces):
    model = ByBrightness()
    plain = predict_plain(model, faces, 256)
    found = predict_views(model, faces, "ten-crops", 256, plain)
    views = [view for crop in five_crops(faces) for view in (crop, crop[:, :, ::-1])]
    expected = np.mean([model.predict_proba(view, 256) for view in views], axis=0)
    assert found[0].shape == (10, 5, 2)
    assert mean_over_views(found[0]) == pytest.approx(expected, abs=1e-6)


def test_views_are_made_batch_by_batch_without_any_difference(faces):
    whole, parts, model = ByBrightness(), ByBrightness(), ByBrightness()
    plain = predict_plain(model, faces, 256)
    for kind in ("flip", "ten-crops"):
        one = predict_views(whole, faces, kind, 256, plain)[0]
        assert np.array_equal(one, predict_views(parts, faces, kind, 2, plain)[0])
    assert whole.seen == parts.seen == 5 * 11  # the plain view is not asked again


def test_colour_is_cropped_and_mirrored_as_gray_is(faces):
    colour = np.repeat(faces[:, :, :, None], 3, axis=3)
    for gray, rgb in zip(five_crops(faces), five_crops(colour), strict=True):
        assert np.array_equal(rgb, np.repeat(gray[:, :, :, None], 3, axis=3))
    assert np.array_equal(mirrored(colour)[:, :, 0], colour[:, :, -1])
    assert np.array_equal(mirrored(mirrored(colour)), colour)


def test_without_augmentation_the_answers_are_the_plain_ones(faces):
    plain = predict_plain(ByBrightness(), faces, 256)
    assert predict_views(ByBrightness(), faces, "none", 256, plain) is plain
