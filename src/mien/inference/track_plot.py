"""What the faces of a video showed, over time: a plot with a panel for each track."""

import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from PIL import Image

from mien.inference.drawing import COLOURS
from mien.inference.prediction import Prediction
from mien.labels import LabelSet

MOST_PANELS = 8
"""Tracks in one plot: those with the most frames."""

MOST_KEPT = 64
"""Tracks that are remembered at once; of more, the shorter half is forgotten, so that memory does not grow with a stream."""

MOST_POINTS = 4096
"""Points of a track; of more, every second is forgotten. A plot is some 1,300 pixels wide."""

_logger = logging.getLogger("mien")


@dataclass(eq=False)
class Line:
    """One track's answers.

    Attributes:
        times: seconds, rising.
        runs: of each time, the number of its run: a new one begins where a frame of the video did not show the face.
        probabilities: of each time, (K,).
        frames: how many frames showed the face; more than there are times, where some were forgotten.
        seen: number of the video's frame that showed it last, counted as they come.
    """

    times: list[float] = field(default_factory=list)
    runs: list[int] = field(default_factory=list)
    probabilities: list[np.ndarray] = field(default_factory=list)
    frames: int = 0
    seen: int = 0


class History:
    """The answers about one video.

    Args:
        spacing: seconds from frame to frame.

    Attributes:
        tracks: the answers of each track, by its number.
        labels: the labels of the answers.
        left_out: how many tracks were forgotten.
        end: the time of the last frame, and its own length.
    """

    def __init__(self, spacing: float) -> None:
        self.spacing = spacing
        self.tracks: dict[int, Line] = {}
        self.labels: LabelSet | None = None
        self.left_out = 0
        self.end = 0.0
        self._frames = 0

    def add(self, predictions: Sequence[Prediction]) -> None:
        """Add a frame's answers."""
        self._frames += 1
        for prediction in predictions:
            if prediction.time is not None:
                self.end = max(self.end, prediction.time + self.spacing)
            if prediction.track is None or prediction.time is None or prediction.probabilities is None:
                continue
            self.labels = prediction.labels
            line = self.tracks.setdefault(prediction.track, Line())
            run = line.runs[-1] + (line.seen + 1 != self._frames) if line.runs else 0
            line.times.append(prediction.time)
            line.runs.append(run)
            line.probabilities.append(prediction.probabilities)
            line.frames, line.seen = line.frames + 1, self._frames
            if len(line.times) > MOST_POINTS:
                del line.times[1::2], line.runs[1::2], line.probabilities[1::2]
        if len(self.tracks) > MOST_KEPT:
            self.left_out += len(self.tracks)
            self.tracks = dict(sorted(self.longest(MOST_KEPT // 2)))
            self.left_out -= len(self.tracks)

    def longest(self, count: int) -> list[tuple[int, Line]]:
        """Give the tracks with the most frames, by number."""
        return sorted(sorted(self.tracks.items(), key=lambda track: -track[1].frames)[:count])


def plot_tracks(history: History) -> Image.Image | None:
    """Plot the probabilities over time, stacked, in the labels' colours of the drawn video; gaps where a face was lost.

    Args:
        history: with at least one track.

    Returns:
        RGB, or None where matplotlib is not installed; a line on stderr says so.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError:
        _logger.warning(
            "mien: no plot of the tracks without matplotlib, which is not installed; run: pip install 'mien[evaluate]'"
        )
        return None
    lines = history.longest(MOST_PANELS)
    names = history.labels or ()
    colours = [COLOURS[number % len(COLOURS)] for number in range(len(names))]
    figure = Figure(figsize=(9, 0.8 + 1.1 * len(lines)), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.04))
    panels = figure.subplots(len(lines), sharex=True, squeeze=False)[:, 0]
    for (number, line), panel in zip(lines, panels, strict=True):
        for times, shares in _runs(line, history.spacing):
            panel.stackplot(times, shares, colors=colours, edgecolor="white", linewidth=0.3)
        panel.set(ylim=(0, 1), xlim=(0, history.end), yticks=(0, 0.5, 1))
        panel.set_ylabel(f"#{number}", rotation=0, ha="right", va="center", fontsize=11)
        panel.tick_params(length=0, labelsize=8, colors="#6b7785")
        panel.spines[:].set_visible(False)
        panel.grid(axis="y", color="#1d2733", alpha=0.25, linewidth=0.5)
        panel.set_facecolor("#f3f4f6")
    left_out = history.left_out + len(history.tracks) - len(lines)
    panels[-1].set_xlabel(
        "seconds" + (f"; {left_out} shorter tracks left out" if left_out else ""), fontsize=9, color="#6b7785"
    )
    patches = [panels[0].fill_between([0], 0, color=colour) for colour in colours]
    words = [name.replace("$", r"\$") for name in names]  # no formulas
    figure.legend(patches, words, loc="outside upper left", ncols=min(len(words), 8), frameon=False, fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, facecolor="white")
    return Image.open(buffer).convert("RGB")


def _runs(line: Line, spacing: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Cut a track where its face was lost: times (T,) and probabilities (K, T) of each part, the last shown for its length."""
    times, probabilities = np.array(line.times), np.stack(line.probabilities)
    cuts = [0, *(np.flatnonzero(np.diff(line.runs)) + 1).tolist(), len(times)]
    return [
        (np.append(times[start:end], times[end - 1] + spacing), np.vstack([probabilities[start:end], probabilities[end - 1]]).T)
        for start, end in pairwise(cuts)
    ]
