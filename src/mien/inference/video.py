"""Read the frames of video files, streams and cameras with their times, and write drawn videos, through PyAV."""

import io
import os
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, cast

import av
import numpy as np
from PIL import Image

from mien.errors import MienError, load_table
from mien.files import DRAWN, temporary_path, write_whole
from mien.images import FORMATS
from mien.inference.prediction import Frame
from mien.inputs import IN_FLIGHT, SMALL, check_pixels, open_file, pixel_limit, reason_of

LIMITS = SimpleNamespace(**load_table(__file__))
FETCH_ADVICE = "download it first and give its path, or let `mien predict --fetch` (in Python fetch=True) download it"
VIDEO_SUFFIX = ".mp4"  # container of drawn videos
TIME_BASE = Fraction(1, 1000)  # unit of the times of a drawn video's frames, in seconds
SOFTWARE = "mien predict --draw"  # EXIF tag Software of a drawn picture, by which `DRAWN` recognises it
# the same for a drawn video, at its end: a box of free space, which players skip (ISO/IEC 14496-12, 8.1.2)
MARK = struct.pack(">I4s", 8 + len(SOFTWARE), b"free") + SOFTWARE.encode()


def video_frames(name: str, every: int = 1, content: bytes | None = None) -> Iterator[Frame]:
    """Read every N-th frame of a video, upright and with square pixels; a damaged one gives those it has, then an error."""
    with _SeekableInput(open_file(name).detach() if content is None else io.BytesIO(content)) as file:
        size = file.seek(0, os.SEEK_END)
        if not size:
            raise MienError("is empty (0 bytes); copy or download it again.")
        cut_off = _stated_size(file) > size
        file.seek(0)
        number, seconds = -1, 0.0
        with _open_confined(file) as container:
            video = _Video(container)
            for number, decoded in enumerate(video):
                seconds = video.seconds(decoded, number)
                if number % every == 0:
                    yield video.frame(name, decoded, number, seconds, every)
        if cut_off or video.failure or (number < 0 and video.damaged):
            problem = f"is cut off or damaged after {number + 1:,} frames"
        elif number < 0:
            problem = "holds no frames that can be decoded"
            if not video.pixels:
                problem += f", or frames of more than {pixel_limit() * LIMITS.frame_share / 1e6:g} megapixels"
        elif video.damaged:
            problem = f"is damaged (frames skipped: {video.damaged:,})"
        else:
            return
        yield Frame(name, error=f"The video {name!r} {problem}; copy or download it again.", frame=number + 1, time=seconds)


def _open_confined(file: BinaryIO) -> Any:
    """Open a video by its content, since FFmpeg takes some names for addresses, without formats that open other files."""
    formats = ",".join(av.formats_available.difference(FORMATS["FFmpeg's rejected"]))
    confined = {"protocol_whitelist": "none", "format_whitelist": formats}
    return av.open(file, metadata_errors="replace", container_options=confined, options=_pixel_options())


def frame_count(name: str) -> int:
    """Return how many frames a video has by its header, or by its duration and frame rate; 0 if neither is known."""
    with suppress(Exception), open_file(name) as file, _open_confined(file) as container:
        stream = container.streams.video[0]
        return int(stream.frames or (container.duration or 0) / av.time_base * (stream.average_rate or 0))
    return 0


def camera_frames(number: int, every: int = 1) -> Iterator[Frame]:
    """Read every N-th frame of a camera for as long as they are asked for; their time counts from the first."""
    name = f"camera {number}"
    if not 0 <= number <= LIMITS.largest_camera:
        yield Frame(name, error=f"Cameras are numbered from 0 to {LIMITS.largest_camera}; there is no {number}.")
        return
    yield from _live_frames(name, partial(_open_camera, number), every, FORMATS["errors of cameras"], reconnections=0)


def stream_frames(address: str, every: int = 1) -> Iterator[Frame]:
    """Read every N-th frame of a network stream or device file, with the seconds since the first connection as time."""
    options = _pixel_options() | ({"rtsp_transport": "tcp"} if address.startswith("rtsp") else {})
    form, waits = "v4l2" if address.startswith("/dev/") else None, (LIMITS.open_seconds, LIMITS.read_seconds)
    connect = partial(av.open, address, format=form, options=options, timeout=waits, metadata_errors="replace")
    return _live_frames(address, connect, every, FORMATS["errors of streams"], LIMITS.reconnections)


