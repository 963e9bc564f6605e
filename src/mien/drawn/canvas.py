"""A canvas in the coordinates of a turned head: smooth shapes, soft lines and shading."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, ...]  # red, green and blue
Points = Sequence[tuple[float, float]] | np.ndarray  # (n, 2)
Depth = float | np.ndarray | None  # of points: one, one for each, or that of the surface of the head
Blobs = Sequence[Sequence[float]]  # light and shade: x, y, width, height, and light from -1 to 1
_HEAD_REACH = 1.9  # how far hair reaches from the middle of the head, in half head widths
_CUBIC = [[-0.5, 1.5, -1.5, 0.5], [1, -2.5, 2, -0.5], [-0.5, 0, 0.5, 0], [0, 1, 0, 0]]  # Catmull and Rom, 1974
_CATMULL_ROM = np.vander(np.arange(6) / 6, 4) @ np.array(_CUBIC)  # (steps, 4)


class Pose(NamedTuple):
    """Where a head is and how it is turned; centre and scale in pixels, angles in radians."""

    centre: tuple[float, float]
    scale: float
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0


def smooth(points: Points, closed: bool = False) -> np.ndarray:
    """Compute a Catmull-Rom curve through points, (n, 2) to (m, 2)."""
    points = np.asarray(points, dtype=np.float64)
    if closed:
        padded = np.concatenate([points[-1:], points, points[:2]])
    else:
        padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    windows = np.stack([padded[:-3], padded[1:-2], padded[2:-1], padded[3:]])  # (4, segments, 2)
    curve = np.einsum("tk,ksd->std", _CATMULL_ROM, windows).reshape(-1, 2)
    return curve if closed else np.concatenate([curve, points[-1:]])


def symmetric(half: Points) -> np.ndarray:
    """Complete the right half of a closed shape, given from its top middle to its bottom middle."""
    half = np.asarray(half)
    return smooth(np.concatenate([half, half[-2:0:-1] * (-1, 1)]), closed=True)


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Mix two colours; `share` is that of the second, from 0 to 1."""
    return tuple(round(a + (b - a) * share) for a, b in zip(first, second, strict=True))


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
        # Masks and shading cover only the head and its hair: in a photo of many people the whole image would cost far more.
        reach = _HEAD_REACH * pose.scale
        left, top = (max(0, math.floor(middle - reach)) for middle in pose.centre)
        right, bottom = (min(end, math.ceil(at + reach)) for at, end in zip(pose.centre, image.size, strict=True))
        self._window = (left, top, max(right, left + 1), max(bottom, top + 1))

    def project(self, points: Points, depth: Depth = None, lift: float = 0.0) -> np.ndarray:
        """Convert head coordinates to pixels, (n, 2) to (n, 2); `lift` is the distance above the surface of the head."""
        points = np.asarray(points, dtype=np.float64)
        if depth is None:
            squares = points**2
            depth = 0.95 * np.sqrt(np.maximum(0.0, 1 - 0.88 * squares[:, 0] - 0.28 * squares[:, 1]))
        forward = np.multiply.outer(np.asarray(depth) + lift, self._basis[2])  # (n, 2), or (2,) for one depth
        return np.asarray(points @ self._basis[:2] + forward + self.pose.centre)

    def fill(self, points: Points, colour: Colour, depth: Depth = None, lift: float = 0.0, opacity: float = 1.0) -> None:
        """Fill a polygon."""
        self._draw.polygon(self.project(points, depth, lift).ravel().tolist(), fill=(*colour, round(255 * opacity)))

    def disc(self, x: float, y: float, radius: float, colour: Colour, depth: float | None = None, lift: float = 0.0) -> None:
        """Fill a circle."""
        centre, reach = self.project([(x, y)], depth, lift)[0], radius * self.pose.scale
        self._draw.ellipse([*(centre - reach), *(centre + reach)], fill=colour)

    def stroke(self, points: Points, width: float | np.ndarray, colour: Colour, **how: float) -> None:
        """Draw a line, as `fill` does; `width` is one number or one for each point."""
        points = np.asarray(points, dtype=np.float64)
        along = np.gradient(points, axis=0)
        across = np.stack([-along[:, 1], along[:, 0]], axis=1) / np.maximum(np.hypot(*along.T), 1e-9)[:, None]
        offset = across * np.broadcast_to(width, len(points))[:, None] / 2
        self.fill(np.concatenate([points + offset, (points - offset)[::-1]]), colour, **how)

    @contextmanager
    def clip(self, outline: np.ndarray) -> Iterator[None]:
        """Restrict what is drawn in this context to a polygon of pixels, (n, 2)."""
        before = self.image.crop(self._window)
        yield
        before.paste(self.image.crop(self._window), (0, 0), self._mask(outline))
        self.image.paste(before, self._window)

    def shade(self, outline: np.ndarray, colour: Colour, blobs: Blobs, without: np.ndarray | None = None) -> None:
        """Fill one polygon of pixels, (n, 2), outside of another."""
        left, top, right, bottom = self._window
        grid = (np.arange(64) + 0.5) / 64  # coarse, for blobs are smooth
        across, down = left + grid * (right - left), top + grid * (bottom - top)
        spots = np.array(blobs)
        centres, reach = self.project(spots[:, :2]), spots[:, 2:4] * self.pose.scale
        columns = np.exp(-0.5 * ((across - centres[:, :1]) / reach[:, :1]) ** 2)
        rows = np.exp(-0.5 * ((down - centres[:, 1:]) / reach[:, 1:]) ** 2)
        light = np.clip((rows * spots[:, 4:]).T @ columns, -1, 1)[..., None]  # (rows, columns, 1)
        base = np.array(colour, dtype=np.float64)
        sheet = base + np.maximum(light, 0) * 0.55 * (255 - base) + np.minimum(light, 0) * base * (0.66, 0.76, 0.76)
        mask = self._mask(outline)
        if without is not None:
            mask.paste(0, (0, 0), self._mask(without))
        shaded = Image.fromarray(sheet.astype(np.uint8)).resize((right - left, bottom - top), Image.Resampling.BILINEAR)
        self.image.paste(shaded, self._window, mask)

    def _mask(self, outline: np.ndarray) -> Image.Image:
        left, top, right, bottom = self._window
        mask = Image.new("L", (right - left, bottom - top))
        ImageDraw.Draw(mask).polygon((outline - (left, top)).ravel().tolist(), fill=255)
        return mask
