"""Invented people: their looks, their expressions as facial movements, and how both are drawn, from back to front."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
from PIL import Image, ImageDraw

from mien.errors import load_table

Colour = tuple[int, ...]  # red, green and blue
Points = Sequence[tuple[float, float]] | np.ndarray  # (n, 2)
Depth = float | np.ndarray | None  # of points: one, one for each, or that of the surface of the head
Blobs = Sequence[Sequence[float]]  # light and shade: x, y, width, height, and light from -1 to 1
_PEOPLE = load_table(__file__, "people")
_CATMULL_ROM = np.vander(np.arange(6) / 6, 4) @ np.array(_PEOPLE["cubic"])  # (steps, 4)
_SHAPES = {name: np.array(points) for name, points in _PEOPLE["shapes"].items()}
HAIR_STYLES = tuple(_PEOPLE["hairlines"])
Movement = SimpleNamespace  # how strong each of the movements in people.yaml is
_BROW_LINE, _EYE_LINE, _MOUTH_LINE = -0.33, -0.04, 0.76
_SUNK = -0.03  # eyes lie this far below the front of the head
_DARK, _WHITE_OF_EYE, _TEETH, _INSIDE = (30, 20, 20), (238, 233, 228), (232, 226, 214), (58, 18, 22)  # the last: of the mouth
_ACROSS = np.linspace(-1, 1, 17)  # from the left corner of an eye or a mouth to the right one
_RIM = np.array([(0.285 * np.cos(angle), 0.25 * np.sin(angle)) for angle in np.linspace(0, 2 * np.pi, 25)])


def smooth(points: Points, closed: bool = False) -> np.ndarray:
    """Compute a Catmull-Rom curve through points, (n, 2) to (m, 2)."""
    points = np.asarray(points, dtype=np.float64)
    before, after = (points[-1:], points[:2]) if closed else (2 * points[:1] - points[1:2], 2 * points[-1:] - points[-2:-1])
    padded = np.concatenate([before, points, after])
    windows = np.stack([padded[:-3], padded[1:-2], padded[2:-1], padded[3:]])  # (4, segments, 2)
    curve = np.einsum("tk,ksd->std", _CATMULL_ROM, windows).reshape(-1, 2)
    return curve if closed else np.concatenate([curve, points[-1:]])


def symmetric(half: Points) -> np.ndarray:
    """Complete the right half of a closed shape, given from its top middle to its bottom middle."""
    return smooth(np.concatenate([half, np.asarray(half)[-2:0:-1] * (-1, 1)]), closed=True)


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Mix two colours; `share` is that of the second, from 0 to 1."""
    return tuple(round(a + (b - a) * share) for a, b in zip(first, second, strict=True))


