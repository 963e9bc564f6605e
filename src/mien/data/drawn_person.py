"""Who is drawn: invented people of every look."""

from dataclasses import dataclass

import numpy as np

Colour = tuple[int, int, int]

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
