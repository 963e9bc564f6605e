"""Compare finished runs, as Markdown tables or as JSON."""

import csv
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mien.errors import MienError
from mien.evaluation.report import markdown_table
from mien.evaluation.run_summary import RunSummary, read_summaries, run_and_report, summarise
from mien.evaluation.statistics import SIGNIFICANT, PairedTest, holm, mcnemar

Table = list[list[str]]  # rows of text, the header first
Columns = dict[str, Callable[[RunSummary], str]]  # of a table with a row for each run

ABOUT_ACCURACY = (
    "Accuracy is given with its 95% interval (Wilson). The best epoch was chosen on the run's own validation rows, so a figure "
    "on the validation split is slightly optimistic."
)

OTHER_FACES = "These runs were not all measured on the same faces: compare figures only within a table."

AUGMENTED = "With test-time augmentation figures are of the mean over several views of every face, which multiplies the time."

REACHED: Columns = {
    "accuracy, 95% interval": lambda run: f"{run.accuracy:.1%}, {run.low:.1%} to {run.high:.1%}",
    "macro-F1": lambda run: f"{run.macro_f1:.3f}",
}
"""Columns with what a run reached."""

VIEWS: Columns = {"views": lambda run: run.test_time_augmentation or "one"}
"""Added to `REACHED` where a run was measured with test-time augmentation."""

COST: Columns = {
    "network": lambda run: run.network,
    "parameters": lambda run: f"{run.parameters:,}",
    "multiply-adds": lambda run: "" if run.multiply_adds is None else f"{run.multiply_adds / 1e6:,.1f}M",
    "epochs": lambda run: "" if run.epochs is None else f"{run.epochs} (best {run.best_epoch})",
    "training time": lambda run: "" if run.training_seconds is None else duration(run.training_seconds),
    "s an epoch": lambda run: "" if run.seconds_an_epoch is None else f"{run.seconds_an_epoch:,.1f}",
    "faces/s": lambda run: "" if run.faces_a_second is None else f"{run.faces_a_second:,.0f}",
}
"""Columns with what a run cost; empty where it is not known."""

MAKING: Columns = {
    "recipe": lambda run: run.recipe,
    "hardware": lambda run: run.hardware or "",
    "command": lambda run: run.command or "",
}
"""Columns with how a run was made; empty where it is not known."""


@dataclass(frozen=True)
class Answers:
    """What a model predicted, from the predictions.csv of a report."""

    ids: tuple[str, ...]
    labels: tuple[str, ...]  # in the model's order
    truth: np.ndarray  # (N,), int64
    predicted: np.ndarray  # (N,), int64


@dataclass(frozen=True)
class ComparedRun:
    """A run compared with the first one on the same faces."""

    first: str
    name: str
    test: PairedTest
    adjusted_p_value: float  # by Holm's method, for all runs compared with this first one

    @property
    def is_significant(self) -> bool:
        """Whether the difference is significant, given the number of comparisons."""
        return self.adjusted_p_value < SIGNIFICANT


class RunGroup(NamedTuple):
    """The runs that were measured on the same faces."""

    faces: str  # what they were measured on
    runs: list[RunSummary]
    reached: Columns
    tested: str  # how the runs with predictions were tested; empty, as the table, for fewer than two
    tests: Table


def read_runs(sources: Sequence[Path]) -> tuple[list[RunSummary], dict[str, Path]]:
    """Read the summaries of runs, and find their predictions, from run folders, folders of reports and JSON by `as_json`.

    Of runs with the same name the later one counts, which a line on stderr reports. MienError if a source is none of these.

    Returns:
        The summaries, those measured on the same faces together and the most accurate first; and the path of predictions.csv
        by the name of the run, in the order of the sources. Runs from a JSON file have none.
    """
    found: dict[str, RunSummary] = {}
    predictions: dict[str, Path] = {}
    for source in sources:
        is_json = source.suffix.lower() == ".json" and not source.is_dir()
        path = None if is_json else run_and_report(source)[1] / "predictions.csv"
        for each in read_summaries(source) if is_json else [summarise(source)]:
            if each.name in found:
                print(f"There are several runs {each.name}; the one in {source} is used", file=sys.stderr)
            found[each.name] = each
            if path is not None and path.is_file():
                predictions[each.name] = path
            else:
                predictions.pop(each.name, None)
    order = list(dict.fromkeys(each.data for each in found.values()))
    return sorted(found.values(), key=lambda each: (order.index(each.data), -each.accuracy)), predictions


def group_by_faces(summaries: Sequence[RunSummary], predictions: Mapping[str, Path] | None) -> list[RunGroup]:
    """Group the runs that were measured on the same faces, which come one after another, and test those with predictions."""
    groups = []
    for _, group in groupby(summaries, key=lambda each: each.data):
        runs = list(group)
        split = {"all": "all rows", "none": "rows in no split"}.get(runs[0].split, f"{runs[0].split} split")
        labels = ", ".join(label for label, count in runs[0].support.items() if count)
        names = {each.name for each in runs}
        compared = paired_tests({name: path for name, path in (predictions or {}).items() if name in names})
        reached = REACHED | VIEWS if any(each.test_time_augmentation for each in runs) else REACHED
        tested, tests = (describe_tests(compared), paired_table(compared)) if compared else ("", [])
        groups.append(RunGroup(f"{runs[0].rows:,} faces, {split}: {labels}", runs, reached, tested, tests))
    return groups


