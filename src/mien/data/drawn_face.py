"""Draws a face that moves: head, skin and its creases, nose and brows."""

import numpy as np

from mien.data.drawn_canvas import Canvas, mix, smooth
from mien.data.drawn_expression import Movement
from mien.data.drawn_eyes_mouth import EYE_LINE, MOUTH_LINE, draw_eye, draw_mouth
from mien.data.drawn_hair import draw_beard
from mien.data.drawn_person import Colour, Person

_DARK: Colour = (30, 20, 20)
_BROW_LINE = -0.33
_ROUND = np.linspace(0, 2 * np.pi, 12)


def head_outline(person: Person, movement: Movement) -> tuple[np.ndarray, np.ndarray]:
    """Give the outline of the head without ears: points (n, 2), and how far in front of the head's middle they lie."""
    jaw = person.jaw_width
    drop = person.jaw_height + 0.15 * movement.jaw_drop - 0.02 * movement.chin_raise
    side = [
        (0.0, -1.32),
        (0.48, -1.22),
        (0.82 + person.temple_width, -0.86),
        (0.955 + person.temple_width / 2, -0.35),
        (0.95, 0.1),
        (0.87 + jaw / 2, 0.52),
        (0.69 + jaw, 0.9 + drop * 0.6),
        (0.40 + jaw * 0.8, 1.17 + drop),
    ]
    half = np.array([*side, (0.0, 1.27 + drop)])
    outline = smooth(np.concatenate([half, half[-2:0:-1] * (-1, 1)]), closed=True)
    return outline, 0.62 * np.clip((outline[:, 1] - 0.2) / 1.1, 0, 1)


def draw_face_parts(canvas: Canvas, person: Person, movement: Movement) -> None:
    """Draw the skin of the head and everything on it that an expression moves."""
    _draw_skin(canvas, person, movement)
    draw_beard(canvas, person, movement)
    _crease_forehead(canvas, person, movement)
    _crease_cheeks(canvas, person, movement)
    _crease_nose_and_chin(canvas, movement)
    _draw_nose(canvas, person, movement)
    canvas.press_creases(mix(person.skin, (46, 16, 14), 0.66))
    for side in (-1, 1):
        draw_eye(canvas, person, movement, side)
        _draw_brow(canvas, person, movement, side)
    draw_mouth(canvas, person, movement)


def _draw_skin(canvas: Canvas, person: Person, movement: Movement) -> None:
    mouth = MOUTH_LINE + person.mouth_height
    cheek = 0.14 * movement.cheek_raise + 0.06 * movement.corner_pull
    pairs = [  # x, y, width, height, light: drawn on both sides
        (0.40, -0.17, 0.21, 0.10, -0.30),  # eye sockets
        (0.19, -0.10, 0.07, 0.12, -0.26),  # beside the bridge of the nose
        (0.40, 0.12, 0.17, 0.05, -0.08 - 0.10 * person.age),  # under the eyes
        (0.16, 0.30, 0.06, 0.14, -0.14),  # sides of the nose
        (0.52, 0.30 - 0.4 * cheek, 0.20, 0.15, 0.22 + cheek),  # cheekbones
        (0.66, 0.62, 0.14, 0.20, -0.12),  # hollows of the cheeks
        (1.00, 0.20, 0.14, 0.60, -0.26),  # where the face turns away
        (0.80, 0.95, 0.22, 0.20, -0.30),  # under the jaw
        (0.90, -0.70, 0.16, 0.30, -0.16),  # temples
    ]
    middle = [
        (0.0, -0.66, 0.42, 0.20, 0.16),  # forehead
        (0.0, -0.02, 0.055, 0.20, 0.30),  # bridge of the nose
        (0.0, 0.33, 0.075, 0.07, 0.30),  # tip of the nose
        (0.0, 0.52, 0.13, 0.045, -0.30),  # under the nose
        (0.0, mouth + 0.2 + 0.2 * movement.jaw_drop, 0.17, 0.045, -0.22),  # under the lower lip
        (0.0, 1.1 + 0.12 * movement.jaw_drop, 0.16, 0.09, 0.14),  # chin
        (0.0, 1.42, 0.6, 0.12, -0.3),
    ]
    both = np.array([*pairs, *((-x, *rest) for x, *rest in pairs), *middle])
    red = 0.16 + 0.12 * movement.corner_pull
    blush = np.array([(-0.58, 0.34, 0.2, 0.15, red), (0.58, 0.34, 0.2, 0.15, red), (0.0, 0.36, 0.1, 0.09, 0.8 * red)])
    outline, depth = head_outline(person, movement)
    sheet = canvas.shaded(person.skin, both, blush)
    canvas.paste(sheet, [canvas.project(outline, depth)])
    if person.freckles:
        random = np.random.default_rng(person.freckles)
        for x, y in np.column_stack([random.normal(0, 0.36, 34), random.normal(0.26, 0.1, 34)]):
            canvas.disc(x, y, 0.013, mix(person.skin, (150, 84, 48), 0.28))


def _crease_forehead(canvas: Canvas, person: Person, movement: Movement) -> None:
    raised = max(movement.inner_brow_raise, movement.outer_brow_raise)
    slant = max(0.0, movement.inner_brow_raise - movement.outer_brow_raise)
    for row in range(3):
        x = np.linspace(-0.5, 0.5, 9) * (1 - 0.12 * row)
        y = -0.55 - 0.11 * row - 0.08 * raised + 0.05 * np.cos(x * 5) - 0.10 * slant * np.cos(x * 4)
        strength = (0.12 + 0.5 * person.age) * (0.15 * person.age + 0.75 * raised)
        canvas.crease(np.stack([x, y], axis=1), strength, 0.022)
    frown = movement.brow_lower * (1 - 0.5 * movement.inner_brow_raise)
    for side in (-1, 1):
        canvas.crease([(side * 0.075, -0.46), (side * 0.055, -0.27)], 0.8 * frown + 0.2 * person.age)


