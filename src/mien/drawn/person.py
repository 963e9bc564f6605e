"""What a drawn face does: expressions as facial movements."""

from dataclasses import asdict, dataclass

import numpy as np

from mien.drawn.canvas import Canvas, Colour, mix, smooth
from mien.labels import FER2013


@dataclass(frozen=True)
class Movement:
    """What a face does, from 0 (at rest) to 1 (strong).

    The names are those of the Facial Action Coding System, with the number of the action unit.

    Source: Ekman, Friesen and Hager, Facial Action Coding System (2002).
    """

    inner_brow_raise: float = 0.0  # 1
    outer_brow_raise: float = 0.0  # 2
    brow_lower: float = 0.0  # 4
    upper_lid_raise: float = 0.0  # 5
    cheek_raise: float = 0.0  # 6
    lid_tighten: float = 0.0  # 7
    nose_wrinkle: float = 0.0  # 9
    upper_lip_raise: float = 0.0  # 10
    corner_pull: float = 0.0  # 12
    corner_depress: float = 0.0  # 15
    chin_raise: float = 0.0  # 17
    lip_pucker: float = 0.0  # 18
    lip_stretch: float = 0.0  # 20
    lip_press: float = 0.0  # 24
    lips_part: float = 0.0  # 25
    jaw_drop: float = 0.0  # 26
    lid_droop: float = 0.0  # 43
    squareness: float = 0.0  # 22: how far an open mouth is a rectangle rather than an oval
    gaze_across: float = 0.0  # 61, 62; from -1 to 1
    gaze_down: float = 0.0  # 63, 64; from -1 to 1
    asymmetry: float = 0.0  # from -1 to 1: the left or the right half moves more


_FORMS: dict[str, tuple[Movement, ...]] = {
    "angry": (
        Movement(brow_lower=1.0, upper_lid_raise=0.5, lid_tighten=0.8, lip_press=1.0, chin_raise=0.4, corner_depress=0.25),
        Movement(brow_lower=1.0, upper_lid_raise=0.6, lid_tighten=0.7, upper_lip_raise=0.3, lips_part=0.9, squareness=1.0),
    ),
    "disgust": (
        Movement(
            brow_lower=0.45,
            nose_wrinkle=1.0,
            upper_lip_raise=1.0,
            cheek_raise=0.6,
            lid_tighten=0.6,
            corner_depress=0.5,
            chin_raise=0.5,
        ),
        Movement(
            brow_lower=0.4,
            nose_wrinkle=1.0,
            upper_lip_raise=1.0,
            cheek_raise=0.6,
            lid_tighten=0.7,
            corner_depress=0.4,
            lips_part=0.4,
        ),
    ),
    "fear": (
        Movement(
            inner_brow_raise=1.0,
            outer_brow_raise=0.45,
            brow_lower=0.5,
            upper_lid_raise=1.0,
            lip_stretch=1.0,
            corner_depress=0.3,
            lips_part=0.55,
            squareness=0.7,
        ),
        Movement(
            inner_brow_raise=1.0,
            outer_brow_raise=0.4,
            brow_lower=0.5,
            upper_lid_raise=0.9,
            lip_stretch=0.9,
            corner_depress=0.35,
            lips_part=0.5,
            squareness=0.6,
            jaw_drop=0.35,
        ),
    ),
    "happy": (
        Movement(cheek_raise=0.8, corner_pull=1.0, lips_part=0.7, inner_brow_raise=0.15),
        Movement(cheek_raise=1.0, corner_pull=1.0, lips_part=0.7, jaw_drop=0.35, inner_brow_raise=0.25, outer_brow_raise=0.2),
        Movement(cheek_raise=0.7, corner_pull=1.0, inner_brow_raise=0.1),
    ),
    "sad": (
        Movement(inner_brow_raise=1.0, brow_lower=0.35, lid_droop=0.45, corner_depress=1.0, chin_raise=0.5, gaze_down=0.6),
        Movement(inner_brow_raise=0.9, brow_lower=0.3, lid_droop=0.3, corner_depress=1.0, chin_raise=0.8),
    ),
    "surprise": (
        Movement(inner_brow_raise=1.0, outer_brow_raise=1.0, upper_lid_raise=0.75, jaw_drop=1.0, lips_part=0.4, lip_pucker=0.5),
        Movement(inner_brow_raise=1.0, outer_brow_raise=1.0, upper_lid_raise=0.8, jaw_drop=0.6, lips_part=0.4, lip_pucker=0.8),
    ),
    "neutral": (Movement(),),
}
"""The movements of each expression, in one or more typical forms.

Source: Ekman and Friesen, Unmasking the Face (1975): in fear the raised brows are drawn together and the lips
stretched, in surprise they are not; in anger the brows come down and the lids stare, in disgust the nose wrinkles.
"""