def as_json(summaries: Sequence[RunSummary]) -> str:
    """Write the summaries as a JSON list; the keys are the fields of `RunSummary`."""
    return json.dumps([asdict(each) for each in summaries], indent=2, ensure_ascii=False) + "\n"


def as_markdown(
    summaries: Sequence[RunSummary],
    title: str | None = None,
    command: str | None = None,
    predictions: Mapping[str, Path] | None = None,
) -> str:
    """Write a table of figures for each set of faces, with paired tests, then one of recalls and one of how runs were made.

    With the command line, a sentence on top says what the figures are. Without predictions nothing is tested.
    """
    groups = group_by_faces(summaries, predictions)
    parts = [f"# {title}"] if title else []
    parts += [f"{ABOUT_ACCURACY} Written by: `{command}`"] if command else []
    parts += [OTHER_FACES] if len(groups) > 1 else []
    parts += [AUGMENTED] if any(group.reached is not REACHED for group in groups) else []
    for group in groups:
        parts += [group.faces, markdown_table(table(group.runs, group.reached | COST))]
        parts += [group.tested, markdown_table(group.tests)] if group.tests else []
    header, *rows = table(summaries, MAKING)
    making = [header, *([*cells, f"`{line}`" if line else ""] for *cells, line in rows)]
    return "\n\n".join([*parts, markdown_table(recall_table(summaries)), markdown_table(making)]) + "\n"


def table(summaries: Sequence[RunSummary], columns: Columns) -> Table:
    """Make a table with a row for each run."""
    return [["run", *columns], *([each.name, *(write(each) for write in columns.values())] for each in summaries)]


def recall_table(summaries: Sequence[RunSummary]) -> Table:
    """Make a table of the recall of every label that one of the runs has; a dash where it has none."""
    labels = list(dict.fromkeys(label for each in summaries for label in each.recall))
    recalls = [[each.recall.get(label) for label in labels] for each in summaries]
    rows = [["-" if value is None else f"{value:.1%}" for value in values] for values in recalls]
    return [["recall", *labels], *([each.name, *row] for each, row in zip(summaries, rows, strict=True))]


def duration(seconds: float) -> str:
    """Format a time in seconds, minutes, or hours and minutes."""
    minutes = round(seconds / 60)
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def read_answers(path: Path) -> Answers:
    """Read a report's predictions.csv; MienError if it is not there, or is another file."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = list(csv.reader(file))
        labels = [name.removeprefix("probability_") for name in header[3:] if name.startswith("probability_")]
        if header[:3] != ["id", "true", "predicted"] or not rows:
            raise ValueError("it has other columns, or no rows")
        truth, predicted = ([labels.index(row[column]) for row in rows] for column in (1, 2))
    except (OSError, ValueError, IndexError) as error:
        raise MienError(f"Cannot read {path} as the predictions.csv of a report: {error}.") from None
    return Answers(tuple(row[0] for row in rows), tuple(labels), np.array(truth), np.array(predicted))


def paired_tests(predictions: Mapping[str, Path]) -> list[ComparedRun]:
    """Test every run against the first one, by the predictions.csv of runs on the same faces; empty for fewer than two."""
    if len(predictions) < 2:
        return []
    right = {name: (answers := read_answers(path)).truth == answers.predicted for name, path in predictions.items()}
    (first, reference), *others = right.items()
    for name, hits in others:
        if len(hits) != len(reference):
            raise MienError(
                f"{predictions[first]} and {predictions[name]} should be of the same faces, but have {len(reference):,} and "
                f"{len(hits):,} rows; evaluate both again."
            )
    tests = [mcnemar(reference, hits) for _, hits in others]
    adjusted = holm([each.p_value for each in tests])
    return [ComparedRun(first, name, test, p) for (name, _), test, p in zip(others, tests, adjusted, strict=True)]


def describe_tests(compared: Sequence[ComparedRun]) -> str:
    """Say in a sentence what was tested, and how."""
    several = ", p-values adjusted by Holm's method" if len(compared) > 1 else ""
    return (
        f"Is the difference from {compared[0].first} significant? McNemar's exact test on the same faces{several}; "
        "intervals by Newcombe."
    )


def paired_table(compared: Sequence[ComparedRun]) -> Table:
    """Make a table with a row for each comparison with the first run."""
    first = compared[0].first
    header = [f"against {first}", f"only {first} right", "only this right", "difference, 95% interval", "p", "significant?"]
    rows = []
    for each in compared:
        difference, low, high = (f"{100 * share:+.1f}" for share in (each.test.difference, each.test.low, each.test.high))
        p = "below 0.001" if each.adjusted_p_value < 0.001 else f"{each.adjusted_p_value:.3f}"
        alone = [f"{each.test.only_first:,}", f"{each.test.only_second:,}"]
        rows.append([each.name, *alone, f"{difference} points, {low} to {high}", p, verdict(each)])
    return [header, *rows]


def verdict(compared: ComparedRun) -> str:
    """Say in one sentence whether the difference is significant."""
    first, name, test = compared.first, compared.name, compared.test
    alone = test.only_first + test.only_second
    if not alone:
        return f"No difference: {name} and {first} are right on the same faces."
    if not compared.is_significant:
        limit = 100 * max(abs(test.low), abs(test.high))
        return f"Not significant: {name} and {first} could be equally good, or differ by up to {limit:.1f} points."
    better = name if test.difference > 0 else first
    more = max(test.only_first, test.only_second)
    return f"Yes, {better} is better: it is right on {more:,} of the {alone:,} faces on which only one of the two is."