class Canvas:
    """An RGB image in head coordinates: centre (0, 0), half a head 1 wide, y down; points without depth lie on its front."""

    def __init__(self, image: Image.Image, centre: tuple[float, float], scale: float, angles: Iterable[float]) -> None:
        # centre of the head and scale in pixels; yaw, pitch and roll in radians
        self.image, self.centre, self.scale = image, centre, scale
        self._draw = ImageDraw.Draw(image, "RGBA")  # so that translucent colours blend
        yaw, pitch, roll = (np.array([math.cos(angle), math.sin(angle)]) for angle in angles)
        turned = [[yaw[0], -yaw[1] * pitch[1]], [0.0, pitch[0]], [yaw[1], yaw[0] * pitch[1]]]  # rows: x, y, depth
        self._basis = np.array(turned) @ [[roll[0], roll[1]], [-roll[1], roll[0]]] * scale  # (3, 2)
        # Masks and shading cover only the head and its hair: in a photo of many people the whole image would cost far more.
        reach = 1.9 * scale  # of hair from the middle of the head
        left, top = (max(0, math.floor(middle - reach)) for middle in centre)
        right, bottom = (min(end, math.ceil(middle + reach)) for middle, end in zip(centre, image.size, strict=True))
        self._window = (left, top, max(right, left + 1), max(bottom, top + 1))

    def project(self, points: Points, depth: Depth = None, lift: float = 0.0) -> np.ndarray:
        """Convert head coordinates to pixels, (n, 2) to (n, 2); `lift` is the distance above the surface of the head."""
        points = np.asarray(points, dtype=np.float64)
        if depth is None:
            squares = points**2
            depth = 0.95 * np.sqrt(np.maximum(0.0, 1 - 0.88 * squares[:, 0] - 0.28 * squares[:, 1]))
        forward = np.multiply.outer(np.asarray(depth) + lift, self._basis[2])  # (n, 2), or (2,) for one depth
        return np.asarray(points @ self._basis[:2] + forward + self.centre)

    def fill(self, points: Points, colour: Colour, depth: Depth = None, lift: float = 0.0, opacity: float = 1.0) -> None:
        """Fill a polygon."""
        self._draw.polygon(self.project(points, depth, lift).ravel().tolist(), fill=(*colour, round(255 * opacity)))

    def disc(self, x: float, y: float, radius: float, colour: Colour, depth: float | None = None, lift: float = 0.0) -> None:
        """Fill a circle."""
        centre, reach = self.project([(x, y)], depth, lift)[0], radius * self.scale
        self._draw.ellipse([*(centre - reach), *(centre + reach)], fill=colour)

    def stroke(self, points: Points, width: float | np.ndarray, colour: Colour, **how: float) -> None:
        """Draw a line, as `fill` does; `width` is one number or one for each point."""
        points = np.asarray(points, dtype=np.float64)
        along = np.gradient(points, axis=0)
        across = np.stack([-along[:, 1], along[:, 0]], axis=1) / np.maximum(np.hypot(*along.T), 1e-9)[:, None]
        offset = across * np.broadcast_to(width, len(points))[:, None] / 2
        self.fill(np.concatenate([points + offset, (points - offset)[::-1]]), colour, **how)

    @contextmanager
    def clip(self, outline: np.ndarray) -> Iterator[None]:
        """Restrict what is drawn in this context to a polygon of pixels, (n, 2)."""
        before = self.image.crop(self._window)
        yield
        before.paste(self.image.crop(self._window), (0, 0), self._mask(outline))
        self.image.paste(before, self._window)

    def shade(self, outline: np.ndarray, colour: Colour, blobs: Blobs, without: np.ndarray | None = None) -> None:
        """Fill one polygon of pixels, (n, 2), outside of another."""
        left, top, right, bottom = self._window
        grid = (np.arange(64) + 0.5) / 64  # coarse, for blobs are smooth
        across, down = left + grid * (right - left), top + grid * (bottom - top)
        spots = np.array(blobs)
        centres, reach = self.project(spots[:, :2]), spots[:, 2:4] * self.scale
        columns = np.exp(-0.5 * ((across - centres[:, :1]) / reach[:, :1]) ** 2)
        rows = np.exp(-0.5 * ((down - centres[:, 1:]) / reach[:, 1:]) ** 2)
        light = np.clip((rows * spots[:, 4:]).T @ columns, -1, 1)[..., None]  # (rows, columns, 1)
        base = np.array(colour, dtype=np.float64)
        sheet = base + np.maximum(light, 0) * 0.55 * (255 - base) + np.minimum(light, 0) * base * (0.66, 0.76, 0.76)
        mask = self._mask(outline)
        if without is not None:
            mask.paste(0, (0, 0), self._mask(without))
        shaded = Image.fromarray(sheet.astype(np.uint8)).resize((right - left, bottom - top), Image.Resampling.BILINEAR)
        self.image.paste(shaded, self._window, mask)

    def _mask(self, outline: np.ndarray) -> Image.Image:
        left, top, right, bottom = self._window
        mask = Image.new("L", (right - left, bottom - top))
        ImageDraw.Draw(mask).polygon((outline - (left, top)).ravel().tolist(), fill=255)
        return mask


