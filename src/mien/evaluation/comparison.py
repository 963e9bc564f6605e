"""Runs side by side: what each reached, and what it cost."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mien.errors import MienError
from mien.evaluation.learning import read_log
from mien.evaluation.record import read_record
from mien.inference.classifier import Classifier


@dataclass(frozen=True)
class RunSummary:
    """One run, from its own report, log and model file.

    Attributes:
        name: the run folder's name.
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
        seconds_an_epoch: the median, without validation.
        faces_a_second: in training, the median.
        hardware: what it was trained on; None where the model file does not say.
        command: the command line, or None where it was called from Python.
    """

    name: str
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
    epochs: int
    seconds_an_epoch: float
    faces_a_second: float
    hardware: str | None
    command: str | None


def summarise(run: Path) -> RunSummary:
    """Read what a finished run says of itself.

    Raises:
        MienError: if it is not a run folder, or the run has not finished.
    """
    if not (run / "report" / "metrics.json").is_file() or not (run / "model.onnx").is_file():
        raise MienError(
            f"{run} is not the folder of a finished run: it has no model.onnx with a report. Finish it with --resume."
        )
    record, model = read_record(run / "report" / "metrics.json"), Classifier(run)
    log = read_log(run / "log.csv", ("seconds", "images_per_second"))
    figures, recipe = record["all_rows"], yaml.safe_load(model.metadata["mien.recipe"])
    multiply_adds = model.metadata.get("mien.multiply_adds")
    return RunSummary(
        name=run.resolve().name,
        network=recipe["network"],
        rows=figures["n"],
        data=record["data"]["fingerprint"],
        split=record["data"]["split"],
        accuracy=figures["accuracy"]["value"],
        low=figures["accuracy"]["low"],
        high=figures["accuracy"]["high"],
        macro_f1=figures["macro_f1"],
        recall={each["label"]: each["recall"] and each["recall"]["value"] for each in figures["labels"]},
        support={each["label"]: each["support"] for each in figures["labels"]},
        parameters=model.parameters,
        multiply_adds=int(multiply_adds) if multiply_adds else None,
        epochs=len(log["seconds"]),
        seconds_an_epoch=float(np.median(log["seconds"])),
        faces_a_second=float(np.median(log["images_per_second"])),
        hardware=model.metadata.get("mien.hardware"),
        command=record["command"],
    )


def compare(runs: Sequence[Path]) -> list[RunSummary]:
    """Summarise runs, the most accurate first.

    Raises:
        MienError: if one is not a finished run.
    """
    return sorted((summarise(Path(run)) for run in runs), key=lambda each: -each.accuracy)


def as_markdown(summaries: Sequence[RunSummary]) -> str:
    """Write a table of the figures, one of the labels' recalls, and the commands, as Markdown."""
    labels = list(dict.fromkeys(label for each in summaries for label in each.recall))
    figures = [
        [
            "run",
            "accuracy, 95% interval",
            "macro-F1",
            "n",
            "network",
            "parameters",
            "multiply-adds",
            "epochs",
            "s an epoch",
            "faces/s",
        ],
        *(
            [
                each.name,
                f"{each.accuracy:.1%}, {each.low:.1%} to {each.high:.1%}",
                f"{each.macro_f1:.3f}",
                f"{each.rows:,} {each.split}",
                each.network,
                f"{each.parameters:,}",
                "" if each.multiply_adds is None else f"{each.multiply_adds / 1e6:,.1f}M",
                str(each.epochs),
                f"{each.seconds_an_epoch:,.1f}",
                f"{each.faces_a_second:,.0f}",
            ]
            for each in summaries
        ),
    ]
    recalls = [
        ["recall", *labels],
        *([each.name, *(_share(each.recall.get(label)) for label in labels)] for each in summaries),
    ]
    making = [
        ["run", "hardware", "command"],
        *([s.name, s.hardware or "", f"`{s.command}`" if s.command else ""] for s in summaries),
    ]
    parts = [_table(figures), _table(recalls), _table(making)]
    if len({each.data for each in summaries}) > 1:
        parts.insert(0, "These runs were not all measured on the same faces: compare only those with the same n and labels.")
    return "\n\n".join(parts) + "\n"


def as_json(summaries: Sequence[RunSummary]) -> str:
    """Write the summaries as a JSON list; the keys are the fields of `RunSummary`."""
    rows: list[dict[str, Any]] = [asdict(each) for each in summaries]
    return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"


FORMATS = {"table": as_markdown, "json": as_json}
"""By their names on the command line; Markdown reads as a table on a terminal too."""


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(3, *(len(row[column]) for row in rows)) for column in range(len(rows[0]))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join(lines)
