"""Summarise a finished run: what it reached and what it cost, from its report, its log and its model file."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from jsonargparse import ArgumentError, ArgumentParser
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mien.errors import MienError, in_plain_words
from mien.evaluation.plots import ACCENT, FAINT, INK, add_legend, new_figure, style_axes
from mien.evaluation.record import describe_model, read_record
from mien.inference.classifier import Classifier
from mien.text_files import csv_rows, parse_yaml, read_json

COLUMNS = ("epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy")  # for `plot_learning`
SUMMARY_COLUMNS = ("epoch", "validation_loss", "validation_accuracy", "seconds", "images_per_second")


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """A run, or a model that was only evaluated, of whose training nothing is known: its fields are empty or None."""

    name: str  # of the run folder or the model; for a report other than a run's `report`, that report's name after it
    recipe: str = ""  # its description, or its name and the changes made on the command line
    network: str = ""
    rows: int  # faces it was measured on
    data: str  # their fingerprint, 64 hex digits; only runs with the same one are comparable
    split: str
    accuracy: float  # 0 to 1
    low: float  # lower end of the 95% interval of the accuracy (Wilson)
    high: float
    macro_f1: float  # 0 to 1
    recall: dict[str, float | None]  # of each label, 0 to 1; None without rows
    support: dict[str, int]  # rows of each label
    parameters: int
    multiply_adds: int | None = None  # for one face; None where the model file does not say
    epochs: int | None = None
    best_epoch: int | None = None  # the one whose weights were kept, counted from 1
    validation_accuracy_by_epoch: list[float] = field(default_factory=list)  # 0 to 1, on the rows that chose the best epoch
    training_seconds: float | None = None  # of all epochs, without validation
    seconds_an_epoch: float | None = None  # the median, without validation
    faces_a_second: float | None = None  # in training, the median
    hardware: str | None = None  # of the training; None where the model file does not say
    command: str | None = None  # command lines that trained and evaluated it; None if called from Python
    test_time_augmentation: str | None = None  # flip or ten-crops


def summarise(folder: Path) -> RunSummary:
    """Summarise a finished run by its `report`, or by the folder of another report, in a run folder or not."""
    run, report = run_and_report(folder)
    if not (report / "metrics.json").is_file():
        raise MienError(
            f"{folder} is not the folder of a finished run or of a report. Finish a run with --resume; "
            "mien evaluate MODEL --data PATH --out DIR writes a report."
        )
    record = read_record(report / "metrics.json")
    figures, augmentation = record["all_rows"], record.get("test_time_augmentation")
    training = {} if run is None else _training(run, report, record)
    model = record["model"]["name"].removesuffix(".onnx") if run is None else run.resolve().name
    is_own = run is not None and report.resolve().name == "report"
    return RunSummary(
        name=model if is_own else f"{model}/{report.resolve().name}",
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
        test_time_augmentation=augmentation["kind"] if augmentation else None,
        **{"command": record["command"]} | training,
    )


def run_and_report(folder: Path) -> tuple[Path | None, Path]:
    """Find the run that a folder is, or lies in, and the report; None where there is no finished run."""
    if (folder / "model.onnx").is_file():
        return folder, folder / "report"
    return (folder.parent if (folder.parent / "model.onnx").is_file() else None), folder


def _training(run: Path, report: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Give the fields of a summary that describe the training of a run."""
    model = Classifier(run)
    if record["model"]["sha256"] != describe_model(model)["sha256"]:
        raise MienError(f"The report {report} is about another model than {model.path}; evaluate that one into it.")
    recipe = parse_yaml(model.metadata.get("mien.recipe") or "{}", f"The recipe in {model.path}")
    log = read_log(run / "log.csv", SUMMARY_COLUMNS)
    multiply_adds = model.metadata.get("mien.multiply_adds")
    own = run / "report" / "metrics.json"
    trained = read_record(own)["command"] if own.is_file() else None
    commands = dict.fromkeys(command for command in (trained, record["command"]) if command)
    return {
        "recipe": str(recipe.get("description") or ""),
        "network": str(recipe.get("network", "")),
        "multiply_adds": int(multiply_adds) if multiply_adds else None,
        "epochs": len(log["epoch"]),
        "best_epoch": best_epoch(log, recipe.get("select_by", "accuracy")),
        "validation_accuracy_by_epoch": log["validation_accuracy"].tolist(),
        "training_seconds": float(log["seconds"].sum()),
        "seconds_an_epoch": float(np.median(log["seconds"])),
        "faces_a_second": float(np.median(log["images_per_second"])),
        "hardware": model.metadata.get("mien.hardware"),
        "command": " && ".join(commands) or None,
    }


