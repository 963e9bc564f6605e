"""The contents of metrics.json, whose keys docs/evaluate.md describes, and the folder of a report."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import log_loss

from mien.data.faceset import FaceSet
from mien.errors import MienError
from mien.evaluation.metrics import Metrics, expected_calibration_error, reliability
from mien.evaluation.subgroups import Group, TrainingCopies
from mien.files import written_folder
from mien.inference.classifier import Classifier

FORMAT = 1  # version of the schema; it rises when a field is removed or changes its meaning, but not for new fields
MADE_BY = "mien evaluate"  # together with FORMAT this identifies a metrics.json of mien

Reader = Callable[[Path], dict[str, Any]]

FEW_ROWS = 30
"""Labels with fewer rows get a caution: the 95% interval of a recall near one half is wider than 30 points."""


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
    made_by: str = MADE_BY
    format: int = FORMAT

    def to_json(self) -> str:
        """Write the record as JSON, beginning with the fields that identify it."""
        fields = asdict(self)
        fields["subgroups"] = [{"column": name, "groups": groups} for name, groups in fields["subgroups"].items()]
        first = {name: fields.pop(name) for name in ("made_by", "format", "mien_version", "date", "command")}
        return json.dumps(first | fields, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_record(path: Path) -> dict[str, Any]:
    """Read a metrics.json; MienError if it cannot be read, mien did not write it, or its format is newer than this mien."""
    return read_marked(path, "report", MADE_BY, FORMAT)


def read_marked(path: Path, kind: str, made_by: str, format: int) -> dict[str, Any]:
    """Read the JSON file of a report or an audit, whose fields `made_by` and `format` (at most this one) identify it."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MienError(f"Cannot read {path} of a mien {kind}: {error}.") from error
    if not isinstance(record, dict) or record.get("made_by") != made_by:
        raise MienError(f"{path} is not the {path.name} of a mien {kind}.")
    if not isinstance(record.get("format"), int) or record["format"] > format:
        raise MienError(
            f"{path} has format {record.get('format')}; this version of mien reads format {format}. "
            "Use the version that wrote it."
        )
    return record


def describe_model(model: Classifier) -> dict[str, Any]:
    """Describe a model from its file and its metadata."""
    path = Path(model.path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    temperature = model.metadata.get("mien.crowd_temperature" if model.head == "crowd" else "mien.temperature")
    return {
        "file": path.name,
        "sha256": digest,
        "labels": model.labels.names,
        "size": model.size,  # side of its input in pixels
        "channels": model.channels,  # 1 gray, 3 RGB
        "parameters": model.parameters,  # 0 if the file does not state it
        "mien_version": model.metadata.get("mien.version"),  # that exported it
        "temperature": float(temperature) if temperature else None,  # of the evaluated head
        "trained_on": json.loads(model.metadata.get("mien.data") or "null"),  # kind, path, train_fingerprint, ...
        "name": (path.name == "model.onnx" and path.parent.resolve().name) or path.name,  # of the run folder or the file
        "head": model.head,
        "heads": model.heads,
    }


def describe_data(
    model: Mapping[str, Any], rows: FaceSet, split: str, merged: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Any]:
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
        "merged": None if merged is None else dict(merged),  # --labels: labels of the data by label of the model
    }


def without_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Undo the temperature of probabilities (..., K), float32; a probability that float32 rounded to 0 stays 0.

    The logits were the temperature times ln(probability), up to a constant that softmax removes.
    """
    powers = (probabilities / probabilities.max(axis=-1, keepdims=True)).astype(np.float64) ** temperature
    undone: np.ndarray = (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)
    return undone


def measure_before_temperature(views: np.ndarray, truth: np.ndarray, temperature: float) -> dict[str, Any]:
    """Measure the mean over views (V, N, K) as it was before the temperature, against label indices (N,)."""
    before = without_temperature(views, temperature).mean(axis=0)
    bins = reliability(before.max(axis=1), before.argmax(axis=1) == truth)
    return {
        "temperature": temperature,  # above 1 it lowers the confidence, below 1 it raises it
        "log_loss": float(log_loss(truth, before, labels=np.arange(before.shape[1]))),
        "expected_calibration_error": expected_calibration_error(bins),
        "reliability": bins,
    }


def cautions(record: Record) -> list[str]:
    """List what makes the metrics less reliable."""
    metrics, found = record.all_rows, training_cautions(record)
    if (copies := record.training_copies) and copies.count and copies.without:
        found.append(
            f"{copies.count:,} of the {metrics.n:,} faces are copies of faces the model was trained on. Without them the "
            f"accuracy is {copies.without.accuracy.value:.1%}, not {metrics.accuracy.value:.1%}."
        )
    if empty := [each.label for each in metrics.labels if not each.support]:
        averaged = metrics.labels_with_rows
        found.append(f"No rows: {', '.join(empty)}. They have no metrics; averages are over the other labels ({averaged}).")
    if few := [f"{each.label} ({each.support})" for each in metrics.labels if 0 < each.support < FEW_ROWS]:
        found.append(f"Few rows: {', '.join(few)}. Their metrics are imprecise; see the intervals.")
    if skipped := record.data["skipped"]:
        found.append(f"{skipped:,} images could not be read and were left out.")
    if missed := record.data.get("without_face"):
        found.append(f"No face was found in {missed:,} photos. They were left out; the metrics are those of the other photos.")
    return found


def training_cautions(record: Record) -> list[str]:
    """List how the evaluated rows were part of the model's training, as far as its metadata states it.

    With signatures of the training faces copies are counted; with the name of the training data alone, overlap is only likely.
    """
    data, copies = record.data, record.training_copies
    memorised = "the metrics show what it has memorised, not how well it generalises."
    same_name = data["path"] and data["path"] == (record.model["trained_on"] or {}).get("path")
    if data["same_as_training"]:
        return [f"These are exactly the rows the model was trained on: {memorised}"]
    if copies and not copies.without:
        return [f"Every face is a copy of one the model was trained on: {memorised}"]
    if same_name and data["split"] == "validation":
        return [
            "These are validation rows of the model's training data: its epoch and temperature were chosen on such rows, so "
            "the metrics are slightly too high. Publish metrics on test rows instead."
        ]
    if same_name and data["split"] != "test" and copies is None:
        return [
            "These rows probably include rows the model was trained on, since its training data have the same name: the "
            "metrics may be far too high. Use data it has not seen, or name a split it was not trained on (--split)."
        ]
    return []


def whole_folder(out: Path, record: str = "metrics.json", read: Reader = read_record) -> AbstractContextManager[Path]:
    """Give an empty folder next to `out` to write into; it replaces `out` when the block succeeds.

    The file `record` identifies a report of this kind and lists all its files; `read` reads it, or raises MienError if mien did
    not write it.
    """
    check_replaceable(out, record, read)
    return written_folder(out, "the report")


def check_replaceable(out: Path, record: str = "metrics.json", read: Reader = read_record) -> None:
    """Check that `out` contains nothing but a report of this kind, before the work for `whole_folder` begins."""
    if out.exists() and not out.is_dir():
        raise MienError(f"{out} is a file; give a folder for the report.")
    present = {path.name for path in out.iterdir()} if out.exists() else set()
    if present and record not in present:
        raise MienError(f"{str(out)!r} exists and is not a report of mien; choose another folder, or empty it.")
    if present and (foreign := sorted(present.difference(read(out / record)["files"]))):
        raise MienError(
            f"{out} holds {foreign[0]!r}, which is not part of the report in it; move it, or choose another folder."
        )
