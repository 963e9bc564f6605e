"""Videos as cameras, editors and broken transfers leave them, each with the frames, times and errors that it must give."""

import struct
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import pytest

import mien
from reading import frames

SIZE = (96, 64)
UNEVEN = [0, 0.04, 0.08, 0.5, 0.54, 1.2, 1.24, 1.28, 2.0, 2.04]
"""Times of a phone's video, which slows down in the dark."""

CUT = "is cut off or damaged after {} frames"


@dataclass
class Wanted:
    """What must come of a video: the levels (numbers) and times of its frames, their shape, and the last row's error."""

    numbers: list
    times: list | None
    shape: tuple = (64, 96, 3)
    error: str = ""
    within: float = 0.0015  # seconds by which a time may be rounded in its container
    levels: bool = True  # whether the brightness tells a frame


def picture(number, size=SIZE):
    """A gray picture whose brightness tells its number, with a white quarter at the top left."""
    pixels = np.full((size[1], size[0], 3), 10 + 6 * number, np.uint8)
    pixels[: (size[1] + 1) // 2, : (size[0] + 1) // 2] = 255
    return pixels


def encode(
    path, times, codec="libx264", rate=25, pix_fmt="yuv420p", size=SIZE, form=None, base=None, draw=picture, tune=(),
    shape=None, audio=None, **options,
):  # fmt: skip
    """Write a video with frames at these times; `audio` are the seconds at which silence begins and ends."""
    with av.open(str(path), "w", format=form, options=options) as file:
        stream = file.add_stream(codec, rate=rate, options=dict(tune))
        stream.codec_context.thread_count = 2 if codec == "mjpeg" else 0  # each adds to the size of a frame; 0 is the default
        stream.width, stream.height = np.transpose(draw(0, size), (1, 0, 2)).shape[:2]
        stream.pix_fmt = pix_fmt
        if shape:
            stream.codec_context.sample_aspect_ratio = shape
        base = base or Fraction(1, 1000)
        stream.codec_context.time_base = base
        if audio:
            sound = file.add_stream("aac", rate=8000, layout="mono")
        for number, seconds in enumerate(times):
            frame = av.VideoFrame.from_ndarray(draw(number, size), format="rgb24")
            frame.time_base, frame.pts = base, round(seconds / base)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
        if audio:
            for start in range(int(audio[0] * 8000), int(audio[1] * 8000), 1024):
                silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
                silence.sample_rate, silence.pts, silence.time_base = 8000, start, Fraction(1, 8000)
                file.mux(sound.encode(silence))
            file.mux(sound.encode(None))
    return path


def remux(source, path, keep=lambda number, packet: True, shift=0.0, form=None, **options):
    """Copy packets without decoding them, as an editor's "trim without encoding" does; `shift` moves them in time."""
    with av.open(str(source)) as old, av.open(str(path), "w", format=form, options=options) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        new.start_encoding()
        packets = [packet for packet in old.demux(old.streams.video[0]) if packet.size]
        for packet in [packet for number, packet in enumerate(packets) if keep(number, packet)]:
            packet.pts += round(shift / packet.time_base)
            packet.dts = packet.dts if packet.dts is None else packet.dts + round(shift / packet.time_base)
            packet.stream = stream
            new.mux(packet)
    return path


def noisy(number, size):
    """A picture that takes some bytes."""
    return np.roll(np.random.default_rng(0).integers(0, 256, (*size[::-1], 3)).astype(np.uint8), 7 * number, 0)


def even(count, rate=25.0, start=0.0):
    return [start + number / rate for number in range(count)]


def all_of(times, **more):
    return Wanted(list(range(len(times))), list(times), **more)


CASES = {}


def case(function):
    CASES[function.__name__] = function
    return function


def written(name, ending, times, within=0.0015, levels=True, shape=None, **options):
    """Add a case that is only written."""

    def make(folder):
        path = encode(folder / f"clip{ending}", times, **options)
        wanted = [time - min(times) for time in times]
        return path, all_of(wanted, within=within, levels=levels, shape=shape or (*options.get("size", SIZE)[::-1], 3))

    CASES[name] = make


written("mp4 with uneven times", ".mp4", UNEVEN)
written("fragmented mp4", ".mp4", UNEVEN, movflags="frag_keyframe+empty_moov+default_base_moof")
written("mov with its index in front", ".mov", UNEVEN, codec="mpeg4", movflags="faststart")
written("mkv", ".mkv", UNEVEN)
written("mkv as a live stream, without index and size", ".mkv", UNEVEN, live="1")
written("webm vp9", ".webm", UNEVEN, codec="libvpx-vp9")
written("webm vp8", ".webm", UNEVEN, codec="libvpx")
written("mpeg-ts", ".ts", UNEVEN)
written("m2ts", ".m2ts", UNEVEN, mpegts_m2ts_mode="1")
written("flv", ".flv", UNEVEN)
written("flv without duration and size", ".flv", UNEVEN, flvflags="no_duration_filesize")
written(
    "3gp",
    ".3gp",
    even(10),
    codec="h263",
    size=(176, 144),
    base=Fraction(1001, 30000),
    rate=Fraction(30000, 1001),
    within=0.1,
    shape=(144, 192, 3),
)
written("avi", ".avi", even(10, 10), codec="mjpeg", pix_fmt="yuvj420p", base=Fraction(1, 10), rate=10)
written("wmv", ".wmv", UNEVEN, codec="wmv2")
written("mpeg-1", ".mpg", even(10), codec="mpeg1video", base=Fraction(1, 25))
written("mpeg-2 with b-frames", ".vob", even(20), codec="mpeg2video", base=Fraction(1, 25), tune={"bf": "2"}, form="vob")
written("hevc", ".mp4", UNEVEN, codec="libx265", tune={"x265-params": "log-level=none"})
written("av1", ".mp4", even(6), codec="libsvtav1", base=Fraction(1, 25))
written("b-frames in mkv", ".mkv", even(20), tune={"bf": "3", "b-pyramid": "normal"})
written("b-frames in ts", ".ts", even(20), tune={"bf": "3"})
written("no b-frames", ".mp4", even(20), tune={"bf": "0"})
written("one frame in 10 s", ".mp4", even(4, 0.1), rate=1)
written("240 frames a second", ".mp4", even(24, 240), rate=240, base=Fraction(1, 240))
written("1000 frames a second", ".mkv", even(24, 1000), rate=1000)
written("film rate", ".mov", even(12, 24000 / 1001), base=Fraction(1001, 24000), rate=24)
written("one frame", ".mp4", [0])
written("one frame in ts", ".ts", [0])
written("interlaced", ".ts", even(10), codec="mpeg2video", base=Fraction(1, 25), tune={"flags": "+ildct+ilme"})
written("starts at 100 s in mkv", ".mkv", [100 + time for time in UNEVEN])
written("starts at 100 s in ts", ".ts", [100 + time for time in UNEVEN], copyts="1")
written("starts at 100 s in flv", ".flv", [100 + time for time in UNEVEN])
written("starts before 0 in mkv", ".mkv", [time - 0.5 for time in UNEVEN])
written("the index is written for 1 ms steps", ".mp4", [0, 0.001, 0.002, 3.0, 3.001])
written("gray", ".mkv", even(5), codec="ffv1", pix_fmt="gray")
written("gray of 10 bits", ".mp4", even(5), pix_fmt="gray10le", levels=False)
written("colour of 10 bits", ".mp4", even(5), pix_fmt="yuv420p10le")
written("full colour", ".mp4", even(5), pix_fmt="yuv444p")
written("png in mov", ".mov", even(5), codec="png", pix_fmt="rgb24")
written("png with alpha in mov", ".mov", even(5), codec="png", pix_fmt="rgba")
written("prores", ".mov", even(5), codec="prores_ks", pix_fmt="yuv422p10le")
written("dv size", ".avi", even(3), codec="dvvideo", size=(720, 576), base=Fraction(1, 25), shape=(576, 768, 3))
written("huffyuv", ".avi", even(5), codec="huffyuv", pix_fmt="yuv422p", base=Fraction(1, 25))
written("raw frames in nut", ".nut", UNEVEN, codec="rawvideo", pix_fmt="rgb24")
written("y4m", ".y4m", even(5), codec="wrapped_avframe", base=Fraction(1, 25))
written("elementary h264", ".h264", even(5), base=Fraction(1, 25), tune={"bf": "0"})
written("ivf", ".ivf", even(5), codec="libvpx", base=Fraction(1, 25))
written("mxf", ".mxf", even(5), codec="mpeg2video", base=Fraction(1, 25))
written("odd sides", ".mkv", even(5), codec="ffv1", pix_fmt="yuv444p", size=(97, 65))
written("two pixels", ".mkv", even(5), codec="ffv1", pix_fmt="bgr0", size=(2, 2), levels=False)
written("tall", ".mp4", even(5), size=(64, 640))


def boxes_matrix(*rows):
    return struct.pack(">9i", *(round(value * (1 << (30 if number % 3 == 2 else 16))) for number, value in enumerate(rows)))


TURNS = {
    "turned by 90 degrees": ((0, 1, 0, -1, 0, 0, 0, 0, 1), lambda seen: np.rot90(seen, 1)),
    "turned by 180 degrees": ((-1, 0, 0, 0, -1, 0, 0, 0, 1), lambda seen: np.rot90(seen, 2)),
    "turned by 270 degrees": ((0, -1, 0, 1, 0, 0, 0, 0, 1), lambda seen: np.rot90(seen, 3)),
    "mirrored": ((-1, 0, 0, 0, 1, 0, 0, 0, 1), lambda seen: seen[:, ::-1]),
    "upside down": ((1, 0, 0, 0, -1, 0, 0, 0, 1), lambda seen: seen[::-1]),
    "mirrored and turned": ((0, 1, 0, 1, 0, 0, 0, 0, 1), lambda seen: np.transpose(seen, (1, 0, 2))),
}
"""The matrix of the track's header (ISO/IEC 14496-12, 6.2.2), and what the camera stored."""


def turned(name, matrix, store):
    def make(folder):
        path = encode(
            folder / "clip.mov", even(4), draw=lambda number, size: np.ascontiguousarray(store(picture(number, size)))
        )
        content = path.read_bytes()
        track = content.index(b"tkhd")
        unit = boxes_matrix(1, 0, 0, 0, 1, 0, 0, 0, 1)
        assert unit in content[track:]
        path.write_bytes(content[:track] + content[track:].replace(unit, boxes_matrix(*matrix), 1))
        return path, all_of(even(4))

    CASES[name] = make


for turn, (matrix, store) in TURNS.items():
    turned(turn, matrix, store)


@case
def frames_before_zero_in_an_mp4(folder):
    """Its edit list begins at 0, so that a player does not show what comes before."""
    return encode(folder / "clip.mp4", [time - 0.5 for time in UNEVEN]), Wanted(
        list(range(3, 10)), np.subtract(UNEVEN[3:], 0.5)
    )


@case
def wide_pixels(folder):
    return encode(folder / "clip.mp4", even(4), shape=Fraction(2, 1)), all_of(even(4), shape=(64, 192, 3))


@case
def narrow_pixels(folder):
    return encode(folder / "clip.mkv", even(4), shape=Fraction(1, 2)), all_of(even(4), shape=(64, 48, 3))


@case
def sound_before_the_picture(folder):
    times = even(10, start=0.6)
    return encode(folder / "clip.mkv", times, audio=(0, 1.2)), all_of(times, within=0.15)


@case
def sound_longer_than_the_picture(folder):
    return encode(folder / "clip.mp4", even(10), audio=(0, 3)), all_of(even(10), within=0.15)


def long_clip(folder, ending=".mp4", count=30, **options):
    """A clip of `count` frames with a key frame every tenth."""
    return encode(folder / f"long{ending}", even(count), tune={"g": "10", "keyint_min": "10", "sc_threshold": "0", **options})


@case
def trimmed_at_a_key_frame(folder):
    path = remux(long_clip(folder), folder / "clip.mp4", lambda number, _: number >= 10)
    return path, Wanted(list(range(10, 30)), even(20))


@case
def trimmed_at_its_end(folder):
    path = remux(long_clip(folder, bf="0"), folder / "clip.mp4", lambda number, _: number < 17)
    return path, all_of(even(17))


@case
def trimmed_between_key_frames_in_mkv(folder):
    path = remux(long_clip(folder, bf="0"), folder / "clip.mkv", lambda number, _: number >= 13)
    return path, Wanted(list(range(20, 30)), even(10, start=0.28), within=0.3)


@case
def trimmed_between_key_frames_in_ts(folder):
    path = remux(long_clip(folder, bf="0"), folder / "clip.ts", lambda number, _: number >= 13)
    return path, Wanted(list(range(20, 30)), even(10, start=0.28), within=0.3)


@case
def trimmed_in_an_open_group(folder):
    source = long_clip(folder, ".mkv", bf="2", **{"x264-params": "open-gop=1"})
    with av.open(str(source)) as file:
        key = [number for number, packet in enumerate(p for p in file.demux(video=0) if p.size) if packet.is_keyframe][1]
    path = remux(source, folder / "clip.mkv", lambda number, _: number >= key)
    return path, Wanted(None, None)


@case
def cut_by_an_edit_list(folder):
    path = encode(folder / "clip.mp4", even(20, 10), tune={"bf": "0"})
    content = bytearray(path.read_bytes())
    start = content.index(b"elst") + 8  # after version, flags and the number of entries: duration, then start in the media
    scale = struct.unpack(">I", content[content.index(b"mdhd") + 16 :][:4])[0]
    (media,) = struct.unpack(">i", content[start + 8 : start + 12])
    content[start + 8 : start + 12] = struct.pack(">i", media + scale)
    path.write_bytes(content)
    return path, Wanted(list(range(10, 20)), even(10, 10))


@case
def duplicate_times(folder):
    source = encode(folder / "long.mkv", even(6, 10), tune={"bf": "0"})
    path = folder / "clip.mkv"
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for number, packet in enumerate(packet for packet in old.demux(video=0) if packet.size):
            packet.pts = packet.dts = 100 * (number // 2)
            packet.stream = stream
            new.mux(packet)
    return path, all_of([0, 0, 0.1, 0.1, 0.2, 0.2])


@case
def an_avi_without_index(folder):
    path = encode(folder / "clip.avi", even(10), codec="mjpeg", pix_fmt="yuvj420p", base=Fraction(1, 25))
    content = path.read_bytes()
    end = content.rindex(b"idx1")
    path.write_bytes(content[:4] + struct.pack("<I", end - 8) + content[8:end])
    return path, all_of(even(10))


@case
def an_avi_whose_recording_was_not_finished(folder):
    path = encode(folder / "clip.avi", even(10), codec="mjpeg", pix_fmt="yuvj420p", base=Fraction(1, 25))
    content = bytearray(path.read_bytes())
    end, movie = content.rindex(b"idx1"), content.index(b"movi")
    content[4:8], content[movie - 4 : movie] = bytes(4), bytes(4)
    path.write_bytes(content[:end])
    return path, all_of(even(10))


@case
def an_avi_of_unknown_size(folder):
    path = encode(folder / "clip.avi", even(10), codec="mjpeg", pix_fmt="yuvj420p", base=Fraction(1, 25))
    content = path.read_bytes()
    path.write_bytes(content[:4] + b"\xff" * 4 + content[8:])
    return path, all_of(even(10))


def with_an_end(name, ending, tail, **options):
    def make(folder):
        path = encode(folder / f"clip{ending}", even(10), **options)
        path.write_bytes(path.read_bytes() + tail)
        return path, all_of(even(10))

    CASES[name] = make


MJPEG = {"codec": "mjpeg", "pix_fmt": "yuvj420p", "base": Fraction(1, 25)}
with_an_end("mp4 with a phone's data after its end", ".mp4", b"\x00\x00\x01\x0aSEFT" + bytes(range(256)))
with_an_end("mp4 with zeros after its end", ".mp4", bytes(5000))
with_an_end("mp4 with random bytes after its end", ".mp4", np.random.default_rng(0).bytes(5000))
with_an_end("avi with a tag after its end", ".avi", b"TAG" + bytes(range(1, 126)), **MJPEG)
with_an_end("avi with random bytes after its end", ".avi", np.random.default_rng(1).bytes(5000), **MJPEG)
with_an_end("mkv with random bytes after its end", ".mkv", np.random.default_rng(2).bytes(5000))


def cut(name, ending, share, fewest, error=CUT, **options):
    """Cut a video off after a share of its bytes; at least so many of its 40 frames must be left."""

    def make(folder):
        path = encode(folder / f"clip{ending}", even(40), draw=noisy, tune={"g": "10"}, **options)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        return path, Wanted(fewest, even(40), error=error, levels=False)

    CASES[name] = make


cut("half an avi", ".avi", 0.5, 15, **MJPEG)
cut("half an mp4 with its index in front", ".mp4", 0.5, 19, movflags="faststart")
cut("half an mp4 in fragments", ".mp4", 0.5, 19, movflags="frag_keyframe+empty_moov+default_base_moof")
cut("half an mkv", ".mkv", 0.5, 19)
cut("half a webm", ".webm", 0.5, 12, codec="libvpx")
cut("nearly a whole mp4", ".mp4", 0.95, 38, movflags="faststart")
cut("half an mp4 without its index", ".mp4", 0.5, 0, "damaged or not a video")
cut("half a ts, which has no end", ".ts", 0.5, 20, "")
cut("half an flv, whose last packet is damaged", ".flv", 0.5, 19, "is damaged (frames skipped: 1)")


def zeroed(name, ending, wanted, **options):
    """Overwrite a frame in the middle."""

    def make(folder):
        path = encode(folder / f"clip{ending}", even(30), draw=noisy, tune={"g": "10"}, **options)
        content = bytearray(path.read_bytes())
        with av.open(str(path)) as file:
            position, size = [(packet.pos, packet.size) for packet in file.demux(video=0) if packet.size][10]
        content[position + 20 : position + size - 4] = bytes(size - 24)
        path.write_bytes(content)
        return path, wanted

    CASES[name] = make


zeroed("a damaged frame that its decoder conceals", ".mkv", Wanted(30, even(30), levels=False))
zeroed("a damaged frame", ".avi", Wanted(29, None, error="is damaged (frames skipped: 1)", levels=False), **MJPEG)


def with_sound_only(path, form, codec, cover=False):
    """One second of silence, with an attached picture if it has a cover."""
    with av.open(str(path), "w", format=form) as file:
        sound = file.add_stream(codec, rate=8000, layout="mono")
        if cover:
            stream = file.add_stream("mjpeg", rate=1)
            stream.width, stream.height, stream.pix_fmt = *SIZE, "yuvj420p"
            stream.disposition = av.stream.Disposition.attached_pic
            frame = av.VideoFrame.from_ndarray(picture(0), format="rgb24")
            frame.pts = 0
            file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
        for start in range(0, 8000, 1024):
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            silence.sample_rate, silence.pts, silence.time_base = 8000, start, Fraction(1, 8000)
            file.mux(sound.encode(silence))
        file.mux(sound.encode(None))
    return path, Wanted(0, None, error="holds no moving picture")


@case
def sound_only(folder):
    return with_sound_only(folder / "song.mp4", "mp4", "aac")


@case
def sound_with_a_cover(folder):
    return with_sound_only(folder / "song.mp4", "mp3", "libmp3lame", cover=True)


@case
def no_frames(folder):
    path = remux(encode(folder / "long.avi", even(3), **MJPEG), folder / "clip.avi", lambda *_: False)
    return path, Wanted(0, None, error="holds no frames that can be decoded")


@case
def no_frames_in_mkv(folder):
    path = remux(encode(folder / "long.mkv", even(3)), folder / "clip.mkv", lambda *_: False)
    return path, Wanted(0, None, error="damaged or not a video")


@case
def two_recordings_one_after_the_other(folder):
    first, second = encode(folder / "1.ts", even(5)), encode(folder / "2.ts", even(5), size=(128, 96))
    path = folder / "clip.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    return path, Wanted(10, None, levels=False, shape=None)


@case
def a_preview_beside_the_video(folder):
    path = folder / "clip.mp4"
    with av.open(str(path), "w") as file:
        for codec, pix_fmt, size in (("mjpeg", "yuvj420p", (32, 16)), ("libx264", "yuv420p", SIZE)):
            stream = file.add_stream(codec, rate=25)
            stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        for stream, size, count in zip(file.streams.video, ((32, 16), SIZE), (1, 10), strict=True):
            for number in range(count):
                frame = av.VideoFrame.from_ndarray(picture(number, size), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
    return path, all_of(even(10))


def renamed(name, first, ending, **options):
    def make(folder):
        path = encode(folder / f"clip{first}", UNEVEN, **options).rename(folder / f"clip{ending}")
        return path, all_of(UNEVEN)

    CASES[name] = make


renamed("an mp4 that is called avi", ".mp4", ".avi")
renamed("an mp4 without suffix", ".mp4", "")
renamed("an mkv that is called jpg", ".mkv", ".jpg")
renamed("a webm that is called dat", ".webm", ".dat", codec="libvpx")
renamed("a ts that is called mp4", ".ts", ".mp4")
renamed("an flv that is called zip", ".flv", ".zip")


def check(found, wanted):
    *good, last = found if wanted.error else [*found, None]
    assert [frame.error for frame in good] == [""] * len(good)
    if wanted.error:
        assert wanted.error.format(len(good)) in last.error
        assert last.image is None
    times = [frame.time for frame in good]
    assert times == sorted(times)
    assert [frame.frame for frame in good] == list(range(len(good)))
    if isinstance(wanted.numbers, int):
        assert wanted.numbers <= len(good) <= 40
    elif wanted.numbers is not None:
        assert len(good) == len(wanted.numbers)
    if wanted.times is not None:
        np.testing.assert_allclose(times, wanted.times[: len(times)], atol=wanted.within)
    if wanted.shape is not None:
        assert {frame.image.shape for frame in good} <= {wanted.shape}
    if wanted.levels and isinstance(wanted.numbers, list):
        levels = [int(np.median(frame.image[-20:, -20:])) for frame in good]
        np.testing.assert_allclose(levels, [10 + 6 * number for number in wanted.numbers], atol=9)
        assert all(frame.image[:16, :16].min() > 200 for frame in good)
        assert all(max(frame.image[-16:, :16].max(), frame.image[:16, -16:].max()) < 230 for frame in good)


@pytest.mark.parametrize("name", CASES)
def test_a_video_of_odd_timing_is_answered_right(name, tmp_path):
    path, wanted = CASES[name](tmp_path)
    check(list(frames(path)), wanted)


DRAWN = (
    *(
        "mp4 with uneven times",
        "mpeg-ts",
        "film rate",
        "one frame in 10 s",
        "one frame",
        "starts at 100 s in mkv",
        "duplicate_times",
    ),
    *(
        "turned by 90 degrees",
        "wide_pixels",
        "odd sides",
        "tall",
        "cut_by_an_edit_list",
        "half an mkv",
        "a damaged frame",
        "gray",
    ),
    *("trimmed_between_key_frames_in_ts", "two_recordings_one_after_the_other", "sound_before_the_picture"),
)


@pytest.mark.parametrize("name", DRAWN)
def test_a_drawn_video_keeps_the_times_of_its_source(name, tmp_path, model):
    path, _ = CASES[name](tmp_path)
    rows = [row for row in mien.predict(path, model, faces=True, draw=tmp_path / "drawn") if not row.error]
    drawn = [frame for frame in frames(tmp_path / "drawn" / f"{path.stem}.mp4") if not frame.error]
    times = np.subtract([row.time for row in rows], rows[0].time)
    np.testing.assert_allclose([frame.time for frame in drawn], times, atol=0.0021)
    source = next(frames(path)).image.shape
    assert drawn[0].image.shape == (*(side + side % 2 for side in source[:2]), 3)


def test_there_are_at_least_fifty_of_them():
    assert len(CASES) >= 50
