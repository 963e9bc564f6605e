"""Drawing a person from back to front: hair, clothes, skin, and what an expression moves."""

import numpy as np

from mien.drawn.canvas import Canvas, Colour, Points, mix, smooth, symmetric
from mien.drawn.person import Movement, Person

_BROW_LINE, _EYE_LINE, _MOUTH_LINE = -0.33, -0.04, 0.76
_DARK: Colour = (30, 20, 20)
_WHITE_OF_EYE: Colour = (238, 233, 228)
_TEETH: Colour = (232, 226, 214)
_INSIDE: Colour = (58, 18, 22)
_ACROSS = np.linspace(-1, 1, 17)  # from the left corner of an eye or a mouth to the right one

# Symmetric shapes are given by their right half, from top to bottom.
_EAR = np.array([(0.9, -0.15), (1.04, -0.2), (1.1, -0.05), (1.05, 0.2), (0.98, 0.36), (0.9, 0.32)])
_NECK = [(-0.55, 0.6), (0.55, 0.6), (0.58, 1.6), (0.95, 2.1), (-0.95, 2.1), (-0.58, 1.6)]
_SHOULDERS = [(0.0, 1.86), (0.5, 1.66), (0.9, 1.76), (1.65, 1.98), (2.12, 2.5), (2.25, 3.8), (2.3, 9.0), (0.0, 9.0)]
_RIM = np.array([(0.285 * np.cos(angle), 0.25 * np.sin(angle)) for angle in np.linspace(0, 2 * np.pi, 25)])


def draw_person(canvas: Canvas, person: Person, m: Movement) -> None:
    """Draw one person, from back to front."""
    _draw_behind(canvas, person)
    _draw_skin(canvas, person, m)
    _draw_creases(canvas, person, m)
    for side in (-1, 1):
        _draw_eye(canvas, person, m, side)
        _draw_brow(canvas, person, m, side)
    _draw_mouth(canvas, person, m)
    if person.glasses:
        frame = mix((36, 32, 34), person.hair, 0.25)
        for side in (-1, 1):
            canvas.stroke(np.add(_RIM, (side * (person.eye_spacing + 0.01), 0.01)), 0.028, frame)
            canvas.stroke([(side * 0.7, -0.06), (side * 0.97, -0.09)], 0.028, frame)
        canvas.stroke(smooth([(-0.13, -0.02), (0, -0.06), (0.13, -0.02)]), 0.028, frame)


def face_outline(person: Person, m: Movement) -> tuple[np.ndarray, np.ndarray]:
    """Compute the outline of the face from the hairline to the chin, (n, 2), and the depth of its points, (n,)."""
    line, jaw, drop = -0.7 - 0.2 * person.hair_volume, person.jaw_width, person.jaw_height + 0.15 * m.jaw_drop
    hairlines = {
        "short": [(0.0, line - 0.12), (0.2, line - 0.1), (0.62, line + 0.02), (0.84, -0.5)],
        "long": [(0.0, line - 0.27), (0.3, line - 0.05), (0.66, line + 0.16), (0.88, -0.3)],
    }
    lower = [(0.87 + jaw / 2, 0.52), (0.69 + jaw, 0.9 + drop * 0.6), (0.40 + jaw * 0.8, 1.17 + drop), (0.0, 1.27 + drop)]
    outline = symmetric([*hairlines[person.hair_style], (0.95, 0.1), *lower])
    height = outline[:, 1]
    return outline, 0.62 * np.clip((height - 0.2) / 1.1, 0, 1) + 0.8 * np.clip((-0.2 - height) / 0.6, 0, 1)


def _draw_behind(canvas: Canvas, person: Person) -> None:
    """Draw what the face covers: hair, neck, shoulders, ears."""
    long, volume = person.hair_style == "long", person.hair_volume
    if long:
        wide, length = 1.02 + 0.3 * volume, 0.6 + 1.6 * volume
        back = [(0.0, -1.45), (0.75, -1.25), (wide, -0.5), (wide + 0.06, 0.5), (wide, length), (0.5, length + 0.2)]
        canvas.fill(symmetric([*back, (0.0, length + 0.2)]), mix(person.hair, (12, 10, 10), 0.28), depth=-0.25)
    canvas.fill(_NECK, mix(person.skin, (44, 16, 13), 0.32), depth=-0.1)
    canvas.fill(symmetric(_SHOULDERS), person.clothes, depth=-0.2)
    for side in (-1, 1):
        canvas.fill(smooth(_EAR * (side, 1)), mix(person.skin, (120, 40, 34), 0.2), depth=-0.05)
    puff = 0.04 + 0.12 * volume
    top = [(0, -1.36 - puff), (0.72, -1.2 - 0.8 * puff), (1.01 + puff / 2, -0.6), (1.0, 0.3 if long else 0.02), (0.0, 0.3)]
    spots = [(1.0, -0.4, 0.16, 0.5, -0.3), (-1.0, -0.4, 0.16, 0.5, -0.3), (0.25, -1.08, 0.45, 0.10, 0.28)]
    canvas.shade(symmetric(top), person.hair, 0.0, spots)


