"""The whole evaluation of a model on labelled faces, written as a folder that a reviewer can open."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from mien._version import __version__
from mien.data.faceset import FaceSet
from mien.errors import MienError
from mien.evaluation.cautions import training_cautions
from mien.evaluation.crowd import CrowdAgreement, measure_crowd
from mien.evaluation.figure import as_png, as_svg
from mien.evaluation.folder import whole_folder
from mien.evaluation.label_errors import likely_mislabelled
from mien.evaluation.label_match import match_labels
from mien.evaluation.learning import plot_learning, read_log
from mien.evaluation.metrics import Metrics, measure
from mien.evaluation.page import render
from mien.evaluation.pictures import TITLES, draw
from mien.evaluation.record import Record, describe_data, describe_model
from mien.evaluation.subgroup_plot import TITLE as GROUPS_TITLE
from mien.evaluation.subgroup_plot import plot_subgroups
from mien.evaluation.subgroups import group_values, measure_subgroups
from mien.evaluation.table import as_group_table, as_table, augmentation_line, copies_line
from mien.evaluation.temperature import measure_before_temperature
from mien.evaluation.training_copies import find_training_copies, measure_training_copies
from mien.evaluation.tta import answer, answer_views, check_kind, gain
from mien.inference.classifier import Classifier
from mien.labels import LabelSet

FILES = ("index.html", "metrics.json", "confusion.png", "predictions.csv")
"""What a report's folder holds; with it skipped.txt, where images could not be read."""


@dataclass(frozen=True)
class Report:
    """What evaluation found.

    Attributes:
        record: what metrics.json holds.
        folder: where the report lies; open its index.html.
    """

    record: Record
    folder: Path

    @property
    def metrics(self) -> Metrics:
        """The figures on all rows."""
        return self.record.all_rows

    def table(self) -> str:
        """Write the figures as text for a terminal: what was measured, the table, then what makes it less believable."""
        lines = [_measured(self.record), as_table(self.metrics)]
        if self.record.test_time_augmentation:
            lines += ["", augmentation_line(self.record.test_time_augmentation, self.metrics)]
        if self.record.training_copies:
            lines += ["", copies_line(self.record.training_copies)]
        for subgroups in self.record.subgroups:
            lines += ["", as_group_table(subgroups)]
        for caution in training_cautions(self.record):
            lines += ["", f"Note: {caution}"]
        return "\n".join(lines)


def evaluate(
    model: Classifier,
    data: FaceSet,
    out: Path,
    split: str | None = None,
    batch_size: int = 256,
    log: Path | None = None,
    command: str | None = None,
    tta: str = "none",
    by: Sequence[str] = (),
    merged: Mapping[str, Sequence[str]] | None = None,
) -> Report:
    """Measure a model on labelled faces and write the report.

    The folder holds index.html (one file, opens offline), metrics.json (its schema: `mien.evaluation.record`), confusion.png
    and predictions.csv (id, true, predicted, a probability per label, and whether the row is a copy of a training face, where
    the model file tells that).

    Args:
        model: the opened model file; its head is what is measured.
        data: faces of the model's size and channels. Its labels are matched with the model's by name, in any order; labels of
            the model that the data lack have no rows.
        out: the folder to write; an earlier report there is replaced.
        split: train, validation, test, none, or all; without it test where there is one, else validation, else all rows.
        batch_size: faces per run of the model.
        log: the log.csv of the model's training run, for its learning curves.
        command: the command line to note in the report.
        tta: test-time augmentation: none, flip or ten-crops (see `mien.evaluation.tta`). With it all figures are of the mean
            over the views, and the report says what that brought and cost.
        by: columns of the data; every figure is given for each of their values as well.
        merged: labels of the data that were merged or renamed beforehand, to note.

    Raises:
        MienError: if the split is not there, images or labels do not fit the model, the model answers with NaN, the log
            cannot be read, there is no such test-time augmentation or column, what the model notes of its training faces is
            damaged, or `out` cannot be written or is not a report of ours.
    """
    check_kind(tta)
    out = Path(out)
    rows, split = choose_split(data, split)
    if (wanted := (model.size, model.size, model.channels)) != (have := (*rows.images.shape[1:3], rows.channels)):
        raise MienError(f"The model takes faces of {_shape(wanted)}, these are {_shape(have)}; read them in the model's size.")
    targets = match_labels(model.labels, rows, merged)
    course = read_log(Path(log)) if log else None
    described_model = describe_model(model)
    described_data = describe_data(described_model, rows, split, merged)
    groups = group_values(rows, by)
    with whole_folder(out) as folder:
        copies = find_training_copies(model, rows.images)
        plain = answer(model, rows.images, batch_size)
        answers = answer_views(model, rows.images, tta, batch_size, plain)
        probabilities, truth, temperature = answers.probabilities, targets.argmax(axis=1), described_model.temperature
        metrics = measure(probabilities, targets, model.labels)
        by_heart = described_data.same_as_training
        record = Record(
            model=described_model,
            data=described_data,
            all_rows=metrics,
            likely_mislabelled=None if by_heart else len(likely_mislabelled(probabilities, targets)),
            before_temperature=measure_before_temperature(answers.views, truth, temperature) if temperature else None,
            crowd=_crowd(rows, targets, probabilities, model.labels),
            test_time_augmentation=gain(tta, plain, answers, truth) if tta != "none" else None,
            training_copies=measure_training_copies(*copies, probabilities, targets, model.labels) if copies else None,
            subgroups=measure_subgroups(groups, probabilities, targets, model.labels),
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            mien_version=__version__,
            command=command,
            files=(*FILES, "skipped.txt") if rows.origin.skipped else FILES,
        )
        figures = draw(rows.images, probabilities, targets, model.labels, record)
        if course:
            figures["learning"] = plot_learning(course)
        pictures = {name: as_svg(figure, TITLES[name]) for name, figure in figures.items()}
        for each in record.subgroups:
            drawn = plot_subgroups(each, metrics.accuracy.value)
            pictures[f"groups of {each.column}"] = as_svg(drawn, f"{GROUPS_TITLE} of {each.column}")
        page = render(record, pictures, model.metadata.get("mien.recipe"))
        kinds = copies[1] if copies else None
        _write_predictions(folder / "predictions.csv", rows, probabilities, targets, model.labels, kinds)
        (folder / "confusion.png").write_bytes(as_png(figures["confusion"]))
        (folder / "index.html").write_text(page, encoding="utf-8")
        if rows.origin.skipped:
            (folder / "skipped.txt").write_text("\n".join(rows.origin.skipped) + "\n", encoding="utf-8")
        (folder / "metrics.json").write_text(record.to_json(), encoding="utf-8")
    return Report(record=record, folder=out)


