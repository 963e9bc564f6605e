"""Invented people: their looks, their expressions as facial movements, and what surrounds a face."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import yaml

from mien.drawn.canvas import Canvas, Colour, mix, smooth, symmetric

PEOPLE = yaml.safe_load(Path(__file__).with_name("people.yaml").read_text(encoding="utf-8"))
_SHAPES = {name: np.array(points) for name, points in PEOPLE["shapes"].items()}
HAIR_STYLES = ("short", "curly", "long")
Movement = SimpleNamespace  # how strong each of the movements in people.yaml is


def express(expression: str, random: np.random.Generator) -> Movement:
    """Choose in which form and how strongly a face shows an expression."""
    forms, restless = PEOPLE["expressions"][expression], PEOPLE["restless"]
    form = dict.fromkeys(PEOPLE["movements"], 0.0) | forms[random.integers(len(forms))]
    intensity = random.uniform(0.7, 1.05)
    rest = np.abs(random.normal(0, 0.05, len(restless)))
    varied = {name: amount * intensity * random.uniform(0.82, 1.15) for name, amount in form.items() if amount}
    moved = form | dict(zip(restless, rest.tolist(), strict=True)) | varied
    moved["gaze_down"] += random.normal(0, 0.12)
    moved["gaze_across"] = random.normal(0, 0.25)
    moved["asymmetry"] = random.normal(0, 0.35)
    return Movement(**moved)


def _colour(random: np.random.Generator, of: str, position: float, spread: float = 6.0) -> Colour:
    """Interpolate in a row of colours at a position from 0 to 1, and vary the result a little."""
    colours = PEOPLE["colours"][of]
    mixed = [np.interp(position, np.linspace(0, 1, len(colours)), channel) for channel in zip(*colours, strict=True)]
    red, green, blue = np.clip(mixed + random.normal(0, spread, 3), 8, 252).astype(int).tolist()
    return red, green, blue


class Person(SimpleNamespace):
    """An invented person with any skin tone, hair and shape of face; lengths are in half head widths."""

    def __init__(self, random: np.random.Generator) -> None:
        tone = random.uniform()
        self.age = random.beta(1.3, 1.8)
        # Fair hair and light eyes go with light skin, gray hair with age; everything else is independent.
        self.hair = _colour(random, "hair", random.beta(1.0, 1.0 + 5.0 * tone))
        if random.uniform() < 1.7 * (self.age - 0.45):
            self.hair = _colour(random, "gray hair", random.uniform())
        self.hair_style = HAIR_STYLES[random.integers(len(HAIR_STYLES))]
        self.skin = _colour(random, "skin", tone, 2.0)
        self.eyes = _colour(random, "eyes", random.uniform() * (1.0 if tone < 0.4 else 0.25))
        self.clothes = _colour(random, "clothes", random.uniform(), 10.0)
        self.beard = self.hair_style != "long" and random.uniform() < 0.3
        self.glasses = random.uniform() < 0.2
        for name, (least, most) in PEOPLE["traits"].items():
            setattr(self, name, random.uniform(least, most))


_CURLS = 1.6 * np.linspace(-1, 1, 19)
_RIM = np.array([(0.285 * np.cos(angle), 0.25 * np.sin(angle)) for angle in np.linspace(0, 2 * np.pi, 25)])


def draw_behind(canvas: Canvas, person: Person) -> None:
    """Draw what the head covers: the hair at the back, neck, shoulders, ears."""
    if person.hair_style == "long":
        wide, length = 1.1 + 0.12 * person.hair_volume, 0.9 + 1.2 * person.hair_volume
        back = [(0.0, -1.45), (0.75, -1.25), (wide, -0.5), (wide + 0.06, 0.5), (wide, length), (0.5, length + 0.2)]
        canvas.fill(symmetric([*back, (0.0, length + 0.2)]), mix(person.hair, (12, 10, 10), 0.28), depth=-0.25)
    canvas.fill(_SHAPES["neck"], mix(person.skin, (44, 16, 13), 0.32), depth=-0.1)
    canvas.fill(symmetric(_SHAPES["shoulders"]), person.clothes, depth=-0.2)
    for side in (-1, 1):
        canvas.fill(smooth(_SHAPES["ear"] * (side, 1), closed=True), mix(person.skin, (120, 40, 34), 0.2), depth=-0.05)
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
    face = canvas.project(np.concatenate([hairline, [(1.0, 1.2), (-1.0, 1.2)]]))
    canvas.shade(canvas.project(_dome(person), 0.0), person.hair, PEOPLE["hair light"], without=face)
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
