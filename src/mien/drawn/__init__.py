"""Drawn faces with known expressions, so that tests, examples and the demo need no download."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from mien.data.faceset import FaceSet
from mien.drawn.face import Canvas, Person, draw_person, express, head_outline
from mien.errors import MienError, check_number
from mien.files import written_folder
from mien.images import LARGEST_FACE, check_faces_shape, prepare
from mien.labels import FER2013, LabelSet

Box = tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels
_SUPERSAMPLING = 2
_MIN_DRAWN_SIZE = 96  # smaller faces are drawn at this size and then reduced: lines thinner than a pixel would vanish
_PEOPLE_PER_SEED = 1_000_000


def draw_face(expression: str, seed: int, size: int = 192) -> np.ndarray:
    """Draw one face, cropped as a face detector crops it: (size, size, 3), uint8, RGB.

    The seed alone decides the person, so one seed gives the same person with every expression; pose, light, background,
    blur and noise differ from picture to picture.

    Args:
        expression: one of FER-2013's labels.
        seed: the same expression and seed give the same pixels; 0 or more.
        size: height and width in pixels.

    Raises:
        MienError: if there is no such expression, or seed or size are out of range.
    """
    _check(expression, seed, size)
    person = Person(np.random.default_rng(seed))
    random = np.random.default_rng([seed, 1 + FER2013.index(expression)])  # [seed, 0] would repeat the person's numbers
    movement = express(expression, random)
    extent = _SUPERSAMPLING * max(size, _MIN_DRAWN_SIZE)
    scale = extent / random.uniform(2.35, 2.75)
    angles = np.clip(random.normal(0, (0.16, 0.07, 0.07)), -0.32, 0.32)
    across, down = extent * random.normal(0.5, 0.025, 2) - scale * np.array([0.5 * np.sin(angles[0]), 0.2])
    image = _backdrop(random, extent, extent)
    draw_person(Canvas(image, (across, down), scale, angles), person, movement)
    image = image.resize((size, size), Image.Resampling.BOX)
    if random.uniform() < 0.4:
        image = image.filter(ImageFilter.GaussianBlur(random.uniform(0.2, 0.7) * size / 96))
    return _photograph(image, random)


def draw_faces(
    per_class: int,
    size: int = 48,
    channels: int = 1,
    seed: int = 0,
    labels: LabelSet = FER2013,
    validation: float = 0.0,
    test: float = 0.0,
) -> FaceSet:
    """Draw a labelled set, in rounds of one face of each label; no person is in two splits.

    Args:
        per_class: faces of each label.
        size: height and width in pixels.
        channels: 1 for gray, 3 for RGB.
        seed: the same arguments give the same set; sets of different seeds share no person.
        labels: which expressions, out of FER-2013's.
        validation: share of each label that goes to the split "validation".
        test: share of each label that goes to the split "test"; without shares there are no splits.

    Raises:
        MienError: if a label cannot be drawn, or the shares leave no face for training.
    """
    check_number("The seed", seed, 0)
    check_faces_shape(size, channels)
    drawn = _draw_rounds(_splits(per_class, validation, test), labels, seed, max(size, _MIN_DRAWN_SIZE))
    rows = [(prepare(face, size, channels), split, name) for face, split, name in drawn]
    images, row_splits, ids = zip(*rows, strict=True)
    return FaceSet.from_arrays(np.stack(images), np.tile(np.arange(len(labels)), per_class), labels, row_splits, ids)


def write_folder(per_class: int, out: Path, size: int = 96, seed: int = 0, validation: float = 0.0, test: float = 0.2) -> None:
    """Write drawn faces as colour PNG files: `out/train/happy/0001.png`, without shares `out/happy/0001.png`."""
    splits = _splits(per_class, validation, test)
    with written_folder(out, "the faces") as complete:
        for face, split, name in _draw_rounds(splits, FER2013, seed, size):
            path = complete / split.replace("none", "") / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(face).save(path)


def _draw_rounds(splits: Sequence[str], labels: LabelSet, seed: int, size: int) -> Iterator[tuple[np.ndarray, str, str]]:
    for number, split in enumerate(splits):
        for label in labels:
            yield draw_face(label, _PEOPLE_PER_SEED * seed + number, size), split, f"{label}/{number + 1:04d}"


def draw_photo(expressions: Sequence[str], seed: int, width: int = 640, height: int = 480) -> tuple[np.ndarray, list[Box]]:
    """Draw several people, in rows from left to right: (height, width, 3), uint8, RGB, and the box of each face."""
    for expression in expressions:
        _check(expression, seed, min(width, height))
    random = np.random.default_rng([seed, 1 + len(FER2013)])
    image = _backdrop(random, _SUPERSAMPLING * width, _SUPERSAMPLING * height)
    people, fits = len(expressions), []
    person_width, person_height, row_height = 2.9, 4.2, 3.4  # in half head widths, shoulders included
    for columns in range(1, people + 1):
        needed = person_height + row_height * (-(-people // columns) - 1)
        fits.append((min(image.width / (person_width * columns), image.height / needed), columns, needed))
    scale, columns, needed = max(fits, default=(np.inf, 1, 0.0))
    if scale < _SUPERSAMPLING * 10:  # pixels of half the width of a head: below that its face cannot be read
        raise MienError(f"{people} people do not fit into the picture; draw fewer, or a larger picture.")
    heads, boxes = [], []
    for row, column in (divmod(number, columns) for number in range(people)):
        in_row = min(columns, people - row * columns)
        across = image.width * (column + 0.5) / in_row + scale * random.uniform(-0.2, 0.2)
        from_top = 2.0 - needed / 2 + row_height * row + random.uniform(-0.12, 0.12)  # 2: hair, and half of the head
        angles, centre = random.normal(0, (0.12, 0.05, 0.05)), (across, image.height / 2 + scale * from_top)
        heads.append(Canvas(image, centre, scale * random.uniform(0.82, 1.0), angles))
    for canvas, expression in zip(heads, expressions, strict=True):
        person, movement = Person(random), express(expression, random)
        draw_person(canvas, person, movement)
        outline, depth = head_outline(person, movement)
        face = outline[:, 1] > -0.85
        pixels = canvas.project(outline[face], depth[face]) / _SUPERSAMPLING
        x1, y1 = np.floor(pixels.min(axis=0)).astype(int).tolist()
        x2, y2 = np.ceil(pixels.max(axis=0)).astype(int).tolist()
        boxes.append((max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)))
    return _photograph(image.resize((width, height), Image.Resampling.BOX), random), boxes


def _check(expression: str, seed: int, size: int) -> None:
    FER2013.index(expression)
    check_number("The seed", seed, 0, 1e18)
    check_number("The size of a drawn face", size, 8, LARGEST_FACE)


def _splits(per_class: int, validation: float, test: float) -> list[str]:
    check_number("The number of faces of each label", per_class, 1, _PEOPLE_PER_SEED)
    check_number("The share of validation", validation, 0, 1, whole=False)
    check_number("The share of test", test, 0, 1, whole=False)
    if not validation and not test:
        return ["none"] * per_class
    counts = [max(1, round(share * per_class)) if share else 0 for share in (validation, test)]
    if sum(counts) >= per_class:
        raise MienError(f"With {per_class} faces a label, validation {validation} and test {test} leave none for training.")
    return ["train"] * (per_class - sum(counts)) + ["validation"] * counts[0] + ["test"] * counts[1]


def _backdrop(random: np.random.Generator, width: int, height: int) -> Image.Image:
    light = random.uniform(35, 215) + random.normal(0, 20, (2, 2, 1))
    corners = light + random.normal(0, 10, 3) + random.normal(0, 10, (2, 2, 3))
    return Image.fromarray(np.clip(corners, 0, 255).astype(np.uint8)).resize((width, height), Image.Resampling.BILINEAR)


def _photograph(image: Image.Image, random: np.random.Generator) -> np.ndarray:
    angle, strength = random.uniform(0, 2 * np.pi), random.uniform(0, 0.5)
    across = np.linspace(-1, 1, image.width) * np.cos(angle)
    down = np.linspace(-1, 1, image.height) * np.sin(angle)
    light = random.uniform(0.75, 1.08) * (1 + strength * (across + down[:, None]))
    cast = random.uniform(0.95, 1.05, 3).astype(np.float32)
    grain = random.standard_normal((image.height, image.width), dtype=np.float32) * np.float32(6 * random.uniform() ** 2)
    pixels = np.asarray(image, dtype=np.float32) * light.astype(np.float32)[..., None] * cast + grain[..., None]
    return np.asarray(pixels.clip(0, 255), dtype=np.uint8)
