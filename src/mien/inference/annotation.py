"""A folder of annotated copies: pictures, videos, and plots of their tracks over time."""

import errno
import io
import logging
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, groupby
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageDraw

from mien.errors import MienError
from mien.files import identity, sweep, write_whole
from mien.inference.drawing import COLOURS, annotate, choose_fonts, choose_text_size, draw_text, measure_text, set_text
from mien.inference.prediction import Prediction
from mien.inference.video import DRAWN, SOFTWARE, VIDEO_SUFFIX, DrawnVideo
from mien.inputs import reason_of

PLOT_SUFFIX = ".tracks.png"
TEXT_SMOOTHING = 0.05  # weight of a frame's text size in its moving average over a video, since the sizes of faces jitter
LEGEND_SIZE = 20  # text size in pixels of a plot's legend
MOST_PANELS = 8  # tracks in one plot: those with the most frames
MOST_KEPT = 64  # most tracks kept in memory; beyond that the shorter half is dropped, so that a stream's memory is bounded
MOST_POINTS = 4096  # of a track; beyond that every second one is dropped. A plot is some 1,300 pixels wide

_logger = logging.getLogger("mien")


@dataclass(eq=False)
class TrackHistory:
    """The predictions of one track."""

    points: list[tuple[float, int, np.ndarray]] = field(default_factory=list)  # time, run, probabilities (K,)
    frames: int = 0  # including those of dropped points
    run: int = -1  # a new one begins after a frame without the face


class VideoHistory:
    """The predictions of one video: the history of each track by its number; `spacing` is the time between two frames."""

    def __init__(self, spacing: float) -> None:
        self.spacing = spacing
        self.tracks: dict[int, TrackHistory] = {}
        self.labels: Sequence[str] = ()
        self.left_out = 0  # dropped tracks
        self.end = 0.0  # of the last frame, in seconds
        self._previous: set[int | None] = set()  # tracks of the previous frame

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
            track.run += prediction.track not in self._previous
            track.points.append((prediction.time, track.run, prediction.probabilities))
            track.frames += 1
            if len(track.points) > MOST_POINTS:
                del track.points[1::2]
        self._previous = {prediction.track for prediction in predictions}
        if len(self.tracks) > MOST_KEPT:
            self.left_out += len(self.tracks)
            self.tracks = dict(self.longest(MOST_KEPT // 2))
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
        _logger.warning("mien: the tracks are not plotted without matplotlib; run: pip install 'mien[evaluate]'")
        return None
    tracks = history.longest(MOST_PANELS)
    colours = [COLOURS[number % len(COLOURS)] for number in range(len(history.labels))]
    figure = Figure(figsize=(9, 0.8 + 1.1 * len(tracks)), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.04))
    panels = figure.subplots(len(tracks), sharex=True, squeeze=False)[:, 0]
    for (number, track), panel in zip(tracks, panels, strict=True):
        for times, probabilities in _runs(track, history.spacing):
            panel.stackplot(times, probabilities, colors=colours, edgecolor="white", linewidth=0.3)
        panel.set(ylim=(0, 1), xlim=(0, history.end), yticks=(0, 0.5, 1))
        panel.set_ylabel(f"#{number}", rotation=0, ha="right", va="center", fontsize=11)
        panel.tick_params(length=0, labelsize=8, colors="#6b7785")
        panel.spines[:].set_visible(False)
        panel.grid(axis="y", color="#1d2733", alpha=0.25, linewidth=0.5)
        panel.set_facecolor("#f3f4f6")
    left_out = history.left_out + len(history.tracks) - len(tracks)
    seconds = f"seconds; {left_out} shorter tracks left out" if left_out else "seconds"
    panels[-1].set_xlabel(seconds, fontsize=9, color="#6b7785")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, facecolor="white")
    return _with_legend(Image.open(buffer).convert("RGB"), history.labels, colours, font)


