"""Which part of a face carried the answer: parts are hidden one after another, and the model is asked again.

Only the model file is needed, so this works for every network. It says what the model looked at, not what the person feels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mien.errors import MienError
from mien.files import write_whole
from mien.images import prepare
from mien.inference.classifier import DEFAULT_MODEL, Classifier
from mien.inference.detection import Detector, open_detector
from mien.inference.drawing import Font
from mien.inference.framing import crop_face
from mien.inference.prediction import Frame, Prediction
from mien.inference.sources import Source, frames

SIDES = (1 / 8, 5 / 24, 7 / 24)
"""Sides of the hidden patches, as shares of the face's: 6, 10 and 14 of 48 pixels."""

STRIDE = 1 / 12
"""Distance between two patches, as a share of the face's side."""

BATCH = 64
"""Faces in memory at once, each with another patch hidden."""

LEAST_FULL = 0.1
"""Fall of the log-odds, at least, that is shown in full colour: less is next to nothing, 2.5 points of probability at 50%."""

MOST_FACES = 32
"""Faces of one call, and rows of one picture, at most."""

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
"""What a picture may be saved as, by the ending of its file."""

REGIONS = (
    ("upper left", "upper middle", "upper right"),
    ("middle left", "centre", "middle right"),
    ("lower left", "lower middle", "lower right"),
)
"""The ninths of a picture, left and right as one looks at it."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """One face, its answer, and what each part of it did for a label; or an image without a face or that could not be read.

    Attributes:
        prediction: the answer, as `predict` gives it.
        label: the label that is explained; None where there is no face.
        face: the face as it was cut out of its image, uint8, (H, W) or (H, W, 3).
        heat: float32, (size, size), in log-odds of the label, over the face as the model takes it: by how much they fall where
            a pixel's surroundings are hidden. Positive speaks for the label, negative against it.
        hidden: probability of the label with the one patch hidden that speaks for it the most.
    """

    prediction: Prediction
    label: str | None = None
    face: np.ndarray | None = None
    heat: np.ndarray | None = None
    hidden: float | None = None

    @property
    def normalised(self) -> np.ndarray | None:
        """The heat from -1 to 1, its strongest pixel at one of these; paler throughout where nothing in the face matters."""
        if self.heat is None:
            return None
        scaled: np.ndarray = self.heat / max(float(np.abs(self.heat).max()), LEAST_FULL)
        return scaled

    @property
    def region(self) -> str | None:
        """The ninth of the picture that speaks the most for the label, such as "lower middle"; None where nothing does."""
        if self.heat is None or self.heat.max() <= 0:
            return None
        for_it = np.maximum(self.heat, 0)
        parts = np.array([[part.sum() for part in np.array_split(row, 3, axis=1)] for row in np.array_split(for_it, 3)])
        row, column = np.unravel_index(parts.argmax(), parts.shape)
        return REGIONS[row][column]


def explain(
    source: Source,
    label: str | None = None,
    model: str | Path | Classifier = DEFAULT_MODEL,
    detector: str | Detector = "auto",
    head: str | None = None,
    faces: bool = False,
    out: str | Path | None = None,
) -> list[Explanation]:
    """Find the faces of images and say which parts of each carried the answer.

    Args:
        source: as for `predict`; of more than 32 faces the first 32 are explained.
        label: the label to explain; of each face the likeliest one, if not given.
        model: a model file, run folder or name of an embedded model, or a classifier that is open already.
        detector: as for `predict`.
        head: how a model with two heads answers, as for `predict`.
        faces: the images are faces already, cut out.
        out: a picture to write, .png, .jpg or .webp: a row for each face; none is written where there is none.

    Returns:
        One or more for every image, in their order: one for each face, the largest first, or one that says that there is none
        or why the image could not be read.

    Raises:
        MienError: if the model or the detector cannot be opened, the model has no such head or label, or the picture cannot
            be written.
    """
    if out is not None and Path(out).suffix.lower() not in FORMATS:
        raise MienError(f"The picture {str(out)!r} must end in {', '.join(FORMATS)}.")
    classifier = model if isinstance(model, Classifier) else Classifier(model, head=head)
    if head is not None:
        classifier = classifier.with_head(head)
    if label is not None:
        classifier.labels.index(label)
    if faces and detector not in ("auto", "none"):
        raise MienError("Faces that are cut out already are not looked for: leave out the detector, or faces.")
    if faces:
        detector = "none"
    finder = open_detector(detector) if isinstance(detector, str) else detector
    every = (found for frame in frames(source) for found in _explained(frame, classifier, finder, label))
    explanations = list(islice(every, MOST_FACES))
    if out is not None and any(each.heat is not None for each in explanations):
        picture = draw_explanations(explanations)
        form = FORMATS[Path(out).suffix.lower()]
        write_whole(Path(out), lambda part: picture.save(part, form))
    return explanations


def _explained(frame: Frame, classifier: Classifier, finder: Detector, label: str | None) -> Iterator[Explanation]:
    row = Prediction(frame.source, classifier.labels, error=frame.error, frame=frame.frame, time=frame.time, note=frame.note)
    found = [] if frame.image is None else finder.detect(frame.image)
    if frame.image is None or not found:
        yield Explanation(row)
        return
    for number, face in enumerate(found):
        (height, width), (x1, y1, x2, y2) = frame.image.shape[:2], face.box
        crop = crop_face(frame.image, face, finder.framing)
        pixels = prepare(crop, classifier.size, classifier.channels)
        probabilities = classifier.predict_proba(pixels[None])[0]
        name = label or classifier.labels[int(probabilities.argmax())]
        heat, hidden = occlusion_map(classifier, pixels, name)
        prediction = Prediction(
            frame.source,
            classifier.labels,
            face=number,
            box=(max(0.0, x1), max(0.0, y1), min(float(width), x2), min(float(height), y2)),
            score=face.score,
            probabilities=probabilities,
            frame=frame.frame,
            time=frame.time,
            note=frame.note,
        )
        yield Explanation(prediction, name, crop, heat, hidden)


def occlusion_map(classifier: Classifier, face: np.ndarray, label: str) -> tuple[np.ndarray, float]:
    """Measure what each part of a face does for a label, by hiding it (Zeiler and Fergus, 2014).

    A patch is blended over with the face's mean, with soft edges: a hard edge is itself something to see for a network. Patches
    of three sizes are moved over the face; a pixel's heat is the mean fall of the log-odds over the patches that cover it, and
    the mean of that over the sizes. The model is asked about 500 times, whatever the size of its faces. On 40 PublicTest faces
    deletion lowers the answer's mean probability to 0.18 and insertion raises it to 0.66 (RISE: 0.16 and 0.62; hard edges: 0.18
    and 0.62; benchmarks/explanation.py).

    Args:
        classifier: the model.
        face: uint8, (size, size) or (size, size, 3), prepared.
        label: one of the model's labels.

    Returns:
        The heat, float32, (size, size), in log-odds, positive where a part speaks for the label; and the least probability of
        the label with one patch hidden.
    """
    index, size = classifier.labels.index(label), classifier.size
    mean = face.mean(axis=(0, 1))
    whole = _log_odds(classifier.predict_proba(face[None]), index)[0]
    heat, least = np.zeros((size, size)), 1.0
    for share in SIDES:
        total, weight = np.zeros((size, size)), np.zeros((size, size))
        every = list(_patches(size, share))
        for start in range(0, len(every), BATCH):
            patches = every[start : start + BATCH]
            images = np.stack([_hide(face, mean, *patch) for patch in patches])
            answers = classifier.predict_proba(images)
            least = min(least, float(answers[:, index].min()))
            for (area, window), fall in zip(patches, whole - _log_odds(answers, index), strict=True):
                total[area] += fall * window
                weight[area] += window
        heat += total / np.maximum(weight, 1e-6) / len(SIDES)
    return heat.astype(np.float32), least


def _log_odds(probabilities: np.ndarray, index: int) -> np.ndarray:
    """Give log(p / (1 - p)) of one label; 1 - p as the sum of the others, which keeps small ones exact."""
    exact = probabilities.astype(np.float64)
    others = np.delete(exact, index, axis=1).sum(axis=1)
    odds: np.ndarray = np.log(np.maximum(exact[:, index], 1e-9)) - np.log(np.maximum(others, 1e-9))
    return odds


def _patches(size: int, share: float) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
    """List where patches lie in a face, and how much of each pixel they hide, 0 to 1; some reach over the border."""
    side, stride = max(2, round(size * share)), max(1, round(size * STRIDE))
    across = (np.arange(side) + 0.5) / side * 2 - 1
    profile = np.clip(2 * (1 - np.abs(across)), 0, 1)  # flat in the inner half
    window = np.outer(profile, profile)
    starts = range(-(side // 2), size - side // 2 + 1, stride)
    for top in starts:
        for left in starts:
            area = slice(max(0, top), min(size, top + side)), slice(max(0, left), min(size, left + side))
            inner = slice(area[0].start - top, area[0].stop - top), slice(area[1].start - left, area[1].stop - left)
            yield area, window[inner]


def _hide(face: np.ndarray, mean: np.ndarray, area: tuple[slice, slice], window: np.ndarray) -> np.ndarray:
    hidden = face.copy()
    share = window if face.ndim == 2 else window[:, :, None]
    hidden[area] = np.rint(face[area] * (1 - share) + mean * share)
    return hidden


# The picture of explanations: for each face a row with the face, its heat map, and what the two say in words.

PANEL, GAP, WORDS = 256, 24, 300
"""Pixels: the longer side of a face, the room around everything, and the width of the words."""

FOR, AGAINST = (235, 100, 0), (60, 100, 235)
"""Orange and blue, which the colour-blind tell apart as well."""

LIGHTENED = 60
"""What black becomes in the gray picture, 0 to 255: on black hair no colour would be seen."""

STRONGEST = 0.8
"""Share of the colour where the heat is strongest; the face shows through."""

PAPER, INK, FAINT, FRAME = (255, 255, 255), (20, 20, 20), (95, 95, 95), (160, 160, 160)
"""White paper with a frame: it can be read on a light and on a dark page."""

LARGE, SMALL = 22, 14
"""Sizes of the text in pixels."""

Colour = tuple[int, int, int]


def draw_explanations(explanations: Sequence[Explanation]) -> Image.Image:
    """Draw a row for each face: the face as a person sees it, its heat over its gray picture, its answer, and a colour bar.

    Args:
        explanations: those without a face are left out; at least one must have one.

    Returns:
        RGB.
    """
    rows = [each for each in explanations if each.heat is not None]
    size = 4 * GAP + 2 * PANEL + WORDS, GAP + (PANEL + GAP) * len(rows)
    picture = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, size[0] - 1, size[1] - 1), outline=FRAME)
    several = len({each.prediction.source for each in rows}) < len(rows)
    for number, each in enumerate(rows):
        top = GAP + number * (PANEL + GAP)
        for column, panel in enumerate(_panels(each)):
            left = GAP + column * (PANEL + GAP)
            picture.paste(panel, (left + (PANEL - panel.width) // 2, top + (PANEL - panel.height) // 2))
        _write(picture, draw, each, (3 * GAP + 2 * PANEL, top), several)
    return picture


def _panels(each: Explanation) -> tuple[Image.Image, Image.Image]:
    """Draw the face, and its heat over its gray picture, both as large as a panel and of the face's own proportions."""
    assert each.face is not None
    heat = each.normalised
    assert heat is not None
    face = Image.fromarray(each.face)
    zoom = PANEL / max(face.size)
    size = max(1, round(face.width * zoom)), max(1, round(face.height * zoom))
    face = face.resize(size, Image.Resampling.BICUBIC if zoom > 1 else Image.Resampling.LANCZOS)
    # floats, resized before they become colours: the colours between two are not what lies between their values
    smooth = np.asarray(Image.fromarray(heat.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
    gray = LIGHTENED + np.asarray(face.convert("L"), dtype=np.float64) * (1 - LIGHTENED / 255)
    return face.convert("RGB"), Image.fromarray(_coloured(gray, smooth))


def _coloured(gray: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Lay colour over gray, (H, W) from 0 to 255: orange where the heat, -1 to 1, is above 0, blue where it is below."""
    share = (STRONGEST * np.abs(heat))[:, :, None]
    colour = np.where(heat[:, :, None] > 0, np.array(FOR, float), np.array(AGAINST, float))
    mixed = gray[:, :, None] * (1 - share) + colour * share
    coloured: np.ndarray = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return coloured


def _write(picture: Image.Image, draw: ImageDraw.ImageDraw, each: Explanation, corner: tuple[int, int], several: bool) -> None:
    """Write what a face shows, and what the colours mean."""
    prediction = each.prediction
    assert prediction.probabilities is not None
    shown = {name: float(p) for name, p in zip(prediction.labels, prediction.probabilities, strict=True)}
    rival = max((name for name in shown if name != each.label), key=lambda name: shown[name], default=None)
    left, top = corner
    large, small = ImageFont.load_default(LARGE), ImageFont.load_default(SMALL)
    where = Path(prediction.source).name + (f", face {prediction.face}" if several else "")
    if prediction.time is not None:
        where += f", {prediction.time:.1f} s"
    lines: list[tuple[str, Font, Colour, int]] = [(f"{each.label} {shown[each.label or '']:.0%}", large, INK, 34)]
    if rival is not None:
        ahead = shown[rival] > shown[each.label or ""]
        lines.append((f"{'the answer is' if ahead else 'then'} {rival} {shown[rival]:.0%}", small, INK, 22))
    lines.append((where, small, FAINT, 40))
    for text, font, colour, step in lines:
        draw.text((left, top), _fitted(text, font), fill=colour, font=font)
        top += step
    bar = np.linspace(-1, 1, WORDS, dtype=np.float64)[None].repeat(16, axis=0)
    picture.paste(Image.fromarray(_coloured(np.full(bar.shape, 150.0), bar)), (left, top))
    draw.rectangle((left - 1, top - 1, left + WORDS, top + 16), outline=FRAME)
    draw.text((left, top + 22), "against it", fill=INK, font=small)
    draw.text((left + WORDS, top + 22), f"for {_shortened(each.label or '')}", fill=INK, font=small, anchor="ra")
    for number, line in enumerate(_story(each)):
        draw.text((left, top + 56 + number * 20), _fitted(line, small), fill=INK, font=small)


def _story(each: Explanation) -> tuple[str, ...]:
    if each.region is None or each.hidden is None:
        return ("No part of the face speaks for it.",)
    return f"Most of it comes from the {each.region}.", f"With its strongest patch hidden: {each.label} {each.hidden:.0%}"


def _shortened(text: str, longest: int = 20) -> str:
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def _fitted(text: str, font: Font) -> str:
    """Cut letters out of the middle of a line until it is no wider than the words may be."""
    text, kept = " ".join(text.split()), len(text)
    shorter = text
    while font.getlength(shorter) > WORDS and kept > 2:
        kept -= 1
        shorter = f"{text[: kept // 2]}...{text[len(text) - (kept - kept // 2) :]}"
    return shorter
