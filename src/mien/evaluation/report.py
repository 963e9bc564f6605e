"""The whole evaluation of a model on labelled faces, written as a report folder."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from mien import __version__
from mien.data.copies import MOST_DIGESTED
from mien.data.faceset import FaceSet
from mien.errors import MienError, printable
from mien.evaluation import plots, subgroups
from mien.evaluation.label_match import match_labels
from mien.evaluation.metrics import Metrics, are_votes, likely_mislabelled, measure
from mien.evaluation.record import Record, describe_data, describe_model, measure_before_temperature, write_rows
from mien.evaluation.run_summary import plot_learning, read_log
from mien.evaluation.tta import check_kind, mean_over_views, measure_gain, predict_plain, predict_views
from mien.files import REPORT, check_folder, written_folder
from mien.inference.classifier import Classifier
from mien.labels import LabelMap, LabelSet

FILES = ("index.html", "metrics.json", "confusion.png", "predictions.csv")  # and skipped.txt if images could not be read
TEMPLATES = Path(__file__).parent / "page"
THUMBNAIL = 112  # longest side of a face on a sheet in pixels; larger ones are shrunk to keep the page small
FACE, GAP, CAPTION = 1.06, 0.12, 0.52  # inches on a sheet: side of a face, gap between faces, two lines below a face


@dataclass(frozen=True)
class Report:
    """The result of an evaluation."""

    record: Record  # the contents of metrics.json
    folder: Path  # of the report; open its index.html

    @property
    def metrics(self) -> Metrics:
        """The metrics on all rows."""
        return self.record.all_rows

    def table(self) -> str:
        """Write the metrics as text for a terminal: what was evaluated, the table, then cautions."""
        template = new_environment(text=True).get_template("report.txt")
        return template.render(record=self.record, cautions=cautions(self.record, "training_cautions.txt")).strip()


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
    merged: LabelMap | None = None,
) -> Report:
    """Measure an opened model, or one of its heads, on faces of its size and channels, and write the folder of the report.

    Labels are matched by name. Other parameters as `mien.evaluate`; `log` is the log.csv of the model's training, `by` lists
    columns of the data, and `merged` says what became of their labels before, to record.
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
    with written_folder(out, "the report", partial(check_folder, kind=REPORT)) as folder:
        copies = subgroups.find_training_copies(model, rows.images)
        plain = predict_plain(model, rows.images, batch_size)
        augmented = predict_views(model, rows.images, tta, batch_size, plain)
        views, truth, temperature = augmented[0], targets.argmax(axis=1), model_record["temperature"]
        probabilities = mean_over_views(views)
        metrics = measure(probabilities, targets, model.labels)
        found = copies and subgroups.measure_training_copies(*copies, probabilities, targets, model.labels)
        has_logits = temperature and not model.has_merged_labels  # those of merged labels are unknown
        before = measure_before_temperature(views, truth, temperature, model.prior_factors) if has_logits else None
        suspects = None if data_record["same_as_training"] else len(likely_mislabelled(probabilities, targets))
        record = Record(
            model=model_record,
            data=data_record,
            all_rows=metrics,
            likely_mislabelled=suspects,
            before_temperature=before,
            crowd=_measure_crowd(rows, targets, probabilities, model.labels),
            test_time_augmentation=measure_gain(tta, plain, augmented, truth) if tta != "none" else None,
            training_copies=found,
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
            figures[f"groups of {column}"] = plots.plot_subgroups(groups, metrics.accuracy.value)
        (folder / "index.html").write_text(render(record, figures, model.metadata.get("mien.recipe")), encoding="utf-8")
        (folder / "confusion.png").write_bytes(plots.as_png(figures["confusion"]))
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
    last = [] if copies is None else ["copy_in_training"]
    yield ["id", "true", "predicted", *(f"probability_{name}" for name in labels), *last]
    for row, given in enumerate(probabilities):
        shares = [f"{share:.6f}" for share in given]
        copy = [] if copies is None else [copies[row]]
        yield [rows.id(row), labels[truth[row]], labels[int(given.argmax())], *shares, *copy]


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table, aligned in its source too, from the header and the rows; bars and line breaks are escaped."""
    cells = [[printable(" ".join(cell.split())).replace("|", r"\|") for cell in row] for row in rows]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    )


def largest_confusions(metrics: Metrics, wanted: int = 5) -> list[tuple[str, str, int, float]]:
    """Find the most frequent mistakes: true label, predicted label, count, and share of the true label's rows."""
    found = [
        (true.label, predicted.label, count, count / true.support)
        for true, counts in zip(metrics.labels, metrics.confusion, strict=True)
        for predicted, count in zip(metrics.labels, counts, strict=True)
        if true is not predicted and count
    ]
    return sorted(found, key=lambda mistake: -mistake[2])[:wanted]


def new_environment(text: bool = False) -> jinja2.Environment:
    """Make the environment of the templates in page/, in which undefined names are errors.

    In text dash and minus are plain, and a value stays on its line, unless it is a table or YAML.
    """
    missing, minus = ("-", "-") if text else ("\N{EN DASH}", "\N{MINUS SIGN}")
    lines = Markup if text else str
    environment = jinja2.Environment(
        finalize=(lambda value: printable(value) if type(value) is str else value) if text else None,
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=jinja2.select_autoescape(),  # in HTML, not in Markdown and text
        undefined=jinja2.StrictUndefined,
        extensions=["jinja2.ext.do"],
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "aligned": lambda rows: lines(aligned(rows)),
        "count": lambda number: f"{number:,}",
        "decimal": lambda number: missing if number is None else f"{number:.3f}",
        "logarithm": math.log,
        "percent": lambda share: missing if share is None else f"{share:.1%}",
        "points": lambda share: missing if share is None else f"{100 * share:+.1f}".replace("-", minus),
        "svg": lambda figure, title: Markup(plots.as_svg(figure, title)),
        "table": lambda rows: lines(markdown_table(rows)),
    }
    return environment


def aligned(rows: Sequence[Sequence[object]]) -> str:
    """Write rows of cells as lines, the first column left-aligned, the others right-aligned."""
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    first, *widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join([name.ljust(first), *(text.rjust(width) for text, width in zip(figures, widths, strict=True))])
        for name, *figures in cells
    )


