"""Track the faces of videos by overlap, and smooth the probabilities of each track over time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mien.inference.prediction import Prediction

SMOOTHING = 0.1
"""Default time constant in seconds. On filmed FER-2013 faces it nearly halves how often the label changes while the expression
does not (0.47 per second instead of 0.85), and costs expressions of one second 0.7 points and longer ones none; 0.3 s would
cost them 9 (docs/predict.md)."""
TRACK_LIFETIME = 2.0  # seconds that a track survives without its face: enough for a look aside, where detectors lose a face
MIN_OVERLAP = 0.3  # intersection over union of one face's boxes (Bewley et al., Simple Online and Realtime Tracking, 2016)
SPEED_SMOOTHING = 0.1  # time constant in seconds of the moving average over a face's speed, since boxes jitter
MOST_VIDEOS = 64  # videos whose tracks are kept at once: frames from the caller may come from several in turn


def smooth(before: np.ndarray, now: np.ndarray, elapsed: float, time_constant: float) -> np.ndarray:
    """Update an exponential moving average of irregularly spaced values; a time constant of 0 returns the new value."""
    if not time_constant:
        return now
    # EMA_next of Eckner, Algorithms for Unevenly Spaced Time Series: Moving Averages and Other Rolling Operators, 2012
    weight = -math.expm1(-max(0.0, elapsed) / time_constant)
    return np.asarray(before + weight * (now - before))


@dataclass(eq=False)
class Track:
    """One face over time."""

    number: int  # in the order in which the tracks began
    box: np.ndarray  # (4,), float64, at the last detection
    seen: float  # time of the last detection in seconds
    speed: np.ndarray  # (2,), float64, of the centre in pixels per second
    average: np.ndarray | None = None  # (K,), smoothed probabilities
    averaged: float = 0.0  # time of the last update of the average in seconds

    def update(self, box: np.ndarray, time: float) -> None:
        """Add the next detection."""
        if (elapsed := time - self.seen) > 0:
            shift = (box - self.box).reshape(2, 2).mean(axis=0)  # of the centre
            self.speed = smooth(self.speed, shift / elapsed, elapsed, SPEED_SMOOTHING)
        self.box, self.seen = box, time

    def update_average(self, probabilities: np.ndarray, time_constant: float) -> np.ndarray:
        """Add the probabilities (K,) of the last detection to the average, and return it."""
        before = probabilities if self.average is None else self.average
        self.average = smooth(before, probabilities, self.seen - self.averaged, time_constant)
        self.averaged = self.seen
        return self.average.astype(np.float32)


class Tracker:
    """Tracks the faces of one video.

    Boxes are matched greedily with tracks by intersection over union (Bochinski et al., High-Speed Tracking-by-Detection
    Without Using Image Information, 2017): first with extrapolated boxes, as faces cross, then with the last, as faces stop.
    """

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self.frame = -1  # number of the last frame, set by the caller
        self._count, self._time = 0, 0.0

    def update(self, boxes: Sequence[tuple[float, float, float, float]], time: float) -> list[Track]:
        """Match the boxes of the next frame with tracks; a time before the last one, as in damaged videos, counts as that."""
        time = max(self._time, time)
        self.tracks = [track for track in self.tracks if track.seen == self._time or time - track.seen <= TRACK_LIFETIME]
        self._time = time
        found = np.array(boxes, np.float64).reshape(-1, 4)
        matches: dict[int, Track] = {}
        for extrapolate in (True, False):
            tracks = [track for track in self.tracks if track not in matches.values()]
            free = [index for index in range(len(found)) if index not in matches]
            places = [track.box + extrapolate * np.tile(track.speed, 2) * (time - track.seen) for track in tracks]
            overlap = overlaps(np.reshape(places, (-1, 4)), found[free])
            while overlap.size and overlap.max() >= MIN_OVERLAP:
                row, column = divmod(int(overlap.argmax()), overlap.shape[1])
                matches[free[column]] = tracks[row]
                overlap[row], overlap[:, column] = -1.0, -1.0
        for index, box in enumerate(found):
            if index not in matches:
                matches[index] = Track(self._count, box, time, np.zeros(2))
                self._count += 1
                self.tracks.append(matches[index])
            matches[index].update(box, time)
        return [matches[index] for index in range(len(found))]


def overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:  # (N, 4), (M, 4) -> (N, M)
    """Compute the intersection over union of every two boxes, 0 if both are empty."""
    starts = np.maximum(first[:, None, :2], second[None, :, :2])
    ends = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common = np.prod(np.clip(ends - starts, 0, None), axis=2)
    areas = [np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None] - common
    return np.asarray(np.divide(common, union, out=np.zeros(common.shape), where=union > 0))


class TrackSmoother:
    """Adds tracks to the predictions of videos, and smooths the probabilities of each with this time constant in seconds."""

    def __init__(self, smoothing: float) -> None:
        self._smoothing = smoothing
        self._videos: dict[str, Tracker] = {}  # the most recent last

    def update(self, rows: list[Prediction]) -> list[Prediction]:
        """Return the rows of one image ordered by track, errors last; photos unchanged. A smaller frame number starts anew."""
        first = rows[0]
        if first.frame is None or first.time is None or (first.error and first.face is None):
            return rows
        tracker = self._videos.pop(first.source, None)
        if tracker is None or first.frame <= tracker.frame:
            tracker = Tracker()
        tracker.frame = first.frame
        self._videos[first.source] = tracker
        if len(self._videos) > MOST_VIDEOS:
            del self._videos[next(iter(self._videos))]
        faces = [(row, row.box, row.probabilities) for row in rows if row.box is not None and row.probabilities is not None]
        tracks = tracker.update([box for _, box, _ in faces], first.time)
        tracked = [
            replace(row, track=track.number, probabilities=track.update_average(probabilities, self._smoothing))
            for track, (row, _, probabilities) in sorted(zip(tracks, faces, strict=True), key=lambda pair: pair[0].number)
        ]
        tracked += [row for row in rows if row.error]
        return [replace(row, face=number) for number, row in enumerate(tracked)] or rows
