"""Invented people: their looks, their expressions as facial movements, and what surrounds a face."""

from dataclasses import asdict, dataclass

import numpy as np

from mien.drawn.canvas import Canvas, Colour, mix, smooth, symmetric


@dataclass(frozen=True)
class Movement:
    """Action units, from 0 (at rest) to 1 (strong), by Ekman, Friesen and Hager, Facial Action Coding System (2002)."""

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
    squareness: float = 0.0  # 22: how far an open mouth is a rectangle rather than an oval
    lip_press: float = 0.0  # 24
    lips_part: float = 0.0  # 25
    jaw_drop: float = 0.0  # 26
    lid_droop: float = 0.0  # 43
    gaze_across: float = 0.0  # 61, 62; from -1 to 1
    gaze_down: float = 0.0  # 63, 64; from -1 to 1
    asymmetry: float = 0.0  # from -1 to 1: the left or the right half moves more


_STARE = {"brow_lower": 1.0, "upper_lid_raise": 0.55, "lid_tighten": 0.75}
_WRINKLE = {"brow_lower": 0.4, "nose_wrinkle": 1.0, "upper_lip_raise": 1.0, "cheek_raise": 0.6, "lid_tighten": 0.6}
_ALARM = {"inner_brow_raise": 1.0, "outer_brow_raise": 0.4, "brow_lower": 0.5, "upper_lid_raise": 1.0, "lip_stretch": 1.0}
_SMILE = {"cheek_raise": 0.9, "corner_pull": 1.0, "inner_brow_raise": 0.15}
_GRIEF = {"inner_brow_raise": 1.0, "brow_lower": 0.3, "corner_depress": 1.0}
_WONDER = {"inner_brow_raise": 1.0, "outer_brow_raise": 1.0, "upper_lid_raise": 0.8, "lips_part": 0.4}
_FORMS = {
    "angry": (
        Movement(**_STARE, lip_press=1.0, chin_raise=0.4, corner_depress=0.25),
        Movement(**_STARE, upper_lip_raise=0.3, lips_part=0.9, squareness=1.0),
    ),
    "disgust": (
        Movement(**_WRINKLE, corner_depress=0.5, chin_raise=0.5),
        Movement(**_WRINKLE, corner_depress=0.4, lips_part=0.4),
    ),
    "fear": (
        Movement(**_ALARM, corner_depress=0.3, lips_part=0.55, squareness=0.7),
        Movement(**_ALARM, corner_depress=0.35, lips_part=0.5, squareness=0.6, jaw_drop=0.35),
    ),
    "happy": (Movement(**_SMILE), Movement(**_SMILE, lips_part=0.7), Movement(**_SMILE, lips_part=0.7, jaw_drop=0.35)),
    "sad": (
        Movement(**_GRIEF, lid_droop=0.45, chin_raise=0.5, gaze_down=0.6),
        Movement(**_GRIEF, lid_droop=0.3, chin_raise=0.8),
    ),
    "surprise": (Movement(**_WONDER, jaw_drop=1.0, lip_pucker=0.5), Movement(**_WONDER, jaw_drop=0.6, lip_pucker=0.8)),
    "neutral": (Movement(),),
}
"""The movements of each expression, in one or more typical forms (Ekman and Friesen, Unmasking the Face, 1975): in fear the
raised brows are drawn together and the lips stretched, in surprise they are not; in anger the brows come down and the lids
stare, in disgust the nose wrinkles."""

_RESTLESS = ("inner_brow_raise", "outer_brow_raise", "brow_lower", "lid_droop", "lid_tighten", "corner_depress", "lips_part")


def express(expression: str, random: np.random.Generator) -> Movement:
    """Choose in which form and how strongly a face shows an expression."""
    forms = _FORMS[expression]
    form = asdict(forms[random.integers(len(forms))])
    intensity = random.uniform(0.7, 1.05)
    rest = np.abs(random.normal(0, 0.05, len(_RESTLESS)))  # a face at rest still moves a little
    varied = {name: amount * intensity * random.uniform(0.82, 1.15) for name, amount in form.items() if amount}
    moved = form | dict(zip(_RESTLESS, rest.tolist(), strict=True)) | varied
    moved["gaze_down"] += random.normal(0, 0.12)
    moved["gaze_across"] = random.normal(0, 0.25)
    moved["asymmetry"] = random.normal(0, 0.35)
    return Movement(**moved)


# From light to dark skin, from dark to fair hair, from brown to gray eyes; a person's own colour lies between two neighbours.
_SKIN = ((244, 214, 196), (238, 200, 174), (217, 166, 122), (157, 107, 74), (99, 65, 48), (77, 52, 41))
_HAIR = ((28, 24, 24), (46, 34, 29), (74, 50, 36), (134, 66, 38), (188, 148, 92), (214, 184, 134))
_GRAY_HAIR = ((128, 126, 126), (216, 214, 210))
_EYES = ((58, 38, 26), (84, 54, 32), (92, 108, 74), (84, 112, 138), (112, 122, 132))
_CLOTHES = ((52, 78, 112), (126, 58, 62), (70, 104, 84), (196, 160, 92), (206, 204, 198), (58, 58, 64), (112, 152, 164))
HAIR_STYLES = ("short", "curly", "long")


