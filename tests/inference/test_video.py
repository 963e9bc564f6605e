import http.server
import importlib
import json
import signal
import struct
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest

from mien.cli import main
from mien.inference import prefetch, video
from reading import frames


@pytest.fixture
def clip(tmp_path, write_video):
    return write_video(tmp_path / "clip.avi")


def test_the_frames_of_a_video_have_numbers_and_seconds_and_their_colours(clip):
    found = list(frames(clip))
    assert [frame.frame for frame in found] == list(range(40))
    np.testing.assert_allclose([frame.time for frame in found], np.arange(40) / 10, atol=0.001)
    assert {frame.source for frame in found} == {str(clip)}
    assert found[0].image.shape == (64, 96, 3)
    np.testing.assert_allclose([frame.image[..., 0].mean() for frame in found], 5 * np.arange(40), atol=4)
    assert max(frame.image[..., 2].mean() for frame in found) < 8


def test_every_third_frame_keeps_its_number_and_time(clip):
    found = list(frames(clip, every=3))
    assert [frame.frame for frame in found] == list(range(0, 40, 3))
    assert found[2].time == pytest.approx(0.6, abs=0.001)
    assert found[2].rate == pytest.approx(10 / 3)
    assert found[2].image[..., 0].mean() == pytest.approx(30, abs=4)


def test_the_command_line_takes_every_so_manieth_frame(clip, model, capsys):
    assert main(["predict", str(clip), "--model", str(model), "--faces", "--every", "20", "--format", "jsonl"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["source"], row["frame"], row["time"], row["face"]) for row in rows] == [
        (str(clip), 0, 0.0, 0),
        (str(clip), 20, 2.0, 0),
    ]


def test_an_mp4_is_read_too(tmp_path, write_video):
    found = list(frames(write_video(tmp_path / "clip.mp4", count=12, codec="mpeg4")))
    assert [frame.frame for frame in found] == list(range(12))
    assert not any(frame.error for frame in found)


