import io

import numpy as np
import pytest
from PIL import Image

from mien.data.copies import exact_originals, find_copies
from mien.data.reading import read_faces
from mien.drawn import draw_face, draw_faces
from mien.errors import MienError
from mien.images import prepare
from mien.labels import FER2013


@pytest.fixture(scope="module")
def images():
    """56 faces of as many people, none a copy of another."""
    faces = [draw_face(FER2013[seed % 7], seed, 96) for seed in range(56)]
    return np.stack([prepare(face, 48, 1) for face in faces])


def jpeg(image, quality=60):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "jpeg", quality=quality)
    return np.asarray(Image.open(file))


def watermarked(image):
    marked = image.copy()
    marked[40:43, 20:44:4] //= 2
    return marked


CHANGES = {
    "compressed": jpeg,
    "brightened": lambda image: np.clip(image * 1.2 + 20, 0, 255).astype(np.uint8),
    "darkened": lambda image: (image * 0.5).astype(np.uint8),
    "cut out a pixel to the left": lambda image: np.roll(image, 1, axis=1),
    "cut out a pixel lower": lambda image: np.roll(image, -1, axis=0),
    "watermarked": watermarked,
    "mirrored": lambda image: image[:, ::-1],
    "mirrored and compressed": lambda image: jpeg(image[:, ::-1]),
}


def test_different_people_are_no_copies(images):
    copies = find_copies(images)
    assert len(copies.pairs) == 0
    assert copies.group.tolist() == copies.original.tolist() == list(range(56))


@pytest.mark.parametrize("change", CHANGES)
def test_a_face_is_found_though_it_is(change, images):
    changed = np.stack([CHANGES[change](image) for image in images[:7]])
    copies = find_copies(np.concatenate([images, changed]))
    assert sorted(map(tuple, copies.pairs.tolist())) == [(row, row + 56) for row in range(7)]
    assert copies.mirrored.tolist() == ["mirrored" in change] * 7
    assert copies.group[56:].tolist() == list(range(7))
    assert (np.diff(copies.correlation) >= 0).all()
    assert copies.correlation.min() >= 0.9


def test_exact_copies_name_the_first_row_and_make_no_near_pairs(images):
    copies = find_copies(np.concatenate([images, images[[5, 5, 9]]]))
    assert copies.original[56:].tolist() == [5, 5, 9]
    assert copies.group[56:].tolist() == [5, 5, 9]
    assert len(copies.pairs) == 0


def test_a_copy_of_a_copy_is_in_the_same_group(images):
    first = images[0]
    shifted = np.roll(first, 1, axis=1)
    copies = find_copies(np.stack([first, shifted, np.roll(first, 2, axis=1), shifted, images[20]]))
    assert copies.group.tolist() == [0, 0, 0, 0, 4]
    assert copies.original.tolist() == [0, 1, 2, 1, 4]


def test_noise_and_blank_images_are_like_nothing():
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (50, 48, 48)).astype(np.uint8)
    images[10:13] = np.array([0, 90, 255], dtype=np.uint8)[:, None, None]
    assert len(find_copies(images).pairs) == 0


def test_large_colour_faces_are_found_too():
    faces = draw_faces(2, size=96, channels=3).images
    copies = find_copies(np.concatenate([faces, np.stack([jpeg(face) for face in faces[:3]])]))
    assert sorted(map(tuple, copies.pairs.tolist())) == [(0, 14), (1, 15), (2, 16)]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_faces_are_no_trouble(count, images):
    assert find_copies(images[:count]).group.tolist() == list(range(count))


@pytest.mark.parametrize("threshold", [0, 1.1, float("nan")])
def test_a_threshold_out_of_range_is_told(threshold, images):
    with pytest.raises(MienError, match="above 0 and be at most 1"):
        find_copies(images, threshold)


def test_the_known_exact_copies_of_fer2013_are_found(real_fer2013):
    faces = read_faces(real_fer2013)
    original = exact_originals(faces.images)
    validation = faces.splits == 2
    assert np.isin(original[validation], original[~validation]).sum() == 280
