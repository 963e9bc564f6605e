"""The whole evaluation of a model on labelled faces, written as a report folder."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from mien import __version__
from mien.data.faceset import FaceSet
from mien.errors import MienError
from mien.evaluation import subgroups
from mien.evaluation.label_match import match_labels
from mien.evaluation.metrics import Metrics, are_votes, likely_mislabelled, measure
from mien.evaluation.plots import as_png, plot_subgroups
from mien.evaluation.record import (
    Record,
    describe_data,
    describe_model,
    measure_before_temperature,
    whole_folder,
    write_rows,
)
from mien.evaluation.report_page import draw, render, render_text
from mien.evaluation.run_summary import plot_learning, read_log
from mien.evaluation.tta import check_kind, mean_over_views, measure_gain, predict_plain, predict_views
from mien.inference.classifier import Classifier
from mien.labels import LabelSet

FILES = ("index.html", "metrics.json", "confusion.png", "predictions.csv")
"""The files of a report; skipped.txt is added if images could not be read."""


@dataclass(frozen=True)
class Report:
    """The result of an evaluation.

    Attributes:
        record: the contents of metrics.json.
        folder: the folder of the report; open its index.html.
    """

    record: Record
    folder: Path

    @property
    def metrics(self) -> Metrics:
        """The metrics on all rows."""
        return self.record.all_rows

    def table(self) -> str:
        """Write the metrics as text for a terminal: what was evaluated, the table, then cautions."""
        return render_text(self.record)


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
    """Evaluate a model on labelled faces and write the report.

    The folder contains index.html (one file, opens offline), metrics.json (its schema: `mien.evaluation.record`), confusion.png
    and predictions.csv (id, true, predicted, a probability per label, and whether the row is a copy of a training face, if the
    model file stores signatures of these).

    Args:
        model: the opened model file; its head is evaluated.
        data: faces of the model's size and channels. Its labels are matched with the model's by name, in any order; labels of
            the model that the data lack have no rows.
        out: the folder to write; an earlier report there is replaced.
        split: train, validation, test, none, or all; by default test if there is one, else validation, else all rows.
        batch_size: faces per run of the model.
        log: the log.csv of the model's training run, for its learning curves.
        command: the command line to record in the report.
        tta: test-time augmentation: none, flip or ten-crops (see `mien.evaluation.tta`). All metrics are then those of the mean
            over the views, and the report shows its gain and cost.
        by: columns of the data; the metrics are repeated for each of their values.
        merged: labels of the data that were merged or renamed before, to record.

    Raises:
        MienError: if the split does not exist, images or labels do not fit the model, the model predicts NaN, the log cannot be
            read, the test-time augmentation or a column is unknown, the signatures of training faces are damaged, or `out`
            cannot be written or is not a report of mien.
    """
    check_kind(tta)
    out = Path(out)
    rows, split = choose_split(data, split)
    wanted, given = (
        f"{height}x{width} pixels in {'gray' if channels == 1 else 'colour'}"
        for height, width, channels in ((model.size, model.size, model.channels), (*rows.images.shape[1:3], rows.channels))
    )
    if wanted != given:
        raise MienError(f"The model takes faces of {wanted}, these are {given}; read them in the model's size.")
    targets = match_labels(model.labels, rows, merged)
    learning = read_log(Path(log)) if log else None
    model_record = describe_model(model)
    data_record = describe_data(model_record, rows, split, merged)
    groups_of_rows = subgroups.group_values(rows, by)
    with whole_folder(out) as folder:
        copies = subgroups.find_training_copies(model, rows.images)
        plain = predict_plain(model, rows.images, batch_size)
        augmented = predict_views(model, rows.images, tta, batch_size, plain)
        views, truth, temperature = augmented[0], targets.argmax(axis=1), model_record["temperature"]
        probabilities = mean_over_views(views)
        suspects = None if data_record["same_as_training"] else len(likely_mislabelled(probabilities, targets))
        record = Record(
            model=model_record,
            data=data_record,
            all_rows=measure(probabilities, targets, model.labels),
            likely_mislabelled=suspects,
            before_temperature=measure_before_temperature(views, truth, temperature, model.prior_factors)
            if temperature
            else None,
            crowd=_measure_crowd(rows, targets, probabilities, model.labels),
            test_time_augmentation=measure_gain(tta, plain, augmented, truth) if tta != "none" else None,
            training_copies=subgroups.measure_training_copies(*copies, probabilities, targets, model.labels)
            if copies
            else None,
            subgroups=subgroups.measure_subgroups(groups_of_rows, probabilities, targets, model.labels),
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            mien_version=__version__,
            command=command,
            files=(*FILES, "skipped.txt") if rows.origin.skipped else FILES,
        )
        figures = draw(rows.images, probabilities, targets, model.labels, record)
        if learning:
            figures["learning"] = plot_learning(learning)
        for column, groups in record.subgroups.items():
            figures[f"groups of {column}"] = plot_subgroups(groups, record.all_rows.accuracy.value)
        page = render(record, figures, model.metadata.get("mien.recipe"))
        (folder / "index.html").write_text(page, encoding="utf-8")
        (folder / "confusion.png").write_bytes(as_png(figures["confusion"]))
        kinds = copies[1] if copies else None
        write_rows(folder / "predictions.csv", _tabulate_predictions(rows, probabilities, truth, model.labels, kinds))
        if rows.origin.skipped:
            (folder / "skipped.txt").write_text("\n".join(rows.origin.skipped) + "\n", encoding="utf-8")
        (folder / "metrics.json").write_text(record.to_json(), encoding="utf-8")
    return Report(record=record, folder=out)


def choose_split(data: FaceSet, split: str | None) -> tuple[FaceSet, str]:
    """Choose the rows and their split: the one asked for; else test if there is one, else validation, else "all"."""
    if split is None:
        split = next((name for name in ("test", "validation") if name in data.split_names), "all")
    if not len(data):
        raise MienError("The data have no rows to evaluate on.")
    return (data, "all") if split == "all" else (data.split(split), split)


def _measure_crowd(rows: FaceSet, targets: np.ndarray, probabilities: np.ndarray, labels: LabelSet) -> dict[str, Any] | None:
    """Use the votes beside the labels, else the targets if they are votes themselves."""
    truth, predicted = targets.argmax(axis=1), probabilities.argmax(axis=1)
    if rows.votes is None:
        return subgroups.measure_crowd(targets, truth, predicted, judged_by_votes=True) if are_votes(targets) else None
    # votes may be for labels that the model lacks, so they stay in the order of the data
    columns = np.array([rows.labels.names.index(name) if name in rows.labels.names else -1 for name in labels])
    return subgroups.measure_crowd(rows.votes, rows.classes, columns[predicted], judged_by_votes=False)


def _tabulate_predictions(
    rows: FaceSet, probabilities: np.ndarray, truth: np.ndarray, labels: LabelSet, copies: np.ndarray | None
) -> Iterator[list[str]]:
    """Give the rows of predictions.csv, the header first."""
    yield [
        "id",
        "true",
        "predicted",
        *(f"probability_{name}" for name in labels),
        *([] if copies is None else ["copy_in_training"]),
    ]
    for row, given in enumerate(probabilities):
        shares = [f"{share:.6f}" for share in given]
        copy = [] if copies is None else [copies[row]]
        yield [rows.id(row), labels[truth[row]], labels[int(given.argmax())], *shares, *copy]


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table, aligned in its source too, from the header and the rows; bars and line breaks are escaped."""
    cells = [[" ".join(cell.split()).replace("|", r"\|") for cell in row] for row in rows]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    )