def choose_split(data: FaceSet, split: str | None) -> tuple[FaceSet, str]:
    """Take the rows to measure on: the split asked for; else test where there is one, else validation, else all.

    Returns:
        The rows, and the name of the split they are, or "all".

    Raises:
        MienError: if the split is not there, or there are no rows.
    """
    if split is None:
        split = next((name for name in ("test", "validation") if name in data.split_names), "all")
    if not len(data):
        raise MienError("The data have no rows to evaluate on.")
    return (data, "all") if split == "all" else (data.split(split), split)


def _crowd(rows: FaceSet, targets: np.ndarray, probabilities: np.ndarray, labels: LabelSet) -> CrowdAgreement | None:
    """Ask the votes beside the labels, else the targets where they are votes themselves."""
    truth, predicted = targets.argmax(axis=1), probabilities.argmax(axis=1)
    if rows.votes is None:
        soft = (targets.max(axis=1) < 1 - 1e-6).any()
        return measure_crowd(targets, truth, predicted, judged_by_votes=True) if soft else None
    # votes may be for labels that the model lacks, and stay in the order of the data
    columns = np.array([rows.labels.names.index(name) if name in rows.labels.names else -1 for name in labels])
    return measure_crowd(rows.votes, rows.classes, columns[predicted], judged_by_votes=False)


def _measured(record: Record) -> str:
    """Say which rows were measured, such as "test split of faces: 14 faces", and of a model with two heads by which."""
    data, model = record.data, record.model
    part = {"all": "all rows", "none": "the rows in no split"}.get(data.split, f"{data.split} split")
    name = data.path or f"data from {data.kind}"
    by = f", answered by the {model.head} head" if len(model.heads) > 1 else ""
    return f"{part} of {name}: {data.rows:,} {'face' if data.rows == 1 else 'faces'}{by}"


def _write_predictions(
    path: Path,
    rows: FaceSet,
    probabilities: np.ndarray,
    targets: np.ndarray,
    labels: LabelSet,
    copies: np.ndarray | None,
) -> None:
    last = [] if copies is None else ["copy_in_training"]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "true", "predicted", *(f"probability_{name}" for name in labels), *last])
        for row, (given, target) in enumerate(zip(probabilities, targets, strict=True)):
            answers = (labels[int(target.argmax())], labels[int(given.argmax())])
            kind = [] if copies is None else [copies[row]]
            writer.writerow([rows.id(row), *answers, *(f"{share:.6f}" for share in given), *kind])


def _shape(shape: tuple[int, int, int]) -> str:
    height, width, channels = shape
    return f"{height}x{width} pixels in {'gray' if channels == 1 else 'colour'}"
