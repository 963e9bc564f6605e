"""Draws what surrounds a face: hair, ears, neck, clothes, beard, glasses, a head scarf."""

import numpy as np

from mien.data.drawn_canvas import Canvas, mix, smooth
from mien.data.drawn_expression import Movement
from mien.data.drawn_person import SHORT_HAIR, Colour, Person

Half = list[tuple[float, float]]
"""The right half of a symmetric shape, from the middle outwards and down; y grows downwards."""

_SHADOW: Colour = (44, 16, 13)
_EAR: Half = [(0.9, -0.15), (1.04, -0.2), (1.1, -0.05), (1.05, 0.2), (0.98, 0.36), (0.9, 0.32)]
_EAR_HOLLOW: Half = [(0.96, -0.08), (1.04, -0.08), (1.02, 0.1), (0.96, 0.2)]
_NECK: Half = [(0.0, 0.6), (0.55, 0.6), (0.58, 1.6), (0.95, 2.1), (0.0, 2.1)]
_SHOULDERS: Half = [(0.0, 1.86), (0.5, 1.66), (0.9, 1.76), (1.65, 1.98), (2.12, 2.5), (2.25, 3.8), (2.3, 9.0), (0.0, 9.0)]
_COLLAR: Half = [(0.0, 1.5), (0.52, 1.62), (0.0, 2.02)]
_SCARF_BACK: Half = [(0.0, -1.5), (0.75, -1.3), (1.14, -0.5), (1.1, 0.5), (1.0, 1.3), (1.3, 2.1), (0.0, 2.4)]
_SCARF_FRONT: Half = [(0.0, -1.5), (0.75, -1.3), (1.12, -0.5), (1.1, 0.5), (0.95, 1.2), (0.5, 1.7), (0.0, 1.8)]
_SCARF_OPENING: Half = [(0.0, -0.87), (0.5, -0.78), (0.84, -0.35), (0.88, 0.2), (0.80, 0.75), (0.45, 1.2), (0.0, 1.36)]
_PUFF = {"cropped": 0.04, "bun": 0.04, "swept": 0.16}
_CURLS = np.linspace(-1, 1, 19)


def draw_behind(canvas: Canvas, person: Person) -> None:
    """Draw what the head covers: the hair at the back, neck, shoulders, ears."""
    style, volume = person.hair_style, 0.12 * person.hair_volume
    back = mix(person.hair, (12, 10, 10), 0.28)
    if style in ("long", "fringe"):
        falling = [(1.12 + volume, 0.6), (1.2 + volume, 1.7), (0.6, 2.2), (0.0, 2.2)]
        _fill(canvas, [(0.0, -1.4 - volume), (0.7, -1.2 - volume), (1.08 + volume, -0.5), *falling], back, -0.25)
    elif style == "bob":
        falling = [(1.14 + volume, 0.5), (1.0 + volume, 1.0), (0.4, 1.05), (0.0, 1.0)]
        _fill(canvas, [(0.0, -1.4 - volume), (0.7, -1.2 - volume), (1.1 + volume, -0.5), *falling], back, -0.25)
    elif style == "coils":
        for angle in 2.2 * _CURLS:
            canvas.disc(1.02 * np.sin(angle), -0.3 - 1.12 * np.cos(angle), 0.30 + volume, back, depth=0.0)
    elif style == "bun":
        canvas.disc(0, -1.62, 0.42, back, depth=-0.3)
    shadow = mix(person.skin, _SHADOW, 0.32)
    lit = mix(person.skin, shadow, 0.5)
    canvas.fill(np.concatenate([_NECK, np.array(_NECK)[::-1] * (-1, 1)]), shadow, depth=-0.1)
    _fill(canvas, _SHOULDERS, person.clothes, -0.2)
    _fill(canvas, _COLLAR, lit, -0.1)
    if style == "scarf":
        _fill(canvas, _SCARF_BACK, person.scarf, -0.25)
        return
    ear = mix(person.skin, (120, 40, 34), 0.2)
    for side in (-1, 1):
        canvas.fill(smooth(np.array(_EAR) * (side, 1), closed=True), ear, depth=-0.05)
        canvas.fill(smooth(np.array(_EAR_HOLLOW) * (side, 1), closed=True), mix(ear, _SHADOW, 0.3), depth=-0.05)
    if style != "bald":
        canvas.draw.polygon(_dome(canvas, person).ravel().tolist(), fill=person.hair)


def draw_beard(canvas: Canvas, person: Person, movement: Movement) -> None:
    """Draw a beard; the mouth is to be drawn over it."""
    if person.beard == "none":
        return
    drop = person.jaw_height + 0.15 * movement.jaw_drop
    pull, jaw = 0.06 * movement.corner_pull, person.jaw_width
    whole = person.beard in ("stubble", "full")
    if whole:
        outer = [
            (0.94, -0.02),
            (0.88 + jaw / 2, 0.52),
            (0.70 + jaw, 0.9 + drop * 0.6),
            (0.41 + jaw, 1.19 + drop),
            (0, 1.31 + drop),
        ]
        inner = [(0, 0.56), (0.24, 0.56), (0.46 + pull, 0.72), (0.60, 0.60), (0.78, 0.34), (0.86, -0.02)]
    elif person.beard == "goatee":
        outer = [(0.40 + pull, 0.62), (0.42 + pull, 0.85), (0.30, 1.15 + drop), (0, 1.30 + drop)]
        inner = [(0, 0.56), (0.24, 0.56)]
    else:
        outer = [(0.50 + pull, 0.84), (0.44 + pull, 0.72), (0.26, 0.68), (0, 0.67)]
        inner = [(0, 0.56), (0.26, 0.57), (0.46 + pull, 0.68)]
    half = np.concatenate([smooth(outer), inner])
    depth = 0.62 * np.clip((half[:, 1] - 0.2) / 1.1, 0, 1) if whole else None
    colour = mix(person.hair, (20, 16, 16), 0.2)
    opacity = 0.3 if person.beard == "stubble" else 0.86
    canvas.veil([canvas.project(half * (side, 1), depth) for side in (-1, 1)], colour, opacity)


