"""Summarise finished runs, and compare them on a page, as Markdown tables or as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mien import __version__
from mien.errors import MienError, say, to_json
from mien.evaluation import plots
from mien.evaluation.metrics import MISTAKES, SIGNIFICANT, PairedTest, holm, mcnemar, proportion
from mien.evaluation.plots import FAINT, INK, SERIES, add_legend, draw_interval, new_figure, new_rows, plain, style_axes
from mien.evaluation.record import describe_model, read_log, read_report
from mien.files import missing_path
from mien.inference.classifier import Classifier
from mien.inputs import csv_rows, parse_yaml, read_json, wrong_value

MARKS = ("o", "s", "^", "D", "v", "P", "X")
LATER = ("test_time_augmentation", "on_training_faces")  # fields of `RunSummary` that earlier files lack
DASHES = ("solid", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
Places = Mapping[str, int]  # of a run among all runs of the page, by its name, for its colour, mark and dashes


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """A run, or a model that was only evaluated, of whose training nothing is known: its fields are empty or None."""

    name: str  # of the run folder or the model; for a report other than a run's `report`, that report's name after it
    recipe: str = ""  # its description, or its name and the changes made on the command line
    network: str = ""
    rows: int  # faces it was measured on
    data: str  # their fingerprint, 64 hex digits; only runs with the same one are comparable
    split: str
    accuracy: float  # 0 to 1
    low: float  # lower end of the 95% interval of the accuracy (Wilson)
    high: float
    macro_f1: float  # 0 to 1
    recall: dict[str, float | None]  # of each label, 0 to 1; None without rows
    support: dict[str, int]  # rows of each label
    parameters: int
    multiply_adds: int | None = None  # for one face; None where the model file does not say
    epochs: int | None = None
    best_epoch: int | None = None  # the one whose weights were kept, counted from 1
    validation_accuracy_by_epoch: list[float] = field(default_factory=list)  # 0 to 1, on the rows that chose the best epoch
    training_seconds: float | None = None  # of all epochs, without validation
    seconds_an_epoch: float | None = None  # the median, without validation
    faces_a_second: float | None = None  # in training, the median
    hardware: str | None = None  # of the training; None where the model file does not say
    command: str | None = None  # command lines that trained and evaluated it; None if called from Python
    test_time_augmentation: str | None = None  # flip or ten-crops
    on_training_faces: bool = False  # whether most of the faces were in training


def summarise(folder: Path) -> RunSummary:
    """Summarise a finished run by its `report`, or by the folder of another report, in a run folder or not."""
    run, report = run_and_report(folder)
    if not (report / "metrics.json").is_file():
        raise MienError(MISTAKES["no report"].format(folder))
    record = read_report(report / "metrics.json")
    figures, augmentation = record["all_rows"], record.get("test_time_augmentation")
    copies = {} if record.get("cross_validation") else record.get("training_copies") or {}
    training = {} if run is None else _training(run, report, record)
    model = record["model"]["name"].removesuffix(".onnx") if run is None else run.resolve().name
    is_own = run is not None and report.resolve().name == "report"
    return RunSummary(
        name=model if is_own else f"{model}/{report.resolve().name}",
        rows=figures["n"],
        data=record["data"]["fingerprint"],
        split=record["data"]["split"],
        accuracy=figures["accuracy"]["value"],
        low=figures["accuracy"]["low"],
        high=figures["accuracy"]["high"],
        macro_f1=figures["macro_f1"],
        recall={each["label"]: each["recall"] and each["recall"]["value"] for each in figures["labels"]},
        support={each["label"]: each["support"] for each in figures["labels"]},
        parameters=record["model"]["parameters"],
        test_time_augmentation=augmentation["kind"] if augmentation else None,
        on_training_faces=bool(record["data"].get("same_as_training") or 2 * copies.get("exact", 0) > figures["n"]),
        **{"command": record["command"]} | training,
    )


def run_and_report(folder: Path) -> tuple[Path | None, Path]:
    """Find the run that a folder is, or lies in, and the report; None where there is no finished run."""
    if (folder / "model.onnx").is_file():
        return folder, folder / "report"
    return (folder.parent if (folder.parent / "model.onnx").is_file() else None), folder


def _training(run: Path, report: Path, record: dict[str, Any]) -> dict[str, Any]:
    model = Classifier(run)
    if record["model"]["sha256"] != describe_model(model)["sha256"]:
        raise MienError(f"The report {report} is about another model than {model.path}; evaluate that one into it.")
    recipe = parse_yaml(model.metadata.get("mien.recipe") or "{}", f"The recipe in {model.path}")
    columns = ("epoch", "validation_loss", "validation_accuracy", "seconds", "images_per_second")
    log = read_log(run / "log.csv", columns)
    multiply_adds = model.metadata.get("mien.multiply_adds")
    own = run / "report" / "metrics.json"
    trained = read_report(own)["command"] if own.is_file() else None
    commands = dict.fromkeys(command for command in (trained, record["command"]) if command)
    return {
        "recipe": str(recipe.get("description") or ""),
        "network": str(recipe.get("network", "")),
        "multiply_adds": int(multiply_adds) if multiply_adds else None,
        "epochs": len(log["epoch"]),
        "best_epoch": best_epoch(log, recipe.get("select_by", "accuracy")),
        "validation_accuracy_by_epoch": log["validation_accuracy"].tolist(),
        "training_seconds": float(log["seconds"].sum()),
        "seconds_an_epoch": float(np.median(log["seconds"])),
        "faces_a_second": float(np.median(log["images_per_second"])),
        "hardware": model.metadata.get("mien.hardware"),
        "command": " && ".join(commands) or None,
    }


def best_epoch(log: dict[str, np.ndarray], select_by: str) -> int | None:
    """Find the epoch that training chose, counted from 1: the first of the best by accuracy or loss; None: it kept the last."""
    if select_by == "last":
        return None
    best = np.nanargmin(log["validation_loss"]) if select_by == "loss" else np.nanargmax(log["validation_accuracy"])
    return int(log["epoch"][best])


def read_summaries(path: Path) -> list[RunSummary]:
    """Read the JSON that `mien compare --format json` writes; MienError if it is not there, or holds anything else."""
    made, again = "what `mien compare --format json --out FILE` of this mien writes", "write it again from the run folders"
    rows = read_json(path, f"{path} as {made}")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise MienError(f"{path} is not {made}: it is not a list of runs.")
    known, found = [field.name for field in fields(RunSummary)], []
    for number, row in enumerate(rows, start=1):
        where = f"{path} is not {made}: run {number}"
        if missing := [name for name in known if name not in row and name not in LATER]:  # added later
            others = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            raise MienError(f"{where} lacks {', '.join(missing[:3])}{others}; {again}.")
        if unknown := [name for name in row if name not in known]:
            raise MienError(f"{where} has the unknown field {', '.join(unknown)}; {again}.")
        if problem := wrong_value(row, RunSummary):
            raise MienError(f"{where} has a wrong value: {problem}.")
        found.append(RunSummary(**row))
    return found


class Answers(NamedTuple):
    """What a model predicted, from the predictions.csv of a report."""

    ids: tuple[str, ...]
    labels: tuple[str, ...]  # in the model's order
    truth: np.ndarray  # (N,), int64
    predicted: np.ndarray  # (N,), int64
    groups: np.ndarray | None = None  # (N,), str; None if the faces were measured without


class ComparedRun(NamedTuple):
    """A run compared with the first one on the same faces."""

    first: str
    name: str
    test: PairedTest
    adjusted_p_value: float  # by Holm's method, for all runs compared with this first one
    is_significant: bool  # given the number of comparisons


def read_runs(sources: Sequence[Path]) -> tuple[list[RunSummary], dict[str, Path]]:
    """Read runs, those on the same faces together and the most accurate first, and by name the paths of predictions.csv."""
    found: dict[str, RunSummary] = {}
    predictions: dict[str, Path] = {}
    for source in sources:
        if not source.exists():
            raise MienError(missing_path(source))
        is_json = source.suffix.lower() == ".json" and not source.is_dir()
        path = None if is_json else run_and_report(source)[1] / "predictions.csv"
        for each in read_summaries(source) if is_json else [summarise(source)]:
            if each.name in found:
                say(f"There are several runs {each.name}; the one in {source} is used")
            found[each.name] = each
            predictions.pop(each.name, None)
            if path is not None and path.is_file():
                predictions[each.name] = path
    order = list(dict.fromkeys(each.data for each in found.values()))
    return sorted(found.values(), key=lambda each: (order.index(each.data), -each.accuracy)), predictions


def as_json(summaries: Sequence[RunSummary]) -> str:
    """Write the summaries as a JSON list; the keys are the fields of `RunSummary`."""
    rows = json.loads(json.dumps([asdict(each) for each in summaries]), parse_constant=lambda _: None)  # JSON has no NaN
    return to_json(rows, indent=2) + "\n"


def render(
    summaries: Sequence[RunSummary],
    title: str | None = None,
    command: str | None = None,
    predictions: Mapping[str, Path] | None = None,
    format: Literal["html", "md", "tex"] = "html",
) -> str:
    """Write runs and predictions, as `read_runs` gives them, as a page, Markdown or LaTeX; without predictions no tests."""
    groups = []
    for _, on_same_faces in groupby(summaries, key=lambda each: each.data):
        runs = list(on_same_faces)
        names = {each.name for each in runs}
        compared = paired_tests({name: path for name, path in (predictions or {}).items() if name in names})
        groups.append({"runs": runs, "compared": compared})
    template = plots.new_environment(text=format != "html").get_template(f"comparison.{format}")
    return template.render(
        {"title": title, "command": command, "version": __version__, "summaries": summaries, "groups": groups},
        date=datetime.now(UTC).isoformat(timespec="minutes"),
        trained=trainings(summaries),
        places={each.name: place for place, each in enumerate(summaries)},
        **{make.__name__: make for make in (plot_accuracies, plot_recalls, plot_trainings)},
    )


def read_answers(path: Path) -> Answers:
    """Read a report's predictions.csv; MienError if it is not there, or is another file."""
    name = f"{path} as the predictions.csv of a report"
    header, *rows = [cells for _, cells in csv_rows(path, name)] or [[]]
    labels = [column.removeprefix("probability_") for column in header[3:] if column.startswith("probability_")]
    if header[:3] != ["id", "true", "predicted"] or not rows:
        raise MienError(f"Cannot read {name}: it has other columns, or no rows.")
    try:
        truth, predicted = ([labels.index(row[column]) for row in rows] for column in (1, 2))
    except ValueError as error:
        raise MienError(f"Cannot read {name}: {error}.") from None
    groups = np.array([row[header.index("group")] for row in rows]) if "group" in header else None
    return Answers(tuple(row[0] for row in rows), tuple(labels), np.array(truth), np.array(predicted), groups)