_RESTLESS = ("inner_brow_raise", "outer_brow_raise", "brow_lower", "lid_droop", "lid_tighten", "corner_depress", "lips_part")


def express(expression: str, random: np.random.Generator) -> Movement:
    """Choose how strongly and in which form a face shows an expression.

    Args:
        expression: one of FER-2013's labels.
        random: where the choice comes from.

    Raises:
        MienError: if there is no such expression.
    """
    FER2013.index(expression)
    forms = _FORMS[expression]
    form = asdict(forms[random.integers(len(forms))])
    intensity = random.uniform(0.7, 1.05)
    # Each movement varies by itself, and a face at rest is never quite at rest.
    rest = np.abs(random.normal(0, 0.05, len(_RESTLESS)))
    varied = {name: amount * intensity * random.uniform(0.82, 1.15) for name, amount in form.items() if amount}
    moved = form | dict(zip(_RESTLESS, rest.tolist(), strict=True)) | varied
    moved["gaze_down"] += random.normal(0, 0.12)
    moved["gaze_across"] = random.normal(0, 0.25)
    moved["asymmetry"] = random.normal(0, 0.35)
    return Movement(**moved)


# Who is drawn: invented people of every look.


_SKIN_TONES: tuple[Colour, ...] = (
    (244, 214, 196),
    (238, 200, 174),
    (233, 188, 150),
    (217, 166, 122),
    (187, 135, 96),
    (157, 107, 74),
    (127, 84, 59),
    (99, 65, 48),
    (77, 52, 41),
)
"""From the lightest to the darkest; a person's own tone lies anywhere between two neighbours."""

_HAIR_COLOURS: tuple[Colour, ...] = (
    (28, 24, 24),
    (46, 34, 29),
    (74, 50, 36),
    (110, 72, 44),
    (134, 66, 38),
    (188, 148, 92),
    (214, 184, 134),
)
_GRAY_HAIR: tuple[Colour, ...] = ((128, 126, 126), (176, 174, 172), (216, 214, 210))
_EYE_COLOURS: tuple[Colour, ...] = ((58, 38, 26), (84, 54, 32), (118, 86, 48), (92, 108, 74), (84, 112, 138), (112, 122, 132))
_CLOTHES: tuple[Colour, ...] = (
    (52, 78, 112),
    (126, 58, 62),
    (70, 104, 84),
    (196, 160, 92),
    (92, 74, 110),
    (206, 204, 198),
    (58, 58, 64),
    (188, 116, 92),
    (112, 152, 164),
)

SHORT_HAIR = ("bald", "cropped", "parted", "swept", "curly")
LONG_HAIR = ("long", "bob", "fringe", "bun", "coils", "scarf")


