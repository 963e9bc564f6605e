import io

import numpy as np
import pytest
from PIL import Image

from mien.data.copies import SAME_PHOTO, VALUES, exact_originals, find_copies, likeness_groups
from mien.data.reading import read_faces
from mien.drawn import draw_face, draw_faces
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


def cropped(image, left, top, side, angle=0):
    face = Image.fromarray(np.pad(image, 2, mode="edge")).rotate(angle, Image.Resampling.BICUBIC)
    box = (2 + left, 2 + top, 2 + left + side, 2 + top + side)
    return np.asarray(face.resize((48, 48), Image.Resampling.BICUBIC, box))


def resized(image, side):
    return np.asarray(
        Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC).resize((48, 48), Image.Resampling.BICUBIC)
    )


def noisy(image, strength):
    return np.clip(image + np.random.default_rng(0).normal(0, strength, image.shape), 0, 255).astype(np.uint8)


def relit(image, strength):
    return np.clip(image * (1 + strength * np.linspace(-1, 1, 48)), 0, 255).astype(np.uint8)


CHANGES = {
    "compressed": lambda image: jpeg(image, 70),
    "brightened": lambda image: np.clip(image * 1.1 + 8, 0, 255).astype(np.uint8),
    "darkened": lambda image: (image * 0.5).astype(np.uint8),
    "cut out a pixel to the left": lambda image: np.roll(image, 1, axis=1),
    "cut out a pixel lower": lambda image: np.roll(image, -1, axis=0),
    "cut out a pixel to the right and half a pixel lower": lambda image: cropped(image, 1, 0.5, 48),
    "cropped by 2%": lambda image: cropped(image, 0.5, 0.5, 47),
    "turned by a degree": lambda image: cropped(image, 0, 0, 48, angle=1),
    "resized": lambda image: resized(image, 40),
    "relit from the side": lambda image: relit(image, 0.2),
    "at another gamma": lambda image: (255 * (image / 255) ** 1.3).astype(np.uint8),
    "noisy": lambda image: noisy(image, 2),
    "mirrored": lambda image: image[:, ::-1],
    "mirrored and compressed": lambda image: jpeg(image[:, ::-1], 70),
}


def test_different_people_are_no_copies(images):
    copies = find_copies(images)
    assert len(copies.pairs) == 0
    assert copies.group.tolist() == copies.original.tolist() == list(range(56))


@pytest.mark.parametrize("change", CHANGES)
def test_a_face_is_found_though_it_is(change, images):
    changed = np.stack([CHANGES[change](image) for image in images[:28]])
    copies = find_copies(np.concatenate([images, changed]))
    found = set(map(tuple, copies.pairs.tolist()))
    assert found <= {(row, row + 56) for row in range(28)}
    assert len(found) >= 25
    assert (copies.mirrored == ("mirrored" in change)).all()
    assert all(copies.group[second] == first for first, second in found)
    assert (np.diff(copies.difference) <= 0).all()
    assert copies.difference.max() <= SAME_PHOTO


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


def test_how_many_pairs_are_compared_at_a_time_changes_nothing(images, monkeypatch):
    faces = np.concatenate([images, *(np.stack([change(image) for image in images]) for change in [*CHANGES.values()][::5])])
    expected = find_copies(faces)
    monkeypatch.setattr(VALUES, "pairs", 3)
    found = find_copies(faces)
    assert len(found.pairs) > 100
    order, wanted = (np.lexsort(copies.pairs.T) for copies in (found, expected))
    assert found.pairs[order].tolist() == expected.pairs[wanted].tolist()
    np.testing.assert_allclose(found.difference[order], expected.difference[wanted], atol=1e-3)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_faces_are_no_trouble(count, images):
    assert find_copies(images[:count]).group.tolist() == list(range(count))


@pytest.mark.parametrize("place", range(3))
def test_one_person_in_one_pose_with_another_expression_is_no_copy_but_alike(place, take):
    """The same light, background and place of the head; only the expression differs."""
    faces = np.stack([take(person, label, place) for person in (1, 2, 3) for label in FER2013])
    copies = find_copies(faces)
    assert len(copies.pairs) == 0
    assert copies.group.tolist() == list(range(21))
    groups = likeness_groups(faces, 0.75)
    assert (groups.reshape(3, 7) == [[0], [7], [14]]).mean() >= 0.9


def test_copies_and_their_copies_are_alike(images):
    groups = likeness_groups(np.concatenate([images, images[:1], np.roll(images[1:2], 2, axis=2)]), 0.85)
    assert groups[56:].tolist() == [0, 1]
    assert len(np.unique(groups)) == 56
    assert likeness_groups(images[:0], 0.85).tolist() == []


@pytest.mark.slow
def test_the_known_exact_copies_of_fer2013_are_found(real_fer2013):
    faces = read_faces(real_fer2013)
    original = exact_originals(faces.images)
    validation = faces.splits == 2
    assert np.isin(original[validation], original[~validation]).sum() == 280
