"""Draws a face that moves: head, skin and its creases, nose and brows."""

from dataclasses import dataclass

import numpy as np

from mien.drawn.canvas import Canvas, Colour, mix, smooth
from mien.drawn.person import Movement, Person, draw_beard

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


# Draws what an expression moves most: eyes and mouth.

EYE_LINE = -0.04
MOUTH_LINE = 0.76

_ACROSS = np.linspace(-1, 1, 17)
"""From the left corner of an eye or a mouth to the right one."""

_DARK_drawn_eyes_mouth: Colour = (30, 20, 20)
_WHITE_OF_EYE: Colour = (238, 233, 228)
_UPPER_TEETH: Colour = (232, 226, 214)
_LOWER_TEETH: Colour = (214, 207, 196)
_INSIDE: Colour = (58, 18, 22)
_TONGUE: Colour = (150, 62, 64)
_SUNK = -0.03  # eyes lie this far below the front of the head


def draw_eye(canvas: Canvas, person: Person, movement: Movement, side: int) -> None:
    """Draw one eye with its lids; side is -1 for the left one of the picture and 1 for the right one."""
    x = side * person.eye_spacing + person.eye_width * _ACROSS
    top, bottom = _lids(person, movement, _ACROSS * side)
    scale = canvas.pose.scale
    clip = canvas.clipped(canvas.project(_between(x, top, bottom), lift=_SUNK))
    clip.background(mix(_WHITE_OF_EYE, person.skin, 0.12))
    gaze = (side * person.eye_spacing + 0.07 * movement.gaze_across, EYE_LINE - 0.018 + 0.03 * movement.gaze_down)
    centre = canvas.project([gaze], lift=_SUNK)[0]
    radius = 0.098 * scale
    clip.disc(centre, radius, mix(person.eyes, _DARK_drawn_eyes_mouth, 0.55))
    clip.disc(centre, radius * 0.82, person.eyes)
    clip.disc(centre, radius * 0.45, (14, 11, 11))
    lid_shadow = canvas.project(_between(x, top - 0.05, top + 0.018), lift=_SUNK)
    clip.polygon(lid_shadow, mix(mix(person.skin, _DARK_drawn_eyes_mouth, 0.5), person.eyes, 0.2))
    clip.disc(centre + np.array([-0.35, -0.38]) * radius, radius * 0.24, (250, 250, 250))
    clip.close()
    thickness = 0.030 * person.lashes * (1 - np.abs(_ACROSS) ** 4 * 0.6)
    canvas.ribbon(_line(x + side * 0.012, top), thickness, mix(_DARK_drawn_eyes_mouth, person.hair, 0.15), lift=_SUNK)
    soft = mix(person.skin, (60, 24, 22), 0.5)
    canvas.stroke(_line(x, bottom)[2:-2], soft, 0.014, lift=_SUNK)
    fold = 0.03 + 0.035 * person.lid_crease + 0.03 * movement.lid_droop - 0.02 * movement.brow_lower
    if fold > 0.025:
        outer_part = slice(3, -1) if side > 0 else slice(1, -3)
        canvas.stroke(_line(x, top - fold)[outer_part], soft, 0.014)