def _with_legend(plot: Image.Image, labels: Sequence[str], colours: Sequence[str], font: str | None) -> Image.Image:
    """Add the labels with their colours above a plot: matplotlib would neither search for fonts nor join Arabic letters."""
    fonts = choose_fonts(tuple(labels), font)
    texts = [set_text(label, LEGEND_SIZE, fonts) for label in labels]
    spacing = 4 * LEGEND_SIZE + round(max(measure_text(text)[0] for text in texts))
    columns = max(1, (plot.width - LEGEND_SIZE) // spacing)
    top = LEGEND_SIZE * (1 + 2 * math.ceil(len(texts) / columns))
    picture = Image.new("RGB", (plot.width, plot.height + top), "white")
    picture.paste(plot, (0, top))
    draw = ImageDraw.Draw(picture)
    for number, (text, colour) in enumerate(zip(texts, colours, strict=True)):
        x, y = LEGEND_SIZE + number % columns * spacing, LEGEND_SIZE * (1 + 2 * (number // columns))
        draw.rectangle((x, y, x + 2 * LEGEND_SIZE, y + 0.7 * LEGEND_SIZE), fill=colour)
        draw_text(draw, x + 2.5 * LEGEND_SIZE, y + 0.7 * LEGEND_SIZE, text, "black")
    return picture


def _runs(track: TrackHistory, spacing: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Split a track into runs: times (T,) and probabilities (K, T), the last extended to the end of its frame."""
    for _, points in groupby(track.points, key=lambda point: point[1]):
        times, _, probabilities = zip(*points, strict=True)
        yield np.array([*times, times[-1] + spacing]), np.transpose([*probabilities, probabilities[-1]])


class AnnotationWriter:
    """A folder of annotated pictures and videos, which replaces only files that mien drew."""

    def __init__(self, folder: Path, font: str | None = None) -> None:
        self.folder, self._font = folder, font
        self._names: set[str] = set()
        self._numbers: dict[tuple[str, tuple[str, ...]], int] = {}
        self._video: _Video | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK):
                raise PermissionError(errno.EACCES, "it is not writable")
        except OSError as error:
            raise MienError(f"The folder {str(folder)!r} cannot be made ({error.strerror}); choose another --draw.") from None
        sweep(folder)

    def add(self, image: np.ndarray | None, predictions: Sequence[Prediction], rate: float | None = None) -> None:
        """Draw an image's predictions and save the picture under the image's name: JPEG for a JPEG, else PNG.

        The frames of a video have a `rate`; it and the plot of its tracks are saved when something else follows or at `close`.
        """
        source = Path(predictions[0].source)
        if self._video is not None and not self._video.continues_with(predictions[0]):
            self.close()
        if image is None:
            return  # the frame before is shown until the next
        if rate is None:
            suffix = ".jpg" if source.suffix.lower() in (".jpg", ".jpeg", ".jpe", ".jfif") else ".png"
            self._write(annotate(image, predictions, font=self._font), f"{self._stem(source, (suffix,))}{suffix}")
            return
        if self._video is None:
            stem = self._stem(source, (VIDEO_SUFFIX, PLOT_SUFFIX))
            drawn = DrawnVideo(self.folder, stem, (image.shape[1], image.shape[0]), rate)
            self._video = _Video(source, drawn, 1 / rate, self._font)
        self._video.add(image, predictions)

    def close(self) -> None:
        """Finish the video in progress, if any, and plot its tracks; a warning says which of them cannot be saved."""
        video, self._video = self._video, None
        if video is None:
            return
        try:
            video.drawn.close()
            if video.history.tracks and (plot := plot_tracks(video.history, self._font)):
                self._write(plot, f"{video.drawn.path.stem}{PLOT_SUFFIX}")
        except Exception as problem:
            _logger.warning("mien: %r is not drawn (%s)", str(video.drawn.path), reason_of(problem))

    def _write(self, picture: Image.Image, name: str) -> None:
        path, exif = self.folder / name, Image.Exif()
        exif[ExifTags.Base.Software] = SOFTWARE
        form = "JPEG" if path.suffix == ".jpg" else "PNG"
        try:
            write_whole(path, lambda part: picture.save(part, form, quality=92, exif=exif), durable=False)
        except OSError as error:
            reason = error.strerror or error
            raise MienError(f"The picture {str(path)!r} cannot be saved ({reason}); choose another --draw.") from None

    def _stem(self, source: Path, suffixes: tuple[str, ...]) -> str:
        """Choose a name that is free with all suffixes: images of several folders may share theirs, and files may exist."""
        stem = source.stem.encode(errors="ignore")[:150].decode(errors="ignore") or "image"  # addresses may be longer
        key = stem.casefold(), suffixes
        for number in count(self._numbers.get(key, 1)):  # smaller ones are taken
            name = stem if number == 1 else f"{stem}-{number}"
            if all(self._is_free(f"{name}{suffix}", source) for suffix in suffixes):
                break
        self._numbers[key] = number + 1
        self._names.update(f"{name}{suffix}".casefold() for suffix in suffixes)
        return name

    def _is_free(self, name: str, source: Path) -> bool:
        """Tell whether a file is missing, or was drawn by an earlier run and is not the input itself."""
        path = self.folder / name
        if name.casefold() in self._names:
            return False
        return not os.path.lexists(path) or (
            identity(path) != identity(source) and not path.is_symlink() and DRAWN.matches(path)
        )


class _Video:
    """A video in progress: its drawn frames and its predictions."""

    def __init__(self, source: Path, drawn: DrawnVideo, spacing: float, font: str | None) -> None:
        self.drawn, self._font = drawn, font
        self.history = VideoHistory(spacing)
        self._source, self._frame, self._text_size = source, -1, 0.0

    def continues_with(self, prediction: Prediction) -> bool:
        return Path(prediction.source) == self._source and prediction.frame is not None and prediction.frame > self._frame

    def add(self, image: np.ndarray, predictions: Sequence[Prediction]) -> None:
        self._frame = predictions[0].frame or 0
        if boxes := [prediction.box for prediction in predictions if prediction.box is not None]:
            wanted = choose_text_size(boxes, max(image.shape[:2]))
            before = self._text_size or wanted
            self._text_size = before + TEXT_SMOOTHING * (wanted - before)
        picture = annotate(image, predictions, enlarge=False, text_size=self._text_size, font=self._font)
        self.drawn.add(picture, predictions[0].time or 0.0)
        self.history.add(predictions)
