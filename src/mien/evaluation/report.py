"""The whole evaluation of a model on labelled faces, written as a report folder."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from mien.data.copies import EXACT, MOST_DIGESTED, copies_between_folds
from mien.data.faceset import SPLITS, FaceSet
from mien.data.worse_photos import worse_copies
from mien.errors import MienError, progress
from mien.evaluation import metrics as measures, plots, record as parts
from mien.evaluation.label_match import match_labels
from mien.evaluation.metrics import Metrics, likely_mislabelled, mcnemar, measure, proportion, without_temperature
from mien.evaluation.record import Record, describe_data, describe_model, read_log, write_rows
from mien.files import REPORT, check_folder, written_folder
from mien.images import prepare
from mien.inference.classifier import UNSURE, Classifier
from mien.labels import LabelMap

FILES = ("index.html", "metrics.json", "confusion.png", "predictions.csv")  # and skipped.txt if images could not be read
SHEETS = ("random", "worst", "uncertain", "mislabelled")  # figures that show faces
THUMBNAIL = 112  # longest side of a face on a sheet in pixels; larger ones are shrunk to keep the page small
FACE, GAP, CAPTION = 1.06, 0.12, 0.52  # inches on a sheet: side of a face, gap between faces, two lines below a face
VIEWS = {"none": 1, "flip": 2, "ten-crops": 10}  # of each face: with its mirror image, four corners and the centre
MOST_WORSE = 2000  # rows, drawn at random, of which worse copies are measured
CROP = 11 / 12  # side of a crop relative to the face: 44 of 48 pixels
Views = tuple[np.ndarray, float]  # probabilities of each view, (V, N, K), float32, and the seconds they took


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
        template = plots.new_environment(text=True).get_template("report.txt")
        return template.render(record=self.record, cautions=cautions(self.record, "training_cautions.txt")).strip()


def evaluate(
    model: Classifier,
    data: FaceSet,
    out: Path,
    split: str | None = None,
    batch_size: int = 256,
    log: Path | None = None,  # the log.csv of the model's training
    command: str | None = None,
    tta: str = "none",
    by: Sequence[str] = (),  # columns of the data
    merged: LabelMap | None = None,  # what became of their labels before, to record
    folds: tuple[np.ndarray, np.ndarray] | None = None,  # the fold of every row, and what a model without that fold predicts
    start: Classifier | None = None,  # with the same labels: what the model was trained further from
    paper: bool = False,
    quiet: bool = True,
) -> Report:
    """Measure an opened model on faces of its size, and write the report; parameters as `mien.evaluate`, but data are read."""
    if tta not in VIEWS:
        raise MienError(f"There is no test-time augmentation {tta!r}; choose {', '.join(VIEWS)}.")
    rows, split = choose_split(data, split)
    if rows.images.shape[1:] != model.face_shape:
        takes, given = (f"{one.size}x{one.size} pixels in {'gray' if one.channels == 1 else 'colour'}" for one in (model, rows))
        raise MienError(f"The model takes faces of {takes}, these are {given}; read them in the model's size.")
    targets = match_labels(model.labels, rows, merged)
    learning = read_log(log) if log else None
    model_record = describe_model(model)
    data_record = describe_data(model_record, rows, split, merged)
    training = data.splits == SPLITS.index("train")
    known = data.groups[training] if data.groups is not None and split in ("validation", "test") else np.empty(0, str)
    subgroups = parts.group_values(rows, by)
    with written_folder(out, "the report", lambda place: check_folder(place, REPORT)) as folder:
        some = np.sort(np.random.default_rng(0).permutation(len(rows))[:MOST_WORSE])
        if folds is None:
            copies, plain = parts.find_training_copies(model, rows.images), predict_plain(model, rows.images, batch_size, quiet)
            worse = worse_copies(rows.images[some])
            on_worse, _ = predict_views(model, worse, tta, batch_size, predict_plain(model, worse, batch_size))
        else:
            copies, plain = copies_between_folds(rows.images, folds[0]), (folds[1][None], 0.0)
            data_record |= {"split": f"{folds[0].max()} folds", "same_as_training": None}
        augmented = predict_views(model, rows.images, tta, batch_size, plain)
        views, truth, temperature = augmented[0], targets.argmax(axis=1), model_record["temperature"]
        probabilities, names = mean_over_views(views), np.array(model.labels.names)
        judged = (probabilities, targets, model.labels)
        metrics, right = measure(*judged), probabilities.argmax(axis=1) == truth
        has_logits = temperature and folds is None and not model.has_merged_labels  # those of merged labels are unknown
        undone = mean_over_views(without_temperature(views, temperature, model.prior_factors)) if has_logits else None
        before = None if undone is None else vars(measure(undone, targets, model.labels)) | {"temperature": temperature}
        record = Record(
            model=model_record,
            data=data_record,
            all_rows=metrics,
            likely_mislabelled=None if data_record["same_as_training"] else len(likely_mislabelled(probabilities, targets)),
            before_temperature=before,
            worse_copies=measure(mean_over_views(on_worse), targets[some], model.labels) if folds is None else None,
            before_training=measure_start(start, rows, names[truth], right) if start else None,
            crowd=parts.compare_votes(rows, *judged),
            test_time_augmentation=measure_gain(tta, plain, augmented, truth, rows.groups) if tta != "none" else None,
            training_copies=copies and parts.measure_training_copies(copies[0], copies[1], *judged),
            over_groups=None if rows.groups is None else measures.measure_over_groups(rows.groups, known, truth, probabilities),
            cross_validation=None if folds is None else measures.measure_folds(folds[0], *judged),
            subgroups=parts.measure_subgroups(subgroups, *judged),
            **parts.provenance(REPORT, command),
            files=(*FILES, "skipped.txt") if rows.origin.skipped else FILES,
        )
        figures = draw(rows.images, probabilities, targets, record)
        if learning:
            figures["learning"] = plots.plot_learning(learning)
        for column, groups in record.subgroups.items():
            figures[f"groups of {column}"] = plots.plot_subgroups(groups, metrics.accuracy.value)
        if paper:
            shown = {name: figure for name, figure in figures.items() if name not in SHEETS}
            record = replace(record, files=(*record.files, *plots.write_for_paper(folder, shown, record)))
        (folder / "index.html").write_text(render(record, figures, model.metadata.get("mien.recipe")), encoding="utf-8")
        (folder / "confusion.png").write_bytes(plots.as_png(figures["confusion"]))
        columns = {"id": map(rows.id, range(len(rows))), "true": names[truth], "predicted": names[probabilities.argmax(axis=1)]}
        columns |= {f"probability_{name}": map("{:.6f}".format, probabilities[:, label]) for label, name in enumerate(names)}
        columns |= {"copy_in_training": copies and copies[1], "group": rows.groups, "fold": folds and folds[0]}
        columns = {name: column for name, column in columns.items() if column is not None}
        table = (row for part in ([columns], zip(*columns.values(), strict=True)) for row in part)
        write_rows(folder / "predictions.csv", table)
        rows.origin.write_skipped(folder)
        (folder / "metrics.json").write_text(record.to_json(), encoding="utf-8")
    return Report(record=record, folder=out)


def choose_split(data: FaceSet, split: str | None) -> tuple[FaceSet, str]:
    """Choose the rows and their split: the one asked for; else test if there is one, else validation, else "all"."""
    if split is None:
        split = next((name for name in ("test", "validation") if name in data.split_names), "all")
    if not len(data):
        raise MienError("The data have no rows to evaluate on.")
    return (data, "all") if split == "all" else (data.split(split), split)


def largest_confusions(metrics: Metrics, wanted: int = 5) -> list[tuple[str, str, int, float]]:
    """Find the most frequent mistakes: true label, predicted label, count, and share of the true label's rows."""
    found = []
    for true, counts in zip(metrics.labels, metrics.confusion, strict=True):
        for predicted, count in zip(metrics.labels, counts, strict=True):
            if true is not predicted and count:
                found.append((true.label, predicted.label, count, count / true.support))
    return sorted(found, key=lambda mistake: -mistake[2])[:wanted]


