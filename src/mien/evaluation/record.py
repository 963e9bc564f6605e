"""What `metrics.json` holds: these dataclasses, field by field, are its schema.

A name in JSON is the name of the field; a tuple is a list; None is null. Shares lie between 0 and 1. `FORMAT` rises when a
field changes its meaning or goes; new fields may come without it.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import log_loss

from mien.data.faceset import FaceSet
from mien.errors import MienError
from mien.evaluation.crowd import CrowdAgreement
from mien.evaluation.metrics import ConfidenceBin, Metrics, expected_calibration_error, reliability
from mien.evaluation.subgroups import Subgroups
from mien.evaluation.training_copies import TrainingCopies
from mien.evaluation.tta import AugmentationGain
from mien.inference.classifier import Classifier

# What a model's probabilities would be worth without its calibration temperature.


@dataclass(frozen=True)
class BeforeTemperature:
    """The probabilities as they were before their logits were divided by the temperature; with it, see `Metrics`.

    Attributes:
        temperature: what the model file divides the logits by; above 1 it makes answers more modest, below 1 surer.
        log_loss: as in `Metrics`.
        expected_calibration_error: as in `Metrics`.
        reliability: as in `Metrics`.
    """

    temperature: float
    log_loss: float
    expected_calibration_error: float
    reliability: tuple[ConfidenceBin, ...]


def without_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Undo a temperature: logits are the temperature times ln(probability), up to a constant that softmax takes away.

    A probability that float32 rounded to 0 stays 0.

    Args:
        probabilities: (..., K), each row sums to 1.
        temperature: what the logits were divided by, above 0.

    Returns:
        The same shape, float32.
    """
    powers = (probabilities / probabilities.max(axis=-1, keepdims=True)).astype(np.float64) ** temperature
    undone: np.ndarray = (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)
    return undone


def measure_before_temperature(views: np.ndarray, truth: np.ndarray, temperature: float) -> BeforeTemperature:
    """Measure probabilities as they were before their temperature.

    Args:
        views: (V, N, K), the answers whose mean is the prediction; one where there is no test-time augmentation.
        truth: (N,), label indices.
        temperature: what the logits were divided by.
    """
    before = without_temperature(views, temperature).mean(axis=0)
    bins = reliability(before.max(axis=1), before.argmax(axis=1) == truth)
    return BeforeTemperature(
        temperature=temperature,
        log_loss=float(log_loss(truth, before, labels=np.arange(before.shape[1]))),
        expected_calibration_error=expected_calibration_error(bins),
        reliability=bins,
    )


FORMAT = 1
"""Version of the schema."""

MADE_BY = "mien evaluate"
"""By this, and by FORMAT, a metrics.json of ours is known."""

TEMPERATURES = {"label": "mien.temperature", "crowd": "mien.crowd_temperature"}
"""Where a model file notes the temperature of each head."""


@dataclass(frozen=True)
class ModelRecord:
    """The model that was measured.

    Attributes:
        file: name of its file, without folders.
        sha256: of the file, 64 hex digits.
        labels: its label names in the order of its outputs.
        size: side of its input in pixels.
        channels: 1 gray, 3 RGB.
        parameters: how many numbers were learned; 0 where it does not say.
        mien_version: the mien that made it, or None.
        temperature: what the logits of the measured head are divided by, or None where it does not say.
        trained_on: its own note on its training data (kind, path, train_fingerprint, ...), or None.
        name: what to call it: its file's name, or that of its run folder where the file is called model.onnx.
        head: the head that was measured, label or crowd.
        heads: the heads it has.
    """

    file: str
    sha256: str
    labels: tuple[str, ...]
    size: int
    channels: int
    parameters: int
    mien_version: str | None
    temperature: float | None
    trained_on: dict[str, Any] | None
    name: str
    head: str
    heads: tuple[str, ...]


