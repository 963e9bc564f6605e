"""What drawn people stand in: backgrounds, their places in a photo, light and the camera."""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from mien.data.drawn_canvas import Pose
from mien.errors import MienError

_PERSON_WIDTH, _PERSON_HEIGHT, _ROW_HEIGHT = 2.9, 4.2, 3.4  # in half head widths, shoulders included


def places(random: np.random.Generator, people: int, width: int, height: int, least: float) -> list[Pose]:
    """Place heads in as many rows as make them largest; the back row comes first and is the highest."""

    def largest(rows: int) -> float:
        columns = math.ceil(people / rows)
        return min(width / (_PERSON_WIDTH * columns), height / (_PERSON_HEIGHT + _ROW_HEIGHT * (rows - 1)))

    if not people:
        return []
    rows = max(range(1, people + 1), key=largest)
    if largest(rows) < least:
        raise MienError(f"{people} people do not fit into the picture; draw fewer, or a larger picture.")
    scale = largest(rows)
    top = (height - scale * (_PERSON_HEIGHT + _ROW_HEIGHT * (rows - 1))) / 2
    poses = []
    for row in range(rows):
        columns = len(range(people)[row * people // rows : (row + 1) * people // rows])
        for column in range(columns):
            across = width * (column + 0.5) / columns + scale * random.uniform(-0.2, 0.2)
            down = top + scale * (2.0 + _ROW_HEIGHT * row + random.uniform(-0.12, 0.12))  # 2: hair, and half of the head
            yaw, pitch, roll = random.normal(0, (0.12, 0.05, 0.05))
            poses.append(Pose((across, down), scale * random.uniform(0.82, 1.0), yaw, pitch, roll))
    return poses


def background(random: np.random.Generator, width: int, height: int) -> Image.Image:
    """Make a backdrop of one colour that changes a little towards the corners."""
    corners = random.uniform(35, 215) + random.normal(0, 10, 3) + random.normal(0, 10, (2, 2, 3))
    return Image.fromarray(np.clip(corners, 0, 255).astype(np.uint8)).resize((width, height), Image.Resampling.BILINEAR)


def wall(random: np.random.Generator, width: int, height: int) -> Image.Image:
    """Make a wall with pictures on it, out of focus."""
    image = background(random, width, height)
    draw = ImageDraw.Draw(image)
    colour = np.asarray(image)[0, 0].astype(np.float64)
    for _ in range(5):
        left, top = random.uniform(-0.1, 0.9, 2) * (width, height)
        across, down = random.uniform(0.08, 0.3, 2) * (width, height)
        tint = np.clip(colour + random.normal(0, 20) + random.normal(0, 8, 3), 0, 255).astype(int)
        draw.rectangle((left, top, left + across, top + down), fill=tuple(tint.tolist()))
    return image.filter(ImageFilter.BoxBlur(width / 160))


def photograph(image: Image.Image, random: np.random.Generator) -> np.ndarray:
    """Light a picture from one side and give it a camera's colour cast and grain: (H, W, 3), uint8."""
    angle, strength = random.uniform(0, 2 * np.pi), random.uniform(0, 0.35)
    across = np.linspace(-1, 1, image.width) * np.cos(angle)
    down = np.linspace(-1, 1, image.height) * np.sin(angle)
    light = random.uniform(0.75, 1.08) * (1 + strength * (across + down[:, None]))
    cast = random.uniform(0.95, 1.05, 3).astype(np.float32)
    grain = random.standard_normal((image.height, image.width), dtype=np.float32) * np.float32(6 * random.uniform() ** 2)
    pixels = np.asarray(image, dtype=np.float32) * light.astype(np.float32)[..., None] * cast + grain[..., None]
    result: np.ndarray = np.clip(pixels, 0, 255).astype(np.uint8)
    return result