def test_a_truncated_video_gives_its_frames_and_then_an_error(clip):
    content = clip.read_bytes()
    clip.write_bytes(content[: len(content) // 2])
    *found, last = frames(clip)
    assert 10 <= len(found) <= 30
    assert not any(frame.error for frame in found)
    assert f"is cut off or damaged after {len(found)} frames" in last.error
    assert (last.image, last.frame) == (None, len(found))


def test_a_short_video_that_is_cut_off_says_so_too(tmp_path, write_video):
    clip = write_video(tmp_path / "clip.avi", count=16, rate=25, size=(640, 480))
    content = clip.read_bytes()
    clip.write_bytes(content[: len(content) // 2])
    *found, last = frames(clip)
    assert 4 <= len(found) <= 12
    assert f"is cut off or damaged after {len(found)} frames" in last.error


UNEVEN = [0, 0.04, 0.08, 0.5, 0.54, 1.2, 1.24, 1.28, 2.0, 2.04]
"""Times of a phone's video, which slows down in the dark."""


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("clip.mp4", "libx264", {}),
        ("clip.mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}),
        ("clip.mov", "mpeg4", {"movflags": "faststart"}),
        ("clip.mkv", "libx264", {}),
        ("clip.webm", "libvpx-vp9", {}),
        ("clip.ts", "libx264", {}),
        ("clip.flv", "libx264", {}),
    ],
)
def test_frames_have_their_own_times(tmp_path, write_video, name, codec, options):
    found = list(frames(write_video(tmp_path / name, times=UNEVEN, codec=codec, **options)))
    assert not any(frame.error for frame in found)
    np.testing.assert_allclose([frame.time for frame in found], UNEVEN, atol=0.001)


def test_a_turned_video_is_read_upright(tmp_path, write_video):
    clip = write_video(tmp_path / "clip.mp4", count=3, codec="libx264")
    content = clip.read_bytes()
    unit, turned = (
        struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30),
        struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30),
    )
    track = content.index(b"tkhd")
    clip.write_bytes(content[:track] + content[track:].replace(unit, turned, 1))
    assert [frame.image.shape for frame in frames(clip)] == [(96, 64, 3)] * 3


def test_an_edit_list_hides_what_was_cut_away(tmp_path, write_video):
    clip = write_video(tmp_path / "clip.mp4", count=20, codec="libx264")
    content = clip.read_bytes()
    start = content.index(b"elst") + 8  # after version, flags and the number of entries: duration, then start in the media
    (media,) = struct.unpack(">i", content[start + 8 : start + 12])
    scale = struct.unpack(">I", content[content.index(b"mdhd") + 16 : content.index(b"mdhd") + 20])[0]
    clip.write_bytes(content[: start + 8] + struct.pack(">i", media + scale) + content[start + 12 :])
    found = list(frames(clip))
    assert not any(frame.error for frame in found)
    assert len(found) == 10
    assert found[0].time == pytest.approx(0, abs=0.001)
    assert found[0].image[..., 0].mean() == pytest.approx(50, abs=6)


@pytest.mark.parametrize("text", ["#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n", "ffconcat version 1.0\nfile 'clip.avi'\n"])
def test_a_list_of_other_files_is_not_followed(tmp_path, clip, text):
    (tmp_path / "list.mp4").write_text(text)
    (frame,) = frames(tmp_path / "list.mp4")
    assert "damaged or not a video" in frame.error


def test_a_name_is_never_taken_for_an_address_or_a_pattern(tmp_path, monkeypatch, write_video):
    monkeypatch.chdir(tmp_path)
    for name in ("http:127.0.0.1:9.avi", "12:30.avi", "a%02d.avi", "-.avi"):
        write_video(tmp_path / "clip.avi", count=2).rename(tmp_path / name)
        assert [frame.error for frame in frames(name)] == ["", ""], name


def test_a_video_that_cannot_be_read_is_one_error(tmp_path, write_video):
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("no video " * 99)
    cut = write_video(tmp_path / "cut.mp4", codec="mpeg4")
    cut.write_bytes(cut.read_bytes()[:900])
    (tmp_path / "folder.mp4").mkdir()
    for name, says in (
        ("empty.mp4", "is empty"),
        ("text.mp4", "damaged or not a video"),
        ("cut.mp4", "damaged or not a video"),
        ("gone.mp4", "There is no video"),
        ("folder.mp4", "holds no images"),
    ):
        (frame,) = frames(tmp_path / name)
        assert says in frame.error
        assert name in frame.error
        assert frame.source == str(tmp_path / name)


def test_ffmpeg_prints_nothing(tmp_path):
    (tmp_path / "text.mp4").write_text("no video " * 99)
    code = "import sys; from reading import frames; print(len(list(frames([sys.argv[1], 99]))))"
    command = [sys.executable, "-c", code, str(tmp_path / "text.mp4")]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("2\n", "")


def test_a_camera_that_is_not_there_is_said(model, capsys):
    assert main(["predict", "98", "--model", str(model), "--faces"]) == 2
    out, err = capsys.readouterr()
    assert "There is no camera 98 here" in out
    assert "Traceback" not in err
    for number in (-1, 100, 10**12):
        (frame,) = frames(number)
        assert f"there is no {number}" in frame.error
    (frame,) = frames(98)
    assert (frame.source, bool(frame.error)) == ("camera 98", True)


def test_a_file_that_is_called_like_a_camera_is_that_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "7").write_text("no image")
    (frame,) = frames("7")
    assert "The image '7' is not in a format" in frame.error


def camera(monkeypatch, frames=None, interrupt_after=None):
    """Let FFmpeg's test picture stand for every camera: for so many frames, or without end."""
    seconds = "" if frames is None else f":duration={frames / 20}"

    class Endless(video._Video):
        def __iter__(self):
            for number, decoded in enumerate(super().__iter__(), start=1):
                time.sleep(0.01)
                if number == interrupt_after:
                    signal.raise_signal(signal.SIGINT)
                yield decoded

    monkeypatch.setattr(video, "_Video", Endless)
    monkeypatch.setattr(video, "_open_camera", lambda _: av.open(f"testsrc=size=6x4:rate=20{seconds}", format="lavfi"))


@pytest.mark.parametrize("out", [None, "rows.json"])
def test_who_stops_a_camera_has_whole_answers(out, model, tmp_path, monkeypatch, capsys):
    camera(monkeypatch, interrupt_after=40)
    monkeypatch.setattr(prefetch, "LONGEST_WAIT", 0.05)
    path = None if out is None else tmp_path / out
    assert (
        main(["predict", "0", "--model", str(model), "--faces", "--format", "json", *(["--out", str(path)] if path else [])])
        == 0
    )
    text, _ = capsys.readouterr()
    rows = json.loads(path.read_text() if path else text)
    assert [row["frame"] for row in rows] == list(range(len(rows)))
    assert len(rows) > 3
    assert not any(thread.name.startswith("mien") for thread in threading.enumerate())


