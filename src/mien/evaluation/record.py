"""The contents of metrics.json, among them metrics on parts of the rows, and tables as CSV; docs/evaluate.md has the keys."""

import csv
import io
import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import ttest_1samp, ttest_ind

from mien import __version__
from mien.data.copies import ALIKE, EXACT, UNKNOWN, Noted, TrainingRows, copies_of_training_rows, from_text
from mien.data.faceset import FaceSet
from mien.errors import MienError
from mien.evaluation import metrics as measures
from mien.evaluation.metrics import Difference, Metrics, Proportion, difference, measure, share_true
from mien.files import REPORT, FileKind, FolderKind, write_whole
from mien.inference.classifier import Classifier
from mien.inference.model_file import sha256
from mien.inputs import csv_rows, wrong_value
from mien.labels import LabelMap, LabelSet, label_groups

USED = [("model", "name", str), ("model", "sha256", str), ("model", "parameters", int)]
USED += [("data", "fingerprint", str), ("data", "split", str), ("data", "rows", int)]
"""Fields of a metrics.json, besides those that `Record` types, that comparisons and cards use."""

NOT_SAID = "not said"  # the group of the rows with an empty cell in the column
MOST_GROUPS = 50  # a column with more values than this is rejected
FEWEST_ROWS, WIDEST = 30, 0.20
"""A group with fewer rows, or with a wider 95% interval of its accuracy, is too small: the rule of the National Survey of
Children's Health (United States Census Bureau, 2016) for its subgroups."""

BANDS = (0.0, 0.5, 0.7, 0.9, 1.0)  # edges of the bands of crowd agreement, the share of votes for the most frequent label
TRAINING_ROWS_KEY = "mien.train_rows"  # metadata key of a model file that holds signatures of its training faces
LOG_COLUMNS = ("epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy")  # for `plot_learning`


@dataclass(frozen=True, kw_only=True)
class Group(Metrics):
    """The metrics of the rows with one value in a column."""

    group: str  # the value, or "not said"
    enough: bool  # whether there are enough rows, see FEWEST_ROWS
    gap: Difference | None  # accuracy minus that of all other rows; None if there are no others


def group_values(rows: FaceSet, by: Sequence[str]) -> dict[str, np.ndarray]:
    """Look up the group of every row, for each column: (N,), str."""
    found = {}
    for column in by:
        if column not in rows.columns:
            raise MienError(measures.MISTAKES["no column"].format(column, ", ".join(rows.columns) or "no columns"))
        values = np.char.strip(rows.columns[column])
        found[column] = np.where(values == "", NOT_SAID, values)
        if (count := len(np.unique(found[column]))) > MOST_GROUPS:
            raise MienError(measures.MISTAKES["many groups"].format(column, count, len(rows), MOST_GROUPS))
    return found


def measure_subgroups(
    values: Mapping[str, np.ndarray], probabilities: np.ndarray, targets: np.ndarray, labels: LabelSet
) -> dict[str, tuple[Group, ...]]:
    """Measure every group of every column, as `group_values` gives them; within a column in the order of the values."""
    right = probabilities.argmax(axis=1) == targets.argmax(axis=1)

    def measure_group(name: str, members: np.ndarray) -> Group:
        metrics, others = measure(probabilities[members], targets[members], labels), share_true(right[~members])
        enough = metrics.n >= FEWEST_ROWS and metrics.accuracy.high - metrics.accuracy.low <= WIDEST
        gap = difference(metrics.accuracy, others) if others else None
        return Group(**vars(metrics), group=name, enough=enough, gap=gap)

    def order(name: str) -> tuple[bool, float, str]:  # by the number a name begins with; rows without a value come last
        number = re.match(r"[<>≤≥]?\s*(\d+(?:\.\d+)?)", name)
        return name == NOT_SAID, float(number[1]) if number else float("inf"), name.casefold()

    named = {column: sorted(set(of_rows.tolist()), key=order) for column, of_rows in values.items()}
    return {column: tuple(measure_group(name, values[column] == name) for name in names) for column, names in named.items()}


def measure_crowd(votes: np.ndarray, truth: np.ndarray, predicted: np.ndarray, judged_by_votes: bool) -> dict[str, Any] | None:
    """Compare votes (N, K), zeros where unclear, with mistakes; None without votes. Predictions without a column are -1."""
    voted = votes.any(axis=1)
    if not voted.any():
        return None
    favourite, truth, predicted = votes[voted].argmax(axis=1), truth[voted], predicted[voted]
    agreement = votes[voted].max(axis=1).astype(np.float64).round(6)  # 7 of 10 in float32 must not lie above 0.7
    hit = truth == predicted
    right, wrong = agreement[hit], agreement[~hit]
    members = np.digitize(agreement, BANDS[1:-1], right=True)
    return {
        "rows": len(hit),  # with votes
        "right": _mean(right) if len(right) else None,  # agreement on the rows that the model gets right
        "wrong": _mean(wrong) if len(wrong) else None,
        "difference": _mean(right, wrong) if len(right) and len(wrong) else None,
        "bands": [  # accuracy of the model on rows whose agreement lies in (low, high]
            {"low": low, "high": high, "accuracy": share_true(hit[members == band])}
            for band, (low, high) in enumerate(pairwise(BANDS))
        ],
        # wrong rows whose most frequent vote is the prediction, or the label; None if the votes themselves are the labels
        "mistakes_shared": None if judged_by_votes else share_true((favourite == predicted)[~hit]),
        "mistakes_opposed": None if judged_by_votes else share_true((favourite == truth)[~hit]),
    }