def _draw_skin(canvas: Canvas, person: Person, m: Movement) -> None:
    """Draw the face without its features, and a beard."""
    drop = m.jaw_drop
    cheek = 0.14 * m.cheek_raise + 0.06 * m.corner_pull
    pairs = [  # x, y, width, height, light: drawn on both sides
        (0.40, -0.17, 0.21, 0.10, -0.30),  # eye sockets
        (0.19, -0.10, 0.07, 0.12, -0.26),  # beside the bridge of the nose
        (0.16, 0.30, 0.06, 0.14, -0.14),  # sides of the nose
        (0.52, 0.30 - 0.4 * cheek, 0.20, 0.15, 0.22 + cheek),  # cheekbones
        (1.00, 0.20, 0.14, 0.60, -0.26),  # where the face turns away
        (0.80, 0.95, 0.22, 0.20, -0.30),  # under the jaw
    ]
    middle = [
        (0.0, -0.66, 0.42, 0.20, 0.16),  # forehead
        (0.0, -0.02, 0.055, 0.20, 0.30),  # bridge of the nose
        (0.0, 0.33, 0.075, 0.07, 0.30),  # tip of the nose
        (0.0, 0.52, 0.13, 0.045, -0.30),  # under the nose
        (0.0, _MOUTH_LINE + 0.2 + 0.2 * drop, 0.17, 0.045, -0.22),  # under the lower lip
    ]
    mirrored = [(-x, y, width, height, light) for x, y, width, height, light in pairs]
    outline, depth = face_outline(person, m)
    canvas.shade(outline, person.skin, depth, [*pairs, *mirrored, *middle])
    if person.beard:
        lower = outline[:, 1] > 0  # from the right temple by the chin to the left one
        edge = np.array([(0.78, 0.34), (0.6, 0.58), (0.46 + 0.06 * m.corner_pull, 0.68), (0.24, 0.56)])
        shape = np.concatenate([outline[lower], edge * (-1, 1), edge[::-1]])
        depth = np.append(depth[lower], np.full(2 * len(edge), 0.3))
        canvas.fill(shape, mix(person.hair, (20, 16, 16), 0.2), depth, opacity=0.75)


def _draw_creases(canvas: Canvas, person: Person, m: Movement) -> None:
    """Draw wrinkles and the nose."""
    pull, wrinkle, age, raised = m.corner_pull, m.nose_wrinkle, person.age, max(m.inner_brow_raise, m.outer_brow_raise)
    slant, mouth, nose = max(0.0, m.inner_brow_raise - m.outer_brow_raise), 0.30 + 0.16 * pull, 0.36 - 0.08 * wrinkle
    fold = [(0.20, nose), (mouth + 0.05 * pull, nose + 0.16), (mouth + 0.1 + 0.1 * pull, nose + 0.36 - 0.06 * pull)]
    creases: list[tuple[Points, float]] = [  # the right half, and how dark it is
        ([(0.075, -0.46), (0.055, -0.27)], 0.8 * m.brow_lower * (1 - 0.5 * m.inner_brow_raise) + 0.2 * age),
        (fold, 0.10 + 0.35 * age + 0.5 * max(pull, wrinkle)),
        ([(0.24, 0.07), (0.40, 0.12), (0.56, 0.09)], 0.1 + 0.25 * age + 0.4 * m.cheek_raise),
        ([(0.16, 0.04), (0.24, 0.16), (0.22, 0.30)], 0.6 * wrinkle),
    ]
    for row in range(3):
        x, slope = np.linspace(0, 0.5, 5), 0.03 * (row - 1)
        y = -0.5 - 0.1 * row - 0.08 * raised + 0.05 * np.cos(x * 5) - 0.10 * slant * np.cos(x * 4)
        creases += [
            (np.column_stack([x, y]), (0.12 + 0.5 * age) * (0.15 * age + 0.75 * raised)),  # forehead
            ([(0.05, 0.085 * row - 0.1), (0.14, 0.085 * row - 0.04)], 0.55 * wrinkle),  # bridge of the nose
            ([(0.68, _EYE_LINE + slope), (0.79, _EYE_LINE + 3 * slope)], m.cheek_raise * (0.25 + 0.5 * age) + 0.15 * age),
        ]
    dark, base, wide = mix(person.skin, (46, 16, 14), 0.6), 0.45 - 0.05 * wrinkle, person.nose_width
    wing = [(0.13 * wide, base - 0.13), (0.195 * wide, base - 0.04), (0.18 * wide, base + 0.03), (0.12 * wide, base + 0.03)]
    for side in (-1, 1):
        for points, strength in creases:
            canvas.stroke(smooth(np.multiply(points, (side, 1))), 0.026, dark, opacity=min(0.9, strength))
        canvas.stroke(smooth(np.multiply(wing, (side, 1))), 0.03, dark, depth=1.05, opacity=0.62)
        canvas.disc(side * 0.09 * wide, base + 0.012, 0.033, mix(person.skin, _DARK, 0.72), depth=1.1)


