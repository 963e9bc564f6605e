"""The frames of a video file or a camera, through OpenCV, with number and time."""

import os
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import cv2

from mien.inference.prediction import Frame

SLACK_SECONDS, SLACK_SHARE = 0.5, 0.05
"""Frames that may be missing before a video counts as truncated: containers that do not count their frames (WebM, Matroska)
give a duration, which may be that of the sound."""

COUNTING, SLACK_FRAMES, SLACK_SHARE_COUNTED = frozenset((".avi", ".mp4", ".m4v", ".mov")), 3, 0.01
"""Containers that count their frames, and how many of these may be missing: an edit list may hide a few."""

LARGEST_CAMERA = 99
"""Cameras are numbered from 0; on a command line a longer number is the name of a missing file."""


def video_frames(name: str, every: int = 1) -> Iterator[Frame]:
    """Read every N-th frame of a video, rotated upright; there is at least one, and a truncated video ends with an error."""
    if failure := _open_failure(name):
        yield Frame(name, error=failure)
        return
    with closing(_Capture(name)) as video:
        if not video.is_open:
            yield Frame(name, error=f"{name!r} is damaged, or no video that OpenCV can read; save it as MP4 (H.264).")
            return
        expected, rate = video.frame_count, video.rate
        number = 0
        while video.grab():
            if number % every == 0:
                yield video.frame(name, number, video.seconds(number), rate / every)
            number += 1
        missing = expected - number
        if Path(name).suffix.lower() in COUNTING:
            slack = max(SLACK_FRAMES, SLACK_SHARE_COUNTED * expected)
        else:
            slack = max(SLACK_SECONDS * rate, SLACK_SHARE * expected)
        if not number or missing > slack:
            yield Frame(
                name,
                error=f"The video {name!r} ends after {number:,} of about {expected:,.0f} frames: it is truncated or damaged; "
                "copy or download it again.",
                frame=number,
                time=video.seconds(number),
            )


def camera_frames(number: int, every: int = 1) -> Iterator[Frame]:
    """Read every N-th frame of a camera for as long as frames are asked for; their time is relative to the first."""
    name = f"camera {number}"
    if not 0 <= number <= LARGEST_CAMERA:  # OpenCV would crash
        yield Frame(name, error=f"Cameras have the numbers 0 to {LARGEST_CAMERA}; there is no {number}.")
        return
    with closing(_Capture(number)) as camera:
        if not camera.is_open:
            yield Frame(
                name,
                error=f"There is no camera {number} here, or it is in use or needs a permission; "
                "check the number (the first is 0).",
            )
            return
        start, count = time.monotonic(), 0
        while camera.grab():
            if count % every == 0:
                yield camera.frame(name, count, time.monotonic() - start, camera.rate / every)
            count += 1
        yield Frame(
            name,
            error=f"The {name} gives no more frames; check whether it is still connected.",
            frame=count,
            time=time.monotonic() - start,
        )


class _Capture:
    """OpenCV's VideoCapture without its messages."""

    def __init__(self, source: str | int) -> None:
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # silences FFmpeg; OpenCV reads it once, at its first video
        level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        try:
            # prefer FFmpeg: other back ends take "a%02d.mp4" for a sequence of images
            has_ffmpeg = cv2.CAP_FFMPEG in cv2.videoio_registry.getStreamBackends()
            backend = cv2.CAP_FFMPEG if isinstance(source, str) and has_ffmpeg else cv2.CAP_ANY
            self._capture = cv2.VideoCapture(source, backend)  # type: ignore[call-overload, unused-ignore]
        finally:
            cv2.utils.logging.setLogLevel(level)
        self.grab, self.close = self._capture.grab, self._capture.release

    @property
    def is_open(self) -> bool:
        return bool(self._capture.isOpened())

    @property
    def frame_count(self) -> float:
        """The container's number of frames, 0 if invalid."""
        return max(0.0, float(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    @property
    def rate(self) -> float:
        """Frames per second; 25 if the container has no valid rate."""
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        return rate if 0 < rate < 1000 else 25.0

    def seconds(self, number: int) -> float:
        """Return the timestamp of the grabbed frame, or compute it from the frame rate if there is none."""
        timestamp = float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000
        return timestamp if timestamp > 0 else number / self.rate

    def frame(self, name: str, number: int, seconds: float, rate: float) -> Frame:
        """Decode the grabbed frame."""
        with suppress(cv2.error):
            good, pixels = self._capture.retrieve()
            if good and pixels is not None and pixels.size:
                code = cv2.COLOR_GRAY2RGB if pixels.ndim == 2 else cv2.COLOR_BGR2RGB
                return Frame(name, cv2.cvtColor(pixels, code), frame=number, time=seconds, rate=rate)
        return Frame(name, error=f"Frame {number} of {name!r} is damaged.", frame=number, time=seconds)


def _open_failure(name: str) -> str:
    """Explain why a file cannot be opened, which OpenCV does not; empty if it can."""
    try:
        with Path(name).open("rb") as file:
            return "" if file.read(1) else f"The video {name!r} is empty (0 bytes); copy or download it again."
    except FileNotFoundError:
        return f"There is no video {name!r}; check the path."
    except (OSError, ValueError) as error:
        return f"The video {name!r} cannot be opened: {getattr(error, 'strerror', None) or error}."