def render(record: Record, figures: Mapping[str, Figure], recipe: str | None) -> str:
    """Write the page, with the model's recipe as YAML text; a section without its figure is left out."""
    template = plots.new_environment().get_template("report.html")
    enough = (parts.FEWEST_ROWS, round(100 * parts.WIDEST))
    found = {"confusions": largest_confusions(record.all_rows), "cautions": cautions(record), "figures": figures}
    return template.render(record=record, most_stored=MOST_DIGESTED, enough=enough, recipe=recipe, threshold=UNSURE, **found)


def cautions(record: Record, template: str = "cautions.txt") -> list[str]:
    """List what makes the metrics less reliable; training_cautions.txt has what is known of rows of the training."""
    return plots.new_environment(text=True).get_template(template).render(record=record).splitlines()


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
    images: np.ndarray, probabilities: np.ndarray, targets: np.ndarray, labels: Sequence[str], columns: int = 8
) -> Figure:
    """Draw faces side by side: the true label, below it the predicted one with its probability, marked if wrong."""
    figure, panels = plots.new_grid(len(images), min(columns, len(images)), FACE, (GAP, CAPTION), (0, GAP, 0, CAPTION))
    for panel, image, given, target in zip(panels, images, probabilities, targets, strict=True):
        panel.set_axis_off()
        small = Image.fromarray(image)
        small.thumbnail((THUMBNAIL, THUMBNAIL))
        panel.imshow(np.asarray(small), cmap="gray", vmin=0, vmax=255, interpolation="none")
        truth, predicted = int(target.argmax()), int(given.argmax())
        mark, longest, colour = ("", 10, plots.FAINT) if truth == predicted else ("✗ ", 8, plots.WRONG)
        prediction = f"{mark}{plots.plain(labels[predicted], longest)} {given[predicted]:.0%}"
        for height, text, ink in ((-0.04, plots.plain(labels[truth], 14), plots.INK), (-0.2, prediction, colour)):
            panel.text(0.5, height, text, transform=panel.transAxes, ha="center", va="top", fontsize=9, color=ink)
    return figure