def express(expression: str, random: np.random.Generator) -> Movement:
    """Choose in which form and how strongly a face shows an expression."""
    forms, restless = _PEOPLE["expressions"][expression], _PEOPLE["restless"]
    form = dict.fromkeys(_PEOPLE["movements"], 0.0) | forms[random.integers(len(forms))]
    intensity = random.uniform(0.7, 1.05)
    rest = np.abs(random.normal(0, 0.05, len(restless)))
    varied = {name: amount * intensity * random.uniform(0.82, 1.15) for name, amount in form.items() if amount}
    moved = form | dict(zip(restless, rest.tolist(), strict=True)) | varied
    moved["gaze_down"] += random.normal(0, 0.12)
    moved["gaze_across"] = random.normal(0, 0.25)
    moved["asymmetry"] = random.normal(0, 0.35)
    return Movement(**moved)


def _colour(random: np.random.Generator, of: str, position: float, spread: float = 6.0) -> Colour:
    colours = _PEOPLE["colours"][of]
    mixed = [np.interp(position, np.linspace(0, 1, len(colours)), channel) for channel in zip(*colours, strict=True)]
    return tuple(np.clip(mixed + random.normal(0, spread, 3), 8, 252).astype(int).tolist())


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
        for name, (least, most) in _PEOPLE["traits"].items():
            setattr(self, name, random.uniform(least, most))


def draw_person(canvas: Canvas, person: Person, movement: Movement) -> None:
    """Draw one person, from back to front."""
    _draw_behind(canvas, person)
    _draw_skin(canvas, person, movement)
    if person.beard:
        _draw_beard(canvas, person, movement)
    _draw_creases(canvas, person, movement)
    for side in (-1, 1):
        _draw_eye(canvas, person, movement, side)
        _draw_brow(canvas, person, movement, side)
    _draw_mouth(canvas, person, movement)
    _draw_in_front(canvas, person)


def head_outline(person: Person, movement: Movement) -> tuple[np.ndarray, np.ndarray]:
    """Compute the outline of the head without ears, (n, 2), and the depth of its points, (n,)."""
    jaw = person.jaw_width
    drop = person.jaw_height + 0.15 * movement.jaw_drop - 0.02 * movement.chin_raise
    forehead = [(0.0, -1.32), (0.48, -1.22), (0.82, -0.86), (0.955, -0.35), (0.95, 0.1)]
    lower = [(0.87 + jaw / 2, 0.52), (0.69 + jaw, 0.9 + drop * 0.6), (0.40 + jaw * 0.8, 1.17 + drop), (0.0, 1.27 + drop)]
    outline = symmetric([*forehead, *lower])
    return outline, 0.62 * np.clip((outline[:, 1] - 0.2) / 1.1, 0, 1)


def _draw_skin(canvas: Canvas, person: Person, movement: Movement) -> None:
    light = {name: list(blob) for name, blob in _PEOPLE["face light"].items()}
    cheek = 0.14 * movement.cheek_raise + 0.06 * movement.corner_pull
    light["cheekbones"][1] -= 0.4 * cheek
    light["cheekbones"][4] += cheek
    light["under the eyes"][4] -= 0.10 * person.age
    light["under the lower lip"][1] += 0.2 * movement.jaw_drop
    light["chin"][1] += 0.12 * movement.jaw_drop
    mirrored = [(-x, *rest) for x, *rest in light.values() if x]
    canvas.shade(canvas.project(*head_outline(person, movement)), person.skin, [*light.values(), *mirrored])


def _draw_beard(canvas: Canvas, person: Person, movement: Movement) -> None:
    outline, depth = head_outline(person, movement)
    lower = outline[:, 1] > 0  # from the right temple by the chin to the left one
    edge = np.array([(0.78, 0.34), (0.6, 0.58), (0.46 + 0.06 * movement.corner_pull, 0.68), (0.24, 0.56)])
    shape = np.concatenate([outline[lower], edge * (-1, 1), edge[::-1]])
    depths = np.concatenate([depth[lower], np.full(2 * len(edge), 0.3)])
    canvas.fill(shape, mix(person.hair, (20, 16, 16), 0.2), depths, opacity=0.75)