@dataclass(frozen=True)
class DataRecord:
    """The faces it was measured on.

    Attributes:
        kind: what the data were taken for, such as "fer2013.csv" or "folder".
        path: name of the file or folder they came from, without the folders above it.
        split: train, validation, test or none; "all" where all rows were taken.
        rows: how many were measured.
        labels: the data's own label names, in their order.
        skipped: images that could not be read and were left out.
        fingerprint: of pixels, labels and what the answers were judged by, 64 hex digits.
        same_as_training: whether these are the very rows the model was trained on; None where the model does not say.
        merged: labels of the data by the label that was to stand for them (`--labels`); None where nothing was asked.
    """

    kind: str
    path: str
    split: str
    rows: int
    labels: tuple[str, ...]
    skipped: int
    fingerprint: str
    same_as_training: bool | None
    merged: dict[str, tuple[str, ...]] | None = None


@dataclass(frozen=True)
class Record:
    """One evaluation.

    Attributes:
        model: what was measured.
        data: on what.
        all_rows: the figures on every row of `data`.
        date: when, UTC, ISO 8601.
        mien_version: by which mien.
        command: the command line, or None where it was called from Python.
        files: the names of the report's files.
        likely_mislabelled: how many rows confident learning takes to be labelled wrongly; None on training rows, of which the
            model knows the labels by heart, and where nobody asked.
        before_temperature: what the probabilities would be worth without the temperature; None where the model notes none.
        crowd: what the crowd makes of the faces; None where there are no votes.
        test_time_augmentation: what it brought and cost; None where there was none. All other figures are with it.
        training_copies: which rows are copies of training faces, and the figures without them; None where the model tells
            nothing of these.
        subgroups: the figures per group, for each column that was asked for.
        made_by: always "mien evaluate".
        format: version of this schema.
    """

    model: ModelRecord
    data: DataRecord
    all_rows: Metrics
    date: str
    mien_version: str
    command: str | None
    files: tuple[str, ...]
    likely_mislabelled: int | None = None
    before_temperature: BeforeTemperature | None = None
    crowd: CrowdAgreement | None = None
    test_time_augmentation: AugmentationGain | None = None
    training_copies: TrainingCopies | None = None
    subgroups: tuple[Subgroups, ...] = ()
    made_by: str = MADE_BY
    format: int = FORMAT

    def to_json(self) -> str:
        """Write the record as JSON, the marks by which it is known first."""
        fields = asdict(self)
        first = {name: fields.pop(name) for name in ("made_by", "format", "mien_version", "date", "command")}
        return json.dumps(first | fields, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_record(path: Path) -> dict[str, Any]:
    """Read a metrics.json.

    Args:
        path: the file.

    Raises:
        MienError: if it is not there, is not ours, or comes from a later format than this mien knows.
    """
    return read_marked(path, "metrics.json", "report", MADE_BY, FORMAT)


def read_marked(path: Path, name: str, kind: str, made_by: str, format: int) -> dict[str, Any]:
    """Read a JSON file that is known by the marks `made_by` and `format`.

    Args:
        path: the file.
        name: what it is called in a folder of this kind.
        kind: what it belongs to, such as report.
        made_by: the mark it must bear.
        format: the latest that is known.

    Raises:
        MienError: if it is not there, bears another mark, or comes from a later format.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MienError(
            f"Cannot read {path} as the {name} of {'an' if kind[0] in 'aeiou' else 'a'} {kind}: {error}."
        ) from error
    if not isinstance(record, dict) or record.get("made_by") != made_by:
        raise MienError(f"{path} is not the {name} of a mien {kind}.")
    if not isinstance(record.get("format"), int) or record["format"] > format:
        raise MienError(
            f"{path} has format {record.get('format')}; this mien knows {format}. Use the mien that wrote it, or a later one."
        )
    return record


def describe_model(model: Classifier) -> ModelRecord:
    """Say which model this is, from its file and the notes inside it."""
    with Path(model.path).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    temperature, trained_on = model.metadata.get(TEMPERATURES[model.head]), model.metadata.get("mien.data")
    return ModelRecord(
        file=Path(model.path).name,
        sha256=digest,
        labels=model.labels.names,
        size=model.size,
        channels=model.channels,
        parameters=model.parameters,
        mien_version=model.metadata.get("mien.version"),
        temperature=float(temperature) if temperature else None,
        trained_on=json.loads(trained_on) if trained_on else None,
        name=_name(Path(model.path)),
        head=model.head,
        heads=model.heads,
    )


def _name(path: Path) -> str:
    """Every run calls its model model.onnx, so the folder tells more."""
    return (path.name == "model.onnx" and path.parent.resolve().name) or path.name


def describe_data(
    model: ModelRecord, rows: FaceSet, split: str, merged: Mapping[str, Sequence[str]] | None = None
) -> DataRecord:
    """Say which faces these are, and whether the model says that it was trained on them.

    Args:
        model: the model that is measured.
        rows: the faces it is measured on.
        split: their split, or "all".
        merged: labels of the data that were merged or renamed beforehand, by the label that stands for them.
    """
    # votes beside the labels judge nothing: with or without them, figures on the same rows can be compared
    fingerprint = replace(rows, votes=None).fingerprint()
    fingerprints = {fingerprint} if rows.votes is None else {fingerprint, rows.fingerprint()}
    trained_on = (model.trained_on or {}).get("train_fingerprint")
    return DataRecord(
        kind=rows.origin.kind,
        path=Path(rows.origin.path).name,
        split=split,
        rows=len(rows),
        labels=rows.labels.names,
        skipped=len(rows.origin.skipped),
        fingerprint=fingerprint,
        same_as_training=trained_on in fingerprints if trained_on else None,
        merged=None if merged is None else {name: tuple(members) for name, members in merged.items()},
    )


# What a reader must know before believing the figures.

FEW_ROWS = 30
"""Labels with fewer rows are named as rough: their recall's 95% interval is wider than 30 points around one half."""


def cautions(record: Record) -> list[str]:
    """Say what a reader must know before believing the figures; empty where there is nothing."""
    metrics, found = record.all_rows, training_cautions(record)
    if (copies := record.training_copies) and copies.count and copies.without:
        found.append(
            f"{copies.count:,} of the {metrics.n:,} faces are copies of faces the model was trained on: without them "
            f"{copies.without.accuracy.value:.1%} are right, not {metrics.accuracy.value:.1%}."
        )
    if metrics.labels_with_rows < len(metrics.labels):
        empty = ", ".join(each.label for each in metrics.labels if not each.support)
        found.append(f"No rows: {empty}. They have no figures; means are over the other labels ({metrics.labels_with_rows}).")
    if few := [f"{each.label} ({each.support})" for each in metrics.labels if 0 < each.support < FEW_ROWS]:
        found.append(f"Few rows: {', '.join(few)}. Their figures are rough; look at the intervals.")
    if record.data.skipped:
        found.append(f"{record.data.skipped:,} images could not be read and were left out.")
    return found


def training_cautions(record: Record) -> list[str]:
    """Say what the model's training had to do with the rows it was measured on, as far as the model tells; else empty.

    Where a model notes its training faces, copies of these are counted. Where it notes the name of its data alone, training
    rows among others are said to be likely.
    """
    data, trained_on = record.data, record.model.trained_on or {}
    if data.same_as_training:
        return [
            "These are the very rows the model was trained on: the figures say what it has learned by heart, "
            "not what it can do."
        ]
    copies = record.training_copies
    if copies and not copies.without:
        return [
            "Every face is a copy of one the model was trained on: the figures say what it has learned by heart, "
            "not what it can do."
        ]
    if not data.path or data.path != trained_on.get("path"):
        return []
    if data.split == "validation":
        return [
            "Validation rows of the data it was trained on: the epoch and the temperature were chosen on such rows, "
            "so the figures lie a little high. Figures on test rows are the ones to publish."
        ]
    if data.split != "test" and copies is None:
        return [
            "These rows probably include rows the model was trained on, for it was trained on data of the same name: "
            "the figures may lie far too high. Give it data it has not seen, or name a split it was not trained on (--split)."
        ]
    return []
