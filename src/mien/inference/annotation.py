"""A video written frame by frame through OpenCV, playable however early it ends."""

import io
import logging
import os
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import ExifTags, Image

from mien.errors import MienError
from mien.files import write_whole
from mien.inference.drawing import COLOURS, annotate, choose_text_size
from mien.inference.prediction import Prediction
from mien.labels import LabelSet

ENCODERS = ((".mp4", "mp4v", cv2.CAP_FFMPEG, 0.1), (".avi", "MJPG", cv2.CAP_OPENCV_MJPEG, 1.0))
"""Suffix, codec, back end and the least frames a second that it can tell, best first: MPEG-4 where OpenCV has FFmpeg, else
Motion JPEG, which it writes by itself, at whole frames a second."""

VIDEO_SUFFIXES = tuple(suffix for suffix, *_ in ENCODERS)

_WORDS = b"mien predict --draw"
MARK = struct.pack(">I4s", 8 + len(_WORDS), b"free") + _WORDS
"""The end of a drawn video, by which it is known, so that it may be drawn anew: a box of free space, which players skip
(ISO/IEC 14496-12, 8.1.2)."""


class DrawnVideo:
    """A video being written under a temporary name; `close` gives it its own.

    Args:
        folder: where it goes.
        stem: its name without the suffix.
        size: width and height in pixels. The codecs want even sides: an odd one gets another row or column like its last.
        rate: frames a second.

    Attributes:
        path: where it will be.

    Raises:
        MienError: if it cannot be written there.
    """

    def __init__(self, folder: Path, stem: str, size: tuple[int, int], rate: float) -> None:
        self._size, self._missed = size, 0
        self._last: np.ndarray | None = None
        even = size[0] + size[0] % 2, size[1] + size[1] % 2
        for suffix, codec, backend, least in ENCODERS:
            self.path = folder / f"{stem}{suffix}"
            self._part = folder / f".{stem}.{os.getpid()}.part{suffix}"  # the suffix tells OpenCV the container
            self._writer = _open(self._part, codec, backend, max(least, rate), even)
            if self._writer is not None:
                return
        raise self._problem("OpenCV cannot write it")

    def add(self, picture: Image.Image) -> None:
        """Write a frame; one of another size, as damaged videos have them, is fitted into the size of the first."""
        picture = picture if picture.size == self._size else picture.resize(self._size)
        pixels = cv2.cvtColor(np.asarray(picture), cv2.COLOR_RGB2BGR)
        pixels = cv2.copyMakeBorder(pixels, 0, self._size[1] % 2, 0, self._size[0] % 2, cv2.BORDER_REPLICATE)
        while self._missed and self._last is not None:
            self._write(self._last)
            self._missed -= 1
        self._write(pixels)
        self._last, self._missed = pixels, 0

    def miss(self) -> None:
        """Show the frame before for as long as this one, which could not be read; at the end nothing is added."""
        self._missed += 1

    def close(self) -> None:
        """Finish the video and give it its name.

        Raises:
            MienError: if it could not be written, on a full disk for example.
        """
        try:
            self._writer.release()
            with self._part.open("r+b") as file:
                if not file.read(1):
                    raise self._problem("nothing was written")
                file.seek(0, os.SEEK_END)
                file.write(MARK)
            self._part.replace(self.path)
        except OSError as error:
            raise self._problem(error.strerror or str(error)) from None
        finally:
            with suppress(OSError):
                self._part.unlink()

    def _write(self, pixels: np.ndarray) -> None:
        try:
            self._writer.write(pixels)
        except cv2.error as error:
            raise self._problem(" ".join(str(error).split())) from None

    def _problem(self, reason: str) -> MienError:
        return MienError(f"The video {str(self.path)!r} cannot be saved ({reason}); choose another --draw.")


def is_drawn_video(path: Path) -> bool:
    """Tell whether a file is a video that mien drew."""
    try:
        with path.open("rb") as file:
            file.seek(-len(MARK), os.SEEK_END)
            return file.read() == MARK
    except OSError:  # not there, shorter, or a folder
        return False


