"""Draws what an expression moves most: eyes and mouth."""

from dataclasses import dataclass

import numpy as np

from mien.data.drawn_canvas import Canvas, mix
from mien.data.drawn_expression import Movement
from mien.data.drawn_person import Colour, Person

EYE_LINE = -0.04
MOUTH_LINE = 0.76

_ACROSS = np.linspace(-1, 1, 17)
"""From the left corner of an eye or a mouth to the right one."""

_DARK: Colour = (30, 20, 20)
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
    clip.disc(centre, radius, mix(person.eyes, _DARK, 0.55))
    clip.disc(centre, radius * 0.82, person.eyes)
    clip.disc(centre, radius * 0.45, (14, 11, 11))
    lid_shadow = canvas.project(_between(x, top - 0.05, top + 0.018), lift=_SUNK)
    clip.polygon(lid_shadow, mix(mix(person.skin, _DARK, 0.5), person.eyes, 0.2))
    clip.disc(centre + np.array([-0.35, -0.38]) * radius, radius * 0.24, (250, 250, 250))
    clip.close()
    thickness = 0.030 * person.lashes * (1 - np.abs(_ACROSS) ** 4 * 0.6)
    canvas.ribbon(_line(x + side * 0.012, top), thickness, mix(_DARK, person.hair, 0.15), lift=_SUNK)
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
    canvas.fill(_between(x, mouth.top, gap_top + 0.01), mix(lips, _DARK, 0.16))
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
        canvas.stroke(_line(x, (gap_top + gap_bottom) / 2), mix(lips, _DARK, 0.72), 0.024)
    for end, corner in zip((0, -1), mouth.corners, strict=True):
        canvas.disc(x[end], corner, 0.014, mix(person.skin, _DARK, 0.42))


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
