"""Draw predictions into an image: the box of every face with its label, readable on any background and at any size."""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mien.inference.prediction import Prediction

SMALLEST = 480  # pixels of the longest side below which a picture is enlarged first, to have room for text
COLOURS = ("#ffd23f", "#4cc9f0", "#f28482", "#80ed99", "#c77dff", "#ff9f1c", "#a0c4ff", "#f9c6d7", "#b5e48c", "#e9c46a")
"""Colours of the labels in their order, all light enough for black text."""

Area = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels

Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont


def annotate(
    image: np.ndarray, predictions: Sequence[Prediction], enlarge: bool = True, text_size: float | None = None
) -> Image.Image:
    """Draw boxes and labels on a copy of an image; without a face, the label is "no face".

    Labels go above, into, below or beside their box, where they cover no other label. In videos they start with the number of
    the track; those of unsure predictions end in a question mark. `enlarge` gives the labels in small images room.
    """
    picture = Image.fromarray(image).convert("RGB")
    zoom = max(1.0, SMALLEST / max(picture.size)) if enlarge else 1.0
    if zoom > 1:
        picture = picture.resize((round(picture.width * zoom), round(picture.height * zoom)), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    line = max(2, round(max(picture.size) / 320))
    faces: list[tuple[Area, str, str]] = []  # box, colour and label
    for prediction in predictions:
        if prediction.box is not None and prediction.probabilities is not None:
            x1, y1, x2, y2 = (edge * zoom for edge in prediction.box)
            colour = COLOURS[int(prediction.probabilities.argmax()) % len(COLOURS)]
            track = "" if prediction.track is None else f"#{prediction.track} "
            text = f"{track}{prediction.label} {prediction.confidence:.0%}{'?' if prediction.unsure else ''}"
            faces.append(((x1, y1, x2, y2), colour, text))
            _draw_box(draw, (x1, y1, x2, y2), line, colour)
    font = ImageFont.load_default(text_size or choose_text_size([box for box, _, _ in faces], max(picture.size)))
    labels: list[Area] = []
    for box, colour, text in faces:
        area = _place(_label_size(draw, text, font), picture.size, box, 2 * line, labels)
        _draw_label(draw, area, text, font, colour)
        labels.append(area)
    if not faces:
        width, height = _label_size(draw, "no face", font)
        _draw_label(draw, (1, 1, 1 + width, 1 + height), "no face", font, "white")
    return picture


def choose_text_size(boxes: Sequence[Area], longest: int) -> float:
    """Choose one size for all labels, so that most are hardly wider than their face; `longest` is the picture's longer side."""
    largest = max(16.0, longest / 28)
    return float(np.clip(np.median([x2 - x1 for x1, _, x2, _ in boxes]) / 6, 13, largest)) if boxes else largest


def _draw_box(draw: ImageDraw.ImageDraw, box: Area, line: int, colour: str) -> None:
    """Draw a light line between two dark ones, so that one of them stands out on any background."""
    x1, y1, x2, y2 = box
    edge = max(1, line // 2)
    for grow, width, ink in ((edge, line + 2 * edge, "black"), (0, line, colour)):
        draw.rectangle((x1 - grow, y1 - grow, max(x1, x2) + grow, max(y1, y2) + grow), outline=ink, width=width)


def _label_size(draw: ImageDraw.ImageDraw, text: str, font: Font) -> tuple[float, float]:
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    margin = _margin(draw, font)
    return right - left + 2 * margin, bottom - top + 2 * margin


def _margin(draw: ImageDraw.ImageDraw, font: Font) -> int:
    return max(2, round(draw.textlength("0", font=font) / 3))


def _draw_label(draw: ImageDraw.ImageDraw, area: Area, text: str, font: Font, colour: str) -> None:
    left, top, _, _ = draw.textbbox((0, 0), text, font=font)
    margin = _margin(draw, font)
    draw.rectangle(area, fill=colour, outline="black")
    draw.text((area[0] + margin - left, area[1] + margin - top), text, fill="black", font=font)


def _place(label: tuple[float, float], size: tuple[int, int], box: Area, gap: float, labels: Sequence[Area]) -> Area:
    """Choose the first place of a label where it covers the other labels least."""
    width, height = label
    areas = []
    for x, y in _places(box, width, height, gap):
        left, top = max(1.0, min(x, size[0] - 2 - width)), max(1.0, min(y, size[1] - 2 - height))  # inside the picture
        areas.append((left, top, left + width, top + height))
    return min(areas, key=lambda area: _covered(area, labels))


def _places(box: Area, width: float, height: float, gap: float) -> Iterator[tuple[float, float]]:
    """Yield upper left corners for a label, best first; all touch the box, so that the label is not read as a neighbour's."""
    x1, y1, x2, y2 = box
    right, middle = x2 - width, (x1 + x2 - width) / 2
    for y in (y1 - height - gap, y1 + gap, y2 - height - gap, y2 + gap):
        yield from ((x1, y), (right, y), (middle, y))
    for y in (y1, (y1 + y2 - height) / 2, y2 - height):
        yield from ((x2 + gap, y), (x1 - width - gap, y), (x1 + gap, y), (right - gap, y))


def _covered(area: Area, others: Sequence[Area]) -> float:
    """Sum the pixels of other areas that this one covers."""
    widths = (min(area[2], other[2]) - max(area[0], other[0]) for other in others)
    heights = (min(area[3], other[3]) - max(area[1], other[1]) for other in others)
    return sum(max(0.0, width) * max(0.0, height) for width, height in zip(widths, heights, strict=True))
