"""Draw predictions into an image: the box of every face with its label, readable on any background and in any script."""

import logging
import os
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain, groupby
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, features

from mien.errors import MienError
from mien.inference.prediction import Prediction

FONT_FOLDERS = (  # where Linux, macOS and Windows keep fonts
    *("~/.fonts", "~/.local/share/fonts", "/usr/local/share/fonts", "/usr/share/fonts"),
    *("~/Library/Fonts", "/Library/Fonts", "/System/Library/Fonts"),
    *("$LOCALAPPDATA/Microsoft/Windows/Fonts", "$WINDIR/Fonts"),
)

STYLES = ("bold", "italic", "oblique", "light", "thin", "black", "serif", "mono", "condensed")  # these fonts are used last
SMALLEST = 480  # pixels of the longest side below which a picture is enlarged first, to have room for text
COLOURS = ("#ffd23f", "#4cc9f0", "#f28482", "#80ed99", "#c77dff", "#ff9f1c", "#a0c4ff", "#f9c6d7", "#b5e48c", "#e9c46a")
"""Colours of the labels in their order, all light enough for black text."""

Area = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels
Text = list[tuple[str, ImageFont.FreeTypeFont]]  # a line of text in parts, each with its font

_logger = logging.getLogger("mien")


@lru_cache(maxsize=64)
def choose_fonts(texts: tuple[str, ...], font: str | None = None) -> Mapping[str, str | None]:
    """Choose a font file for each word of some texts: the given one, else Pillow's own (None), else an installed one."""
    try:
        _open_font(font, 16)
    except OSError:
        raise MienError(f"{str(font)!r} is not a font that can be used; name a .ttf, .otf or .ttc file with --font.") from None
    words = dict.fromkeys(" ".join(texts).split(" "))
    drawn = {char for char in "".join(words) if unicodedata.category(char) not in ("Cf", "Cc") and char != "\ufe0f"}
    own = (None,) if font is None else (font, None)
    able: dict[str | None, set[str]] = {}
    for file in chain.from_iterable(files() for files in (lambda: own, installed_fonts)):
        lacking = _lacking(file, drawn)
        able[file] = {word for word in words if not lacking.intersection(word)}
        if set(words) == set().union(*able.values()):
            break
    best = sorted(able, key=lambda file: (file in own, file == font, len(able[file])), reverse=True)
    chosen = {word: next((file for file in best if word in able[file]), own[0]) for word in words}
    if missing := [word for word in words if not any(word in having for having in able.values())]:
        none_has = f"neither {font!r} nor an installed font has" if font else "no installed font has"
        _logger.warning("mien: %s the letters of %s; name a font file that has, with --font", none_has, ", ".join(missing))
    if any(unicodedata.bidirectional(char) in ("R", "AL") for char in drawn) and not features.check("raqm"):
        _logger.warning("mien: Arabic and Hebrew are drawn in the wrong order, since Pillow finds no FriBiDi here; install it")
    return chosen


@lru_cache(maxsize=1)
def installed_fonts() -> list[str]:
    """List the installed font files, those of a plain style first."""
    folders = [Path(os.path.expandvars(folder)).expanduser() for folder in FONT_FOLDERS]
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix.lower() in (".ttf", ".otf", ".ttc")]
    files = [path for path in files if not path.stem.startswith("LastResort")]  # placeholders for all letters
    return list(map(str, sorted(files, key=lambda path: (any(style in path.stem.lower() for style in STYLES), path.name))))


def _lacking(file: str | None, letters: set[str]) -> set[str]:
    """Return the letters that a font lacks, all if it cannot be used: those drawn as a code point that is no letter."""
    try:
        basic = ImageFont.Layout.BASIC
        font = ImageFont.load_default(16) if file is None else ImageFont.truetype(file, 16, layout_engine=basic)
        absent = font.getmask("\U0010ffff")
        drawn = {letter: font.getmask(letter) for letter in letters}
    except (OSError, ValueError):
        return letters
    return {letter for letter, mask in drawn.items() if (mask.size, bytes(mask)) == (absent.size, bytes(absent))}