def draw_in_front(canvas: Canvas, person: Person) -> None:
    """Draw what covers the face: hair over the forehead, a scarf, glasses."""
    if person.hair_style == "scarf":
        opening = _whole(np.add(_SCARF_OPENING, (0, person.hairline / 2)))
        outside, inside = canvas.project(_whole(np.array(_SCARF_FRONT)), 0.0), canvas.project(opening)
        folds = np.array(
            [(0.3, -1.15, 0.5, 0.12, 0.2), (0.95, 0.4, 0.1, 0.7, -0.2), (-0.95, 0.4, 0.1, 0.7, -0.2), (0, 1.5, 0.5, 0.1, -0.2)]
        )
        canvas.paste(canvas.shaded(person.scarf, folds, folds[:0]), [outside], without=inside)
        canvas.stroke(np.concatenate([opening, opening[:1]]), mix(person.scarf, (20, 16, 20), 0.25), 0.025)
    elif person.hair_style != "bald":
        _draw_front_hair(canvas, person)
    if person.glasses != "none":
        _draw_glasses(canvas, person)


def _draw_front_hair(canvas: Canvas, person: Person) -> None:
    style, line = person.hair_style, -0.82 + person.hairline
    low = _sideburns(person)
    hairlines: dict[str, Half] = {
        "bun": [(0.2, line - 0.1), (0.6, line - 0.02), (0.84, -0.5)],
        "swept": [(0.2, line - 0.1), (0.62, line + 0.02), (0.84, -0.5)],
        "fringe": [(0.35, -0.5), (0.72, -0.45), (0.84, -0.2)],
        "long": [(0.02, line - 0.25), (0.3, line - 0.05), (0.66, line + 0.16), (0.88, -0.3)],
        "bob": [(0.02, line - 0.25), (0.3, line - 0.05), (0.66, line + 0.16), (0.88, -0.3)],
    }
    right = hairlines.get(style, [(0.3, line - 0.06), (0.68, line - 0.02), (0.86, -0.45)])
    left = [(-x, y) for x, y in right[::-1]]
    if style == "parted":
        left = [(-0.88, -0.4), (-0.7, line + 0.05), (-0.42, line - 0.2), (-0.1, line - 0.02)]
        right = [(0.5, line + 0.04), (0.86, -0.45)]
    hairline = smooth([(-0.98, low), *left, *right, (0.98, low)])
    face = canvas.project(np.concatenate([hairline, [(1.0, 1.2), (-1.0, 1.2)]]))
    sides = [(1.0, -0.4, 0.16, 0.5, -0.3), (-1.0, -0.4, 0.16, 0.5, -0.3)]
    curly = style in ("curly", "coils")
    crown = [(0.25, -1.08, 0.45, 0.10, 0.28), (-0.6, -0.75, 0.2, 0.25, 0.12)]
    shine = np.array(sides if curly else [*sides, *crown])
    canvas.paste(canvas.shaded(person.hair, shine, shine[:0]), [_dome(canvas, person)], without=face)
    if curly:
        for angle in 1.6 * _CURLS:
            canvas.disc(0.92 * np.sin(angle), -0.3 - 1.0 * np.cos(angle), 0.19, person.hair, depth=0.0)
        for x, y in hairline[6:-6:3]:
            canvas.disc(x, y - 0.03, 0.1, person.hair)


def _draw_glasses(canvas: Canvas, person: Person) -> None:
    frame = mix((36, 32, 34), person.hair, 0.25)
    turn = np.linspace(0, 2 * np.pi, 25)
    across, down = np.cos(turn), np.sin(turn)
    if person.glasses == "square":
        across, down = np.sign(across) * np.abs(across) ** 0.5, 0.8 * np.sign(down) * np.abs(down) ** 0.5
    rim = np.stack([0.285 * across, 0.25 * down], axis=1)
    for side in (-1, 1):
        canvas.stroke(np.add(rim, (side * (person.eye_spacing + 0.01), 0.01)), frame, 0.028, lift=0.06)
        canvas.stroke([(side * 0.7, -0.06), (side * 0.97, -0.09)], frame, 0.028)
    canvas.stroke(smooth([(-0.13, -0.02), (0, -0.06), (0.13, -0.02)]), frame, 0.028, lift=0.1)


def _sideburns(person: Person) -> float:
    return 0.02 if person.hair_style in SHORT_HAIR else 0.3


def _dome(canvas: Canvas, person: Person) -> np.ndarray:
    puff = _PUFF.get(person.hair_style, 0.1) + 0.06 * (person.hair_volume - 1)
    half = [(0, -1.36 - puff), (0.72, -1.2 - 0.8 * puff), (1.01 + puff / 2, -0.6), (1.0, _sideburns(person))]
    return canvas.project(smooth(np.concatenate([np.array(half[:0:-1]) * (-1, 1), half])), 0.0)


def _whole(half: np.ndarray) -> np.ndarray:
    return smooth(np.concatenate([half, half[-2:0:-1] * (-1, 1)]), closed=True)


def _fill(canvas: Canvas, half: Half, colour: Colour, depth: float) -> None:
    canvas.fill(_whole(np.array(half)), colour, depth)
