import math
from dataclasses import replace

import numpy as np
import pytest

from mien.inference import pipeline
from mien.inference.pipeline import TrackSmoother
from mien.inference.prediction import Prediction
from mien.labels import LabelSet

LABELS = LabelSet(("no", "yes"))


def rows(frame, *faces, source="clip.mp4", time=None):
    """The rows of one frame: a face for each (x, probability of yes)."""
    row = Prediction(source, LABELS, frame=frame, time=frame / 10 if time is None else time, threshold=0.7)
    if not faces:
        return [row]
    return [
        replace(row, face=n, box=(x, 0, x + 50, 50), probabilities=np.array([1 - p, p], np.float32))
        for n, (x, p) in enumerate(faces)
    ]


def test_faces_come_by_track_and_are_counted_in_that_order():
    smoother = TrackSmoother(0)
    smoother.update(rows(0, (0, 0.9), (200, 0.3)))
    found = smoother.update(rows(1, (200, 0.3), (400, 0.6), (0, 0.9)))
    assert [(row.face, row.track, row.box[0], row.confidence) for row in found] == [
        (0, 0, 0, pytest.approx(0.9)),
        (1, 1, 200, pytest.approx(0.7)),
        (2, 2, 400, pytest.approx(0.6)),
    ]
    assert smoother.update(rows(2))[0].no_face
    (back,) = smoother.update(rows(3, (200, 0.2)))
    assert (back.face, back.track) == (0, 1)


def test_each_track_is_smoothed_by_itself_over_the_time_between_its_frames():
    """By hand: 0.9, then 0.9 e^-1 + 0.1 (1 - e^-1), then after three times as long e^-3 of that and the rest of 0.6."""
    smoother = TrackSmoother(0.1)
    (first, other) = smoother.update(rows(0, (0, 0.9), (200, 0.2)))
    assert (first.probabilities[1], other.probabilities[1]) == (np.float32(0.9), np.float32(0.2))
    (second,) = smoother.update(rows(1, (0, 0.1)))
    assert second.probabilities[1] == pytest.approx(0.3943, abs=1e-4)
    smoother.update(rows(2))
    (third, fourth) = smoother.update(rows(4, (0, 0.6), (200, 0.2)))
    assert third.probabilities[1] == pytest.approx(0.3943 * math.exp(-3) + 0.6 * (1 - math.exp(-3)), abs=1e-4)
    assert third.probabilities.sum() == pytest.approx(1)
    assert third.probabilities.dtype == np.float32
    assert fourth.probabilities[1] == np.float32(0.2)


def test_where_frames_disagree_the_answer_becomes_unsure():
    smoother = TrackSmoother(0.3)
    found = [smoother.update(rows(n, (0, 0.9 if n % 2 else 0.1)))[0] for n in range(20)]
    assert [row.unsure for row in found[:1] + found[10:]] == [False] + [True] * 10
    assert found[-1].confidence == pytest.approx(0.5 + 0.4 * math.tanh(1 / 6), abs=0.01)  # it swings about the mean of both


def test_photos_and_errors_come_back_as_they_are():
    smoother = TrackSmoother(0.3)
    photo = [replace(row, frame=None, time=None) for row in rows(0, (0, 0.9))]
    error = [replace(rows(3)[0], error="It is damaged.")]
    untimed = [replace(row, time=None) for row in rows(0, (0, 0.9))]
    for given in (photo, error, untimed):
        assert smoother.update(given) is given
    assert photo[0].track is None


def test_every_video_has_tracks_of_its_own_also_in_turn_and_anew():
    smoother = TrackSmoother(1e9)
    for number in range(3):
        for source, yes in (("left.mp4", 0.9), ("right.mp4", 0.2)):
            (row,) = smoother.update(rows(number, (0, yes), source=source))
            assert (row.track, row.probabilities[1]) == (0, pytest.approx(yes))
    (again,) = smoother.update(rows(0, (0, 0.4), source="left.mp4"))
    assert (again.track, again.probabilities[1]) == (0, pytest.approx(0.4))


def test_the_memory_of_many_videos_is_bounded(monkeypatch):
    monkeypatch.setattr(pipeline.TRACKING, "most_videos", 3)
    smoother = TrackSmoother(0.3)
    for number in range(10):
        smoother.update(rows(0, (0, 0.9), source=f"{number}.mp4"))
    assert list(smoother._videos) == ["7.mp4", "8.mp4", "9.mp4"]


def test_a_clock_that_jumps_back_breaks_no_track():
    smoother = TrackSmoother(0.3)
    found = [smoother.update(rows(n, (0, 0.9), time=time))[0] for n, time in enumerate((0.0, 0.1, 0.05, 9.0, 0.2, 0.3))]
    assert [row.track for row in found] == [0] * 6
    assert found[4].time == 0.2
