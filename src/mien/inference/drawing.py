"""Draw predictions into images and videos, readable on any background and in any script, and plot the tracks of videos."""

import io
import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, count, groupby
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import ExifTags, Image, ImageDraw, ImageFont, features

from mien.errors import LOGGER, MienError, check_number, load_table
from mien.files import DRAWN, identity, sweep, write_whole
from mien.images import ImageSource, read_image
from mien.inference.prediction import Prediction
from mien.inference.video import SOFTWARE, VIDEO_SUFFIX, DrawnVideo, saving
from mien.inputs import reason_of, special_kind

_LOOK = SimpleNamespace(**load_table(__file__))
COLOURS = _LOOK.colours
PLOT_SUFFIX = ".tracks.png"
Area = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels
Text = list[tuple[str, ImageFont.FreeTypeFont]]  # a line of text in parts, each with its font


@lru_cache(maxsize=64)
def choose_fonts(texts: tuple[str, ...], font: str | None = None) -> Mapping[str, str | None]:
    """Choose a font file for each word of some texts: the given one, else Pillow's own (None), else an installed one."""
    try:
        if font is not None and special_kind(font):
            raise OSError  # a pipe, which Pillow would wait for
        _open_font(font, 16)
    except OSError:
        raise MienError(f"{str(font)!r} is not a font that can be used; name a .ttf, .otf or .ttc file with --font.") from None
    words = dict.fromkeys(" ".join(texts).split(" "))
    drawn = {char for char in "".join(words) if unicodedata.category(char) not in ("Cf", "Cc") and char != "\ufe0f"}
    own = (None,) if font is None else (font, None)
    able: dict[str | None, set[str]] = {}
    for file in chain.from_iterable(files() for files in (lambda: own, installed_fonts)):
        try:
            basic = ImageFont.Layout.BASIC
            loaded = ImageFont.load_default(16) if file is None else ImageFont.truetype(file, 16, layout_engine=basic)
            absent, masks = loaded.getmask("\U0010ffff"), {letter: loaded.getmask(letter) for letter in drawn}
            # it draws what it lacks as a code point that is no letter
            lacking = {letter for letter, mask in masks.items() if (mask.size, bytes(mask)) == (absent.size, bytes(absent))}
        except (OSError, ValueError):  # it cannot be used
            lacking = drawn
        able[file] = {word for word in words if not lacking.intersection(word)}
        if set(words) == set().union(*able.values()):
            break
    best = sorted(able, key=lambda file: (file in own, file == font, len(able[file])), reverse=True)
    chosen = {word: next((file for file in best if word in able[file]), own[0]) for word in words}
    if missing := [word for word in words if not any(word in having for having in able.values())]:
        none_has = f"neither {font!r} nor an installed font has" if font else "no installed font has"
        LOGGER.warning("mien: %s the letters of %s; name a font file that has, with --font", none_has, ", ".join(missing))
    if any(unicodedata.bidirectional(char) in ("R", "AL") for char in drawn) and not features.check("raqm"):
        LOGGER.warning("mien: Arabic and Hebrew are drawn in the wrong order, since Pillow finds no FriBiDi here; install it")
    return chosen


@lru_cache(maxsize=1)
def installed_fonts() -> list[str]:
    """List the installed font files, those of a plain style first."""
    folders = [Path(os.path.expandvars(folder)).expanduser() for folder in _LOOK.folders]
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix.lower() in (".ttf", ".otf", ".ttc")]
    files.sort(key=lambda path: (any(style in path.stem.lower() for style in _LOOK.styles), path.name))
    return [str(path) for path in files if not path.stem.startswith("LastResort")]  # placeholders for all letters