def _draw_brow(canvas: Canvas, person: Person, m: Movement, side: int) -> None:
    uneven = 1 + 0.25 * side * m.asymmetry
    inner, outer, lower = m.inner_brow_raise * uneven, m.outer_brow_raise * uneven, m.brow_lower
    line = _BROW_LINE + 0.07 * m.nose_wrinkle
    points = [
        (0.17 - 0.07 * lower, line - 0.008 - 0.20 * inner + 0.15 * lower * (1 - 0.55 * inner)),
        (0.33 - 0.05 * lower, line - 0.015 - 0.11 * inner - 0.08 * outer + 0.10 * lower * (1 - 0.6 * inner)),
        (0.52, line - 0.04 - 0.18 * outer + 0.035 * lower),
        (0.68, line + 0.035 - 0.13 * outer + 0.03 * inner * (1 - outer)),
    ]
    curve = smooth(np.multiply(points, (side, 1)))
    share = np.linspace(0, 1, len(curve))
    widths = person.brow_thickness * (0.075 - 0.055 * share**2) * np.clip(share * 9 + 0.55, 0, 1)
    canvas.stroke(curve, widths, mix(mix(person.hair, _DARK, 0.3), person.skin, 0.1))


def _draw_eye(canvas: Canvas, person: Person, m: Movement, side: int) -> None:
    """Draw one eye with its lids; side is -1 for the left one of the picture and 1 for the right one."""
    outwards = side * _ACROSS  # from -1 at the nose to 1
    upper = 0.098 * person.eye_height + 0.062 * m.upper_lid_raise - 0.055 * m.lid_droop
    upper -= 0.022 * m.cheek_raise + 0.045 * m.nose_wrinkle
    lower = 0.062 * person.eye_height + 0.02 * m.upper_lid_raise - 0.032 * m.cheek_raise
    corners = _EYE_LINE - 0.03 * (0.1 - m.lid_droop) * outwards
    # A brow that comes down or goes up at its inner end takes the inner half of the lid with it.
    tilt = 0.018 * m.brow_lower - 0.022 * m.inner_brow_raise * (1 - 0.7 * m.outer_brow_raise)
    arch = (1 - np.abs(outwards) ** 2.3) ** 0.85
    top = corners - arch * (max(upper, 0.014) - tilt * (1 - outwards))
    bottom = corners + (1 - outwards**2) * max(lower, 0.012)
    x = side * person.eye_spacing + 0.205 * _ACROSS
    canvas.fill(_between(x, top, bottom), mix(_WHITE_OF_EYE, person.skin, 0.12))
    across, down = side * person.eye_spacing + 0.07 * m.gaze_across, _EYE_LINE - 0.018

    def disc(right: float, low: float, radius: float, colour: Colour) -> None:
        """Fill the part of a circle that the lids leave free."""
        along = right + radius * np.linspace(-1, 1, 25)
        half = np.sqrt(np.maximum(0, radius**2 - (along - right) ** 2))
        lids = np.interp(along, x, top), np.interp(along, x, bottom)
        canvas.fill(_between(along, *(np.clip(edge, *lids) for edge in (low - half, low + half))), colour)

    for radius, colour in ((0.098, mix(person.eyes, _DARK, 0.55)), (0.08, person.eyes), (0.044, (14, 11, 11))):
        disc(across, down, radius, colour)
    canvas.fill(_between(x, top, np.minimum(top + 0.018, bottom)), mix(mix(person.skin, _DARK, 0.5), person.eyes, 0.2))
    disc(across - 0.034, down - 0.037, 0.0235, (250, 250, 250))
    lashes = 0.028 * (1 - np.abs(_ACROSS) ** 4 * 0.6)
    canvas.stroke(np.column_stack([x + side * 0.012, top]), lashes, mix(_DARK, person.hair, 0.15))
    canvas.stroke(np.column_stack([x, bottom])[2:-2], 0.014, mix(person.skin, (60, 24, 22), 0.5))


