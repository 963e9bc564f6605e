"""The course of a training run: its log read, its curves drawn."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mien.errors import MienError
from mien.evaluation.figure import ACCENT, FAINT, INK, calm, new_figure

COLUMNS = ("epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
"""What of a run's log.csv the curves need; it has more."""


def read_log(path: Path, columns: Sequence[str] = COLUMNS) -> dict[str, np.ndarray]:
    """Read a run's log.csv.

    Args:
        path: a CSV with one row per epoch; an empty cell is an unknown value.
        columns: those to read.

    Returns:
        For each column its values, (epochs,), float64, NaN where unknown.

    Raises:
        MienError: if the file is not there, lacks a column, has no rows, or holds something that is no number.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise MienError(f"Cannot read the training log {path}: {error}.") from error
    if not rows:
        raise MienError(f"The training log {path} has no epochs; leave it out, or give the log.csv of a run.")
    if missing := [name for name in columns if name not in rows[0]]:
        raise MienError(f"The training log {path} has no column {', '.join(missing)}; it has {', '.join(map(str, rows[0]))}.")
    if short := [line for line, row in enumerate(rows, start=2) if any(row[name] is None for name in columns)]:
        raise MienError(f"The training log {path} breaks off in line {short[0]}.")
    try:
        return {name: np.array([float(row[name] or math.nan) for row in rows]) for name in columns}
    except ValueError as error:
        raise MienError(f"The training log {path} holds something that is no number: {error}.") from error


def plot_learning(log: dict[str, np.ndarray]) -> Figure:
    """Draw loss and accuracy of training (grey) and validation (accent) over the epochs.

    A dot marks the epoch that did best on validation, by loss on the left and by accuracy on the right; its figure stands in
    the title, where it lies on no curve.

    Args:
        log: what `read_log` gives.
    """
    figure = new_figure(9.0, 3.1)
    for axes, name, best in zip(figure.subplots(1, 2), ("loss", "accuracy"), (np.nanargmin, np.nanargmax), strict=True):
        calm(axes, grid="y").set_xlabel("epoch")
        axes.set_title(name, loc="left", fontsize=10, color=INK)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        marker = "o" if len(log["epoch"]) == 1 else None  # one epoch is a dot, not a line
        for part, colour in (("train", FAINT), ("validation", ACCENT)):
            axes.plot(log["epoch"], log[f"{part}_{name}"], color=colour, linewidth=1.8, marker=marker, label=part)
        values = log[f"validation_{name}"]
        if np.isfinite(values).any():
            top = best(values)
            axes.plot(log["epoch"][top], values[top], "o", color=ACCENT, markersize=6)
            text = f"{values[top]:.3f}" if name == "loss" else f"{values[top]:.1%}"
            axes.set_title(f"{name}, at best {text} on validation", loc="left", fontsize=10, color=INK)
        if name == "accuracy":
            axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
            figure.legend(
                *axes.get_legend_handles_labels(),
                frameon=False,
                fontsize=9,
                labelcolor=FAINT,
                loc="outside lower center",
                ncols=2,
            )
    return figure
