"""Which face of a video's frame is whose: boxes followed from frame to frame by their overlap."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mien.inference.prediction import Prediction

# Answers of one face over time, made calmer: an exponential moving average that knows how far apart its frames lie.

SMOOTHING = 0.1
"""Seconds of the time constant where nobody chose. On filmed FER-2013 faces it nearly halves how often the label changes where
the face does not (0.47 a second in place of 0.85), and costs expressions of a second 0.7 points and longer ones none; 0.3 s
would cost them 9 (benchmarks/smoothing.py)."""


def smooth(before: np.ndarray, now: np.ndarray, elapsed: float, time_constant: float) -> np.ndarray:
    """Move an average towards a new value: the longer ago the last one, the further.

    The share of the old average that stays is exp(-elapsed / time_constant), whatever the frame rate (Eckner, Algorithms for
    Unevenly Spaced Time Series: Moving Averages and Other Rolling Operators, 2012, EMA_next). Averages of probabilities are
    probabilities: they still sum to 1.

    Args:
        before: the average so far, of any shape.
        now: the new value, of the same shape.
        elapsed: seconds between the two; less than 0 counts as 0.
        time_constant: seconds; 0 gives the new value as it is.
    """
    if not time_constant:
        return now
    weight = -math.expm1(-max(0.0, elapsed) / time_constant)
    return np.asarray(before + weight * (now - before))


SURVIVES = 2.0
"""Seconds that a track goes on without its face: long enough for a look aside, in which detectors lose a face."""

LEAST_OVERLAP = 0.3
"""Intersection over union from which on two boxes may be the same face; SORT's (Bewley et al., Simple Online and Realtime
Tracking, 2016)."""

STEADINESS = 0.1
"""Seconds of the time constant with which a face's speed follows its boxes, which tremble."""

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels."""


@dataclass(eq=False)
class Track:
    """One face over time.

    Attributes:
        number: from 0, in the order in which the tracks began.
        box: (4,), float64, where the face was seen last.
        seen: when that was, in seconds.
        speed: (2,), float64, across and down, in pixels a second.
    """

    number: int
    box: np.ndarray
    seen: float
    speed: np.ndarray = field(default_factory=lambda: np.zeros(2))

    def expected(self, time: float) -> np.ndarray:
        """Give the box (4,) where the face will be if it goes on as it went."""
        return self.box + np.tile(self.speed, 2) * (time - self.seen)

    def see(self, box: np.ndarray, time: float) -> None:
        """Go on with a box."""
        if (elapsed := time - self.seen) > 0:
            moved = (box - self.box).reshape(2, 2).mean(axis=0)  # the middle of the box
            self.speed = smooth(self.speed, moved / elapsed, elapsed, STEADINESS)
        self.box, self.seen = box, time


class Tracker:
    """Follows the faces of one video.

    Boxes are matched with tracks by intersection over union, the greatest first: with where a track's face should be by now, so
    that faces which cross keep their tracks, then with where it was last, so that one which stopped unseen is found again.
    Greedy matching by overlap is that of Bochinski et al., High-Speed Tracking-by-Detection Without Using Image Information
    (2017).

    Attributes:
        tracks: those that may still go on. A track ends when its face has not been seen for `SURVIVES` seconds; but one that
            the frame before showed goes on however far apart the two frames lie.
    """

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self._begun = 0
        self._before = 0.0

    def update(self, boxes: Sequence[Box], time: float) -> list[int]:
        """Follow the tracks into the next frame.

        Args:
            boxes: all faces of the frame, maybe none.
            time: seconds since the start; never less than that of the frame before.

        Returns:
            The number of each box's track. Boxes that belong to none begin new ones, in their order.
        """
        self.tracks = [track for track in self.tracks if track.seen == self._before or time - track.seen <= SURVIVES]
        self._before = time
        found = np.array(boxes, np.float64).reshape(-1, 4)
        owners: list[Track | None] = [None] * len(found)
        for moving in (True, False):
            lost = [track for track in self.tracks if track not in owners]
            free = [index for index, owner in enumerate(owners) if owner is None]
            places = [track.expected(time) if moving else track.box for track in lost]
            for row, column in _greatest_first(overlaps(np.reshape(places, (-1, 4)), found[free])):
                owners[free[column]] = lost[row]
        numbers = []
        for box, owner in zip(found, owners, strict=True):
            if owner is None:
                owner = Track(self._begun, box, time)
                self._begun += 1
                self.tracks.append(owner)
            else:
                owner.see(box, time)
            numbers.append(owner.number)
        return numbers


def overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Compute the intersection over union of every two boxes.

    Args:
        first: (N, 4), x1, y1, x2, y2.
        second: (M, 4).

    Returns:
        (N, M), 0 to 1; 0 where both boxes are empty.
    """
    starts = np.maximum(first[:, None, :2], second[None, :, :2])
    ends = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common = np.prod(np.clip(ends - starts, 0, None), axis=2)
    areas = [np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None] - common
    return np.asarray(np.divide(common, union, out=np.zeros_like(common), where=union > 0))