@pytest.mark.parametrize("place", ["mien.inference.output.to_json", "mien.inference.video.DrawnVideo._encode"])
def test_who_stops_a_camera_while_a_row_is_written_or_drawn_has_it_whole(place, model, tmp_path, monkeypatch, capsys):
    calls = []
    module, _, name = place.rpartition(".")
    owner = video.DrawnVideo if name == "_encode" else importlib.import_module(module)
    inner = getattr(owner, name)

    def interrupted(*words):
        calls.append(1)
        if len(calls) == 5:
            signal.raise_signal(signal.SIGINT)
        return inner(*words)

    camera(monkeypatch)
    monkeypatch.setattr(prefetch, "LONGEST_WAIT", 0.05)
    monkeypatch.setattr(owner, name, interrupted)
    words = ["predict", "0", "--model", str(model), "--faces", "--format", "json", "--draw", str(tmp_path / "drawn")]
    assert main(words) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) >= 5
    assert len(list(frames(tmp_path / "drawn" / "camera 0.mp4"))) >= len(rows)


def test_who_stops_a_camera_has_a_playable_video_of_what_it_saw(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(prefetch, "LONGEST_WAIT", 0.05)
    words = ["predict", "0", "--model", str(model), "--faces", "--format", "json", "--draw", str(tmp_path / "drawn")]
    with monkeypatch.context() as patch:
        camera(patch, interrupt_after=40)
        assert main(words) == 0
    rows = json.loads(capsys.readouterr().out)
    drawn = list(frames(tmp_path / "drawn" / "camera 0.mp4"))
    assert 0 <= len(drawn) - len(rows) <= 64  # the last group may be drawn and not written
    assert len(rows) > 3
    assert drawn[0].image.shape == (4, 6, 3)
    times = [row["time"] for row in rows]
    np.testing.assert_allclose([frame.time for frame in drawn[: len(rows)]], np.subtract(times, times[0]), atol=0.003)
    assert {row["track"] for row in rows} == {0}
    assert (tmp_path / "drawn" / "camera 0.tracks.png").is_file()


def test_a_camera_that_is_plugged_out_gives_its_frames_and_says_so(monkeypatch):
    camera(monkeypatch, frames=3)
    *found, last = frames(0, every=2)
    assert [(frame.source, frame.frame) for frame in found] == [("camera 0", 0), ("camera 0", 2)]
    assert 0 <= found[0].time <= found[1].time < 60
    assert {frame.rate for frame in found} == {10.0}
    assert "gives no more frames" in last.error
    assert last.frame == 3
    assert 0 <= last.time < 60


@pytest.fixture
def address(tmp_path, serve):
    """A web server on this machine that serves the files of the test's folder."""
    return serve(partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path)))


def test_a_stream_is_read_to_its_end(tmp_path, address, write_video, capfd):
    write_video(tmp_path / "clip.mkv", count=6, codec="libx264")
    found = list(frames(f"{address}/clip.mkv", every=2))
    assert [(frame.source, frame.frame, frame.error) for frame in found] == [(f"{address}/clip.mkv", n, "") for n in (0, 2, 4)]


def test_a_stream_that_cannot_be_opened_is_tried_again_and_each_failure_is_a_row(monkeypatch, model, capsys):
    monkeypatch.setattr(video.LIMITS, "wait_seconds", 0.0)
    found = [frame.error for frame in frames("http://127.0.0.1:9/live")]
    assert len(found) == video.LIMITS.reconnections + 1
    assert all("cannot be opened" in error for error in found)
    assert found[0].endswith("connecting again.")
    assert "check the address and the network" in found[-1]
    assert main(["predict", "rtsp://127.0.0.1:9/live", "--model", str(model), "--faces"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_the_address_of_a_photo_is_no_stream():
    (frame,) = frames("http://127.0.0.1:9/photo.jpg")
    assert "is an address, not a path" in frame.error


STOPPED = """
import sys
import numpy as np
from PIL import Image, ImageFilter
from mien import cli
from mien.inference import pipeline as predicting
from mien.inference.prediction import Frame

def endless(*_, **__):
    yield Frame("first", np.zeros((60, 60), np.uint8))
    print("reading", file=sys.stderr, flush=True)
    while True:
        Image.new("L", (3000, 3000)).filter(ImageFilter.BoxBlur(3))  # releases Python's lock, as a decoder does

predicting.listed = endless
cli.program()
"""


def test_a_program_that_is_stopped_in_the_middle_of_a_video_ends_with_its_status(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"video")
    command = [sys.executable, "-c", STOPPED, "predict", str(tmp_path / "clip.mp4"), "--faces"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        next(line for line in process.stderr if line == "reading\n")
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert (process.returncode, said) == (130, "mien: stopped\n")
