"""A canvas that knows how a head is turned: smooth shapes, soft lines and shading in head coordinates."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Colour = tuple[int, int, int]


Points = Sequence[tuple[float, float]] | np.ndarray

_HEAD_REACH = 1.9  # how far hair reaches from the middle of the head, in half head widths
_STEPS = 6
_T = np.arange(_STEPS) / _STEPS
_CATMULL_ROM = 0.5 * np.stack(
    [-_T + 2 * _T**2 - _T**3, 2 - 5 * _T**2 + 3 * _T**3, _T + 4 * _T**2 - 3 * _T**3, -(_T**2) + _T**3], axis=1
)  # (steps, 4)


@dataclass(frozen=True)
class Pose:
    """Where a head is and how it is turned; centre and scale in pixels, angles in radians."""

    centre: tuple[float, float]
    scale: float
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0


def smooth(points: Points, closed: bool = False) -> np.ndarray:
    """Draw a Catmull-Rom curve through points: (n, 2) to (m, 2)."""
    points = np.asarray(points, dtype=np.float64)
    if closed:
        padded = np.concatenate([points[-1:], points, points[:2]])
    else:
        padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    windows = np.stack([padded[:-3], padded[1:-2], padded[2:-1], padded[3:]])  # (4, segments, 2)
    curve = np.einsum("tk,ksd->std", _CATMULL_ROM, windows).reshape(-1, 2)
    return curve if closed else np.concatenate([curve, points[-1:]])


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Mix two colours; share is that of the second, from 0 to 1."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


class Canvas:
    """An RGB picture with a head's coordinates laid over it.

    The head's centre is (0, 0), half its width is 1, x runs to the right and y down. A point lies on the front of a
    rounded head unless a depth says otherwise, so that turning the head moves the features as they would move.
    """

    def __init__(self, image: Image.Image, pose: Pose) -> None:
        self.image = image
        self.pose = pose
        self.draw = ImageDraw.Draw(image)
        yaw, pitch, roll = (np.array([math.cos(angle), math.sin(angle)]) for angle in (pose.yaw, pose.pitch, pose.roll))
        turned = [[yaw[0], -yaw[1] * pitch[1]], [0.0, pitch[0]], [yaw[1], yaw[0] * pitch[1]]]  # where x, y, depth go
        self._basis = np.array(turned) @ [[roll[0], roll[1]], [-roll[1], roll[0]]] * pose.scale  # (3, 2)
        # Masks and shading cover the head and its hair only: in a photo of many people the rest would cost far more.
        reach = _HEAD_REACH * pose.scale
        left, top = (max(0, math.floor(middle - reach)) for middle in pose.centre)
        right, bottom = (min(end, math.ceil(at + reach)) for at, end in zip(pose.centre, image.size, strict=True))
        self._corner = np.array([left, top])
        self._window = (left, top, max(right, left + 1), max(bottom, top + 1))
        self._lines, self._line_draw = self._mask()

    def project(self, points: Points, depth: float | np.ndarray | None = None, lift: float = 0.0) -> np.ndarray:
        """Turn head coordinates into pixels: (n, 2) to (n, 2).

        Args:
            points: head coordinates.
            depth: how far in front of the head's middle the points lie; without it, on the front of the head.
            lift: how far above that surface they lie.
        """
        points = np.asarray(points, dtype=np.float64)
        if depth is None:
            squares = points**2
            depth = 0.95 * np.sqrt(np.maximum(0.0, 1 - 0.88 * squares[:, 0] - 0.28 * squares[:, 1]))
        forward = np.multiply.outer(np.asarray(depth) + lift, self._basis[2])  # (n, 2), or (2,) for one depth
        pixels: np.ndarray = points @ self._basis[:2] + forward + self.pose.centre
        return pixels

    def fill(self, points: Points, colour: Colour, depth: float | np.ndarray | None = None, lift: float = 0.0) -> None:
        """Fill a polygon."""
        self.draw.polygon(self.project(points, depth, lift).ravel().tolist(), fill=colour)

    def disc(self, x: float, y: float, radius: float, colour: Colour, depth: float | None = None) -> None:
        """Fill a circle."""
        across, down = self.project([(x, y)], depth)[0]
        reach = radius * self.pose.scale
        self.draw.ellipse((across - reach, down - reach, across + reach, down + reach), fill=colour)

    def stroke(self, points: Points, colour: Colour, width: float, depth: float | None = None, lift: float = 0.0) -> None:
        """Draw a line of one width."""
        pixels = self.project(points, depth, lift).ravel().tolist()
        self.draw.line(pixels, fill=colour, width=max(1, round(width * self.pose.scale)), joint="curve")

    def ribbon(self, points: np.ndarray, widths: np.ndarray, colour: Colour, lift: float = 0.0) -> None:
        """Draw a line whose width changes along it: points (n, 2), widths (n,)."""
        along = np.gradient(points, axis=0)
        across = np.stack([-along[:, 1], along[:, 0]], axis=1) / np.maximum(np.hypot(*along.T), 1e-9)[:, None]
        offset = across * widths[:, None] / 2
        self.fill(np.concatenate([points + offset, (points - offset)[::-1]]), colour, lift=lift)

    def crease(self, points: Points, strength: float, width: float = 0.03, lift: float = 0.0) -> None:
        """Note down a soft dark line in the skin; `press_creases` draws them all."""
        if strength > 0.03:
            pixels = (self.project(points, None, lift) - self._corner).ravel().tolist()
            self._line_draw.line(
                pixels, fill=min(255, int(255 * strength)), width=max(1, round(width * self.pose.scale)), joint="curve"
            )

    def press_creases(self, colour: Colour) -> None:
        """Draw the soft lines noted down so far."""
        self.image.paste(colour, self._window, self._lines.filter(ImageFilter.BoxBlur(0.014 * self.pose.scale)))

    def veil(self, outlines: Sequence[np.ndarray], colour: Colour, opacity: float) -> None:
        """Fill polygons of pixels, each (n, 2), with a colour that lets what lies below shine through, soft at its edges."""
        mask, draw = self._mask()
        for outline in outlines:
            draw.polygon((outline - self._corner).ravel().tolist(), fill=round(255 * opacity))
        self.image.paste(colour, self._window, mask.filter(ImageFilter.BoxBlur(0.03 * self.pose.scale)))

    def clipped(self, outline: np.ndarray) -> "Clip":
        """Open a window in the shape of a polygon of pixels (n, 2); what is drawn through it stays inside."""
        return Clip(self.image, outline)

    def shaded(self, colour: Colour, blobs: np.ndarray, blush: np.ndarray) -> Image.Image:
        """Make a sheet of skin or hair that covers the head, shaded by soft blobs.

        Args:
            colour: of the sheet before shading.
            blobs: (n, 5): x, y, width, height in head coordinates, then light from -1 (dark) to 1 (bright).
            blush: (m, 5), the same, where the last number is redness from 0 to 1.
        """
        step = 0.06 * self.pose.scale
        left, top, right, bottom = self._window
        across = left + np.arange(0.5, math.ceil((right - left) / step) + 1) * step
        down = top + np.arange(0.5, math.ceil((bottom - top) / step) + 1) * step

        def field(spots: np.ndarray) -> np.ndarray:
            centres = self.project(spots[:, :2])
            reach = spots[:, 2:4] * self.pose.scale
            columns = np.exp(-0.5 * ((across - centres[:, :1]) / reach[:, :1]) ** 2)
            rows = np.exp(-0.5 * ((down - centres[:, 1:]) / reach[:, 1:]) ** 2)
            result: np.ndarray = (rows * spots[:, 4:]).T @ columns
            return result[..., None]

        base = np.array(colour, dtype=np.float64)
        light = field(blobs)
        shadow = base * (0.34, 0.24, 0.24)
        shine = base + (255 - base) * 0.55
        sheet = base + np.clip(light, 0, 1) * (shine - base) + np.clip(-light, 0, 1) * (shadow - base)
        sheet += np.clip(field(blush), 0, 1) * (sheet * (1.04, 0.62, 0.62) - sheet)
        pixels = np.clip(sheet, 0, 255).astype(np.uint8)
        size = (round(len(across) * step), round(len(down) * step))
        return Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR)

    def paste(self, sheet: Image.Image, outlines: Sequence[np.ndarray], without: np.ndarray | None = None) -> None:
        """Lay a sheet made by `shaded` on the canvas within polygons of pixels, each (n, 2), less one polygon."""
        mask, draw = self._mask()
        for outline in outlines:
            draw.polygon((outline - self._corner).ravel().tolist(), fill=255)
        if without is not None:
            draw.polygon((without - self._corner).ravel().tolist(), fill=0)
        self.image.paste(sheet.crop((0, 0, *mask.size)), self._window, mask)

    def _mask(self) -> tuple[Image.Image, ImageDraw.ImageDraw]:
        left, top, right, bottom = self._window
        mask = Image.new("L", (right - left, bottom - top))
        return mask, ImageDraw.Draw(mask)


class Clip:
    """A window in the shape of a polygon: draw in it, then `close` it."""

    def __init__(self, image: Image.Image, outline: np.ndarray) -> None:
        left, top = np.floor(outline.min(axis=0)).astype(int).tolist()
        right, bottom = np.ceil(outline.max(axis=0)).astype(int).tolist()
        self._image = image
        self._corner = (left, top)
        self._tile = Image.new("RGB", (max(1, right - left + 1), max(1, bottom - top + 1)))
        self._mask = Image.new("L", self._tile.size)
        ImageDraw.Draw(self._mask).polygon((outline - self._corner).ravel().tolist(), fill=255)
        self._draw = ImageDraw.Draw(self._tile)

    def background(self, colour: Colour) -> None:
        """Fill the whole window."""
        self._tile.paste(colour, (0, 0, *self._tile.size))

    def polygon(self, outline: np.ndarray, colour: Colour) -> None:
        """Fill a polygon of canvas pixels (n, 2)."""
        self._draw.polygon((outline - self._corner).ravel().tolist(), fill=colour)

    def disc(self, centre: np.ndarray, radius: float, colour: Colour) -> None:
        """Fill a circle; centre (2,) and radius in canvas pixels."""
        across, down = centre - self._corner
        self._draw.ellipse((across - radius, down - radius, across + radius, down + radius), fill=colour)

    def close(self) -> None:
        """Put what the window shows on the canvas."""
        self._image.paste(self._tile, self._corner, self._mask)