def paired_tests(predictions: Mapping[str, Path]) -> list[ComparedRun]:
    """Test every run against the first one, by the predictions.csv of runs on the same faces; empty for fewer than two."""
    if len(predictions) < 2:
        return []
    answers = {name: read_answers(path) for name, path in predictions.items()}
    groups = next((each.groups for each in answers.values() if each.groups is not None), None)  # of the first run with some
    right = {name: each.truth == each.predicted for name, each in answers.items()}
    (first, reference), *others = right.items()
    for name, hits in others:
        if len(hits) != len(reference):
            raise MienError(MISTAKES["other rows"].format(predictions[first], predictions[name], len(reference), len(hits)))
    tests = [mcnemar(reference, hits, groups) for _, hits in others]
    runs = zip(others, tests, holm([each.p_value for each in tests]), strict=True)
    return [ComparedRun(first, name, test, p, p < SIGNIFICANT) for (name, _), test, p in runs]


def plot_accuracies(runs: Sequence[RunSummary], places: Places) -> Figure:
    """Draw the accuracy of runs on the same faces, a row each from top to bottom, with 95% intervals."""
    figure, axes = new_rows([plain(each.name, 36) for each in runs], width=7.6, row=0.36, margin=0.75)
    for row, each in enumerate(runs):
        colour, mark = _colour_and_mark(places[each.name])
        draw_interval(axes, each, row, colour, 1.8)
        axes.plot(each.accuracy, row, mark, color=colour, markersize=6.5)
        style: Any = {"textcoords": "offset points", "va": "center", "fontsize": 9, "color": INK}
        axes.annotate(f"{each.accuracy:.1%}", (each.high, row), (6, 0), **style)
    low, high = min(each.low for each in runs), max(each.high for each in runs)
    room = max(high - low, 0.02)
    axes.set_xlim(max(0, low - 0.06 * room), high + 0.16 * room)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter("{x:.0%}" if room > 0.06 else "{x:.1%}")
    return figure