def best_epoch(log: dict[str, np.ndarray], select_by: str) -> int:
    """Find the epoch whose weights training kept, counted from 1: the first of the best by accuracy or loss, or the last."""
    if select_by == "last":
        return int(log["epoch"][-1])
    best = np.nanargmin(log["validation_loss"]) if select_by == "loss" else np.nanargmax(log["validation_accuracy"])
    return int(log["epoch"][best])


def read_summaries(path: Path) -> list[RunSummary]:
    """Read the JSON that `mien compare --format json` writes; MienError if it is not there, or holds anything else."""
    made, again = "what `mien compare --format json --out FILE` of this mien writes", "write it again from the run folders"
    rows = read_json(path, f"{path} as {made}")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise MienError(f"{path} is not {made}: it is not a list of runs.")
    parser = ArgumentParser(exit_on_error=False, default_env=False)
    parser.add_class_arguments(RunSummary)
    known, found = [field.name for field in fields(RunSummary)], []
    for number, row in enumerate(rows, start=1):
        where = f"{path} is not {made}: run {number}"
        if missing := [name for name in known if name not in row and name != "test_time_augmentation"]:  # added later
            others = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            raise MienError(f"{where} lacks {', '.join(missing[:3])}{others}; {again}.")
        if unknown := [name for name in row if name not in known]:
            raise MienError(f"{where} has the unknown field {', '.join(unknown)}; {again}.")
        try:
            found.append(RunSummary(**parser.parse_object(row).as_dict()))
        except ArgumentError as problem:
            words = in_plain_words(str(problem)).removeprefix("--").rstrip(".")
            raise MienError(f"{where} has a wrong value: {words}.") from None
    return found


def read_log(path: Path, columns: Sequence[str] = COLUMNS) -> dict[str, np.ndarray]:
    """Read columns of a run's log.csv: (epochs,), float64, NaN where a cell is empty."""
    rows = csv_rows(path, f"the training log {path}")
    _, header = next(rows, (0, []))
    if missing := [name for name in columns if name not in header]:
        raise MienError(f"The training log {path} has no column {', '.join(missing)}; it has {', '.join(header)}.")
    cells = [row for _, row in rows]
    if not cells:
        raise MienError(f"The training log {path} has no epochs; leave it out, or give the log.csv of a run.")
    try:
        return {name: np.array([float(row[header.index(name)] or math.nan) for row in cells]) for name in columns}
    except ValueError as error:
        raise MienError(f"The training log {path} holds a value that is not a number: {error}.") from error


def plot_learning(log: dict[str, np.ndarray]) -> Figure:
    """Draw loss and accuracy of training (grey) and validation (accent) over the epochs; a dot marks the best on validation."""
    figure = new_figure(9.0, 3.1)
    for axes, name, best in zip(figure.subplots(1, 2), ("loss", "accuracy"), (np.nanargmin, np.nanargmax), strict=True):
        style_axes(axes, grid="y", percent="y" if name == "accuracy" else "").set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        marker = "o" if len(log["epoch"]) == 1 else None  # one epoch is a dot, not a line
        for part, colour in (("train", FAINT), ("validation", ACCENT)):
            axes.plot(log["epoch"], log[f"{part}_{name}"], color=colour, linewidth=1.8, marker=marker, label=part)
        title, values = name, log[f"validation_{name}"]
        if np.isfinite(values).any():
            top = best(values)
            axes.plot(log["epoch"][top], values[top], "o", color=ACCENT, markersize=6)
            title += f", at best {values[top]:{'.3f' if name == 'loss' else '.1%'}} on validation"
        axes.set_title(title, loc="left", fontsize=10, color=INK)
    add_legend(figure, axes)
    return figure