def _between(random: np.random.Generator, colours: tuple[Colour, ...], position: float, spread: float = 6.0) -> Colour:
    """Interpolate in a row of colours at a position from 0 to 1, and vary the result a little."""
    mixed = [np.interp(position, np.linspace(0, 1, len(colours)), channel) for channel in zip(*colours, strict=True)]
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
            self.hair = _between(random, _GRAY_HAIR, random.uniform())
        self.hair_style = HAIR_STYLES[random.integers(len(HAIR_STYLES))]
        self.skin = _between(random, _SKIN, tone, 2.0)
        self.eyes = _between(random, _EYES, random.uniform() * (1.0 if tone < 0.4 else 0.25))
        self.clothes = _between(random, _CLOTHES, random.uniform(), 10.0)
        self.beard = self.hair_style != "long" and random.uniform() < 0.3
        self.glasses = random.uniform() < 0.2
        self.hair_volume = random.uniform(0.0, 1.0)
        self.jaw_width, self.jaw_height = random.uniform(-0.09, 0.09, 2).tolist()
        self.eye_width = random.uniform(0.185, 0.225)
        self.eye_height = random.uniform(0.85, 1.15)
        self.eye_spacing = random.uniform(0.385, 0.435)
        self.brow_thickness = random.uniform(0.6, 1.4)
        self.nose_width = random.uniform(0.85, 1.25)
        self.nose_length = random.uniform(-0.05, 0.06)
        self.mouth_width = random.uniform(0.31, 0.38)
        self.lip_fullness = random.uniform(0.7, 1.35)
        self.lip_redness = random.uniform(0.15, 0.55)


# Hair, ears, neck, clothes and glasses. Symmetric shapes are given by their right half, from top to bottom.
_EAR = np.array([(0.9, -0.15), (1.04, -0.2), (1.1, -0.05), (1.05, 0.2), (0.98, 0.36), (0.9, 0.32)])
_NECK = [(-0.55, 0.6), (0.55, 0.6), (0.58, 1.6), (0.95, 2.1), (-0.95, 2.1), (-0.58, 1.6)]
_SHOULDERS = [(0.0, 1.86), (0.5, 1.66), (0.9, 1.76), (1.65, 1.98), (2.12, 2.5), (2.25, 3.8), (2.3, 9.0), (0.0, 9.0)]
_CURLS = 1.6 * np.linspace(-1, 1, 19)
_RIM = np.array([(0.285 * np.cos(angle), 0.25 * np.sin(angle)) for angle in np.linspace(0, 2 * np.pi, 25)])


def draw_behind(canvas: Canvas, person: Person) -> None:
    """Draw what the head covers: the hair at the back, neck, shoulders, ears."""
    if person.hair_style == "long":
        wide, length = 1.1 + 0.12 * person.hair_volume, 0.9 + 1.2 * person.hair_volume
        back = [(0.0, -1.45), (0.75, -1.25), (wide, -0.5), (wide + 0.06, 0.5), (wide, length), (0.5, length + 0.2)]
        canvas.fill(symmetric([*back, (0.0, length + 0.2)]), mix(person.hair, (12, 10, 10), 0.28), depth=-0.25)
    canvas.fill(_NECK, mix(person.skin, (44, 16, 13), 0.32), depth=-0.1)
    canvas.fill(symmetric(_SHOULDERS), person.clothes, depth=-0.2)
    for side in (-1, 1):
        canvas.fill(smooth(_EAR * (side, 1), closed=True), mix(person.skin, (120, 40, 34), 0.2), depth=-0.05)
    canvas.fill(_dome(person), person.hair, depth=0.0)


def _dome(person: Person) -> np.ndarray:
    """Compute the outline of the hair on the head, from its lower left end to its lower right one: (n, 2)."""
    puff, low = 0.04 + 0.12 * person.hair_volume, 0.3 if person.hair_style == "long" else 0.02
    half = np.array([(0, -1.36 - puff), (0.72, -1.2 - 0.8 * puff), (1.01 + puff / 2, -0.6), (1.0, low)])
    return smooth(np.concatenate([half[:0:-1] * (-1, 1), half]))


def draw_in_front(canvas: Canvas, person: Person) -> None:
    """Draw what covers the face: hair over the forehead, glasses."""
    line = -0.75 - 0.14 * person.hair_volume
    hairlines = {
        "short": [(0.2, line - 0.1), (0.62, line + 0.02), (0.84, -0.5)],
        "curly": [(0.3, line - 0.06), (0.68, line - 0.02), (0.86, -0.45)],
        "long": [(0.02, line - 0.25), (0.3, line - 0.05), (0.66, line + 0.16), (0.88, -0.3)],
    }
    right = np.array([*hairlines[person.hair_style], (0.98, _dome(person)[0, 1])])
    hairline = smooth(np.concatenate([right[::-1] * (-1, 1), right]))
    light = [(1.0, -0.4, 0.16, 0.5, -0.3), (-1.0, -0.4, 0.16, 0.5, -0.3), (0.25, -1.08, 0.45, 0.10, 0.28)]
    face = canvas.project(np.concatenate([hairline, [(1.0, 1.2), (-1.0, 1.2)]]))
    canvas.shade(canvas.project(_dome(person), 0.0), person.hair, light, without=face)
    if person.hair_style == "curly":
        for angle in _CURLS:
            canvas.disc(0.92 * np.sin(angle), -0.3 - np.cos(angle), 0.14 + 0.12 * person.hair_volume, person.hair, depth=0.0)
        for x, y in hairline[6:-6:3]:
            canvas.disc(x, y - 0.03, 0.1, person.hair)
    if person.glasses:
        frame = mix((36, 32, 34), person.hair, 0.25)
        for side in (-1, 1):
            canvas.stroke(np.add(_RIM, (side * (person.eye_spacing + 0.01), 0.01)), 0.028, frame, lift=0.06)
            canvas.stroke([(side * 0.7, -0.06), (side * 0.97, -0.09)], 0.028, frame)
        canvas.stroke(smooth([(-0.13, -0.02), (0, -0.06), (0.13, -0.02)]), 0.028, frame, lift=0.1)