@lru_cache(maxsize=32)
def _open_font(file: str | None, size: float) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size) if file is None else ImageFont.truetype(file, size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def set_text(text: str, size: float, fonts: Mapping[str, str | None]) -> Text:
    """Split a line of text into parts by the fonts of its words, from `choose_fonts`; Pillow's own for others."""
    parts: Text = []
    for file, words in groupby(text.split(" "), key=fonts.get):
        parts += [(" ", _open_font(None, size))] if parts else []  # a part of its own: Arabic ends at the left
        parts.append((" ".join(words), _open_font(file, size)))
    return parts


def measure_text(text: Text) -> tuple[float, float, float]:
    """Return the width of a line of text, and its top and bottom relative to its baseline."""
    boxes = [font.getbbox(part, anchor="ls") for part, font in text]
    return sum(font.getlength(part) for part, font in text), min(box[1] for box in boxes), max(box[3] for box in boxes)


def draw_text(draw: ImageDraw.ImageDraw, x: float, baseline: float, text: Text, fill: str | tuple[int, ...]) -> None:
    """Draw a line of text from x on."""
    for part, font in text:
        draw.text((x, baseline), part, fill=fill, font=font, anchor="ls")
        x += font.getlength(part)


def annotate(
    image: ImageSource,
    predictions: Prediction | Iterable[Prediction],
    enlarge: bool = True,
    text_size: float = 0.0,
    font: str | None = None,
) -> Image.Image:
    """Draw the boxes and labels of predictions, or "no face", on a copy of an image: an RGB picture, which notebooks show.

    Args:
        image: the image that was predicted: a path, bytes, a Pillow image, or an array (H, W) or (H, W, 3).
        predictions: its predictions, at least one; those of `mien.predict` for one photo, or for one frame.
        enlarge: enlarge small images, so that labels have room.
        text_size: height of the text in pixels; 0 for one by the size of the faces.
        font: a font file for the labels; by default one that has their letters.

    Raises:
        MienError: if the image cannot be read, there are no predictions, or the font cannot be used.
    """
    check_number("The text size", text_size, 0, 1000, whole=False)
    if not (predictions := [predictions] if isinstance(predictions, Prediction) else list(predictions)):
        raise MienError("There are no predictions to draw; mien.predict gives one at least for each image.")
    picture = Image.fromarray(read_image(image)).convert("RGB")
    zoom = max(1.0, _LOOK.smallest / max(picture.size)) if enlarge else 1.0
    if zoom > 1:
        picture = picture.resize((round(picture.width * zoom), round(picture.height * zoom)), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    line = max(2, round(max(picture.size) / 320))
    edge = line // 2
    faces: list[tuple[Area, str, str]] = []  # box, colour and label
    for prediction in predictions:
        if prediction.box is not None and prediction.probabilities is not None:
            x1, y1, x2, y2 = (edge * zoom for edge in prediction.box)
            colour = COLOURS[int(prediction.probabilities.argmax()) % len(COLOURS)]
            track = "" if prediction.track is None else f"#{prediction.track} "
            text = f"{track}{prediction.label} {prediction.confidence:.0%}{'?' if prediction.unsure else ''}"
            faces.append(((x1, y1, x2, y2), colour, text))
            # a light line between two dark ones, so that one of them stands out on any background
            for grow, thickness, ink in ((edge, line + 2 * edge, "black"), (0, line, colour)):
                draw.rectangle((x1 - grow, y1 - grow, max(x1, x2) + grow, max(y1, y2) + grow), outline=ink, width=thickness)
    size = text_size or choose_text_size([box for box, _, _ in faces], max(picture.size))
    fonts = choose_fonts(predictions[0].labels.names, font)
    labels: list[Area] = []
    for box, colour, text in faces or [((1.0, 1.0, 1.0, 1.0), "white", "error" if predictions[0].error else "no face")]:
        label = set_text(text, size, fonts if faces else {})
        margin, (width, top, bottom) = max(2, round(label[-1][1].size / 6)), measure_text(label)
        area = _place((width + 2 * margin, bottom - top + 2 * margin), picture.size, box, 2 * line, labels)
        draw.rectangle(area, fill=colour, outline="black")
        draw_text(draw, area[0] + margin, area[1] + margin - top, label, "black")
        labels.append(area)
    return picture


def choose_text_size(boxes: Sequence[Area], longest: int) -> float:
    """Choose one size for all labels, so that most are hardly wider than their face; `longest` is the picture's longer side."""
    largest = max(16.0, longest / 28)
    return float(np.clip(np.median([x2 - x1 for x1, _, x2, _ in boxes]) / 6, 13, largest)) if boxes else largest


def _place(label: tuple[float, float], size: tuple[int, int], box: Area, gap: float, labels: Sequence[Area]) -> Area:
    (width, height), (x1, y1, x2, y2) = label, box
    right, middle = x2 - width, (x1 + x2 - width) / 2
    # upper left corners, best first; all touch the box, so that the label is not read as a neighbour's
    corners = [(x, y) for y in (y1 - height - gap, y1 + gap, y2 - height - gap, y2 + gap) for x in (x1, right, middle)]
    sides = x2 + gap, x1 - width - gap, x1 + gap, right - gap
    corners += [(x, y) for y in (y1, (y1 + y2 - height) / 2, y2 - height) for x in sides]
    inside = [(max(1.0, min(x, size[0] - 2 - width)), max(1.0, min(y, size[1] - 2 - height))) for x, y in corners]
    return min(((x, y, x + width, y + height) for x, y in inside), key=lambda area: _covered(area, labels))


def _covered(area: Area, others: Sequence[Area]) -> float:
    shared = np.minimum(area[2:], np.reshape(others, (-1, 4))[:, 2:]) - np.maximum(area[:2], np.reshape(others, (-1, 4))[:, :2])
    return float(shared.clip(min=0).prod(axis=1).sum())


@dataclass(eq=False)
class TrackHistory:
    """The predictions of one track."""

    points: list[tuple[float, int, np.ndarray]] = field(default_factory=list)  # time, run, probabilities (K,)
    frames: int = 0  # including those of dropped points
    run: int = -1  # a new one begins after a frame without the face


@dataclass(eq=False)
class VideoHistory:
    """The predictions of one video: the history of each track by its number."""

    spacing: float  # time between two frames in seconds
    tracks: dict[int, TrackHistory] = field(default_factory=dict)
    labels: Sequence[str] = ()
    left_out: int = 0  # dropped tracks
    end: float = 0.0  # of the last frame in seconds
    previous: set[int | None] = field(default_factory=set)  # tracks of the previous frame

    def add(self, predictions: Sequence[Prediction]) -> None:
        """Add the predictions of a frame."""
        for prediction in predictions:
            if prediction.time is None:
                continue
            self.end = max(self.end, prediction.time + self.spacing)
            if prediction.track is None or prediction.probabilities is None:
                continue
            self.labels = prediction.labels.names
            track = self.tracks.setdefault(prediction.track, TrackHistory())
            track.run += prediction.track not in self.previous
            track.points.append((prediction.time, track.run, prediction.probabilities))
            track.frames += 1
            if len(track.points) > _LOOK.most_points:
                del track.points[1::2]
        self.previous = {prediction.track for prediction in predictions}
        if len(self.tracks) > _LOOK.most_kept:
            self.left_out += len(self.tracks)
            self.tracks = dict(self.longest(_LOOK.most_kept // 2))
            self.left_out -= len(self.tracks)

    def longest(self, count: int) -> list[tuple[int, TrackHistory]]:
        """Return the tracks with the most frames, ordered by number."""
        return sorted(sorted(self.tracks.items(), key=lambda track: -track[1].frames)[:count])


def plot_tracks(history: VideoHistory, font: str | None = None) -> Image.Image | None:
    """Plot the stacked probabilities of each track over time, in the labels' colours; None without matplotlib."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError:
        LOGGER.warning("mien: the tracks are not plotted without matplotlib; run: pip install 'mien[evaluate]'")
        return None
    tracks = history.longest(_LOOK.most_panels)
    colours = [COLOURS[number % len(COLOURS)] for number in range(len(history.labels))]
    figure = Figure(figsize=(9, 0.8 + 1.1 * len(tracks)), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.04))
    panels = figure.subplots(len(tracks), sharex=True, squeeze=False)[:, 0]
    for (number, track), panel in zip(tracks, panels, strict=True):
        for _, points in groupby(track.points, key=lambda point: point[1]):  # of each run
            times, _, probabilities = zip(*points, strict=True)
            areas = [*times, times[-1] + history.spacing], np.transpose([*probabilities, probabilities[-1]])  # (T,), (K, T)
            panel.stackplot(*areas, colors=colours, edgecolor="white", linewidth=0.3)
        panel.set(ylim=(0, 1), xlim=(0, history.end), yticks=(0, 0.5, 1), facecolor="#f3f4f6")
        panel.set_ylabel(f"#{number}", rotation=0, ha="right", va="center", fontsize=11)
        panel.tick_params(length=0, labelsize=8, colors="#6b7785")
        panel.spines[:].set_visible(False)
        panel.grid(axis="y", color="#1d2733", alpha=0.25, linewidth=0.5)
    left_out = history.left_out + len(history.tracks) - len(tracks)
    seconds = f"seconds; {left_out} shorter tracks left out" if left_out else "seconds"
    panels[-1].set_xlabel(seconds, fontsize=9, color="#6b7785")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, facecolor="white")
    return _with_legend(Image.open(buffer).convert("RGB"), history.labels, colours, font)


def _with_legend(plot: Image.Image, labels: Sequence[str], colours: Sequence[str], font: str | None) -> Image.Image:
    """Add the labels with their colours above a plot: matplotlib would neither search for fonts nor join Arabic letters."""
    fonts = choose_fonts(tuple(labels), font)
    texts = [set_text(label, _LOOK.legend_size, fonts) for label in labels]
    spacing = 4 * _LOOK.legend_size + round(max(measure_text(text)[0] for text in texts))
    columns = max(1, (plot.width - _LOOK.legend_size) // spacing)
    top = _LOOK.legend_size * (1 + 2 * -(-len(texts) // columns))
    picture = Image.new("RGB", (plot.width, plot.height + top), "white")
    picture.paste(plot, (0, top))
    draw = ImageDraw.Draw(picture)
    for number, (text, colour) in enumerate(zip(texts, colours, strict=True)):
        x, y = _LOOK.legend_size + number % columns * spacing, _LOOK.legend_size * (1 + 2 * (number // columns))
        draw.rectangle((x, y, x + 2 * _LOOK.legend_size, y + 0.7 * _LOOK.legend_size), fill=colour)
        draw_text(draw, x + 2.5 * _LOOK.legend_size, y + 0.7 * _LOOK.legend_size, text, "black")
    return picture


class AnnotationWriter:
    """A folder of annotated pictures and videos, in the folders below `roots`; it replaces only files that mien drew."""

    def __init__(self, folder: Path, font: str | None = None, roots: Sequence[Path] = ()) -> None:
        self.folder, self._font, self._roots = folder, font, roots
        self._names: set[str] = set()
        self._numbers: dict[tuple[str, tuple[str, ...]], int] = {}
        self._drawn: DrawnVideo | None = None  # the video in progress, of which the next three are
        self._source, self._frame, self._text_size = Path(), -1, 0.0
        with saving("folder", folder, "made"):
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK):
                raise OSError("it is not writable")
        sweep(folder)

    def add(self, image: np.ndarray | None, predictions: Sequence[Prediction], rate: float | None = None) -> None:
        """Draw an image's predictions and save the picture; a video, whose frames have a `rate`, when another follows."""
        first, source = predictions[0], Path(predictions[0].source)
        if self._drawn is not None and (source != self._source or first.frame is None or first.frame <= self._frame):
            self.close()
        if image is None:
            return  # the frame before is shown until the next
        if rate is None:
            suffix = ".jpg" if source.suffix.lower() in (".jpg", ".jpeg", ".jpe", ".jfif") else ".png"
            self._write(annotate(image, predictions, font=self._font), f"{self._stem(source, (suffix,))}{suffix}")
            return
        if self._drawn is None:
            stem = self._stem(source, (VIDEO_SUFFIX, PLOT_SUFFIX))
            self._drawn = DrawnVideo(self.folder, stem, (image.shape[1], image.shape[0]), rate)
            self._source, self._history, self._text_size = source, VideoHistory(1 / rate), 0.0
        self._frame = first.frame or 0
        if boxes := [prediction.box for prediction in predictions if prediction.box is not None]:
            wanted = choose_text_size(boxes, max(image.shape[:2]))
            self._text_size += _LOOK.text_smoothing * (wanted - self._text_size) if self._text_size else wanted
        picture = annotate(image, predictions, enlarge=False, text_size=self._text_size, font=self._font)
        self._drawn.add(picture, first.time or 0.0)
        self._history.add(predictions)

    def close(self) -> None:
        """Finish the video in progress, if any, and plot its tracks; a warning says which of them cannot be saved."""
        video, self._drawn = self._drawn, None
        if video is None:
            return
        try:
            video.close()
            if self._history.tracks and (plot := plot_tracks(self._history, self._font)):
                self._write(plot, f"{video.path.relative_to(self.folder).with_suffix('')}{PLOT_SUFFIX}")
        except Exception as problem:
            LOGGER.warning("mien: %r is not drawn (%s)", str(video.path), reason_of(problem))

    def _write(self, picture: Image.Image, name: str) -> None:
        path, exif = self.folder / name, Image.Exif()
        exif[ExifTags.Base.Software] = SOFTWARE
        form = "JPEG" if path.suffix == ".jpg" else "PNG"
        with saving("picture", path):
            write_whole(path, lambda part: picture.save(part, form, quality=92, exif=exif), durable=False)

    def _stem(self, source: Path, suffixes: tuple[str, ...]) -> str:
        """Choose a path in the folder that is free with all suffixes: images of several folders may share a name."""
        below = next((source.relative_to(root).parent for root in self._roots if root in source.parents), Path())
        stem = source.stem.encode(errors="ignore")[:150].decode(errors="ignore") or "image"  # addresses may be longer
        key = str(below / stem).casefold(), suffixes
        for number in count(self._numbers.get(key, 1)):  # smaller ones are taken
            name = str(below / (stem if number == 1 else f"{stem}-{number}"))
            if all(self._is_free(f"{name}{suffix}", source) for suffix in suffixes):
                break
        if below.parts:
            (self.folder / below).mkdir(parents=True, exist_ok=True)
        self._numbers[key] = number + 1
        self._names.update(f"{name}{suffix}".casefold() for suffix in suffixes)
        return name

    def _is_free(self, name: str, source: Path) -> bool:
        path = self.folder / name
        is_old = not path.is_symlink() and DRAWN.matches(path) and identity(path) != identity(source)
        return name.casefold() not in self._names and (is_old or not os.path.lexists(path))