def compare_votes(rows: FaceSet, probabilities: np.ndarray, targets: np.ndarray, labels: LabelSet) -> dict[str, Any] | None:
    """Use the votes beside the labels, else the targets if they are votes themselves."""
    truth, predicted = targets.argmax(axis=1), probabilities.argmax(axis=1)
    if rows.votes is None:
        return measure_crowd(targets, truth, predicted, judged_by_votes=True) if measures.are_votes(targets) else None
    # votes may be for labels that the model lacks, so they stay in the order of the data
    columns = np.array([rows.labels.names.index(name) if name in rows.labels.names else -1 for name in labels])
    return measure_crowd(rows.votes, rows.classes, columns[predicted], judged_by_votes=False)


def _mean(values: np.ndarray, subtracted: np.ndarray | None = None) -> dict[str, float | None]:
    """Average values, or subtract the mean of others, with a 95% interval by Student's t or Welch's, None for one row."""
    # of too few rows, and of rows that all agree equally, whose interval has no width
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        test: Any = ttest_1samp(values, 0) if subtracted is None else ttest_ind(values, subtracted, equal_var=False)
        low, high = (None if np.isnan(end) else float(end) for end in test.confidence_interval())
    others = np.zeros(0) if subtracted is None else subtracted
    value = float(values.mean() - (others.mean() if len(others) else 0))
    return {"value": value, "low": low, "high": high, "rows": len(values) + len(others)}


@dataclass(frozen=True)
class TrainingCopies:
    """Which rows are copies of training faces or resemble one closely, and the metrics without both."""

    noted: Noted  # what the model file stores: signatures, or digests, by which only exact copies are found
    training_rows: int
    exact: int  # rows with exactly the pixels of a training face
    alike: int | None  # rows that resemble one: an edited copy, or the same person in the same place; None with digests
    on_copies: Proportion | None  # accuracy on both; None without any
    without: Metrics | None  # on all other rows; None if there are none
    gap: Difference | None  # accuracy on both minus that on the other rows; None if either has no rows
    worth: Difference | None  # accuracy on all rows minus that without both: `gap` times their share

    @property
    def count(self) -> int:
        """The number of both."""
        return self.exact + (self.alike or 0)


def find_training_copies(model: Classifier, images: np.ndarray) -> tuple[TrainingRows, np.ndarray] | None:
    """Find copies of training faces and faces like one, with what the model file stores of these; None if it stores nothing."""
    text = model.metadata.get(TRAINING_ROWS_KEY)
    known = from_text(text) if text else None
    kinds = copies_of_training_rows(images, known) if known else None
    return None if known is None or kinds is None else (known, kinds)


def measure_training_copies(
    known: TrainingRows, kinds: np.ndarray, probabilities: np.ndarray, targets: np.ndarray, labels: LabelSet
) -> TrainingCopies:
    """Measure with and without the faces that `find_training_copies` finds."""
    copies = kinds != UNKNOWN
    on_copies = share_true((probabilities.argmax(axis=1) == targets.argmax(axis=1))[copies])
    without = None if copies.all() else measure(probabilities[~copies], targets[~copies], labels)
    gap = difference(on_copies, without.accuracy) if on_copies and without else None
    share = float(copies.mean())
    worth = gap and Difference(share * gap.value, share * gap.low, share * gap.high)
    exact = int((kinds == EXACT).sum())
    alike = int((kinds == ALIKE).sum()) if known.noted == "signatures" else None
    return TrainingCopies(known.noted, known.rows, exact, alike, on_copies, without, gap, worth)


