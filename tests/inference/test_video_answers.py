"""The whole way of a video on the command line, on a scene of drawn faces that move."""

import json
import math
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from mien.cli import main
from mien.drawn import draw_face

FRAMES, RATE, SIZE = 24, 10, (480, 270)
AWAY = range(9, 15)


def paste(image, face, x, y):
    image[y : y + len(face), x : x + len(face)] = face


def draw_scene(path):
    """A smiling face goes from left to right in front of another that goes from right to left; a third leaves and returns."""
    smiling, grave, startled = (draw_face(mood, seed, 96) for mood, seed in (("happy", 1), ("sad", 4), ("surprise", 5)))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), RATE, SIZE)
    for number in range(FRAMES):
        image = np.full((SIZE[1], SIZE[0], 3), 150, np.uint8)
        paste(image, grave, 372 - 15 * number, 16)
        paste(image, smiling, 12 + 15 * number, 10)
        if number not in AWAY:
            paste(image, startled, 190, 150)
        writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def decoded(path):
    video = cv2.VideoCapture(str(path))
    found = []
    while (read := video.read())[0]:
        found.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB))
    video.release()
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The scene as clip.mp4, its answers as rows.jsonl, and all that was drawn in drawn/."""
    folder = tmp_path_factory.mktemp("video")
    clip = draw_scene(folder / "clip.mp4")
    words = ["--out", str(folder / "rows.jsonl"), "--draw", str(folder / "drawn")]
    assert main(["predict", str(clip), *words]) == 0
    return folder


@pytest.fixture(scope="module")
def frames(folder):
    """The rows of each frame."""
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    return [[row for row in rows if row["frame"] == number] for number in range(FRAMES)]


def middles(frames, track):
    return {row["frame"]: (row["box"][0] + row["box"][2]) / 2 for rows in frames for row in rows if row["track"] == track}


def test_two_faces_that_cross_and_one_that_returns_keep_their_tracks(frames):
    smiling, startled, grave = sorted((middles(frames, track) for track in range(3)), key=lambda track: track[0])
    assert {row["track"] for rows in frames for row in rows} == {0, 1, 2}
    assert all(abs(x - (60 + 15 * frame)) < 12 for frame, x in smiling.items())
    assert all(abs(x - (420 - 15 * frame)) < 12 for frame, x in grave.items())
    assert len(smiling) == FRAMES
    assert 16 <= len(grave) < FRAMES  # hidden behind the other for a while
    assert sorted(startled) == [frame for frame in range(FRAMES) if frame not in AWAY]
    assert all(abs(x - 238) < 12 for x in startled.values())


def test_faces_come_in_the_order_of_their_tracks_with_their_times(frames):
    for number, rows in enumerate(frames):
        assert [row["face"] for row in rows] == list(range(len(rows)))
        assert [row["track"] for row in rows] == sorted(row["track"] for row in rows)
        assert {row["time"] for row in rows} == {number / RATE}
    # the tracks of the first frame are numbered from its largest face to its smallest
    areas = [(row["box"][2] - row["box"][0]) * (row["box"][3] - row["box"][1]) for row in frames[0]]
    assert areas == sorted(areas, reverse=True)
    smiling, startled, grave = sorted(range(3), key=lambda track: middles(frames, track)[0])
    present = [{startled, grave, smiling}, {grave, smiling}, {smiling}, {startled, grave, smiling}]
    assert [[row["track"] for row in frames[number]] for number in (0, 9, 12, 23)] == [sorted(tracks) for tracks in present]
    assert [frames[0][track]["label"] for track in (startled, smiling)] == ["surprise", "happy"]


def test_the_drawn_video_has_the_frames_and_the_boxes(folder, frames):
    plain, drawn = decoded(folder / "clip.mp4"), decoded(folder / "drawn" / "clip.mp4")
    assert len(drawn) == FRAMES
    assert {frame.shape for frame in drawn} == {(270, 480, 3)}
    video = cv2.VideoCapture(str(folder / "drawn" / "clip.mp4"))
    assert video.get(cv2.CAP_PROP_FPS) == RATE
    for number in (0, 12, 23):
        changed = np.abs(drawn[number].astype(int) - plain[number]).max(axis=2) > 50
        around = np.zeros_like(changed)
        for row in frames[number]:
            x1, y1, x2, y2 = (round(edge) for edge in row["box"])
            for edge in (changed[y1:y2, x1 - 3 : x1 + 4], changed[y1:y2, x2 - 3 : x2 + 4], changed[y2 - 3 : y2 + 4, x1:x2].T):
                assert edge.any(axis=1).mean() > 0.9
            around[max(0, y1 - 40) : y2 + 40, max(0, x1 - 40) : x2 + 60] = True
        assert not changed[~around].any()


def test_the_plot_lies_beside_the_video(folder):
    assert sorted(path.name for path in (folder / "drawn").iterdir()) == ["clip.mp4", "clip.tracks.png"]
    with Image.open(folder / "drawn" / "clip.tracks.png") as plot:
        assert plot.width > 1000
        assert len(plot.getcolors(2**20)) > 20


def answers(words, capsys):
    assert main(["predict", *words, "--format", "jsonl"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_probabilities_are_smoothed_over_time_and_zero_leaves_them(model, write_video, tmp_path, capsys):
    words = [str(write_video(tmp_path / "clip.avi")), "--model", str(model), "--faces", "--every", "4"]
    raw = answers([*words, "--smoothing", "0"], capsys)
    wanted = raw[0]["probabilities"]["angry"]
    for before, row, calm in zip(raw, raw[1:], answers([*words, "--smoothing", "0.5"], capsys)[1:], strict=False):
        assert row["time"] - before["time"] == pytest.approx(0.4)
        wanted = math.exp(-0.8) * wanted + (1 - math.exp(-0.8)) * row["probabilities"]["angry"]
        assert calm["probabilities"]["angry"] == pytest.approx(wanted, abs=1e-5)
        assert sum(calm["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert calm["confidence"] == max(calm["probabilities"].values())
    assert abs(wanted - raw[-1]["probabilities"]["angry"]) > 1e-3
    assert {row["track"] for row in raw} == {0}
    plain = answers([*words, "--track", "false"], capsys)
    assert [{**row, "track": 0} for row in plain] == raw
    assert not any("track" in row for row in plain)


def test_a_broken_end_gives_a_playable_file_and_every_other_frame_half_the_rate(model, write_video, tmp_path, capsys):
    clip = write_video(tmp_path / "clip.avi")
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    words = ["predict", str(clip), "--model", str(model), "--faces", "--every", "2", "--format", "jsonl"]
    assert main([*words, "--draw", str(tmp_path / "drawn")]) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert "is cut off or damaged after" in rows[-1]["error"]
    assert len(decoded(tmp_path / "drawn" / "clip.mp4")) == len(rows) - 1 > 4
    assert cv2.VideoCapture(str(tmp_path / "drawn" / "clip.mp4")).get(cv2.CAP_PROP_FPS) == 5


def test_without_matplotlib_there_is_a_video_and_a_sentence_but_no_plot(model, write_video, tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    clip = str(write_video(tmp_path / "clip.avi", count=3))
    assert main(["predict", clip, "--model", str(model), "--faces", "--draw", str(tmp_path / "drawn")]) == 0
    assert "mien: the tracks are not plotted without matplotlib" in caplog.text
    assert [path.name for path in (tmp_path / "drawn").iterdir()] == ["clip.mp4"]
