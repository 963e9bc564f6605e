"""Explain predictions: hide parts of a face one after another, and measure how the probability of a label changes."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageDraw

from mien.errors import MienError, load_table, printable, shortened
from mien.files import EXPLAINED, write_whole
from mien.inference.classifier import DEFAULT_MODEL, Classifier, Prior, open_classifier
from mien.inference.detection import Detector, FaceCropper
from mien.inference.drawing import Text, choose_fonts, draw_text, measure_text, set_text
from mien.inference.output import check_out
from mien.inference.pipeline import FacePipeline
from mien.inference.prediction import Prediction
from mien.inference.sources import Source, listed

MOST_FACES = 32  # most faces of one call, and most rows of one picture
PANEL, GAP, WORDS = 256, 24, 300  # pixels: the longer side of a face, the margins, and the width of the text
LARGE, SMALL = 22, 14  # text sizes in pixels
_LOOK = SimpleNamespace(**load_table(__file__))
Fonts = Mapping[str, str | None]  # files by words, as `choose_fonts` gives them
SOFTWARE = "mien explain"  # EXIF tag Software of the picture, by which `EXPLAINED` recognises it


@dataclass(frozen=True, eq=False)
class Explanation:
    """One face, its prediction, and the effect of each part of it on a label; or an image without a face or with an error."""

    prediction: Prediction  # as by `predict`
    label: str | None = None  # which is explained; None if there is no face
    face: np.ndarray | None = None  # cropped, uint8, (H, W) or (H, W, 3)
    heat: np.ndarray | None = None  # float32, (size, size): how far the label's log-odds fall if the surroundings are hidden
    hidden: float | None = None  # lowest probability of the label with one patch hidden

    @property
    def normalised(self) -> np.ndarray | None:
        """The heat scaled to -1 to 1 by its largest absolute value, which counts as 0.1 at least."""
        return None if self.heat is None else np.asarray(self.heat / max(float(np.abs(self.heat).max()), _LOOK.least_full))

    @property
    def region(self) -> str | None:
        """The ninth of the picture with the most support for the label, such as "lower middle"; None if there is none."""
        if self.heat is None or self.heat.max() <= 0:
            return None
        rows = np.array_split(np.maximum(self.heat, 0), 3)
        support = [part.sum() for row in rows for part in np.array_split(row, 3, axis=1)]
        return str(_LOOK.regions[int(np.argmax(support))])


def explain(
    source: Source,
    label: str | None = None,
    model: str | Path | Classifier = DEFAULT_MODEL,
    detector: str | Detector = "auto",
    head: str | None = None,
    prior: Prior | None = None,
    faces: bool = False,
    out: str | Path | None = None,
    font: str | None = None,
    labels: dict[Any, Any] | None = None,
    fetch: bool = False,
) -> list[Explanation]:
    """Find the faces of images and measure which parts of each determine its prediction.

    Args:
        source: as for `predict`; only the first 32 faces are explained.
        label: the label to explain; by default the most likely one of each face.
        model: a model file, run folder or name of an embedded model, or an open classifier.
        detector: as for `predict`.
        head: output of a model with two heads, as for `predict`.
        prior: how often each label is expected, as for `predict`.
        faces: the images are cropped faces already.
        out: a picture to write, .png, .jpg or .webp: a row for each face; not written if there is no face.
        font: a font file for the text in the picture, as for `predict`.
        labels: what becomes of the model's labels, as for `predict`.
        fetch: download the photos whose http or https address is given.

    Returns:
        One or more for every image, in order: one for each face, the largest first, or one that says that there is no face or
        that the image could not be read.

    Raises:
        MienError: if the model, the detector or the font cannot be opened, the model has no such head or label, or the picture
            cannot be written.
    """
    if out is not None:
        check_out(out, source, model, detector, font, kind=EXPLAINED)
        if Path(out).suffix.lower() not in _LOOK.formats:
            raise MienError(f"The picture {str(out)!r} must end in {', '.join(_LOOK.formats)}.")
    pipeline = FacePipeline(open_classifier(model, head, prior, labels), FaceCropper(detector, faces=faces), keep=True)
    choose_fonts((), font)
    if label is not None:
        label = pipeline.classifier.labels[pipeline.classifier.labels.index(label)]
    explanations: list[Explanation] = []
    with closing(pipeline.run(listed(source, fetch=fetch))) as images:
        rows = chain.from_iterable(zip_longest(image.rows, image.crops, image.prepared) for image in images)
        for row, crop, face in islice(rows, MOST_FACES):
            name = label or row.label
            if face is None or row.error or not name:
                explanations.append(Explanation(row))
            else:
                explanations.append(Explanation(row, name, crop, *occlusion_map(pipeline.classifier, face, name)))
    if out is not None and any(each.heat is not None for each in explanations):
        picture = draw_explanations(explanations, font)
        form, exif = _LOOK.formats[Path(out).suffix.lower()], Image.Exif()
        exif[ExifTags.Base.Software] = SOFTWARE
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        write_whole(Path(out), lambda part: picture.save(part, form, exif=exif), EXPLAINED)
    return explanations


def occlusion_map(classifier: Classifier, face: np.ndarray, label: str) -> tuple[np.ndarray, float]:  # heat, hidden
    """Measure the effect of each part of a face on a label by hiding it (Zeiler and Fergus, 2014): see docs/explain.md."""
    index, size = classifier.labels.index(label), classifier.size
    mean = face.mean(axis=(0, 1))
    log_odds = _log_odds(classifier.predict_proba(face[None]), index)
    heat, lowest = np.zeros((size, size)), 1.0
    for share in _LOOK.sides:
        total, weight = np.zeros((size, size)), np.zeros((size, size))
        side, stride = max(2, round(size * share)), max(1, round(size / 12))  # pixels of a patch, and from one to the next
        starts = np.arange(-(side // 2), size - side // 2 + 1, stride)
        across = (np.arange(size) + 0.5 - starts[:, None]) / side * 2 - 1  # -1 to 1 over the patch
        profiles = np.clip(2 * (1 - np.abs(across)), 0, 1)  # (P, size): opacity along a side, 1 in the inner half of a patch
        for down in profiles:  # a row of patches
            opacity = down[:, None] * profiles[:, None]  # (P, size, size)
            cover = opacity if face.ndim == 2 else opacity[..., None]
            hidden = np.rint(face * (1 - cover) + mean * cover).astype(np.uint8)
            probabilities = classifier.predict_proba(hidden)
            lowest = min(lowest, float(probabilities[:, index].min()))
            total += np.tensordot(log_odds - _log_odds(probabilities, index), opacity, axes=1)
            weight += opacity.sum(axis=0)
        heat += total / np.maximum(weight, 1e-6) / len(_LOOK.sides)
    return heat.astype(np.float32), lowest


def _log_odds(probabilities: np.ndarray, index: int) -> np.ndarray:
    """Compute log(p / (1 - p)) of one label, 1 - p as the sum of the others, which is exact for small ones."""
    exact = probabilities.astype(np.float64)
    others = np.delete(exact, index, axis=1).sum(axis=1)
    return np.asarray(np.log(np.maximum(exact[:, index], 1e-9)) - np.log(np.maximum(others, 1e-9)))


def draw_explanations(explanations: Sequence[Explanation], font: str | None = None) -> Image.Image:
    """Draw a row for each face: the face, its heat over its gray picture, its prediction, and a colour bar, in RGB."""
    rows = [each for each in explanations if each.heat is not None]
    size = 4 * GAP + 2 * PANEL + WORDS, GAP + (PANEL + GAP) * len(rows)
    picture = Image.new("RGB", size, _LOOK.paper)
    ImageDraw.Draw(picture).rectangle((0, 0, size[0] - 1, size[1] - 1), outline=_LOOK.frame)
    several = len({each.prediction.source for each in rows}) < len(rows)
    names = [Path(each.prediction.source).name for each in rows]
    fonts = choose_fonts((*rows[0].prediction.labels.names, *map(printable, names)), font)
    for number, each in enumerate(rows):
        top = GAP + number * (PANEL + GAP)
        face = Image.fromarray(np.asarray(each.face))
        zoom = PANEL / max(face.size)
        side = max(1, round(face.width * zoom)), max(1, round(face.height * zoom))
        face = face.resize(side, Image.Resampling.BICUBIC if zoom > 1 else Image.Resampling.LANCZOS)
        # resize the values, not the colours: interpolated colours do not correspond to interpolated values
        smooth = np.asarray(Image.fromarray(np.asarray(each.normalised)).resize(side, Image.Resampling.BILINEAR))
        gray = _LOOK.lightened + np.asarray(face.convert("L"), dtype=np.float64) * (1 - _LOOK.lightened / 255)
        for column, panel in enumerate((face.convert("RGB"), Image.fromarray(_coloured(gray, smooth)))):
            left = GAP + column * (PANEL + GAP)
            picture.paste(panel, (left + (PANEL - panel.width) // 2, top + (PANEL - panel.height) // 2))
        _draw_text(picture, each, 3 * GAP + 2 * PANEL, top, several, fonts)
    return picture


def _coloured(gray: np.ndarray, heat: np.ndarray) -> np.ndarray:  # (H, W) from 0 to 255, (H, W) from -1 to 1
    opacity = (_LOOK.strongest * np.abs(heat))[:, :, None]
    mixed = gray[:, :, None] * (1 - opacity) + np.where(heat[:, :, None] > 0, _LOOK.supporting, _LOOK.opposing) * opacity
    return np.asarray(np.clip(np.rint(mixed), 0, 255).astype(np.uint8))


def _draw_text(picture: Image.Image, each: Explanation, left: int, top: int, several: bool, fonts: Fonts) -> None:
    prediction, label, shown = each.prediction, each.label or "", each.prediction.shares
    rival = max((name for name in shown if name != label), key=shown.__getitem__, default=None)
    draw = ImageDraw.Draw(picture)

    def write(text: str, down: int, size: int = SMALL, fill: str = _LOOK.ink, to_right: bool = False) -> None:
        fitted = _fitted(text, size, fonts)
        x = left + (WORDS - measure_text(fitted)[0] if to_right else 0)
        draw_text(draw, x, top + down + size, fitted, fill)

    write(f"{label} {shown[label]:.0%}", 0, LARGE)
    top += 34
    if rival is not None:
        write(f"{'the prediction is' if shown[rival] > shown[label] else 'then'} {rival} {shown[rival]:.0%}", 0)
        top += 22
    where = f" (face {prediction.face})" if several else ""
    where += "" if prediction.time is None else f" at {prediction.time:.1f} s"
    write(printable(Path(prediction.source).name) + where, 0, fill=_LOOK.faint)
    top += 40
    bar = np.linspace(-1, 1, WORDS, dtype=np.float64)[None].repeat(16, axis=0)
    picture.paste(Image.fromarray(_coloured(np.full(bar.shape, 150.0), bar)), (left, top))
    draw.rectangle((left - 1, top - 1, left + WORDS, top + 16), outline=_LOOK.frame)
    write("against it", 22)
    write(f"for {shortened(label, 20)}", 22, to_right=True)
    write(f"Most support comes from the {each.region}." if each.region else "No part of the face supports it.", 56)
    if each.region:
        write(f"With its strongest patch hidden: {label} {each.hidden:.0%}", 76)


def _fitted(text: str, size: int, fonts: Fonts) -> Text:  # without letters in the middle where it would be too wide
    text = " ".join(text.split())
    line, kept = set_text(text, size, fonts), len(text)
    while measure_text(line)[0] > WORDS and kept > 2:
        kept -= 1
        line = set_text(f"{text[: kept // 2]}...{text[len(text) - (kept - kept // 2) :]}", size, fonts)
    return line