def _live_frames(name: str, connect: Callable[[], Any], every: int, errors: list[str], reconnections: int) -> Iterator[Frame]:
    start, number, failed = time.monotonic(), 0, 0
    while failed <= reconnections:
        if failed:
            time.sleep(LIMITS.wait_seconds)
        try:
            with connect() as container:
                video = _Video(container)
                if container.format.name.endswith("_pipe"):  # FFmpeg's names for single images
                    yield Frame(name, error=f"{name!r} is a photo, not a stream; {FETCH_ADVICE}.")
                    return
                for decoded in video:
                    if number % every == 0:
                        yield video.frame(name, decoded, number, time.monotonic() - start, every)
                    number, failed = number + 1, 0
                if container.duration is not None and not video.failure:  # a file
                    return
            reason = video.failure or "no more data"
        except Exception as failure:
            reason = reason_of(failure)
        failed += 1
        advice = "connecting again" if failed <= reconnections else "check the address and the network"
        error = errors[number > 0].format(name=name, reason=reason, advice=advice)
        yield Frame(name, error=error, frame=number or None, time=time.monotonic() - start if number else None)


class _SeekableInput(io.BufferedReader):
    """A file for PyAV, which prints a traceback if `seek` raises an error; a damaged video may seek to before its start."""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        with suppress(OSError, ValueError):
            return super().seek(offset, whence)
        return -1


class _Video:
    """An open container whose largest video stream is decoded; iterating gives PyAV's frames."""

    def __init__(self, container: Any) -> None:
        self._container = container
        streams = [stream for stream in container.streams.video if not stream.disposition & stream.disposition.attached_pic]
        if not streams:
            raise MienError("holds no moving picture, at most sound or a cover, or is damaged; give a video.")
        self._stream = stream = max(streams, key=_pixels)  # others are previews
        self.pixels = _pixels(stream)  # 0 where FFmpeg refused them
        if self.pixels:
            check_pixels(stream.width, stream.height, LIMITS.frame_share)
        stream.thread_type = "AUTO"
        if self.pixels > SMALL:  # each thread decodes a frame of its own
            stream.codec_context.thread_count = min(os.cpu_count() or 1, max(1, int(IN_FLIGHT / 4 / self.pixels)))
        stream.codec_context.options = _pixel_options()  # frames may be larger than the stream says
        self._start = (container.start_time or 0) / av.time_base
        self.failure, self.damaged = "", 0
        self._last = self._shift = 0.0
        rate = self._stream.average_rate or self._stream.guessed_rate
        self._rate = float(rate) if rate and 0 < rate < 1000 else 25.0

    def __iter__(self) -> Iterator[Any]:
        """Decode until the end; what breaks it off is in `failure`, and `damaged` counts what cannot be decoded."""
        has_begun = False
        for packet in self._packets():
            try:
                decoded = self._stream.decode(packet)
            except Exception:
                self.damaged += has_begun  # a trimmed video may begin with frames that need earlier ones
                continue
            has_begun = has_begun or bool(decoded)
            yield from decoded

    def _packets(self) -> Iterator[Any]:
        held = None
        try:
            for packet in self._container.demux(self._stream):
                if held is not None and packet.size:
                    yield held
                elif held is not None:
                    self.damaged += 1
                held = packet if packet.is_corrupt else None
                if held is None:
                    yield packet
        except Exception as error:
            self.failure = reason_of(error)
            yield None

    def seconds(self, decoded: Any, number: int) -> float:
        """Return the time of a frame: its timestamp, or, where it has none, its number by the frame rate."""
        time = np.nan if decoded.time is None else float(decoded.time) - self._start
        time = time if np.isfinite(time) else number / self._rate
        if time + self._shift < self._last:  # timestamps jump back where recordings were joined
            self._shift = self._last - time + (1 / self._rate if number else 0)
        self._last = time + self._shift
        return self._last

    def frame(self, name: str, decoded: Any, number: int, seconds: float, every: int) -> Frame:
        try:
            shape = self._stream.sample_aspect_ratio or 1
            width = max(1, round(decoded.width * shape)) if 0.1 < shape < 10 else decoded.width
            check_pixels(width, decoded.height, LIMITS.frame_share)
            pixels = decoded.to_ndarray(format="rgb24", width=width, height=decoded.height)
            if (matrix := decoded.side_data.get("DISPLAYMATRIX")) is not None:
                # libavutil's display.h: 3 x 3 int32, the y axis pointing down
                a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].astype(float)
                pixels = pixels[:, ::-1] if a * d < b * c else pixels  # mirrored
                pixels = np.ascontiguousarray(np.rot90(pixels, round(np.degrees(np.arctan2(c, d)) / 90)))
        except Exception:
            return Frame(name, error=f"Frame {number} of {name!r} is damaged.", frame=number, time=seconds)
        note = "damaged in the video" if decoded.is_corrupt else ""
        return Frame(name, pixels, frame=number, time=seconds, rate=self._rate / every, note=note)