def _greatest_first(overlap: np.ndarray) -> list[tuple[int, int]]:
    """Pair rows with columns, each once at most, by falling overlap."""
    left, pairs = overlap.copy(), []
    while left.size and left.max() >= LEAST_OVERLAP:
        row, column = divmod(int(left.argmax()), left.shape[1])
        pairs.append((row, column))
        left[row], left[:, column] = -1.0, -1.0
    return pairs


# Predictions of videos, frame by frame: each face gets the number of its track, and an answer that the frames before calm.

MOST_VIDEOS = 64
"""Videos whose tracks are remembered at once: your own frames may come from several in turn."""


class Follower:
    """Follows the faces of videos, of each by itself.

    Args:
        smoothing: the time constant of the probabilities in seconds; 0 leaves them as they are.
    """

    def __init__(self, smoothing: float) -> None:
        self._smoothing = smoothing
        self._videos: dict[str, _Video] = {}

    def follow(self, rows: list[Prediction]) -> list[Prediction]:
        """Give the rows of one image their tracks.

        Args:
            rows: all of one image. Where they are no frame of a video with its number and time, or an error, they come back as
                they are. A number that is not greater than the one before begins the video anew.

        Returns:
            The same faces, by the number of their track, with face counting them in that order.
        """
        first = rows[0]
        if first.error or first.frame is None or first.time is None:
            return rows
        video = self._videos.pop(first.source, None)
        if video is None or first.frame <= video.frame:
            video = _Video(self._smoothing)
        self._videos[first.source] = video  # the newest last
        if len(self._videos) > MOST_VIDEOS:
            del self._videos[next(iter(self._videos))]
        return video.follow(rows, first.frame, first.time)


class _Video:
    """The tracks of one video, and the average of each."""

    def __init__(self, smoothing: float) -> None:
        self.frame = -1
        self._time = 0.0
        self._smoothing = smoothing
        self._tracker = Tracker()
        self._averages: dict[int, tuple[float, np.ndarray]] = {}

    def follow(self, rows: Sequence[Prediction], frame: int, time: float) -> list[Prediction]:
        self.frame, self._time = frame, max(self._time, time)  # timestamps of damaged videos may jump back
        faces = [(row, row.box, row.probabilities) for row in rows if row.box is not None and row.probabilities is not None]
        tracks = self._tracker.update([box for _, box, _ in faces], self._time)
        if not faces:
            return list(rows)
        order = sorted(range(len(faces)), key=lambda index: tracks[index])
        followed = []
        for number, index in enumerate(order):
            row, _, probabilities = faces[index]
            average = self._average(tracks[index], probabilities)
            followed.append(replace(row, face=number, track=tracks[index], probabilities=average.astype(np.float32)))
        going_on = {track.number for track in self._tracker.tracks}
        self._averages = {track: average for track, average in self._averages.items() if track in going_on}
        return followed

    def _average(self, track: int, probabilities: np.ndarray) -> np.ndarray:
        time, before = self._averages.get(track, (self._time, probabilities))
        average = smooth(before, probabilities, self._time - time, self._smoothing)
        self._averages[track] = self._time, average
        return average
