"""A canvas in the coordinates of a turned head: smooth shapes, soft lines and shading."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Points = Sequence[tuple[float, float]] | np.ndarray  # (n, 2)
Depth = float | np.ndarray | None  # one for all points, or (n,)
_CUBIC = [[-0.5, 1.5, -1.5, 0.5], [1, -2.5, 2, -0.5], [-0.5, 0, 0.5, 0], [0, 1, 0, 0]]  # Catmull and Rom, 1974
_CATMULL_ROM = np.vander(np.arange(6) / 6, 4) @ np.array(_CUBIC)  # (steps, 4)


class Pose(NamedTuple):
    """Where a head is and how it is turned; centre and scale in pixels, angles in radians."""

    centre: tuple[float, float]
    scale: float
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0


def smooth(points: Points) -> np.ndarray:
    """Compute a Catmull-Rom curve through points, (n, 2) to (m, 2)."""
    points = np.asarray(points, dtype=np.float64)
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    windows = np.stack([padded[:-3], padded[1:-2], padded[2:-1], padded[3:]])  # (4, segments, 2)
    return np.concatenate([np.einsum("tk,ksd->std", _CATMULL_ROM, windows).reshape(-1, 2), points[-1:]])


def symmetric(half: Points) -> np.ndarray:
    """Complete the right half of a shape, given from its top middle to its bottom middle."""
    half = np.asarray(half)
    return smooth(np.concatenate([half, half[-2::-1] * (-1, 1)]))


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Mix two colours; `share` is that of the second, from 0 to 1."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


class Canvas:
    """An RGB image in head coordinates: the centre is (0, 0), half the head's width is 1, x runs right and y down.

    A point without a depth lies on the front of a rounded head, so that features move as they should when the head turns.
    """

    def __init__(self, image: Image.Image, pose: Pose) -> None:
        self.image, self.pose = image, pose
        self._draw = ImageDraw.Draw(image, "RGBA")  # so that translucent colours blend
        yaw, pitch, roll = (np.array([math.cos(angle), math.sin(angle)]) for angle in (pose.yaw, pose.pitch, pose.roll))
        turned = [[yaw[0], -yaw[1] * pitch[1]], [0.0, pitch[0]], [yaw[1], yaw[0] * pitch[1]]]  # rows: x, y, depth
        self._basis = np.array(turned) @ [[roll[0], roll[1]], [-roll[1], roll[0]]] * pose.scale  # (3, 2)

    def project(self, points: Points, depth: Depth = None) -> np.ndarray:
        """Convert head coordinates to pixels, (n, 2) to (n, 2)."""
        points = np.asarray(points, dtype=np.float64)
        if depth is None:
            depth = 0.95 * np.sqrt(np.maximum(0.0, 1 - points**2 @ (0.88, 0.28)))
        pixels: np.ndarray = points @ self._basis[:2] + np.multiply.outer(depth, self._basis[2]) + self.pose.centre
        return pixels

    def fill(self, points: Points, colour: Colour, depth: Depth = None, opacity: float = 1.0) -> None:
        """Fill a polygon."""
        self._draw.polygon(self.project(points, depth).ravel().tolist(), fill=(*colour, round(255 * opacity)))

    def disc(self, x: float, y: float, radius: float, colour: Colour, depth: float | None = None) -> None:
        """Fill a circle."""
        centre, reach = self.project([(x, y)], depth)[0], radius * self.pose.scale
        self._draw.ellipse([*(centre - reach), *(centre + reach)], fill=colour)

    def stroke(
        self, points: Points, width: float | np.ndarray, colour: Colour, depth: Depth = None, opacity: float = 1.0
    ) -> None:
        """Draw a line of one width, or of one at each point, (n,)."""
        points = np.asarray(points, dtype=np.float64)
        along = np.gradient(points, axis=0)
        across = np.stack([-along[:, 1], along[:, 0]], axis=1) / np.maximum(np.hypot(*along.T), 1e-9)[:, None]
        offset = across * np.broadcast_to(width, len(points))[:, None] / 2
        self.fill(np.concatenate([points + offset, (points - offset)[::-1]]), colour, depth, opacity)

    def shade(self, points: Points, colour: Colour, depth: Depth, blobs: Sequence[tuple[float, ...]]) -> None:
        """Fill a polygon, lit by soft spots; each is x, y, width, height, and light from -1 to 1."""
        outline = self.project(points, depth)
        start, end = np.floor(outline.min(axis=0)).astype(int), np.ceil(outline.max(axis=0)).astype(int) + 1
        spots = np.array(blobs)
        centres, reach = self.project(spots[:, :2]), spots[:, 2:4] * self.pose.scale
        grid = np.linspace(start, end, 64)[:, None]  # (64, 1, 2), coarse, for the spots are smooth
        waves = np.exp(-0.5 * ((grid - centres) / reach) ** 2)  # (64, spots, 2)
        light = np.einsum("xn,yn,n->yx", waves[..., 0], waves[..., 1], spots[:, 4]).clip(-1, 1)[..., None]
        base = np.array(colour, dtype=np.float64)
        sheet = base + np.maximum(light, 0) * 0.55 * (255 - base) + np.minimum(light, 0) * base * (0.66, 0.76, 0.76)
        size = tuple((end - start).tolist())
        mask = Image.new("L", size)
        ImageDraw.Draw(mask).polygon((outline - start).ravel().tolist(), fill=255)
        shaded = Image.fromarray(sheet.astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
        self.image.paste(shaded, tuple(start.tolist()), mask)
