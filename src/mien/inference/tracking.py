"""Track the faces of videos by overlap, and smooth the probabilities of each track over time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mien.inference.prediction import Prediction

SMOOTHING = 0.1
"""Default time constant in seconds. On filmed FER-2013 faces it nearly halves how often the label changes while the expression
does not (0.47 per second instead of 0.85), and costs expressions of one second 0.7 points and longer ones none; 0.3 s would
cost them 9 (benchmarks/smoothing.py)."""

TRACK_LIFETIME = 2.0
"""Seconds that a track survives without its face: long enough for a look aside, during which detectors lose a face."""

MIN_OVERLAP = 0.3
"""Smallest intersection over union of two boxes of the same face; SORT's (Bewley et al., Simple Online and Realtime Tracking,
2016)."""

SPEED_SMOOTHING = 0.1
"""Time constant in seconds of the moving average over a face's speed, since boxes jitter."""

MOST_VIDEOS = 64
"""Videos whose tracks are kept at once: frames from the caller may come from several in turn."""

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels."""


def smooth(before: np.ndarray, now: np.ndarray, elapsed: float, time_constant: float) -> np.ndarray:
    """Update an exponential moving average of irregularly spaced values.

    The old average keeps the weight exp(-elapsed / time_constant), whatever the frame rate (Eckner, Algorithms for Unevenly
    Spaced Time Series: Moving Averages and Other Rolling Operators, 2012, EMA_next). A negative `elapsed` counts as 0; a
    time constant of 0 returns the new value.
    """
    if not time_constant:
        return now
    weight = -math.expm1(-max(0.0, elapsed) / time_constant)
    return np.asarray(before + weight * (now - before))


@dataclass(eq=False)
class Track:
    """One face over time."""

    number: int  # in the order in which the tracks began
    box: np.ndarray  # (4,), float64, at the last detection
    seen: float  # time of the last detection in seconds
    speed: np.ndarray = field(default_factory=lambda: np.zeros(2))  # (2,), float64, in pixels per second

    def expected(self, time: float) -> np.ndarray:
        """Extrapolate the box (4,) at constant speed."""
        return self.box + np.tile(self.speed, 2) * (time - self.seen)

    def update(self, box: np.ndarray, time: float) -> None:
        """Add the next detection."""
        if (elapsed := time - self.seen) > 0:
            shift = (box - self.box).reshape(2, 2).mean(axis=0)  # of the centre
            self.speed = smooth(self.speed, shift / elapsed, elapsed, SPEED_SMOOTHING)
        self.box, self.seen = box, time


class Tracker:
    """Tracks the faces of one video.

    Boxes are matched greedily with tracks by intersection over union (Bochinski et al., High-Speed Tracking-by-Detection
    Without Using Image Information, 2017): first with the extrapolated boxes, so that crossing faces keep their tracks, then
    with the last ones, so that a face which stopped while undetected is found again. A track ends if its face was not detected
    for `TRACK_LIFETIME` seconds, unless it was in the previous frame.
    """

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self._count = 0
        self._previous_time = 0.0

    def update(self, boxes: Sequence[Box], time: float) -> list[int]:
        """Match the boxes of the next frame, whose time must not decrease, and return the number of each box's track."""
        self.tracks = [
            track for track in self.tracks if track.seen == self._previous_time or time - track.seen <= TRACK_LIFETIME
        ]
        self._previous_time = time
        found = np.array(boxes, np.float64).reshape(-1, 4)
        matches: list[Track | None] = [None] * len(found)
        for extrapolate in (True, False):
            tracks = [track for track in self.tracks if track not in matches]
            free = [index for index, match in enumerate(matches) if match is None]
            places = [track.expected(time) if extrapolate else track.box for track in tracks]
            for row, column in _greedy_matches(overlaps(np.reshape(places, (-1, 4)), found[free])):
                matches[free[column]] = tracks[row]
        numbers = []
        for box, track in zip(found, matches, strict=True):
            if track is None:
                track = Track(self._count, box, time)
                self._count += 1
                self.tracks.append(track)
            else:
                track.update(box, time)
            numbers.append(track.number)
        return numbers


def overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:  # (N, 4), (M, 4) -> (N, M)
    """Compute the intersection over union of every two boxes, 0 if both are empty."""
    starts = np.maximum(first[:, None, :2], second[None, :, :2])
    ends = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common = np.prod(np.clip(ends - starts, 0, None), axis=2)
    areas = [np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None] - common
    return np.asarray(np.divide(common, union, out=np.zeros_like(common), where=union > 0))


def _greedy_matches(overlap: np.ndarray) -> list[tuple[int, int]]:
    """Pair rows with columns by decreasing overlap, each at most once."""
    left, pairs = overlap.copy(), []
    while left.size and left.max() >= MIN_OVERLAP:
        row, column = divmod(int(left.argmax()), left.shape[1])
        pairs.append((row, column))
        left[row], left[:, column] = -1.0, -1.0
    return pairs


class TrackSmoother:
    """Adds tracks to the predictions of videos, and smooths the probabilities of each with this time constant in seconds."""

    def __init__(self, smoothing: float) -> None:
        self._smoothing = smoothing
        self._videos: dict[str, _Video] = {}

    def update(self, rows: list[Prediction]) -> list[Prediction]:
        """Return the rows of one image ordered by track; photos and errors unchanged. A smaller frame number starts anew."""
        first = rows[0]
        if first.error or first.frame is None or first.time is None:
            return rows
        video = self._videos.pop(first.source, None)
        if video is None or first.frame <= video.frame:
            video = _Video(self._smoothing)
        self._videos[first.source] = video  # the most recent last
        if len(self._videos) > MOST_VIDEOS:
            del self._videos[next(iter(self._videos))]
        return video.update(rows, first.frame, first.time)


class _Video:
    """The tracks of one video, and the average of each."""

    def __init__(self, smoothing: float) -> None:
        self.frame = -1
        self._time = 0.0
        self._smoothing = smoothing
        self._tracker = Tracker()
        self._averages: dict[int, tuple[float, np.ndarray]] = {}

    def update(self, rows: list[Prediction], frame: int, time: float) -> list[Prediction]:
        self.frame, self._time = frame, max(self._time, time)  # timestamps of damaged videos may decrease
        faces = [(row, row.box, row.probabilities) for row in rows if row.box is not None and row.probabilities is not None]
        tracks = self._tracker.update([box for _, box, _ in faces], self._time)
        if not faces:
            return rows
        averages = dict(self._averages)
        tracked = []
        for number, index in enumerate(sorted(range(len(faces)), key=tracks.__getitem__)):
            track, (row, _, probabilities) = tracks[index], faces[index]
            before, average = averages.get(track, (self._time, probabilities))
            average = smooth(average, probabilities, self._time - before, self._smoothing)
            averages[track] = self._time, average
            tracked.append(replace(row, face=number, track=track, probabilities=average.astype(np.float32)))
        self._averages = {track.number: averages[track.number] for track in self._tracker.tracks}
        return tracked