def render(record: Record, figures: Mapping[str, Figure], recipe: str | None) -> str:
    """Write the page, with the model's recipe as YAML text; a section without its figure is left out."""
    template = new_environment().get_template("report.html")
    enough = (subgroups.FEWEST_ROWS, round(100 * subgroups.WIDEST))
    found = {"confusions": largest_confusions(record.all_rows), "cautions": cautions(record), "figures": figures}
    return template.render(record=record, most_stored=MOST_DIGESTED, enough=enough, recipe=recipe, **found)


def cautions(record: Record, template: str = "cautions.txt") -> list[str]:
    """List what makes the metrics less reliable; training_cautions.txt has what is known of rows of the training."""
    return new_environment(text=True).get_template(template).render(record=record).splitlines()


def choose_faces(probabilities: np.ndarray, targets: np.ndarray) -> dict[str, np.ndarray]:
    """Choose the rows for each sheet of faces."""
    falling = np.argsort(-probabilities.max(axis=1), kind="stable")
    wrong = probabilities.argmax(axis=1) != targets.argmax(axis=1)
    return {
        "random": np.sort(np.random.default_rng(0).permutation(len(targets))[:9]),
        "worst": falling[wrong[falling]][:24],
        "uncertain": np.argsort(probabilities.max(axis=1), kind="stable")[:16],
        "mislabelled": likely_mislabelled(probabilities, targets)[:24],
    }


def plot_faces(
    images: np.ndarray, probabilities: np.ndarray, targets: np.ndarray, labels: LabelSet, columns: int = 8
) -> Figure:
    """Draw faces side by side: the true label, below it the predicted one with its probability, marked if wrong."""
    figure, panels = plots.new_grid(len(images), min(columns, len(images)), FACE, (GAP, CAPTION), (0, GAP, 0, CAPTION))
    for panel, image, given, target in zip(panels, images, probabilities, targets, strict=True):
        panel.set_axis_off()
        small = Image.fromarray(image)
        small.thumbnail((THUMBNAIL, THUMBNAIL))
        panel.imshow(np.asarray(small), cmap="gray", vmin=0, vmax=255, interpolation="none")
        truth, predicted = int(target.argmax()), int(given.argmax())
        if truth == predicted:
            prediction, colour = f"{plots.plain(labels[predicted], 10)} {given[predicted]:.0%}", plots.FAINT
        else:
            prediction, colour = f"✗ {plots.plain(labels[predicted], 8)} {given[predicted]:.0%}", plots.WRONG
        for height, text, ink in ((-0.04, plots.plain(labels[truth], 14), plots.INK), (-0.2, prediction, colour)):
            panel.text(0.5, height, text, transform=panel.transAxes, ha="center", va="top", fontsize=9, color=ink)
    return figure


def draw(
    images: np.ndarray, probabilities: np.ndarray, targets: np.ndarray, labels: LabelSet, record: Record
) -> dict[str, Figure]:
    """Draw every figure that the rows allow; subgroups and learning curves are drawn elsewhere."""
    metrics = record.all_rows
    figures = {
        "confusion": plots.plot_confusion(metrics),
        "labels": plots.plot_labels(metrics),
        "reliability": plots.plot_reliability(metrics, record.before_temperature),
        "coverage": plots.plot_coverage(probabilities, targets, metrics),
        "precision_recall": plots.plot_curves("precision_recall", probabilities, targets, metrics),
        "roc": plots.plot_curves("roc", probabilities, targets, metrics),
    }
    if record.crowd:
        figures["crowd"] = plots.plot_crowd(record.crowd["bands"])
    for name, rows in choose_faces(probabilities, targets).items():
        if len(rows) and (name != "mislabelled" or record.likely_mislabelled):
            columns = 9 if name == "random" else 8
            figures[name] = plot_faces(images[rows], probabilities[rows], targets[rows], labels, columns)
    return figures
