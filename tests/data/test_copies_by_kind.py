"""Which changes of a photo are recognised as copies: the tables of docs/fer2013.md (with -s, they are printed)."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from mien.data.copies import find_copies
from mien.data.reading import read_faces
from mien.drawn import draw_face
from mien.images import prepare
from mien.labels import FER2013

pytestmark = pytest.mark.slow
BICUBIC = Image.Resampling.BICUBIC


def clip(values):
    return np.clip(values, 0, 255).astype(np.uint8)


def cut(photo, dx=0.0, dy=0.0, scale=1.0, angle=0.0):
    """The middle 88% of a photo at 48 pixels, moved by pixels of the result, enlarged, and turned by degrees."""
    size = len(photo)
    centre, half, step = size / 2, 0.44 * scale * size, 0.88 * size / 48
    left, top = centre - half + dx * step, centre - half + dy * step
    picture = Image.fromarray(photo).rotate(angle, BICUBIC)
    return np.asarray(picture.resize((48, 48), BICUBIC, (left, top, left + 2 * half, top + 2 * half)))


def jpeg(face, quality):
    file = io.BytesIO()
    Image.fromarray(face).save(file, "jpeg", quality=quality)
    return np.asarray(Image.open(file))


def noisy(face, strength):
    return clip(face + np.random.default_rng(int(face.sum())).normal(0, strength, face.shape))


def resized(face, side):
    return np.asarray(Image.fromarray(face).resize((side, side), BICUBIC).resize((48, 48), BICUBIC))


def relit(face, strength):
    return clip(face * (1 + strength * np.linspace(-1, 1, 48)))


def marked(face):
    image = Image.fromarray(face)
    ImageDraw.Draw(image).text((4, 32), "stock", fill=200)
    return np.asarray(image)


CHANGES = {  # name: (what it does to a photo, fewest copies found in percent: drawn, FER-2013; 10 less than measured)
    "JPEG at quality 75": (lambda photo: jpeg(cut(photo), 75), 90, 89),
    "JPEG at 40": (lambda photo: jpeg(cut(photo), 40), 85, 89),
    "JPEG at 20": (lambda photo: jpeg(cut(photo), 20), 39, 83),
    "noise of 3 grays": (lambda photo: noisy(cut(photo), 3), 90, 89),
    "noise of 8 grays": (lambda photo: noisy(cut(photo), 8), 70, 87),
    "blurred by 0.7 pixels": (
        lambda photo: np.asarray(Image.fromarray(cut(photo)).filter(ImageFilter.GaussianBlur(0.7))),
        69,
        83,
    ),
    "resized to 36 pixels and back": (lambda photo: resized(cut(photo), 36), 83, 89),
    "resized to 28 pixels and back": (lambda photo: resized(cut(photo), 28), 19, 68),
    "half as bright": (lambda photo: clip(cut(photo) * 0.5), 90, 89),
    "brighter by 15% and 15 grays, bright pixels clipped": (lambda photo: clip(cut(photo) * 1.15 + 15), 61, 34),
    "gamma 1.6": (lambda photo: clip(255 * (cut(photo) / 255) ** 1.6), 80, 80),
    "relit from a side, 40% darker to 40% brighter": (lambda photo: relit(cut(photo), 0.4), 5, 2),
    "relit from below in the same way": (lambda photo: relit(cut(photo).T, 0.4).T, 0, 0),
    "mirrored": (lambda photo: cut(photo)[:, ::-1], 90, 89),
    "mirrored and JPEG at 60": (lambda photo: jpeg(np.ascontiguousarray(cut(photo)[:, ::-1]), 60), 90, 89),
    "shifted by half a pixel": (lambda photo: cut(photo, dx=0.5), 78, 89),
    "shifted by a pixel": (lambda photo: cut(photo, dx=1), 85, 89),
    "shifted by 2 pixels across and 1 down": (lambda photo: cut(photo, dx=2, dy=-1), 69, 72),
    "cropped by 3%": (lambda photo: cut(photo, scale=0.97), 80, 89),
    "cropped by 6%": (lambda photo: cut(photo, scale=0.94), 78, 87),
    "turned by 2 degrees": (lambda photo: cut(photo, angle=2), 85, 88),
    "mirrored, cropped by 2%, relit by 20%, JPEG at 60": (
        lambda photo: jpeg(relit(cut(photo, 0.7, 0.3, 0.98)[:, ::-1], 0.2), 60),
        75,
        70,
    ),
    "with a watermark across the face": (lambda photo: marked(cut(photo)), 0, 0),
}


@pytest.fixture(scope="module")
def photos():
    """84 drawn photos of as many people, larger than the faces cut from them."""
    return [prepare(draw_face(FER2013[seed % 7], seed, 224), 224, 1) for seed in range(84)]


@pytest.fixture(scope="module")
def real_photos(real_fer2013):
    """130 faces of FER-2013, without blank ones."""
    images = read_faces(real_fer2013).images
    rows = np.random.default_rng(3).permutation(len(images))[:130]
    return [image for image in images[rows] if image.std() > 10]


def recall(photos, change, least):
    """The share of changed copies that are found, in percent; no other pair may be found."""
    copies = find_copies(np.stack([*map(cut, photos), *map(change, photos)]))
    pairs = copies.pairs[copies.pairs[:, 1] == copies.pairs[:, 0] + len(photos)]
    found = len(pairs) + (copies.original[len(photos) :] == np.arange(len(photos))).sum()  # those that remained as they were
    assert len(pairs) == len(copies.pairs)
    assert 100 * found / len(photos) >= least
    return f"{found} ({found / len(photos):.0%})"


@pytest.mark.parametrize("change", CHANGES)
def test_recall_on_drawn_photos(change, photos):
    make, least, _ = CHANGES[change]
    print(f"\n| {change} | {recall(photos, make, least)} of {len(photos)} drawn |")


@pytest.mark.parametrize("change", CHANGES)
def test_recall_on_fer2013(change, real_photos):
    make, _, least = CHANGES[change]
    print(f"\n| {change} | {recall(real_photos, make, least)} of {len(real_photos)} of FER-2013 |")


@pytest.mark.parametrize("head", [0.0, 0.01, 0.03, 0.06])
def test_other_shots_in_a_studio_are_no_copies(head, take):
    """10 people, 7 expressions, 3 shots of each, in one place and light."""
    rows = [(person, expression) for person in range(500, 510) for expression in FER2013 for _ in range(3)]
    faces = np.stack([take(*row, number % 3, head) for number, row in enumerate(rows)])
    pairs = find_copies(faces).pairs
    same = [rows[first] == rows[second] for first, second in pairs]
    print(f"\n| {head} | {len(same) - sum(same)} of 1,890 | {sum(same)} of 210 |")
    assert all(same)
    assert sum(same) <= 25