def _crease_cheeks(canvas: Canvas, person: Person, movement: Movement) -> None:
    mouth_side = 0.30 + 0.16 * movement.corner_pull + 0.08 * movement.lip_stretch
    bow = 0.10 * movement.corner_pull + 0.06 * movement.upper_lip_raise
    nose_side = 0.36 - 0.08 * movement.nose_wrinkle
    fold = 0.10 + 0.35 * person.age + 0.5 * max(movement.corner_pull, movement.nose_wrinkle) + 0.2 * movement.upper_lip_raise
    bag = 0.12 + 0.3 * person.age + 0.45 * max(movement.cheek_raise, 0.6 * movement.lid_tighten)
    under_eye = 0.11 - 0.03 * movement.cheek_raise
    crows_feet = movement.cheek_raise * (0.25 + 0.5 * person.age) + 0.15 * person.age
    for side in (-1, 1):
        nasolabial = [
            (side * 0.20, nose_side),
            (side * (mouth_side + 0.01 + bow / 2), nose_side + 0.16),
            (side * (mouth_side + 0.10 + bow), nose_side + 0.36 - 0.06 * movement.corner_pull),
        ]
        canvas.crease(smooth(nasolabial), min(0.9, fold))
        below = [(side * 0.24, under_eye - 0.03), (side * 0.40, under_eye + 0.025), (side * 0.56, under_eye - 0.01)]
        canvas.crease(smooth(below), bag, 0.022)
        for slope in (-0.07, 0.0, 0.07):
            ends = [(side * 0.68, EYE_LINE + 0.4 * slope), (side * 0.79, EYE_LINE + 1.5 * slope)]
            canvas.crease(ends, crows_feet, 0.02)


def _crease_nose_and_chin(canvas: Canvas, movement: Movement) -> None:
    for side in (-1, 1):
        for step in range(3):
            height = -0.10 + 0.085 * step
            ends = [(side * 0.05, height), (side * (0.13 + 0.015 * step), height + 0.06)]
            canvas.crease(ends, 0.55 * movement.nose_wrinkle, 0.026)
        canvas.crease(smooth([(side * 0.16, 0.04), (side * 0.24, 0.16), (side * 0.22, 0.30)]), 0.6 * movement.nose_wrinkle)
        canvas.crease([(side * 0.10, 1.0), (side * 0.16, 1.06)], 0.45 * movement.chin_raise, 0.04)
    canvas.crease([(-0.08, 0.99), (0.0, 0.97), (0.08, 0.99)], 0.5 * movement.chin_raise + 0.1)


def _draw_nose(canvas: Canvas, person: Person, movement: Movement) -> None:
    up = 0.05 * movement.nose_wrinkle
    base = 0.45 + person.nose_length - up
    wide = person.nose_width * (1 + 0.12 * movement.nose_wrinkle + 0.08 * movement.corner_pull)
    canvas.crease(smooth([(-0.06 * wide, base + 0.03), (0, base + 0.055), (0.06 * wide, base + 0.03)]), 0.4, 0.03, lift=0.2)
    for side in (-1, 1):
        wing = [
            (side * 0.13 * wide, base - 0.13),
            (side * 0.195 * wide, base - 0.04),
            (side * 0.18 * wide, base + 0.03),
            (side * 0.12 * wide, base + 0.03),
        ]
        canvas.crease(smooth(wing), 0.62, 0.03, lift=0.1)
        bridge = [(side * 0.115, -0.16), (side * 0.085, 0.02), (side * 0.10 * wide, 0.24)]
        canvas.crease(smooth(bridge), 0.16, 0.03, lift=0.06)
        x = side * 0.09 * wide + 0.046 * np.cos(_ROUND)
        y = base + 0.012 + 0.024 * np.sin(_ROUND)
        canvas.fill(np.stack([x, y], axis=1), mix(person.skin, _DARK, 0.72), lift=0.14)


def _draw_brow(canvas: Canvas, person: Person, movement: Movement, side: int) -> None:
    uneven = 1 + 0.25 * side * movement.asymmetry
    inner, outer, lower = movement.inner_brow_raise * uneven, movement.outer_brow_raise * uneven, movement.brow_lower
    line = _BROW_LINE - person.brow_height + 0.07 * movement.nose_wrinkle
    squeeze = 0.07 * lower
    points = [
        (0.17 - squeeze, line - 0.008 - person.brow_slant - 0.20 * inner + 0.15 * lower * (1 - 0.55 * inner)),
        (0.33 - squeeze * 0.7, line - 0.015 - 0.11 * inner - 0.08 * outer + 0.10 * lower * (1 - 0.6 * inner)),
        (0.52, line - 0.04 - 0.18 * outer + 0.035 * lower),
        (0.68, line + 0.035 + person.brow_slant - 0.13 * outer + 0.03 * inner * (1 - outer)),
    ]
    curve = smooth(np.array(points) * (side, 1))
    share = np.linspace(0, 1, len(curve))
    widths = person.brow_thickness * (0.075 - 0.055 * share**2) * np.clip(share * 9 + 0.55, 0, 1)
    colour = mix(mix(person.hair, _DARK, 0.3), person.skin, 0.1)
    canvas.ribbon(curve, widths, colour)