@dataclass(frozen=True)
class Person:
    """What stays the same from one picture of a person to the next; lengths in half head widths."""

    skin: Colour
    hair: Colour
    hair_style: str
    hair_volume: float
    eyes: Colour
    clothes: Colour
    scarf: Colour
    jaw_width: float
    jaw_height: float
    temple_width: float
    hairline: float
    eye_width: float
    eye_height: float
    eye_spacing: float
    eye_slant: float
    lid_crease: float
    brow_thickness: float
    brow_height: float
    brow_slant: float
    nose_width: float
    nose_length: float
    mouth_width: float
    mouth_height: float
    mouth_rest: float
    lip_fullness: float
    lip_redness: float
    lashes: float
    age: float
    beard: str
    glasses: str
    freckles: int  # 0 for none, else where they are


def _between(random: np.random.Generator, colours: tuple[Colour, ...], position: float, spread: float = 6.0) -> Colour:
    """Mix two neighbours of a row of colours; position runs from 0 to 1 along the row."""
    place = position * (len(colours) - 1)
    low = min(int(place), len(colours) - 2)
    mixed = np.array(colours[low]) + (np.array(colours[low + 1]) - np.array(colours[low])) * (place - low)
    red, green, blue = np.clip(mixed + random.normal(0, spread, 3), 8, 252).astype(int).tolist()
    return red, green, blue


def invent_person(random: np.random.Generator) -> Person:
    """Invent somebody: any skin tone, hair and shape of face, young or old, with or without beard and glasses."""
    tone = random.uniform()
    age = random.beta(1.3, 1.8)
    # Fair hair and light eyes go with light skin, gray hair with age; everything else is independent.
    hair_position = min(random.beta(1.0, 1.0 + 5.0 * tone), 1.0)
    hair = _between(random, _HAIR_COLOURS, hair_position)
    if random.uniform() < max(0.0, age - 0.45) * 1.7:
        hair = _between(random, _GRAY_HAIR, random.uniform())
    eyes = _between(random, _EYE_COLOURS, random.uniform() * (1.0 if tone < 0.4 else 0.25))
    short = random.uniform() < 0.5
    styles = SHORT_HAIR if short else LONG_HAIR
    beards = ("stubble", "moustache", "goatee", "full")
    return Person(
        skin=_between(random, _SKIN_TONES, tone, 2.0),
        hair=hair,
        hair_style=styles[random.integers(len(styles))],
        hair_volume=random.uniform(0.7, 1.3),
        eyes=eyes,
        clothes=_CLOTHES[random.integers(len(_CLOTHES))],
        scarf=_between(random, _CLOTHES, random.uniform(), 10.0),
        jaw_width=random.uniform(-0.09, 0.09),
        jaw_height=random.uniform(-0.09, 0.09),
        temple_width=random.uniform(-0.05, 0.05),
        hairline=random.uniform(-0.08, 0.07),
        eye_width=random.uniform(0.185, 0.225),
        eye_height=random.uniform(0.85, 1.15),
        eye_spacing=random.uniform(0.385, 0.435),
        eye_slant=random.uniform(-0.025, 0.03),
        lid_crease=random.uniform(0.0, 1.0),
        brow_thickness=random.uniform(0.6, 1.4),
        brow_height=random.uniform(-0.035, 0.035),
        brow_slant=random.uniform(-0.022, 0.022),
        nose_width=random.uniform(0.85, 1.25),
        nose_length=random.uniform(-0.05, 0.06),
        mouth_width=random.uniform(0.31, 0.38),
        mouth_height=random.uniform(-0.03, 0.03),
        mouth_rest=random.uniform(-0.015, 0.02),
        lip_fullness=random.uniform(0.7, 1.35),
        lip_redness=random.uniform(0.15, 0.45) + (0.0 if short else random.uniform(0.0, 0.25)),
        lashes=random.uniform(0.7, 1.1) + (0.0 if short else 0.35),
        age=age,
        beard=beards[random.integers(len(beards))] if short and random.uniform() < 0.45 else "none",
        glasses=("round", "square")[random.integers(2)] if random.uniform() < 0.2 else "none",
        freckles=int(random.integers(1, 1000)) if tone < 0.35 and random.uniform() < 0.2 else 0,
    )


# Draws what surrounds a face: hair, ears, neck, clothes, beard, glasses, a head scarf.

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
