import logging
import sys

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import ImageColor

from mien.inference import drawing
from mien.inference.drawing import COLOURS, VideoHistory, plot_tracks
from mien.inference.prediction import Prediction
from mien.labels import FER2013


def frame(number, tracks, rate=10):
    """The rows of a frame in which these tracks show the label of their number."""
    row = {"source": "clip.mp4", "labels": FER2013, "frame": number, "time": number / rate}
    faces = [Prediction(**row, face=0, probabilities=np.eye(7, dtype=np.float32)[t % 7], track=t) for t in tracks]
    return faces or [Prediction(**row)]


def history(*frames):
    kept = VideoHistory(0.1)
    for number, tracks in enumerate(frames):
        kept.add(frame(number, tracks))
    return kept


def pixels_of(picture, label):
    """How many pixels have the colour of a label."""
    return int((np.asarray(picture) == ImageColor.getrgb(COLOURS[label])).all(axis=2).sum())


def test_a_track_is_cut_where_its_face_was_lost(monkeypatch):
    tracks, parts = history([0], [0, 1], [1], [], [0]), []
    assert [(time, run) for time, run, _ in tracks.tracks[0].points] == [(0, 0), (0.1, 0), (0.4, 1)]
    monkeypatch.setattr(Axes, "stackplot", lambda panel, times, shares, **look: parts.append((times, shares)))
    plot_tracks(tracks)
    np.testing.assert_allclose(parts[0][0], [0, 0.1, 0.2])
    np.testing.assert_allclose(parts[1][0], [0.4, 0.5])
    assert [shares.shape for _, shares in parts] == [(7, 3), (7, 2), (7, 3)]  # the last is of the other track


def test_each_track_has_a_panel_filled_for_as_long_as_it_was_seen():
    picture = plot_tracks(history(*[[0, 3]] * 5, *[[0]] * 5))
    assert picture.mode == "RGB"
    assert pixels_of(picture, 3) / pixels_of(picture, 0) == pytest.approx(0.5, abs=0.05)
    assert pixels_of(picture, 1) < 0.05 * pixels_of(picture, 0)  # in the legend only
    one = plot_tracks(history(*[[0]] * 10))
    assert one.height < picture.height
    assert one.width == picture.width


def test_a_face_of_a_single_frame_is_seen_too():
    picture = plot_tracks(history([], [3], [], []))
    assert pixels_of(picture, 3) > 5 * pixels_of(picture, 2) > 0


def test_of_many_tracks_the_longest_are_shown_and_memory_stays_bounded(monkeypatch):
    monkeypatch.setattr(drawing._LOOK, "most_kept", 10)
    kept = VideoHistory(0.1)
    for number in range(100):
        kept.add(frame(number, [0, 1 + number]))
    assert len(kept.tracks) <= 10
    assert 0 in kept.tracks
    assert kept.left_out + len(kept.tracks) == 101
    assert [number for number, _ in kept.longest(1)] == [0]
    monkeypatch.setattr(drawing._LOOK, "most_points", 20)
    long = history(*[[0]] * 500).tracks[0]
    assert len(long.points) <= 20
    assert (long.frames, long.points[0][0], {run for _, run, _ in long.points}) == (500, 0, {0})
    assert long.points[-1][0] > 45


def test_without_matplotlib_a_line_says_so(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with caplog.at_level(logging.WARNING, "mien"):
        assert plot_tracks(history([0])) is None
    assert caplog.messages == ["mien: the tracks are not plotted without matplotlib; run: pip install 'mien[evaluate]'"]