def _pixel_options() -> dict[str, str]:
    return {"max_pixels": str(int(min(pixel_limit() * LIMITS.frame_share, 2**31 - 1)))}


def _pixels(stream: Any) -> int:
    return int(getattr(stream, "width", 0) * getattr(stream, "height", 0))


def _open_camera(number: int) -> Any:
    if sys.platform == "darwin":
        return av.open(str(number), format="avfoundation", options={"framerate": "30"}, timeout=LIMITS.open_seconds)
    if sys.platform == "win32":
        names = [device.description or device.name for device in av.enumerate_input_devices("dshow")]
        return av.open(f"video={names[number]}", format="dshow", timeout=LIMITS.open_seconds)
    return av.open(f"/dev/video{number}", format="v4l2", timeout=LIMITS.open_seconds)


def _stated_size(file: BinaryIO) -> int:
    """Add up the sizes that a file's outermost parts state, to the first that ends after it, is no part or states none."""
    end, size = 0, file.seek(0, os.SEEK_END)
    while end < size:
        file.seek(end)
        head, step = file.read(16).ljust(16, b"\0"), 0
        if head[:4] == b"RIFF":
            number = int.from_bytes(head[4:8], "little")
            step = 8 + number if number < 2**32 - 1 else 0  # all bits set is an unknown size
        elif head[4:8].decode("latin-1") in FORMATS["boxes of MP4"]:  # what else follows them is not part of the video
            step = int.from_bytes(head[:4], "big")
            step = int.from_bytes(head[8:], "big") if step == 1 else step  # 0 is to the end of the file
        elif head[:4] in (b"\x1aE\xdf\xa3", b"\x18S\x80g"):  # header and segment of Matroska and WebM (EBML)
            length = 9 - head[4].bit_length()
            number = int.from_bytes(head[4 : 4 + length], "big") % 2 ** (7 * length)
            step = 4 + length + number if number < 2 ** (7 * length) - 1 else 0  # the same
        if step < 8:
            break
        end += step
    return end


@contextmanager
def saving(kind: str, path: Path, verb: str = "saved") -> Iterator[None]:
    """Turn what is raised where something drawn is written into a MienError."""
    try:
        yield
    except (OSError, av.FFmpegError) as error:
        raise MienError(f"The {kind} {str(path)!r} cannot be {verb} ({reason_of(error)}); choose another --draw.") from None


class DrawnVideo:
    """A video in progress under a temporary name, H.264 in MP4; `close` renames it to `path`; `rate` is a guess."""

    def __init__(self, folder: Path, stem: str, size: tuple[int, int], rate: float) -> None:
        self.path = folder / f"{stem}{VIDEO_SUFFIX}"
        self._part = temporary_path(self.path)
        self._size, self._last = size, -1
        codec = next((name for name in LIMITS.encoders if name in av.codecs_available), None)
        with saving("video", self.path):
            if codec is None:
                raise OSError("PyAV has no encoder for it")
            self._file = self._part.open("w+b")
        self._container = av.open(self._file, "w", format="mp4")
        self._stream = stream = cast(Any, self._container.add_stream(codec, rate=max(1, round(rate))))
        stream.width, stream.height = (side + side % 2 for side in size)  # the codecs need even sides
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = TIME_BASE

    def add(self, picture: Image.Image, seconds: float) -> None:
        """Write a frame that is shown from this time until the next; one of another size is resized to the first one's."""
        pixels = np.asarray(picture if picture.size == self._size else picture.resize(self._size))
        pixels = np.pad(pixels, ((0, self._size[1] % 2), (0, self._size[0] % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        self._last = max(self._last + 1, round(seconds / TIME_BASE))
        frame.pts, frame.time_base = self._last, TIME_BASE
        self._encode(frame)

    def close(self) -> None:
        """Finish the video and rename it; a MienError says why it could not be written, for example on a full disk."""
        try:
            self._encode(None)
            with saving("video", self.path):
                with self._file:
                    self._container.close()
                    self._file.seek(0, os.SEEK_END)
                    self._file.write(MARK)
                write_whole(self.path, self._part.replace, DRAWN)
        finally:
            with suppress(OSError):
                self._file.close()
                self._part.unlink()

    def _encode(self, frame: Any) -> None:
        with saving("video", self.path):
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