def _draw_creases(canvas: Canvas, person: Person, movement: Movement) -> None:
    pull, wrinkle, age = movement.corner_pull, movement.nose_wrinkle, person.age
    colour = mix(person.skin, (46, 16, 14), 0.6)

    def crease(points: Points, strength: float, width: float = 0.03, lift: float = 0.0) -> None:
        for side in (-1, 1):
            canvas.stroke(smooth(np.asarray(points) * (side, 1)), width, colour, lift=lift, opacity=min(0.9, strength))

    raised = max(movement.inner_brow_raise, movement.outer_brow_raise)
    slant = max(0.0, movement.inner_brow_raise - movement.outer_brow_raise)
    for row in range(3):
        x = np.linspace(0, 0.5, 5) * (1 - 0.12 * row)
        y = -0.55 - 0.11 * row - 0.08 * raised + 0.05 * np.cos(x * 5) - 0.10 * slant * np.cos(x * 4)
        crease(np.column_stack([x, y]), (0.12 + 0.5 * age) * (0.15 * age + 0.75 * raised), 0.022)
    crease([(0.075, -0.46), (0.055, -0.27)], 0.8 * movement.brow_lower * (1 - 0.5 * movement.inner_brow_raise) + 0.2 * age)
    mouth = 0.30 + 0.16 * pull + 0.08 * movement.lip_stretch
    bow = 0.10 * pull + 0.06 * movement.upper_lip_raise
    nose = 0.36 - 0.08 * wrinkle
    fold = 0.10 + 0.35 * age + 0.5 * max(pull, wrinkle) + 0.2 * movement.upper_lip_raise
    crease([(0.20, nose), (mouth + 0.01 + bow / 2, nose + 0.16), (mouth + 0.10 + bow, nose + 0.36 - 0.06 * pull)], fold)
    eye = 0.11 - 0.03 * movement.cheek_raise
    bag = 0.12 + 0.3 * age + 0.45 * max(movement.cheek_raise, 0.6 * movement.lid_tighten)
    crease([(0.24, eye - 0.03), (0.40, eye + 0.025), (0.56, eye - 0.01)], bag, 0.022)
    for slope in (-0.07, 0.0, 0.07):  # crow's feet
        ends = [(0.68, _EYE_LINE + 0.4 * slope), (0.79, _EYE_LINE + 1.5 * slope)]
        crease(ends, movement.cheek_raise * (0.25 + 0.5 * age) + 0.15 * age, 0.02)
    for step in range(3):
        height = -0.10 + 0.085 * step
        crease([(0.05, height), (0.13 + 0.015 * step, height + 0.06)], 0.55 * wrinkle, 0.026)
    crease([(0.16, 0.04), (0.24, 0.16), (0.22, 0.30)], 0.6 * wrinkle)
    crease([(0.10, 1.0), (0.16, 1.06)], 0.45 * movement.chin_raise, 0.04)
    base = 0.45 + person.nose_length - 0.05 * wrinkle
    wide = person.nose_width * (1 + 0.12 * wrinkle + 0.08 * pull)
    crease([(0, base + 0.055), (0.06 * wide, base + 0.03)], 0.4, lift=0.2)
    wing = [(0.13, base - 0.13), (0.195, base - 0.04), (0.18, base + 0.03), (0.12, base + 0.03)]
    crease(np.multiply(wing, (wide, 1)), 0.62, lift=0.1)
    crease([(0.115, -0.16), (0.085, 0.02), (0.10 * wide, 0.24)], 0.16, lift=0.06)
    for side in (-1, 1):
        canvas.disc(side * 0.09 * wide, base + 0.012, 0.033, mix(person.skin, _DARK, 0.72), lift=0.14)


