"""The picture of explanations: for each face a row with the face, its heat map, and what the two say in words."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mien.inference.drawing import Font
from mien.inference.explanation import Explanation

PANEL, GAP, WORDS = 256, 24, 300
"""Pixels: the longer side of a face, the room around everything, and the width of the words."""

FOR, AGAINST = (235, 100, 0), (60, 100, 235)
"""Orange and blue, which the colour-blind tell apart as well."""

LIGHTENED = 60
"""What black becomes in the gray picture, 0 to 255: on black hair no colour would be seen."""

STRONGEST = 0.8
"""Share of the colour where the heat is strongest; the face shows through."""

PAPER, INK, FAINT, FRAME = (255, 255, 255), (20, 20, 20), (95, 95, 95), (160, 160, 160)
"""White paper with a frame: it can be read on a light and on a dark page."""

LARGE, SMALL = 22, 14
"""Sizes of the text in pixels."""

Colour = tuple[int, int, int]


def draw_explanations(explanations: Sequence[Explanation]) -> Image.Image:
    """Draw a row for each face: the face as a person sees it, its heat over its gray picture, its answer, and a colour bar.

    Args:
        explanations: those without a face are left out; at least one must have one.

    Returns:
        RGB.
    """
    rows = [each for each in explanations if each.heat is not None]
    size = 4 * GAP + 2 * PANEL + WORDS, GAP + (PANEL + GAP) * len(rows)
    picture = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, size[0] - 1, size[1] - 1), outline=FRAME)
    several = len({each.prediction.source for each in rows}) < len(rows)
    for number, each in enumerate(rows):
        top = GAP + number * (PANEL + GAP)
        for column, panel in enumerate(_panels(each)):
            left = GAP + column * (PANEL + GAP)
            picture.paste(panel, (left + (PANEL - panel.width) // 2, top + (PANEL - panel.height) // 2))
        _write(picture, draw, each, (3 * GAP + 2 * PANEL, top), several)
    return picture


def _panels(each: Explanation) -> tuple[Image.Image, Image.Image]:
    """Draw the face, and its heat over its gray picture, both as large as a panel and of the face's own proportions."""
    assert each.face is not None
    heat = each.normalised
    assert heat is not None
    face = Image.fromarray(each.face)
    zoom = PANEL / max(face.size)
    size = max(1, round(face.width * zoom)), max(1, round(face.height * zoom))
    face = face.resize(size, Image.Resampling.BICUBIC if zoom > 1 else Image.Resampling.LANCZOS)
    # floats, resized before they become colours: the colours between two are not what lies between their values
    smooth = np.asarray(Image.fromarray(heat.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
    gray = LIGHTENED + np.asarray(face.convert("L"), dtype=np.float64) * (1 - LIGHTENED / 255)
    return face.convert("RGB"), Image.fromarray(_coloured(gray, smooth))


def _coloured(gray: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Lay colour over gray, (H, W) from 0 to 255: orange where the heat, -1 to 1, is above 0, blue where it is below."""
    share = (STRONGEST * np.abs(heat))[:, :, None]
    colour = np.where(heat[:, :, None] > 0, np.array(FOR, float), np.array(AGAINST, float))
    mixed = gray[:, :, None] * (1 - share) + colour * share
    coloured: np.ndarray = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return coloured


def _write(picture: Image.Image, draw: ImageDraw.ImageDraw, each: Explanation, corner: tuple[int, int], several: bool) -> None:
    """Write what a face shows, and what the colours mean."""
    prediction = each.prediction
    assert prediction.probabilities is not None
    shown = {name: float(p) for name, p in zip(prediction.labels, prediction.probabilities, strict=True)}
    rival = max((name for name in shown if name != each.label), key=lambda name: shown[name], default=None)
    left, top = corner
    large, small = ImageFont.load_default(LARGE), ImageFont.load_default(SMALL)
    where = Path(prediction.source).name + (f", face {prediction.face}" if several else "")
    if prediction.time is not None:
        where += f", {prediction.time:.1f} s"
    lines: list[tuple[str, Font, Colour, int]] = [(f"{each.label} {shown[each.label or '']:.0%}", large, INK, 34)]
    if rival is not None:
        ahead = shown[rival] > shown[each.label or ""]
        lines.append((f"{'the answer is' if ahead else 'then'} {rival} {shown[rival]:.0%}", small, INK, 22))
    lines.append((where, small, FAINT, 40))
    for text, font, colour, step in lines:
        draw.text((left, top), _fitted(text, font), fill=colour, font=font)
        top += step
    bar = np.linspace(-1, 1, WORDS, dtype=np.float64)[None].repeat(16, axis=0)
    picture.paste(Image.fromarray(_coloured(np.full(bar.shape, 150.0), bar)), (left, top))
    draw.rectangle((left - 1, top - 1, left + WORDS, top + 16), outline=FRAME)
    draw.text((left, top + 22), "against it", fill=INK, font=small)
    draw.text((left + WORDS, top + 22), f"for {_shortened(each.label or '')}", fill=INK, font=small, anchor="ra")
    for number, line in enumerate(_story(each)):
        draw.text((left, top + 56 + number * 20), _fitted(line, small), fill=INK, font=small)


def _story(each: Explanation) -> tuple[str, ...]:
    if each.region is None or each.hidden is None:
        return ("No part of the face speaks for it.",)
    return f"Most of it comes from the {each.region}.", f"With its strongest patch hidden: {each.label} {each.hidden:.0%}"


def _shortened(text: str, longest: int = 20) -> str:
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def _fitted(text: str, font: Font) -> str:
    """Cut letters out of the middle of a line until it is no wider than the words may be."""
    text, kept = " ".join(text.split()), len(text)
    shorter = text
    while font.getlength(shorter) > WORDS and kept > 2:
        kept -= 1
        shorter = f"{text[: kept // 2]}...{text[len(text) - (kept - kept // 2) :]}"
    return shorter
