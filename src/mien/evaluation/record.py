"""The contents of metrics.json, whose keys docs/evaluate.md describes, and tables as CSV, among them the log of a training."""

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import log_loss

from mien.data.faceset import FaceSet
from mien.errors import MienError
from mien.evaluation.metrics import Metrics, expected_calibration_error, reliability
from mien.evaluation.subgroups import Group, TrainingCopies
from mien.files import REPORT, FileKind, write_whole
from mien.inference.classifier import Classifier, reweighted
from mien.inference.model_file import sha256
from mien.labels import LabelMap, label_groups
from mien.text_files import csv_rows

read_record = REPORT.read
LOG_COLUMNS = ("epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy")  # for `plot_learning`


@dataclass(frozen=True)
class Record:
    """One evaluation; in metrics.json tuples are lists and None is null."""

    model: dict[str, Any]  # see `describe_model`
    data: dict[str, Any]  # see `describe_data`
    all_rows: Metrics  # with test-time augmentation, if there is any
    date: str  # UTC, ISO 8601
    mien_version: str
    command: str | None  # command line; None from Python
    files: tuple[str, ...]  # of the report
    likely_mislabelled: int | None = None  # rows that confident learning finds; None on training rows
    before_temperature: dict[str, Any] | None = None  # see `measure_before_temperature`; None if the model has no temperature
    crowd: dict[str, Any] | None = None  # see `measure_crowd`; None without votes
    test_time_augmentation: dict[str, Any] | None = None  # see `mien.evaluation.tta.measure_gain`
    training_copies: TrainingCopies | None = None  # None if the model stores no signatures
    subgroups: dict[str, tuple[Group, ...]] = field(default_factory=dict)  # by column; in JSON a list of column and groups
    made_by: str = REPORT.made_by
    format: int = REPORT.format

    def to_json(self) -> str:
        """Write the record as JSON, beginning with the fields that identify it."""
        fields = asdict(self)
        fields["subgroups"] = [{"column": name, "groups": groups} for name, groups in fields["subgroups"].items()]
        first = {name: fields.pop(name) for name in ("made_by", "format", "mien_version", "date", "command")}
        return json.dumps(first | fields, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def describe_model(model: Classifier) -> dict[str, Any]:
    """Describe a model from its file and its metadata."""
    path = Path(model.path)
    temperature = model.metadata.get("mien.crowd_temperature" if model.head == "crowd" else "mien.temperature")
    return {
        "file": path.name,
        "sha256": sha256(path),
        "labels": model.labels.names,
        "size": model.size,  # side of its input in pixels
        "channels": model.channels,  # 1 gray, 3 RGB
        "parameters": model.parameters,  # 0 if the file does not state it
        "mien_version": model.metadata.get("mien.version"),  # that exported it
        "temperature": float(temperature) if temperature else None,  # of the evaluated head
        "trained_on": json.loads(model.metadata.get("mien.data") or "null"),  # kind, path, train_fingerprint, ...
        "name": (path.name == "model.onnx" and path.parent.resolve().name) or path.name,  # of the run folder or the file
        "head": model.head,
        "prior": model.prior,  # training, balanced, a number between 0 and 1, or a share for each label
        "heads": model.heads,
    }


def describe_data(model: Mapping[str, Any], rows: FaceSet, split: str, merged: LabelMap | None = None) -> dict[str, Any]:
    """Describe the faces, and whether the model states that it was trained on exactly these."""
    # votes beside the labels are not part of the fingerprint: metrics on the same rows can be compared with or without them
    fingerprint = replace(rows, votes=None).fingerprint()
    trained_on = (model["trained_on"] or {}).get("train_fingerprint")
    return {
        "kind": rows.origin.kind,  # recognised format
        "path": Path(rows.origin.path).name,  # name of the file or folder, without the folders above it
        "split": split,  # train, validation, test or none; "all" for all rows
        "rows": len(rows),
        "labels": rows.labels.names,  # of the data, in their order
        "skipped": len(rows.origin.skipped) - len(rows.origin.without_face),  # images that could not be read
        "without_face": len(rows.origin.without_face),  # photos in which no face was found; 0 if no detector was used
        "fingerprint": fingerprint,  # of pixels, labels and targets
        "same_as_training": trained_on in (fingerprint, rows.fingerprint()) if trained_on else None,
        "merged": None if merged is None else label_groups(merged),  # --labels: labels of the data by label of the model
    }


def without_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Undo the temperature of probabilities (..., K): logits were the temperature times ln(probability), up to a constant."""
    powers = (probabilities / probabilities.max(axis=-1, keepdims=True)).astype(np.float64) ** temperature
    undone: np.ndarray = (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)
    return undone


def measure_before_temperature(
    views: np.ndarray, truth: np.ndarray, temperature: float, factors: np.ndarray | None = None
) -> dict[str, Any]:
    """Measure the mean over views (V, N, K) as it was before the temperature, against label indices (N,)."""
    before = without_temperature(views, temperature)
    if factors is not None:  # of a prior, (K,), by which probabilities were multiplied after the temperature
        before = reweighted(before, np.where(factors > 0, factors, 1.0) ** (1 - temperature))
    before = before.mean(axis=0)
    bins = reliability(before.max(axis=1), before.argmax(axis=1) == truth)
    return {
        "temperature": temperature,  # above 1 it lowers the confidence, below 1 it raises it
        "log_loss": float(log_loss(truth, before, labels=np.arange(before.shape[1]))),
        "expected_calibration_error": expected_calibration_error(bins),
        "reliability": bins,
    }


def write_rows(path: Path, rows: Iterable[Iterable[object]], kind: FileKind | None = None) -> None:
    """Write a CSV file, which may replace one of this kind."""

    def write(part: Path) -> None:
        with part.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)

    write_whole(path, write, kind)


def read_log(path: Path, columns: Sequence[str] = LOG_COLUMNS) -> dict[str, np.ndarray]:
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