def _draw_brow(canvas: Canvas, person: Person, movement: Movement, side: int) -> None:
    uneven = 1 + 0.25 * side * movement.asymmetry
    inner, outer, lower = movement.inner_brow_raise * uneven, movement.outer_brow_raise * uneven, movement.brow_lower
    line = _BROW_LINE + 0.07 * movement.nose_wrinkle
    squeeze = 0.07 * lower
    points = [
        (0.17 - squeeze, line - 0.008 - 0.20 * inner + 0.15 * lower * (1 - 0.55 * inner)),
        (0.33 - squeeze * 0.7, line - 0.015 - 0.11 * inner - 0.08 * outer + 0.10 * lower * (1 - 0.6 * inner)),
        (0.52, line - 0.04 - 0.18 * outer + 0.035 * lower),
        (0.68, line + 0.035 - 0.13 * outer + 0.03 * inner * (1 - outer)),
    ]
    curve = smooth(np.array(points) * (side, 1))
    share = np.linspace(0, 1, len(curve))
    widths = person.brow_thickness * (0.075 - 0.055 * share**2) * np.clip(share * 9 + 0.55, 0, 1)
    canvas.stroke(curve, widths, mix(mix(person.hair, _DARK, 0.3), person.skin, 0.1))


def _draw_eye(canvas: Canvas, person: Person, movement: Movement, side: int) -> None:
    droop, outwards = min(1.0, movement.lid_droop), _ACROSS * side  # from -1 at the nose to 1
    upper = 0.098 * person.eye_height + 0.062 * movement.upper_lid_raise - 0.028 * movement.lid_tighten - 0.055 * droop
    upper -= 0.022 * movement.cheek_raise + 0.03 * movement.nose_wrinkle
    lower = 0.062 * person.eye_height + 0.02 * movement.upper_lid_raise - 0.022 * movement.lid_tighten
    lower -= 0.032 * movement.cheek_raise + 0.01 * movement.nose_wrinkle
    corners = _EYE_LINE - 0.03 * (0.1 - droop * (1 - movement.lid_tighten)) * outwards
    # A brow that comes down or goes up at its inner end takes the inner half of the lid with it.
    tilt = 0.018 * movement.brow_lower - 0.022 * movement.inner_brow_raise * (1 - 0.7 * movement.outer_brow_raise)
    arch = (1 - np.abs(outwards) ** 2.3) ** 0.85
    top = corners - arch * (max(upper, 0.014) - tilt * (1 - outwards))  # of the opening; all are (17,)
    bottom = corners + (1 - outwards**2) * max(lower, 0.012)
    x = side * person.eye_spacing + person.eye_width * _ACROSS
    opening = _between(x, top, bottom)
    across, down = side * person.eye_spacing + 0.07 * movement.gaze_across, _EYE_LINE - 0.018 + 0.03 * movement.gaze_down
    with canvas.clip(canvas.project(opening, lift=_SUNK)):
        canvas.fill(opening, mix(_WHITE_OF_EYE, person.skin, 0.12), lift=_SUNK)
        for radius, colour in ((0.098, mix(person.eyes, _DARK, 0.55)), (0.08, person.eyes), (0.044, (14, 11, 11))):
            canvas.disc(across, down, radius, colour, lift=_SUNK)
        canvas.fill(_between(x, top - 0.05, top + 0.018), mix(mix(person.skin, _DARK, 0.5), person.eyes, 0.2), lift=_SUNK)
        canvas.disc(across - 0.034, down - 0.037, 0.0235, (250, 250, 250), lift=_SUNK)
    lashes = 0.028 * (1 - np.abs(_ACROSS) ** 4 * 0.6)
    canvas.stroke(np.column_stack([x + side * 0.012, top]), lashes, mix(_DARK, person.hair, 0.15), lift=_SUNK)
    canvas.stroke(np.column_stack([x, bottom])[2:-2], 0.014, mix(person.skin, (60, 24, 22), 0.5), lift=_SUNK)


