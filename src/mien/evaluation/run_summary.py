"""What a finished run says of itself: what it reached, and what it cost."""

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mien.errors import MienError, in_plain_words
from mien.evaluation.plots import ACCENT, FAINT, INK, calm, new_figure
from mien.evaluation.record import describe_model, read_record
from mien.inference.classifier import Classifier

# The course of a training run: its log read, its curves drawn.

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


LOG_COLUMNS = ("epoch", "validation_loss", "validation_accuracy", "seconds", "images_per_second")


@dataclass(frozen=True)
class RunSummary:
    """One run, from one of its reports, its log and its model file; or a model that was only measured, from its report.

    Of a model that was only measured, nothing is known of its training: what tells of that is empty, or None.

    Attributes:
        name: the run folder's name, or the model's; for a report other than a run's `report`, that report's name after it.
        recipe: the description of its recipe; of one that was changed on the command line, its name and the changes.
        network: the network it trained.
        rows: how many faces it was measured on.
        data: fingerprint of these, 64 hex digits: only runs with the same one can be compared.
        split: their split.
        accuracy: 0 to 1; `low` and `high` are its 95% interval (Wilson).
        low: see `accuracy`.
        high: see `accuracy`.
        macro_f1: 0 to 1.
        recall: of each label, 0 to 1; None for a label without rows.
        support: of each label, its rows.
        parameters: how many numbers were learned.
        multiply_adds: for one face; None where the model file does not say.
        epochs: how many were trained.
        best_epoch: the one whose weights were kept, counted from 1.
        validation_accuracy_by_epoch: 0 to 1, of each epoch, on the rows that chose the best one.
        training_seconds: all epochs together, without validation.
        seconds_an_epoch: the median, without validation.
        faces_a_second: in training, the median.
        hardware: what it was trained on; None where the model file does not say.
        command: the command lines that trained and measured it, or None where it was called from Python.
        test_time_augmentation: flip or ten-crops, where the figures are of several views of every face; None where of one.
    """

    name: str
    recipe: str
    network: str
    rows: int
    data: str
    split: str
    accuracy: float
    low: float
    high: float
    macro_f1: float
    recall: dict[str, float | None]
    support: dict[str, int]
    parameters: int
    multiply_adds: int | None
    epochs: int | None
    best_epoch: int | None
    validation_accuracy_by_epoch: list[float]
    training_seconds: float | None
    seconds_an_epoch: float | None
    faces_a_second: float | None
    hardware: str | None
    command: str | None
    test_time_augmentation: str | None = None


def summarise(folder: Path) -> RunSummary:
    """Read what a finished run, or a report, says of itself.

    Args:
        folder: a run folder, for its `report`, or the folder of another report, in a run folder or not.

    Raises:
        MienError: if it is neither, the run has not finished, or the report measures another model than the run's.
    """
    run, report = _run_and_report(folder)
    if not (report / "metrics.json").is_file():
        raise MienError(
            f"{folder} is not the folder of a finished run, nor that of a report. Finish a run with --resume; "
            "mien evaluate MODEL --data PATH --out DIR writes a report."
        )
    record = read_record(report / "metrics.json")
    if run is None:
        return _of_report(record, _name_of_report(record, report))
    model = Classifier(run)
    if record["model"]["sha256"] != describe_model(model).sha256:
        raise MienError(f"The report {report} measures another model than {model.path}; evaluate that one into it.")
    log, recipe = read_log(run / "log.csv", LOG_COLUMNS), yaml.safe_load(model.metadata["mien.recipe"])
    multiply_adds = model.metadata.get("mien.multiply_adds")
    return replace(
        _of_report(record, _name(run, report)),
        recipe=recipe.get("description") or "",
        network=recipe["network"],
        multiply_adds=int(multiply_adds) if multiply_adds else None,
        epochs=len(log["epoch"]),
        best_epoch=best_epoch(log, recipe.get("select_by", "accuracy")),
        validation_accuracy_by_epoch=log["validation_accuracy"].tolist(),
        training_seconds=float(log["seconds"].sum()),
        seconds_an_epoch=float(np.median(log["seconds"])),
        faces_a_second=float(np.median(log["images_per_second"])),
        hardware=model.metadata.get("mien.hardware"),
        command=_commands(run / "report" / "metrics.json", record["command"]),
    )