@dataclass(frozen=True, kw_only=True)
class Record:
    """One evaluation; in metrics.json tuples are lists and None is null."""

    made_by: str = REPORT.made_by
    format: int = REPORT.format
    mien_version: str
    date: str  # UTC, ISO 8601
    command: str | None  # command line; None from Python
    model: dict[str, Any]  # see `describe_model`
    data: dict[str, Any]  # see `describe_data`
    all_rows: Metrics  # with test-time augmentation, if there is any
    files: tuple[str, ...]  # of the report
    likely_mislabelled: int | None = None  # rows that confident learning finds; None on training rows
    before_temperature: dict[str, Any] | None = None  # `Metrics` without the model's `temperature`; None if it has none
    worse_copies: Metrics | None = None  # on worse copies of the rows
    before_training: dict[str, Any] | None = None  # see `mien.evaluation.report.measure_start`; only in reports of `mien train`
    crowd: dict[str, Any] | None = None  # see `measure_crowd`; None without votes
    test_time_augmentation: dict[str, Any] | None = None  # see `mien.evaluation.report.measure_gain`
    training_copies: TrainingCopies | None = None  # None if the model stores no signatures
    over_groups: dict[str, Any] | None = None  # see `mien.evaluation.metrics.measure_over_groups`; None without groups
    cross_validation: dict[str, Any] | None = None  # see `measure_folds` there; None without folds
    subgroups: dict[str, tuple[Group, ...]] = field(default_factory=dict)  # by column; in JSON a list of column and groups

    def to_json(self) -> str:
        """Write the record as JSON."""
        fields = asdict(self)
        fields["subgroups"] = [{"column": name, "groups": groups} for name, groups in fields["subgroups"].items()]
        return json.dumps(fields, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_report(path: Path) -> dict[str, Any]:
    """Read a whole metrics.json; MienError if mien did not write it, or a field is missing or has a wrong value."""
    record = {"command": None} | REPORT.read(path)
    problem = wrong_value({name: value for name, value in record.items() if name != "subgroups"}, Record)
    wrong = [f"{part}.{name}" for part, name, kind in USED if not problem and not isinstance(record[part].get(name), kind)]
    if problem or wrong:
        raise MienError(f"{path} is damaged ({problem or wrong[0]}); write the report again with mien evaluate.")
    return record


def provenance(kind: FolderKind, command: str | None) -> dict[str, Any]:
    """Say what writes a record, when, and by which command line."""
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return {"made_by": kind.made_by, "format": kind.format, "mien_version": __version__, "date": date, "command": command}


def describe_model(model: Classifier) -> dict[str, Any]:
    """Describe a model from its file and its metadata."""
    path = Path(model.path)
    temperature = model.metadata.get("mien.crowd_temperature" if model.head == "crowd" else "mien.temperature")
    return {
        "file": path.name,
        "sha256": sha256(path),
        "labels": model.labels.names,
        "mien_version": model.metadata.get("mien.version"),  # that exported it
        "temperature": float(temperature) if temperature else None,  # of the evaluated head
        "trained_on": json.loads(model.metadata.get("mien.data") or "null"),  # kind, path, train_fingerprint, ...
        "name": (path.name == "model.onnx" and path.parent.resolve().name) or path.name,  # of the run folder or the file
    } | {name: getattr(model, name) for name in ("size", "channels", "parameters", "head", "prior", "heads")}


def describe_data(model: Mapping[str, Any], rows: FaceSet, split: str, merged: LabelMap | None = None) -> dict[str, Any]:
    """Describe the faces, and whether the model states that it was trained on exactly these."""
    # votes beside the labels are not part of the fingerprint: metrics on the same rows can be compared with or without them
    described = describe_origin(replace(rows, votes=None))
    trained_on = (model["trained_on"] or {}).get("train_fingerprint")
    return described | {
        "split": split,  # train, validation, test or none; "all" for all rows
        "labels": rows.labels.names,  # of the data, in their order
        "same_as_training": trained_on in (described["fingerprint"], rows.fingerprint()) if trained_on else None,
        "merged": None if merged is None else label_groups(merged),  # --labels: labels of the data by label of the model
    }


def describe_origin(faces: FaceSet) -> dict[str, Any]:
    """Describe where faces come from."""
    return {
        "kind": faces.origin.kind,  # recognised format
        "path": Path(faces.origin.path).name,  # name of the file or folder, without the folders above it
        "rows": len(faces),
        "limit": faces.origin.limit or None,  # --limit: "500 of 35,887 faces", those of all splits
        "skipped": len(faces.origin.skipped) - len(faces.origin.without_face),  # images that could not be read
        "without_face": len(faces.origin.without_face),  # photos in which no face was found; 0 if no detector was used
        "fingerprint": faces.fingerprint(),  # of pixels, labels and targets
    }


def write_rows(path: Path, rows: Iterable[Iterable[object]], kind: FileKind | None = None) -> None:
    """Write a CSV file, which may replace one of this kind."""
    csv.writer(text := io.StringIO(newline="")).writerows(rows)
    write_whole(path, lambda part: part.write_text(text.getvalue(), encoding="utf-8", newline=""), kind)


def read_log(path: Path, columns: Sequence[str] = LOG_COLUMNS) -> dict[str, np.ndarray]:
    """Read columns of a run's log.csv: (epochs,), float64, NaN where a cell is empty."""
    header, *cells = [row for _, row in csv_rows(path, f"the training log {path}")] or [[]]
    if missing := [name for name in columns if name not in header]:
        raise MienError(f"The training log {path} has no column {', '.join(missing)}; it has {', '.join(header)}.")
    if not cells:
        raise MienError(f"The training log {path} has no epochs; leave it out, or give the log.csv of a run.")
    try:
        return {name: np.array([float(row[header.index(name)] or np.nan) for row in cells]) for name in columns}
    except ValueError as error:
        raise MienError(f"The training log {path} holds a value that is not a number: {error}.") from error