def _draw_mouth(canvas: Canvas, person: Person, m: Movement) -> None:
    wide = person.mouth_width + 0.12 * m.corner_pull + 0.09 * m.lip_stretch + 0.03 * m.upper_lip_raise * m.squareness
    wide -= 0.06 * m.lip_pucker + 0.03 * m.jaw_drop + 0.03 * m.lip_press
    line = _MOUTH_LINE + 0.07 * m.jaw_drop - 0.035 * (m.chin_raise + m.upper_lip_raise)
    corner = 0.13 * m.corner_depress + 0.03 * m.lip_stretch - 0.17 * m.corner_pull
    uneven = 1 + 0.3 * m.asymmetry * _ACROSS
    middle = line - 0.35 * corner + corner * np.abs(_ACROSS) ** 1.7 * uneven
    oval = (1 - _ACROSS**2) ** 0.75
    box = (1 - np.abs(_ACROSS) ** 5) ** 0.8
    opening = oval + (box - oval) * min(1.0, m.squareness)  # 0 at the corners to 1 in the middle
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
    x, lips = wide * _ACROSS, mix(person.skin, (158, 44, 54), person.lip_redness)
    canvas.fill(_between(x, gap_top - upper_lip - sneer * 0.5, gap_top + 0.01), mix(lips, _DARK, 0.16))
    canvas.fill(_between(x, gap_bottom - 0.01, gap_bottom + lower_lip), lips)
    if np.max(gap_bottom - gap_top) > 0.035:
        gap = _between(x, gap_top, gap_bottom)
        with canvas.clip(canvas.project(gap)):
            canvas.fill(gap, _INSIDE)
            teeth = 0.075 + 0.02 * m.corner_pull - 0.035 * m.lip_pucker
            canvas.fill(_between(x, gap_top - 0.05, gap_top + teeth), _TEETH)
            if m.squareness > 0.4:
                canvas.fill(_between(x, gap_bottom - 0.05, gap_bottom + 0.05), _TEETH)
    else:
        canvas.stroke(np.column_stack([x, (gap_top + gap_bottom) / 2]), 0.024, mix(lips, _DARK, 0.72))


def _between(x: np.ndarray, upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    return np.concatenate([np.column_stack([x, upper]), np.column_stack([x, lower])[::-1]])


def _draw_behind(canvas: Canvas, person: Person) -> None:
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


def _draw_in_front(canvas: Canvas, person: Person) -> None:
    line = -0.75 - 0.14 * person.hair_volume
    forehead = [(x, y + line * moved) for x, y, moved in _PEOPLE["hairlines"][person.hair_style]]
    right = np.array([*forehead, (0.98, _dome(person)[0, 1])])
    hairline = smooth(np.concatenate([right[::-1] * (-1, 1), right]))
    face = canvas.project(np.concatenate([hairline, [(1.0, 1.2), (-1.0, 1.2)]]))
    canvas.shade(canvas.project(_dome(person), 0.0), person.hair, _PEOPLE["hair light"], without=face)
    if person.hair_style == "curly":
        for angle in 1.6 * np.linspace(-1, 1, 19):
            canvas.disc(0.92 * np.sin(angle), -0.3 - np.cos(angle), 0.14 + 0.12 * person.hair_volume, person.hair, depth=0.0)
        for x, y in hairline[6:-6:3]:
            canvas.disc(x, y - 0.03, 0.1, person.hair)
    if person.glasses:
        frame = mix((36, 32, 34), person.hair, 0.25)
        for side in (-1, 1):
            canvas.stroke(np.add(_RIM, (side * (person.eye_spacing + 0.01), 0.01)), 0.028, frame, lift=0.06)
            canvas.stroke([(side * 0.7, -0.06), (side * 0.97, -0.09)], 0.028, frame)
        canvas.stroke(smooth([(-0.13, -0.02), (0, -0.06), (0.13, -0.02)]), 0.028, frame, lift=0.1)