def _lids(person: Person, movement: Movement, outwards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the height of the upper and the lower lid, (17,) each; outwards runs from -1 at the nose to 1."""
    droop = min(1.0, movement.lid_droop)
    upper = 0.098 * person.eye_height + 0.062 * movement.upper_lid_raise - 0.028 * movement.lid_tighten - 0.055 * droop
    upper -= 0.022 * movement.cheek_raise + 0.03 * movement.nose_wrinkle
    lower = 0.062 * person.eye_height + 0.02 * movement.upper_lid_raise - 0.022 * movement.lid_tighten
    lower -= 0.032 * movement.cheek_raise + 0.01 * movement.nose_wrinkle
    corners = EYE_LINE - (person.eye_slant - 0.03 * droop * (1 - movement.lid_tighten)) * outwards
    # A brow that comes down or goes up at its inner end takes the inner half of the lid with it.
    tilt = 0.018 * movement.brow_lower - 0.022 * movement.inner_brow_raise * (1 - 0.7 * movement.outer_brow_raise)
    arch = (1 - np.abs(outwards) ** 2.3) ** 0.85
    return corners - arch * (max(upper, 0.014) - tilt * (1 - outwards)), corners + (1 - outwards**2) * max(lower, 0.012)


@dataclass(frozen=True)
class _Mouth:
    """Heights along a mouth, (17,) each, from the upper edge of the upper lip to the lower edge of the lower one."""

    x: np.ndarray
    top: np.ndarray
    gap_top: np.ndarray
    gap_bottom: np.ndarray
    bottom: np.ndarray
    opening: np.ndarray  # 0 at the corners to 1 in the middle
    corners: tuple[float, float]


def draw_mouth(canvas: Canvas, person: Person, movement: Movement) -> None:
    """Draw the lips, and teeth and tongue where they part."""
    mouth = _shape_mouth(person, movement)
    x, gap_top, gap_bottom = mouth.x, mouth.gap_top, mouth.gap_bottom
    lips = mix(person.skin, (158, 44, 54), person.lip_redness)
    canvas.fill(_between(x, mouth.top, gap_top + 0.01), mix(lips, _DARK_drawn_eyes_mouth, 0.16))
    canvas.fill(_between(x, gap_bottom - 0.01, mouth.bottom), lips)
    canvas.stroke(_line(x, (gap_bottom + mouth.bottom) / 2)[5:-5], mix(lips, (255, 235, 230), 0.22), 0.022)
    if float(np.max(gap_bottom - gap_top)) > 0.035:
        clip = canvas.clipped(canvas.project(_between(x, gap_top, gap_bottom)))
        clip.background(_INSIDE)
        if movement.jaw_drop > 0.3:
            clip.polygon(canvas.project(_between(x, gap_bottom - 0.09 * mouth.opening, gap_bottom + 0.05)), _TONGUE)
        teeth = 0.075 + 0.02 * movement.corner_pull - 0.035 * movement.lip_pucker
        clip.polygon(canvas.project(_between(x, gap_top - 0.05, gap_top + teeth)), _UPPER_TEETH)
        if movement.squareness > 0.4:
            clip.polygon(canvas.project(_between(x, gap_bottom - 0.05, gap_bottom + 0.05)), _LOWER_TEETH)
        clip.close()
    else:
        canvas.stroke(_line(x, (gap_top + gap_bottom) / 2), mix(lips, _DARK_drawn_eyes_mouth, 0.72), 0.024)
    for end, corner in zip((0, -1), mouth.corners, strict=True):
        canvas.disc(x[end], corner, 0.014, mix(person.skin, _DARK_drawn_eyes_mouth, 0.42))


def _shape_mouth(person: Person, movement: Movement) -> _Mouth:
    m = movement
    wide = person.mouth_width + 0.12 * m.corner_pull + 0.09 * m.lip_stretch + 0.03 * m.upper_lip_raise * m.squareness
    wide -= 0.06 * m.lip_pucker + 0.03 * m.jaw_drop + 0.03 * m.lip_press
    line = MOUTH_LINE + person.mouth_height + 0.07 * m.jaw_drop - 0.035 * (m.chin_raise + m.upper_lip_raise)
    corner = 0.13 * m.corner_depress + 0.03 * m.lip_stretch - 0.17 * m.corner_pull - person.mouth_rest
    uneven = 1 + 0.3 * m.asymmetry * _ACROSS
    middle = line - 0.35 * corner + corner * np.abs(_ACROSS) ** 1.7 * uneven

    oval = (1 - _ACROSS**2) ** 0.75
    box = (1 - np.abs(_ACROSS) ** 5) ** 0.8
    opening = oval + (box - oval) * min(1.0, m.squareness)
    upwards = (0.055 * m.lips_part + 0.05 * m.upper_lip_raise * min(1.0, m.lips_part * 2.5)) * uneven + 0.13 * m.jaw_drop
    downwards = 0.075 * m.lips_part + 0.25 * m.jaw_drop + 0.05 * m.lips_part * m.corner_pull
    sneer = 0.055 * m.upper_lip_raise * np.exp(-((np.abs(_ACROSS) - 0.45) ** 2) / 0.06) * uneven
    gap_top, gap_bottom = middle - opening * upwards, middle + opening * downwards
    if m.lips_part < 0.2:  # closed lips move as one
        gap_top = gap_top - sneer * 0.5
        gap_bottom = np.minimum(gap_bottom, gap_top + 0.004 + opening * downwards)

    full = person.lip_fullness * (1 - 0.65 * min(1.0, m.lip_press) - 0.25 * m.corner_pull * m.lips_part - 0.2 * m.lip_stretch)
    bow = np.exp(-((np.abs(_ACROSS) - 0.2) ** 2) / 0.06) - 0.45 * np.exp(-(_ACROSS**2) / 0.01)
    upper_lip = full * (0.03 * (1 - _ACROSS**2) ** 0.6 + 0.045 * bow * (1 - _ACROSS**4))
    lower_lip = full * 0.105 * (1 - np.abs(_ACROSS) ** 2.6) * (1 + 0.25 * m.chin_raise)
    return _Mouth(
        x=wide * _ACROSS,
        top=gap_top - upper_lip - sneer * 0.5,
        gap_top=gap_top,
        gap_bottom=gap_bottom,
        bottom=gap_bottom + lower_lip,
        opening=opening,
        corners=(float(middle[0]), float(middle[-1])),
    )


def _line(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.stack([x, y], axis=1)


def _between(x: np.ndarray, upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    return np.concatenate([_line(x, upper), _line(x, lower)[::-1]])