def plot_recalls(runs: Sequence[RunSummary], places: Places) -> Figure:
    """Draw the recall of every label that has faces, a row each, with a mark and a 95% interval (Wilson) for each run."""
    labels = list(dict.fromkeys(label for each in runs for label, value in each.recall.items() if value is not None))
    step, row = 0.8 / len(runs), max(0.42, 0.13 * len(runs) + 0.1)
    figure, axes = new_rows([plain(label) for label in labels], width=7.6, row=row, margin=0.75 + 0.22 * -(-len(runs) // 2))
    for number, each in enumerate(runs):
        colour, mark = _colour_and_mark(places[each.name])
        for row, label in enumerate(labels):
            if (value := each.recall.get(label)) is not None:
                share = proportion(round(value * each.support[label]), each.support[label])
                height = row + (number - (len(runs) - 1) / 2) * step
                draw_interval(axes, share, height, colour, alpha=0.55)
                axes.plot(share.value, height, mark, color=colour, markersize=5, clip_on=False, label=plain(each.name, 30))
    axes.hlines(np.arange(1, len(labels)) - 0.5, 0, 1, color=FAINT, linewidth=0.5, alpha=0.35)
    if len(runs) > 1:
        add_legend(figure, axes)
    return figure


def trainings(runs: Sequence[RunSummary]) -> dict[str, RunSummary]:
    """Find the first run of each training that has figures, by its run folder; several reports on one model share one."""
    found: dict[str, RunSummary] = {}
    for each in (run for run in runs if np.isfinite(np.array(run.validation_accuracy_by_epoch, dtype=float)).any()):
        first = found.setdefault(each.name.partition("/")[0], each)
        if first.validation_accuracy_by_epoch != each.validation_accuracy_by_epoch:
            found[each.name] = each
    return found


def plot_trainings(runs: Mapping[str, RunSummary], places: Places) -> Figure:
    """Draw validation accuracy over the epochs, a curve for each training, with a mark at the epoch whose weights were kept."""
    figure = new_figure(7.6, 3.4 + 0.22 * -(-len(runs) // 2))  # a legend of two columns
    axes = style_axes(figure.subplots(), grid="y", percent="y")
    for name, each in runs.items():
        place = places[each.name]
        colour, mark = _colour_and_mark(place)
        curve = np.array(each.validation_accuracy_by_epoch, dtype=float)
        dashes = DASHES[place // len(SERIES) % len(DASHES)]
        kept = [(each.best_epoch or len(curve)) - 1]
        style: Any = {"color": colour, "linestyle": dashes, "marker": mark, "markevery": kept}
        axes.plot(np.arange(1, len(curve) + 1), curve, linewidth=1.6, markersize=6.5, label=plain(name, 30), **style)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    add_legend(figure, axes)
    return figure


def _colour_and_mark(place: int) -> tuple[str, str]:
    return SERIES[place % len(SERIES)], MARKS[place % len(MARKS)]
