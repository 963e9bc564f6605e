"""A folder of annotated pictures and videos, each under its input's name, where nothing that was there is lost."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from mien.errors import MienError
from mien.files import write_whole
from mien.inference.drawing import annotate, choose_text_size
from mien.inference.drawn_video import VIDEO_SUFFIXES, DrawnVideo, is_drawn_video
from mien.inference.prediction import Prediction
from mien.inference.track_plot import History, plot_tracks

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
