"""Predictions of videos, frame by frame: each face gets the number of its track, and an answer that the frames before calm."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mien.inference.prediction import Prediction
from mien.inference.smoothing import smooth
from mien.inference.tracking import Tracker

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
