"""The whole evaluation of a model on labelled faces, written as a folder that a reviewer can open."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from mien import __version__
from mien.data.faceset import FaceSet
from mien.errors import MienError
from mien.evaluation.crowd import CrowdAgreement, measure_crowd
from mien.evaluation.label_match import match_labels
from mien.evaluation.metrics import Metrics, likely_mislabelled, measure
from mien.evaluation.plots import TITLE as GROUPS_TITLE
from mien.evaluation.plots import as_png, as_svg, plot_subgroups
from mien.evaluation.record import Record, describe_data, describe_model, measure_before_temperature, training_cautions
from mien.evaluation.report_folder import whole_folder
from mien.evaluation.report_page import TITLES, draw, render
from mien.evaluation.run_summary import plot_learning, read_log
from mien.evaluation.statistics import Difference
from mien.evaluation.subgroups import Subgroups, group_values, measure_subgroups
from mien.evaluation.training_copies import TrainingCopies, find_training_copies, measure_training_copies
from mien.evaluation.tta import AugmentationGain, answer, answer_views, check_kind, gain
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


# A report for the terminal: one line that matters, then a table of the labels.

HEADER = ("label", "precision", "recall", "95% interval", "F1", "AP", "AUC", "support")


def as_table(metrics: Metrics) -> str:
    """Write the figures as aligned text; a figure that does not exist is a dash."""
    accuracy = metrics.accuracy
    means = (
        f"balanced accuracy {metrics.balanced_accuracy:.1%}   macro-F1 {metrics.macro_f1:.3f}"
        f"   weighted-F1 {metrics.weighted_f1:.3f}"
    )
    if metrics.labels_with_rows < len(metrics.labels):
        means += f"   (over {metrics.labels_with_rows} of {len(metrics.labels)} labels: the others have no rows)"
    losses = f"log loss {metrics.log_loss:.3f}   Brier {metrics.brier:.3f}   ECE {metrics.expected_calibration_error:.3f}"
    if metrics.cross_entropy is not None:
        losses += f"   cross-entropy with the votes {metrics.cross_entropy:.3f}"
    lines = [
        f"accuracy {accuracy.value:.1%}   95% interval {accuracy.low:.1%} to {accuracy.high:.1%}"
        f"   {accuracy.count:,} of {accuracy.of:,} faces",
        means,
        losses,
        "",
    ]
    rows = [HEADER]
    for each in metrics.labels:
        recall = each.recall
        rows.append(
            (
                each.label,
                "-" if each.precision is None else f"{each.precision:.1%}",
                "-" if recall is None else f"{recall.value:.1%}",
                "-" if recall is None else f"{recall.low:.1%} to {recall.high:.1%}",
                "-" if each.f1 is None else f"{each.f1:.3f}",
                "-" if each.average_precision is None else f"{each.average_precision:.3f}",
                "-" if each.roc_auc is None else f"{each.roc_auc:.3f}",
                f"{each.support:,}",
            )
        )
    return "\n".join(lines + _aligned(rows))


def as_group_table(subgroups: Subgroups) -> str:
    """Write the groups of a column as aligned text, with how far each lies from all other rows."""
    rows = [(f"by {subgroups.column}", "faces", "accuracy", "95% interval", "balanced", "macro-F1", "ECE", "gap to the others")]
    for each in subgroups.groups:
        gap = each.gap
        rows.append(
            (
                each.group,
                f"{each.n:,}",
                f"{each.accuracy.value:.1%}",
                f"{each.accuracy.low:.1%} to {each.accuracy.high:.1%}",
                f"{each.balanced_accuracy:.1%}",
                f"{each.macro_f1:.3f}",
                f"{each.expected_calibration_error:.3f}",
                "too few faces to tell" if not each.enough else "-" if gap is None else _in_points(gap),
            )
        )
    return "\n".join(_aligned(rows))


def copies_line(copies: TrainingCopies) -> str:
    """Say in one line what copies of training faces are worth."""
    kinds = f"{copies.exact:,} exact" + ("" if copies.near is None else f", {copies.near:,} near")
    if not copies.count:
        return "no face is a copy of a training face" + (" (only exact copies are known)" if copies.near is None else "")
    if copies.without is None or copies.worth is None:
        return f"every face is a copy of a training face ({kinds})"
    accuracy = copies.without.accuracy
    return (
        f"without {copies.count:,} copies of training faces ({kinds}): accuracy {accuracy.value:.1%}, 95% interval "
        f"{accuracy.low:.1%} to {accuracy.high:.1%}; the copies are worth {_in_points(copies.worth, ' points')}"
    )


def _in_points(gap: Difference, unit: str = "") -> str:
    return f"{100 * gap.value:+.1f}{unit} ({100 * gap.low:+.1f} to {100 * gap.high:+.1f})"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Write rows of cells as lines, the first column to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([name.ljust(widths[0]), *(text.rjust(width) for text, width in zip(figures, widths[1:], strict=True))])
        for name, *figures in rows
    ]


def augmentation_line(gain: AugmentationGain, metrics: Metrics) -> str:
    """Say what test-time augmentation brought and cost.

    Args:
        gain: the difference it made.
        metrics: the figures with it.
    """
    test = gain.test
    return (
        f"test-time augmentation {gain.kind}: accuracy {gain.accuracy_without.value:.1%} without, {metrics.accuracy.value:.1%} "
        f"with it ({100 * test.difference:+.1f} points, 95% interval {100 * test.low:+.1f} to {100 * test.high:+.1f}, "
        f"McNemar's exact p = {test.p_value:.2g}); {gain.seconds_ratio:.1f} times the seconds"
    )


# Tables in Markdown that read as tables in a terminal too.


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Write a table whose columns are aligned in its source as well.

    Args:
        rows: the header, then the others, with as many cells each; bars and line breaks in them are made harmless.
    """
    cells = [[" ".join(cell.split()).replace("|", r"\|") for cell in row] for row in rows]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join(lines)