def _draw_mouth(canvas: Canvas, person: Person, m: Movement) -> None:
    """Draw the lips, and teeth where they part."""
    wide = person.mouth_width + 0.12 * m.corner_pull + 0.09 * m.lip_stretch
    wide -= 0.07 * m.jaw_drop * (1 - m.corner_pull) + 0.03 * m.lip_press
    line = _MOUTH_LINE + 0.07 * m.jaw_drop - 0.035 * m.upper_lip_raise
    corner = 0.13 * m.corner_depress + 0.03 * m.lip_stretch - 0.17 * m.corner_pull
    uneven = 1 + 0.3 * m.asymmetry * _ACROSS
    middle = line - 0.35 * corner + corner * np.abs(_ACROSS) ** 1.7 * uneven

    oval, box = (1 - _ACROSS**2) ** 0.75, (1 - np.abs(_ACROSS) ** 5) ** 0.8
    opening = oval + (box - oval) * min(1.0, m.lip_stretch)  # 0 at the corners to 1 in the middle
    upwards = (0.055 * m.lips_part + 0.05 * m.upper_lip_raise * min(1.0, m.lips_part * 2.5)) * uneven + 0.13 * m.jaw_drop
    sneer = 0.055 * m.upper_lip_raise * np.exp(-((np.abs(_ACROSS) - 0.45) ** 2) / 0.06) * uneven
    gap_top, gap_bottom = middle - opening * upwards, middle + opening * (0.075 * m.lips_part + 0.25 * m.jaw_drop)
    if m.lips_part < 0.2:  # closed lips move as one
        gap_top, gap_bottom = middle - sneer * 0.5, middle - sneer * 0.5 + 0.004

    full = person.lip_fullness * (1 - 0.65 * min(1.0, m.lip_press) - 0.25 * m.corner_pull * m.lips_part - 0.2 * m.lip_stretch)
    bow = np.exp(-((np.abs(_ACROSS) - 0.2) ** 2) / 0.06) - 0.45 * np.exp(-(_ACROSS**2) / 0.01)
    upper_lip = full * (0.03 * (1 - _ACROSS**2) ** 0.6 + 0.045 * bow * (1 - _ACROSS**4)) + sneer * 0.5
    lower_lip = full * 0.105 * (1 - np.abs(_ACROSS) ** 2.6)
    x, lips = wide * _ACROSS, mix(person.skin, (158, 44, 54), 0.35)
    canvas.fill(_between(x, gap_top - upper_lip, gap_top + 0.01), mix(lips, _DARK, 0.16))
    canvas.fill(_between(x, gap_bottom - 0.01, gap_bottom + lower_lip), lips)
    if np.max(gap_bottom - gap_top) > 0.035:
        canvas.fill(_between(x, gap_top, gap_bottom), _INSIDE)
        canvas.fill(_between(x, gap_top, np.minimum(gap_bottom, gap_top + 0.075)), _TEETH)
        if m.lip_stretch > 0.3:
            canvas.fill(_between(x, np.maximum(gap_top, gap_bottom - 0.05), gap_bottom), _TEETH)
    else:
        canvas.stroke(np.column_stack([x, (gap_top + gap_bottom) / 2]), 0.024, mix(lips, _DARK, 0.72))


def _between(x: np.ndarray, upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    return np.concatenate([np.column_stack([x, upper]), np.column_stack([x, lower])[::-1]])