def draw(images: np.ndarray, probabilities: np.ndarray, targets: np.ndarray, record: Record) -> dict[str, Figure]:
    """Draw every figure that the rows allow; subgroups and learning curves are drawn elsewhere."""
    metrics = record.all_rows
    figures = {
        "confusion": plots.plot_confusion(metrics),
        "labels": plots.plot_labels(metrics),
        "reliability": plots.plot_reliability(metrics, record.worse_copies),
        "coverage": plots.plot_coverage(probabilities, targets, metrics),
        "precision_recall": plots.plot_curves("precision_recall", probabilities, targets, metrics),
        "roc": plots.plot_curves("roc", probabilities, targets, metrics),
    }
    if record.crowd:
        figures["crowd"] = plots.plot_crowd(record.crowd["bands"])
    for name, rows in choose_faces(probabilities, targets).items():
        if len(rows) and (name != "mislabelled" or record.likely_mislabelled):
            shown = (images[rows], probabilities[rows], targets[rows])
            figures[name] = plot_faces(*shown, record.model["labels"], columns=9 if name == "random" else 8)
    return figures


def predict_plain(model: Classifier, faces: np.ndarray, batch_size: int, quiet: bool = True) -> Views:
    """Classify faces of the model's size as they are: a single view."""
    start, parts = time.perf_counter(), []
    with progress("faces", len(faces), quiet) as bar:
        for first in range(0, len(faces), max(batch_size, 1)):
            parts.append(model.predict_proba(faces[first : first + batch_size], batch_size))
            bar.update(len(parts[-1]))
    return np.concatenate(parts)[None], time.perf_counter() - start


def predict_views(model: Classifier, faces: np.ndarray, kind: str, batch_size: int, plain: Views) -> Views:
    """Classify several views of each face (Krizhevsky et al., NIPS 2012), made for `batch_size` faces at a time."""
    if kind == "none":
        return plain
    start, parts = time.perf_counter(), []
    for first in range(0, len(faces), batch_size):
        batch = faces[first : first + batch_size]
        views = [mirrored(batch)] if kind == "flip" else [view for crop in five_crops(batch) for view in (crop, mirrored(crop))]
        parts.append(np.stack([model.predict_proba(view, batch_size) for view in views]))
    probabilities, seconds = np.concatenate(parts, axis=1), time.perf_counter() - start
    if kind == "flip":
        return np.concatenate([plain[0], probabilities]), plain[1] + seconds
    return probabilities, seconds


def mean_over_views(views: np.ndarray) -> np.ndarray:
    """Average probabilities (V, N, K) over the views: (N, K), float32."""
    return np.asarray(views.mean(axis=0, dtype=np.float64) if len(views) > 1 else views[0], dtype=np.float32)


def measure_gain(kind: str, plain: Views, augmented: Views, truth: np.ndarray, groups: np.ndarray | None) -> dict[str, Any]:
    """Measure the gain and the cost of test-time augmentation, by the label indices (N,) that are true."""
    without, with_views = (mean_over_views(views).argmax(axis=1) == truth for views, _ in (plain, augmented))
    return {
        "kind": kind,
        "views": VIEWS[kind],
        "accuracy_without": proportion(int(without.sum()), len(truth)),
        "test": mcnemar(without, with_views, groups),  # without it against with it
        "seconds_without": plain[1],
        "seconds": augmented[1],  # making the views included
        "seconds_ratio": augmented[1] / plain[1],
    }


def measure_start(start: Classifier, rows: FaceSet, truth: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    """Measure the model that training started from by the true names (N,), against what the trained one gets right."""
    was_right = np.array(start.labels.names)[start.predict_proba(rows.images).argmax(axis=1)] == truth
    copies = parts.find_training_copies(start, rows.images)
    return {
        "model": describe_model(start)["name"].removesuffix(".onnx"),
        "accuracy": proportion(int(was_right.sum()), len(truth)),
        "test": mcnemar(was_right, right, rows.groups),  # the starting model against the trained one
        "seen": copies and int((copies[1] == EXACT).sum()),  # faces that the starting model was trained on; None if unknown
    }


def mirrored(faces: np.ndarray) -> np.ndarray:
    """Flip faces left to right: (N, H, W) or (N, H, W, 3)."""
    return np.ascontiguousarray(faces[:, :, ::-1])


def five_crops(faces: np.ndarray) -> Iterator[np.ndarray]:
    """Crop faces, uint8 (N, S, S) or (N, S, S, 3), at the four corners and in the centre, each resized to their size."""
    size, channels = faces.shape[1], 1 if faces.ndim == 3 else 3
    side = round(size * CROP)
    far, middle = size - side, (size - side) // 2
    for top, left in ((0, 0), (0, far), (far, 0), (far, far), (middle, middle)):
        crops = faces[:, top : top + side, left : left + side]
        yield np.stack([prepare(np.ascontiguousarray(crop), size, channels) for crop in crops])
