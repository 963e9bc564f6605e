"""Invented people: their looks, and their expressions as facial movements."""

from dataclasses import dataclass

import numpy as np

from mien.drawn.canvas import Colour, mix


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
    nose_wrinkle: float = 0.0  # 9
    upper_lip_raise: float = 0.0  # 10
    corner_pull: float = 0.0  # 12
    corner_depress: float = 0.0  # 15
    lip_stretch: float = 0.0  # 20
    lip_press: float = 0.0  # 24
    lips_part: float = 0.0  # 25
    jaw_drop: float = 0.0  # 26
    lid_droop: float = 0.0  # 43
    gaze_across: float = 0.0  # 61, 62; from -1 to 1
    asymmetry: float = 0.0  # from -1 to 1: the left or the right half moves more


_STARE = {"brow_lower": 1.0, "upper_lid_raise": 0.2}
_WRINKLE = {"brow_lower": 0.4, "nose_wrinkle": 1.0, "upper_lip_raise": 1.0, "cheek_raise": 1.0}
_ALARM = {"inner_brow_raise": 1.0, "outer_brow_raise": 0.4, "brow_lower": 0.5, "upper_lid_raise": 1.0}
_ALARM |= {"lip_stretch": 1.0, "corner_depress": 0.3, "lips_part": 0.5}
_SMILE = {"cheek_raise": 0.9, "corner_pull": 1.0, "inner_brow_raise": 0.15}
_GRIEF = {"inner_brow_raise": 1.0, "brow_lower": 0.3, "corner_depress": 1.0, "lid_droop": 0.4}
_WONDER = {"inner_brow_raise": 1.0, "outer_brow_raise": 1.0, "upper_lid_raise": 0.8, "lips_part": 0.4}
_FORMS: dict[str, tuple[dict[str, float], ...]] = {
    "angry": (
        _STARE | {"lip_press": 1.0, "corner_depress": 0.25},
        _STARE | {"upper_lip_raise": 0.3, "lips_part": 0.9, "lip_stretch": 0.5},
    ),
    "disgust": (_WRINKLE | {"corner_depress": 0.5}, _WRINKLE | {"corner_depress": 0.4, "lips_part": 0.4}),
    "fear": (_ALARM, _ALARM | {"jaw_drop": 0.35}),
    "happy": (_SMILE, _SMILE | {"lips_part": 0.7}, _SMILE | {"lips_part": 0.7, "jaw_drop": 0.35}),
    "sad": (_GRIEF,),
    "surprise": (_WONDER | {"jaw_drop": 1.0}, _WONDER | {"jaw_drop": 0.6}),
    "neutral": ({},),
}
"""The movements of each expression, in one or more typical forms.

Source: Ekman and Friesen, Unmasking the Face (1975): in fear the raised brows are drawn together and the lips stretched, in
surprise they are not; in anger the brows come down and the lids stare, in disgust the nose wrinkles.
"""

_RESTLESS = ("inner_brow_raise", "outer_brow_raise", "brow_lower", "lid_droop", "corner_depress", "lips_part")


def express(expression: str, random: np.random.Generator) -> Movement:
    """Choose in which form and how strongly a face shows an expression."""
    forms = _FORMS[expression]
    form, intensity = forms[random.integers(len(forms))], random.uniform(0.7, 1.05)
    # Each movement varies by itself, and a face at rest still moves a little.
    moved = dict(zip(_RESTLESS, np.abs(random.normal(0, 0.05, len(_RESTLESS))).tolist(), strict=True))
    moved |= {name: amount * intensity * random.uniform(0.82, 1.15) for name, amount in form.items()}
    return Movement(**moved, gaze_across=random.normal(0, 0.25), asymmetry=random.normal(0, 0.35))


# From light to dark skin, from dark to fair hair, from brown to gray eyes; a person's own colour lies between two neighbours.
_SKIN = ((244, 214, 196), (238, 200, 174), (217, 166, 122), (157, 107, 74), (99, 65, 48), (77, 52, 41))
_HAIR = ((28, 24, 24), (46, 34, 29), (74, 50, 36), (134, 66, 38), (188, 148, 92), (214, 184, 134))
_EYES = ((58, 38, 26), (84, 54, 32), (92, 108, 74), (84, 112, 138), (112, 122, 132))
_CLOTHES = ((52, 78, 112), (126, 58, 62), (70, 104, 84), (196, 160, 92), (206, 204, 198), (58, 58, 64), (112, 152, 164))
HAIR_STYLES = ("short", "long")


def _between(random: np.random.Generator, colours: tuple[Colour, ...], position: float, spread: float = 6.0) -> Colour:
    """Interpolate in a row of colours at a position from 0 to 1, and vary the result a little."""
    places = np.linspace(0, 1, len(colours))
    mixed = [np.interp(position, places, channel) for channel in zip(*colours, strict=True)]
    red, green, blue = np.clip(mixed + random.normal(0, spread, 3), 8, 252).astype(int).tolist()
    return red, green, blue


class Person:
    """An invented person with any skin tone, hair and shape of face; lengths are in half head widths."""

    def __init__(self, random: np.random.Generator) -> None:
        tone = random.uniform()
        self.age = random.beta(1.3, 1.8)
        # Fair hair and light eyes go with light skin, gray hair with age; everything else is independent.
        self.hair = _between(random, _HAIR, random.beta(1.0, 1.0 + 5.0 * tone))
        if random.uniform() < 1.7 * (self.age - 0.45):
            self.hair = mix((128, 126, 126), (216, 214, 210), random.uniform())
        self.hair_style = HAIR_STYLES[random.integers(len(HAIR_STYLES))]
        self.skin = _between(random, _SKIN, tone, 2.0)
        self.eyes = _between(random, _EYES, random.uniform() * (1.0 if tone < 0.4 else 0.25))
        self.clothes = _between(random, _CLOTHES, random.uniform(), 10.0)
        self.beard = self.hair_style != "long" and random.uniform() < 0.3
        self.glasses = random.uniform() < 0.2
        self.hair_volume = random.uniform(0.0, 1.0)
        self.jaw_width = random.uniform(-0.09, 0.09)
        self.jaw_height = random.uniform(-0.09, 0.09)
        self.eye_height = random.uniform(0.85, 1.15)
        self.eye_spacing = random.uniform(0.385, 0.435)
        self.brow_thickness = random.uniform(0.6, 1.4)
        self.nose_width = random.uniform(0.85, 1.25)
        self.mouth_width = random.uniform(0.31, 0.38)
        self.lip_fullness = random.uniform(0.7, 1.35)