@lru_cache(maxsize=32)
def _open_font(file: str | None, size: float) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size) if file is None else ImageFont.truetype(file, size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def set_text(text: str, size: float, fonts: Mapping[str, str | None]) -> Text:
    """Split a line of text into parts by the fonts of its words, from `choose_fonts`; Pillow's own for others."""
    parts: Text = []
    for file, words in groupby(text.split(" "), key=fonts.get):
        parts += [(" ", _open_font(None, size))] if parts else []  # a part of its own: Arabic ends at the left
        parts.append((" ".join(words), _open_font(file, size)))
    return parts


def measure_text(text: Text) -> tuple[float, float, float]:
    """Return the width of a line of text, and its top and bottom relative to its baseline."""
    boxes = [font.getbbox(part, anchor="ls") for part, font in text]
    return sum(font.getlength(part) for part, font in text), min(box[1] for box in boxes), max(box[3] for box in boxes)


def draw_text(draw: ImageDraw.ImageDraw, x: float, baseline: float, text: Text, fill: str | tuple[int, ...]) -> None:
    """Draw a line of text from x on."""
    for part, font in text:
        draw.text((x, baseline), part, fill=fill, font=font, anchor="ls")
        x += font.getlength(part)


def annotate(
    image: np.ndarray, predictions: Sequence[Prediction], enlarge: bool = True, text_size: float = 0.0, font: str | None = None
) -> Image.Image:
    """Draw boxes and labels on a copy of an image; without a face, the label is "no face".

    Labels go above, into, below or beside their box, where they cover no other label. In videos they start with the number of
    the track; those of unsure predictions end in a question mark. `enlarge` gives the labels in small images room; `font` is as
    for `predict`.
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
    size = text_size or choose_text_size([box for box, _, _ in faces], max(picture.size))
    fonts = choose_fonts(predictions[0].labels.names, font)
    labels: list[Area] = []
    for box, colour, text in faces or [((1.0, 1.0, 1.0, 1.0), "white", "error" if predictions[0].error else "no face")]:
        label = set_text(text, size, fonts if faces else {})
        margin, (width, top, bottom) = max(2, round(label[-1][1].size / 6)), measure_text(label)
        area = _place((width + 2 * margin, bottom - top + 2 * margin), picture.size, box, 2 * line, labels)
        draw.rectangle(area, fill=colour, outline="black")
        draw_text(draw, area[0] + margin, area[1] + margin - top, label, "black")
        labels.append(area)
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


def _place(label: tuple[float, float], size: tuple[int, int], box: Area, gap: float, labels: Sequence[Area]) -> Area:
    """Choose the first place of a label where it covers the other labels least."""
    (width, height), (x1, y1, x2, y2) = label, box
    right, middle = x2 - width, (x1 + x2 - width) / 2
    # upper left corners, best first; all touch the box, so that the label is not read as a neighbour's
    corners = [(x, y) for y in (y1 - height - gap, y1 + gap, y2 - height - gap, y2 + gap) for x in (x1, right, middle)]
    sides = x2 + gap, x1 - width - gap, x1 + gap, right - gap
    corners += [(x, y) for y in (y1, (y1 + y2 - height) / 2, y2 - height) for x in sides]
    areas = []
    for x, y in corners:
        left, top = max(1.0, min(x, size[0] - 2 - width)), max(1.0, min(y, size[1] - 2 - height))  # inside the picture
        areas.append((left, top, left + width, top + height))
    return min(areas, key=lambda area: _covered(area, labels))


def _covered(area: Area, others: Sequence[Area]) -> float:
    """Sum the pixels of other areas that this one covers."""
    widths = (min(area[2], other[2]) - max(area[0], other[0]) for other in others)
    heights = (min(area[3], other[3]) - max(area[1], other[1]) for other in others)
    return sum(max(0.0, width) * max(0.0, height) for width, height in zip(widths, heights, strict=True))