def _open(path: Path, codec: str, backend: int, rate: float, size: tuple[int, int]) -> Any:
    """Open OpenCV's writer; None where it has no such codec, or the file cannot be made."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # as for reading
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        writer = cv2.VideoWriter(str(path), backend, cv2.VideoWriter.fourcc(*codec), rate, size)
        return writer if writer.isOpened() else None
    except (cv2.error, UnicodeEncodeError):
        return None
    finally:
        cv2.utils.logging.setLogLevel(level)


# What the faces of a video showed, over time: a plot with a panel for each track.

MOST_PANELS = 8
"""Tracks in one plot: those with the most frames."""

MOST_KEPT = 64
"""Tracks that are remembered at once; of more, the shorter half is forgotten, so that memory does not grow with a stream."""

MOST_POINTS = 4096
"""Points of a track; of more, every second is forgotten. A plot is some 1,300 pixels wide."""

_logger = logging.getLogger("mien")


@dataclass(eq=False)
class Line:
    """One track's answers.

    Attributes:
        times: seconds, rising.
        runs: of each time, the number of its run: a new one begins where a frame of the video did not show the face.
        probabilities: of each time, (K,).
        frames: how many frames showed the face; more than there are times, where some were forgotten.
        seen: number of the video's frame that showed it last, counted as they come.
    """

    times: list[float] = field(default_factory=list)
    runs: list[int] = field(default_factory=list)
    probabilities: list[np.ndarray] = field(default_factory=list)
    frames: int = 0
    seen: int = 0


class History:
    """The answers about one video.

    Args:
        spacing: seconds from frame to frame.

    Attributes:
        tracks: the answers of each track, by its number.
        labels: the labels of the answers.
        left_out: how many tracks were forgotten.
        end: the time of the last frame, and its own length.
    """

    def __init__(self, spacing: float) -> None:
        self.spacing = spacing
        self.tracks: dict[int, Line] = {}
        self.labels: LabelSet | None = None
        self.left_out = 0
        self.end = 0.0
        self._frames = 0

    def add(self, predictions: Sequence[Prediction]) -> None:
        """Add a frame's answers."""
        self._frames += 1
        for prediction in predictions:
            if prediction.time is not None:
                self.end = max(self.end, prediction.time + self.spacing)
            if prediction.track is None or prediction.time is None or prediction.probabilities is None:
                continue
            self.labels = prediction.labels
            line = self.tracks.setdefault(prediction.track, Line())
            run = line.runs[-1] + (line.seen + 1 != self._frames) if line.runs else 0
            line.times.append(prediction.time)
            line.runs.append(run)
            line.probabilities.append(prediction.probabilities)
            line.frames, line.seen = line.frames + 1, self._frames
            if len(line.times) > MOST_POINTS:
                del line.times[1::2], line.runs[1::2], line.probabilities[1::2]
        if len(self.tracks) > MOST_KEPT:
            self.left_out += len(self.tracks)
            self.tracks = dict(sorted(self.longest(MOST_KEPT // 2)))
            self.left_out -= len(self.tracks)

    def longest(self, count: int) -> list[tuple[int, Line]]:
        """Give the tracks with the most frames, by number."""
        return sorted(sorted(self.tracks.items(), key=lambda track: -track[1].frames)[:count])


def plot_tracks(history: History) -> Image.Image | None:
    """Plot the probabilities over time, stacked, in the labels' colours of the drawn video; gaps where a face was lost.

    Args:
        history: with at least one track.

    Returns:
        RGB, or None where matplotlib is not installed; a line on stderr says so.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError:
        _logger.warning(
            "mien: no plot of the tracks without matplotlib, which is not installed; run: pip install 'mien[evaluate]'"
        )
        return None
    lines = history.longest(MOST_PANELS)
    names = history.labels or ()
    colours = [COLOURS[number % len(COLOURS)] for number in range(len(names))]
    figure = Figure(figsize=(9, 0.8 + 1.1 * len(lines)), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.04))
    panels = figure.subplots(len(lines), sharex=True, squeeze=False)[:, 0]
    for (number, line), panel in zip(lines, panels, strict=True):
        for times, shares in _runs(line, history.spacing):
            panel.stackplot(times, shares, colors=colours, edgecolor="white", linewidth=0.3)
        panel.set(ylim=(0, 1), xlim=(0, history.end), yticks=(0, 0.5, 1))
        panel.set_ylabel(f"#{number}", rotation=0, ha="right", va="center", fontsize=11)
        panel.tick_params(length=0, labelsize=8, colors="#6b7785")
        panel.spines[:].set_visible(False)
        panel.grid(axis="y", color="#1d2733", alpha=0.25, linewidth=0.5)
        panel.set_facecolor("#f3f4f6")
    left_out = history.left_out + len(history.tracks) - len(lines)
    panels[-1].set_xlabel(
        "seconds" + (f"; {left_out} shorter tracks left out" if left_out else ""), fontsize=9, color="#6b7785"
    )
    patches = [panels[0].fill_between([0], 0, color=colour) for colour in colours]
    words = [name.replace("$", r"\$") for name in names]  # no formulas
    figure.legend(patches, words, loc="outside upper left", ncols=min(len(words), 8), frameon=False, fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, facecolor="white")
    return Image.open(buffer).convert("RGB")


def _runs(line: Line, spacing: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Cut a track where its face was lost: times (T,) and probabilities (K, T) of each part, the last shown for its length."""
    times, probabilities = np.array(line.times), np.stack(line.probabilities)
    cuts = [0, *(np.flatnonzero(np.diff(line.runs)) + 1).tolist(), len(times)]
    return [
        (np.append(times[start:end], times[end - 1] + spacing), np.vstack([probabilities[start:end], probabilities[end - 1]]).T)
        for start, end in pairwise(cuts)
    ]


# A folder of annotated pictures and videos, each under its input's name, where nothing that was there is lost.

SOFTWARE = "mien predict --draw"
"""What the EXIF tag Software of a drawn picture says: only such a picture is drawn anew."""

PLOT_SUFFIX = ".tracks.png"
"""How the name of a video's plot ends."""

TEXT_FOLLOWS = 0.05
"""Share by which the text of a video grows or shrinks from frame to frame towards what its faces want, which tremble."""


class Album:
    """A folder of annotated pictures and videos. A file there that mien did not draw is never replaced.

    Args:
        folder: where they go; made if it is not there.

    Raises:
        MienError: if it cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names: set[str] = set()
        self._numbers: dict[tuple[str, tuple[str, ...]], int] = {}
        self._video: _Video | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MienError(
                f"The folder {str(folder)!r} for pictures cannot be made ({error.strerror}); choose another --draw."
            ) from None

    def add(self, image: np.ndarray | None, predictions: Sequence[Prediction], rate: float | None = None) -> None:
        """Draw an image's predictions and save the picture under the image's name: JPEG for a JPEG, else PNG.

        Frames of a video become a video with its name, of the same size, and a plot of the answers over time. Both are there
        when a frame of something else follows, or the album is closed.

        Args:
            image: uint8, (H, W) or (H, W, 3); None where it could not be read.
            predictions: all of one image; at least one.
            rate: of a video's frame, how many come a second; None for a picture by itself.

        Raises:
            MienError: if the picture or the video cannot be saved.
        """
        video = self._video
        if video is not None and not video.goes_on_with(predictions[0]):
            self.close()
            video = None
        if image is None:
            if video is not None:
                video.drawn.miss()
        elif rate is None:
            self._save(image, predictions)
        else:
            if video is None:
                source = Path(predictions[0].source)
                stem = self._stem(source, (*VIDEO_SUFFIXES, PLOT_SUFFIX))
                height, width = image.shape[:2]
                video = self._video = _Video(source, DrawnVideo(self.folder, stem, (width, height), rate), 1 / rate)
            video.add(image, predictions)

    def close(self) -> None:
        """Finish the video that is being drawn, if there is one, and plot its tracks.

        Raises:
            MienError: if one of them cannot be saved.
        """
        video, self._video = self._video, None
        if video is None:
            return
        video.drawn.close()
        if video.history.tracks and (plot := plot_tracks(video.history)):
            self._write(plot, self.folder / f"{video.drawn.path.stem}{PLOT_SUFFIX}")

    def _save(self, image: np.ndarray, predictions: Sequence[Prediction]) -> None:
        source = Path(predictions[0].source)
        suffix = ".jpg" if source.suffix.lower() in (".jpg", ".jpeg", ".jpe", ".jfif") else ".png"
        self._write(annotate(image, predictions), self.folder / f"{self._stem(source, (suffix,))}{suffix}")

    def _write(self, picture: Image.Image, path: Path) -> None:
        form = "JPEG" if path.suffix == ".jpg" else "PNG"
        try:
            write_whole(path, lambda part: picture.save(part, form, quality=92, exif=_mark()))
        except OSError as error:
            reason = error.strerror or error
            raise MienError(f"The picture {str(path)!r} cannot be saved ({reason}); choose another --draw.") from None

    def _stem(self, source: Path, suffixes: tuple[str, ...]) -> str:
        """Choose a name that is free with all these suffixes: images of several folders may share theirs, and some lie here."""
        key = source.stem.casefold() or "image", suffixes
        number = self._numbers.get(key, 1)  # those below are taken
        while not all(self._free(f"{_numbered(source, number)}{suffix}", source) for suffix in suffixes):
            number += 1
        self._numbers[key] = number + 1
        stem = _numbered(source, number)
        self._names.update(f"{stem}{suffix}".casefold() for suffix in suffixes)
        return stem

    def _free(self, name: str, source: Path) -> bool:
        """Tell whether nothing has the name but, at most, what an earlier run drew of another file."""
        path = self.folder / name
        if name.casefold() in self._names:
            return False
        return not os.path.lexists(path) or (path.resolve() != source.resolve() and (_is_drawn(path) or is_drawn_video(path)))


class _Video:
    """A video on its way: what is drawn of it, and its answers so far."""

    def __init__(self, source: Path, drawn: DrawnVideo, spacing: float) -> None:
        self.drawn = drawn
        self.history = History(spacing)
        self._source, self._frame = source, -1
        self._text_size: float | None = None

    def goes_on_with(self, prediction: Prediction) -> bool:
        return Path(prediction.source) == self._source and prediction.frame is not None and prediction.frame > self._frame

    def add(self, image: np.ndarray, predictions: Sequence[Prediction]) -> None:
        frame = predictions[0].frame
        self._frame = self._frame if frame is None else frame
        if boxes := [prediction.box for prediction in predictions if prediction.box is not None]:
            wanted = choose_text_size(boxes, max(image.shape[:2]))
            before = wanted if self._text_size is None else self._text_size
            self._text_size = before + TEXT_FOLLOWS * (wanted - before)
        self.drawn.add(annotate(image, predictions, enlarge=False, text_size=self._text_size))
        self.history.add(predictions)


def _numbered(source: Path, number: int) -> str:
    return f"{source.stem or 'image'}{'' if number == 1 else f'-{number}'}"


def _mark() -> Image.Exif:
    """Say in a picture's metadata that mien drew it."""
    exif = Image.Exif()
    exif[ExifTags.Base.Software] = SOFTWARE
    return exif


def _is_drawn(path: Path) -> bool:
    try:
        with Image.open(path) as picture:
            return bool(picture.getexif().get(ExifTags.Base.Software) == SOFTWARE)
    except Exception:  # a damaged header raises whatever the format's parser stumbles over
        return False