def _of_report(record: dict[str, Any], name: str) -> RunSummary:
    """Give what a report alone says."""
    figures = record["all_rows"]
    return RunSummary(
        name=name,
        recipe="",
        network="",
        rows=figures["n"],
        data=record["data"]["fingerprint"],
        split=record["data"]["split"],
        accuracy=figures["accuracy"]["value"],
        low=figures["accuracy"]["low"],
        high=figures["accuracy"]["high"],
        macro_f1=figures["macro_f1"],
        recall={each["label"]: each["recall"] and each["recall"]["value"] for each in figures["labels"]},
        support={each["label"]: each["support"] for each in figures["labels"]},
        parameters=record["model"]["parameters"],
        multiply_adds=None,
        epochs=None,
        best_epoch=None,
        validation_accuracy_by_epoch=[],
        training_seconds=None,
        seconds_an_epoch=None,
        faces_a_second=None,
        hardware=None,
        command=record["command"],
        test_time_augmentation=(record.get("test_time_augmentation") or {}).get("kind"),
    )


def predictions_of(folder: Path) -> tuple[str, Path]:
    """Find where the answers of a finished run stand, row by row.

    Args:
        folder: as for `summarise`.

    Returns:
        The name that `summarise` gives it, and the path of its predictions.csv.
    """
    run, report = _run_and_report(folder)
    name = _name(run, report) if run else _name_of_report(read_record(report / "metrics.json"), report)
    return name, report / "predictions.csv"


def _run_and_report(folder: Path) -> tuple[Path | None, Path]:
    """Find the run that a folder is, or lies in, and the report; no run where there is none that has finished."""
    if (folder / "model.onnx").is_file():
        return folder, folder / "report"
    return (folder.parent if (folder.parent / "model.onnx").is_file() else None), folder


def _name(run: Path, report: Path) -> str:
    name, of_report = run.resolve().name, report.resolve().name
    return name if of_report == "report" else f"{name}/{of_report}"


def _name_of_report(record: dict[str, Any], report: Path) -> str:
    return f"{record['model']['name'].removesuffix('.onnx')}/{report.resolve().name}"


def best_epoch(log: dict[str, np.ndarray], select_by: str) -> int:
    """Find the epoch whose weights training kept: the first of the best, or the last.

    Args:
        log: what `read_log` gives.
        select_by: accuracy or loss, on validation, or last.

    Returns:
        Its number, from 1.
    """
    if select_by == "last":
        return int(log["epoch"][-1])
    by_loss = select_by == "loss"
    best = np.nanargmin(log["validation_loss"]) if by_loss else np.nanargmax(log["validation_accuracy"])
    return int(log["epoch"][best])


def read_summaries(path: Path) -> list[RunSummary]:
    """Read what `mien compare --format json` wrote.

    Args:
        path: the JSON file.

    Raises:
        MienError: if it is not there, or is anything else.
    """
    made = "what `mien compare --format json --out FILE` of this mien writes"
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MienError(f"Cannot read {path} as {made}: {error}.") from None
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise MienError(f"{path} is not {made}: it is no list of runs.")
    return [_checked(row, f"{path} is not {made}: run {number}") for number, row in enumerate(rows, start=1)]


def _checked(row: dict[str, Any], where: str) -> RunSummary:
    known = {field.name: field.default is MISSING for field in fields(RunSummary)}
    if lacking := [name for name, is_needed in known.items() if is_needed and name not in row]:
        others = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        raise MienError(f"{where} lacks {', '.join(lacking[:3])}{others}; write it again from the run folders.")
    if foreign := [name for name in row if name not in known]:
        raise MienError(f"{where} has {', '.join(foreign)}, which is not known here; write it again from the run folders.")
    from jsonargparse import ArgumentError

    try:
        return RunSummary(**_summary_parser().parse_object(row).as_dict())
    except ArgumentError as problem:
        words = in_plain_words(str(problem)).removeprefix("--").rstrip(".")
        raise MienError(f"{where} does not hold what it should: {words}.") from None


@cache
def _summary_parser() -> Any:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False, default_env=False)
    parser.add_class_arguments(RunSummary)
    return parser


def _commands(trained: Path, measured: str | None) -> str | None:
    """Give the command that trained, and where another measured, that one after it."""
    first = read_record(trained)["command"] if trained.is_file() else None
    return " && ".join(dict.fromkeys(command for command in (first, measured) if command)) or None
