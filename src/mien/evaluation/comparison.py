"""Runs side by side, as tables, as a page or as JSON."""

import csv
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mien.errors import MienError
from mien.evaluation.report import markdown_table
from mien.evaluation.run_summary import RunSummary, predictions_of, read_summaries, summarise
from mien.evaluation.statistics import SIGNIFICANT, PairedTest, holm, mcnemar

# The tables of a comparison as rows of text, which Markdown and the page write alike; the first row is the header.

Table = list[list[str]]

WHAT_THE_FIGURES_ARE = (
    "Accuracy stands with its 95% interval (Wilson); the best epoch was chosen on the run's own validation rows, "
    "so where the split is validation, the figure is on the very rows that chose its epoch, and lies a little high."
)

OTHER_FACES = "These runs were not all measured on the same faces: compare figures only within a table."

AUGMENTED = (
    "Where several views of every face were answered (test-time augmentation), the figures are of their mean: answering so "
    "takes as many times as long."
)

REACHED: Mapping[str, Callable[[RunSummary], str]] = {
    "accuracy, 95% interval": lambda run: f"{run.accuracy:.1%}, {run.low:.1%} to {run.high:.1%}",
    "macro-F1": lambda run: f"{run.macro_f1:.3f}",
}
"""What a run reached: the columns, and what stands in them."""

VIEWS: Mapping[str, Callable[[RunSummary], str]] = {"views": lambda run: run.test_time_augmentation or "one"}
"""Added where a run was measured with test-time augmentation."""

COST: Mapping[str, Callable[[RunSummary], str]] = {
    "network": lambda run: run.network,
    "parameters": lambda run: f"{run.parameters:,}",
    "multiply-adds": lambda run: "" if run.multiply_adds is None else f"{run.multiply_adds / 1e6:,.1f}M",
    "epochs": lambda run: "" if run.epochs is None else f"{run.epochs} (best {run.best_epoch})",
    "training time": lambda run: "" if run.training_seconds is None else duration(run.training_seconds),
    "s an epoch": lambda run: "" if run.seconds_an_epoch is None else f"{run.seconds_an_epoch:,.1f}",
    "faces/s": lambda run: "" if run.faces_a_second is None else f"{run.faces_a_second:,.0f}",
}
"""What a run cost; empty where it is not known."""


def by_faces(summaries: Sequence[RunSummary]) -> list[list[RunSummary]]:
    """Gather the runs that were measured on the same faces, in the order in which these come first."""
    groups: dict[str, list[RunSummary]] = {}
    for each in summaries:
        groups.setdefault(each.data, []).append(each)
    return list(groups.values())


def is_augmented(summaries: Sequence[RunSummary]) -> bool:
    """Tell whether a run was measured with test-time augmentation."""
    return any(each.test_time_augmentation for each in summaries)


def faces(summary: RunSummary) -> str:
    """Say what a run was measured on."""
    rows = {"all": "all rows", "none": "rows in no split"}.get(summary.split, f"{summary.split} split")
    return f"{summary.rows:,} faces, {rows}: {', '.join(label for label, count in summary.support.items() if count)}"


def reached(summaries: Sequence[RunSummary]) -> Table:
    """Tell what runs on the same faces reached."""
    return _table(summaries, {**REACHED, **(VIEWS if is_augmented(summaries) else {})})


def cost(summaries: Sequence[RunSummary]) -> Table:
    """Tell what runs cost."""
    return _table(summaries, COST)


def recalls(summaries: Sequence[RunSummary]) -> Table:
    """Tell the recall of every label that one of the runs has; a dash where it has none."""
    labels = list(dict.fromkeys(label for each in summaries for label in each.recall))
    rows = [[each.name, *(_share(each.recall.get(label)) for label in labels)] for each in summaries]
    return [["recall", *labels], *rows]


def making(summaries: Sequence[RunSummary]) -> Table:
    """Tell what made the runs: recipe, hardware, command; empty where it is not known."""
    rows = [[each.name, each.recipe, each.hardware or "", each.command or ""] for each in summaries]
    return [["run", "recipe", "hardware", "command"], *rows]


def duration(seconds: float) -> str:
    """Write a time as a person would."""
    minutes = round(seconds / 60)
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _table(summaries: Sequence[RunSummary], columns: Mapping[str, Callable[[RunSummary], str]]) -> Table:
    return [["run", *columns], *([each.name, *(write(each) for write in columns.values())] for each in summaries)]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


# Variants trained with several seeds and measured on the same rows: their figures, and how they differ from the first.

FIGURES = ("accuracy", "macro-F1", "recall")
"""What is computed of every variant; recall is that of one label."""

RESAMPLES = 2000
"""At 2,000 an end of a 95% interval is the 50th value from its side."""


@dataclass(frozen=True)
class Answers:
    """What one model answered, from the predictions.csv of a report.

    Attributes:
        ids: the rows' ids.
        labels: the K label names, in the model's order.
        truth: (N,), int64: each row's label.
        predicted: (N,), int64: the likeliest label.
    """

    ids: tuple[str, ...]
    labels: tuple[str, ...]
    truth: np.ndarray
    predicted: np.ndarray


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval.

    Attributes:
        value: on the rows as they are.
        low: 2.5th percentile over the resamples.
        high: 97.5th percentile over the resamples.
    """

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside the interval."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class VariantFigure:
    """One figure of one variant.

    Attributes:
        mean: over the seeds.
        difference: of `mean` to that of the first variant, on the same rows of each resample.
        by_seed: the figure of each seed.
    """

    mean: Estimate
    difference: Estimate
    by_seed: tuple[float, ...]


def read_answers(path: Path) -> Answers:
    """Read a report's predictions.csv.

    Raises:
        MienError: if it is not there, or is not such a file.
    """
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


def compare_variants(
    answers: Mapping[str, list[Answers]], label: str, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, dict[str, VariantFigure]]:
    """Compare variants by a paired bootstrap over the rows.

    Rows are drawn with replacement, as many as there are, the same for all models; in each resample the figures of a
    variant's seeds are averaged. So the intervals say how figures change with the rows, the trained models being given; how
    they change with the seed is to be seen in `by_seed` alone.

    Source: Efron and Tibshirani, An introduction to the bootstrap, 1993 (percentile intervals).

    Args:
        answers: for each variant those of its models, the same seeds in the same order; the first variant is what the others
            are compared with.
        label: the one whose recall is wanted. Resamples without its rows say nothing of it.
        resamples: how many; memory is 8 bytes for each and each row.
        seed: the same seed draws the same rows.

    Returns:
        For each variant its `FIGURES`, by their names.

    Raises:
        MienError: if models were not measured on the same rows, variants have not as many seeds, or no row bears the label.
    """
    every = [each for models in answers.values() for each in models]
    first = every[0]
    if any((each.ids, each.labels, each.truth.tolist()) != (first.ids, first.labels, first.truth.tolist()) for each in every):
        raise MienError("These runs were not all measured on the same rows; a paired comparison needs that.")
    if len({len(models) for models in answers.values()}) > 1:
        raise MienError("Every variant needs the same seeds; train those that are missing.")
    if label not in first.labels or first.labels.index(label) not in first.truth:
        raise MienError(f"No row bears the label {label!r}, so it has no recall.")

    count = len(first.truth)
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    predicted, wanted = np.stack([each.predicted for each in every]), first.labels.index(label)
    shape = (-1, len(answers), len(every) // len(answers), len(FIGURES))
    as_they_are = _figures(np.ones((1, count)), first.truth, predicted, wanted).reshape(shape)[0]
    resampled = _figures(drawn.astype(np.float64), first.truth, predicted, wanted).reshape(shape).mean(axis=2)
    means = as_they_are.mean(axis=1)
    return {
        variant: {
            name: VariantFigure(
                mean=_estimate(means[v, f], resampled[:, v, f]),
                difference=_estimate(means[v, f] - means[0, f], resampled[:, v, f] - resampled[:, 0, f]),
                by_seed=tuple(as_they_are[v, :, f].tolist()),
            )
            for f, name in enumerate(FIGURES)
        }
        for v, variant in enumerate(answers)
    }


def _figures(weights: np.ndarray, truth: np.ndarray, predicted: np.ndarray, label: int) -> np.ndarray:
    """Compute the figures of models with rows counted several times, all of them by matrix products.

    Args:
        weights: (B, N), float64: how often each row counts.
        truth: (N,), labels.
        predicted: (R, N), labels, of R models.
        label: the one whose recall is wanted.

    Returns:
        (B, R, 3), in the order of `FIGURES`; NaN for the recall of a label without rows.
    """
    every = np.arange(max(truth.max(), predicted.max()) + 1)
    bears = truth == every[:, None]  # (K, N)
    answered = predicted[:, None] == every[:, None]  # (R, K, N)
    models, labels, count = answered.shape
    support = (weights @ bears.T)[:, None]  # (B, 1, K)
    hits, given = (
        (weights @ flags.reshape(-1, count).T).reshape(-1, models, labels) for flags in (answered & bears, answered)
    )  # (B, R, K)
    there = support > 0
    f1 = np.divide(2 * hits, support + given, out=np.zeros_like(hits), where=there)
    recall = np.divide(hits, support, out=np.full_like(hits, np.nan), where=there)
    accuracy = hits.sum(axis=2) / weights.sum(axis=1)[:, None]
    return np.stack([accuracy, f1.sum(axis=2) / there.sum(axis=2), recall[:, :, label]], axis=2)


def _estimate(value: float, resampled: np.ndarray) -> Estimate:
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return Estimate(float(value), float(low), float(high))


# Runs measured on the same rows against the first of them: is the difference real?


@dataclass(frozen=True)
class ComparedRun:
    """A run against the first one.

    Attributes:
        first: name of the first.
        name: its own.
        test: of the first against it.
        adjusted_p_value: `test`'s by Holm's method, for all runs that are compared with this first one.
    """

    first: str
    name: str
    test: PairedTest
    adjusted_p_value: float

    @property
    def is_real(self) -> bool:
        """Whether the difference is significant, the other comparisons allowed for."""
        return self.adjusted_p_value < SIGNIFICANT


def paired_tests(predictions: Mapping[str, Path]) -> list[ComparedRun]:
    """Test every run against the first.

    Args:
        predictions: predictions.csv by the run's name, all of reports on the same faces.

    Returns:
        A comparison for each run but the first; empty where there are fewer than two.

    Raises:
        MienError: if a file cannot be read, or two have not as many rows.
    """
    if len(predictions) < 2:
        return []
    right = {name: (found := read_answers(path)).truth == found.predicted for name, path in predictions.items()}
    (first, reference), *others = right.items()
    if unequal := [name for name, of_it in others if len(of_it) != len(reference)]:
        raise MienError(
            f"{predictions[first]} and {predictions[unequal[0]]} should be of the same faces, but have {len(reference):,} and "
            f"{len(right[unequal[0]]):,} rows; evaluate both again."
        )
    tests = [mcnemar(reference, of_it) for _, of_it in others]
    adjusted = holm([each.p_value for each in tests])
    return [ComparedRun(first, name, test, p) for (name, _), test, p in zip(others, tests, adjusted, strict=True)]


def paired_table(compared: list[ComparedRun]) -> str:
    """Write the comparisons with one run as Markdown: a sentence on what is tested, then a row for each.

    Args:
        compared: as `paired_tests` gives them, at least one.
    """
    return f"{what_is_tested(compared)}\n\n{markdown_table(paired_rows(compared))}"


def what_is_tested(compared: list[ComparedRun]) -> str:
    """Say in a sentence what the tests of `compared` ask, and how."""
    first = compared[0].first
    several = "; adjusted by Holm's method for being several" if len(compared) > 1 else ""
    return f"Is the difference from {first} real? McNemar's exact test on the same faces{several}; intervals by Newcombe."


def paired_rows(compared: list[ComparedRun]) -> list[list[str]]:
    """Write the comparisons with one run as rows of text, the header first."""
    first = compared[0].first
    header = ["against " + first, f"only {first} right", "only this right", "difference, 95% interval", "p", "is it real?"]
    rows = [
        [
            each.name,
            f"{each.test.only_first:,}",
            f"{each.test.only_second:,}",
            f"{_points(each.test.difference)} points, {_points(each.test.low)} to {_points(each.test.high)}",
            "below 0.001" if each.adjusted_p_value < 0.001 else f"{each.adjusted_p_value:.3f}",
            verdict(each),
        ]
        for each in compared
    ]
    return [header, *rows]


def verdict(compared: ComparedRun) -> str:
    """Say in one sentence whether the difference is real."""
    first, name, test = compared.first, compared.name, compared.test
    alone = test.only_first + test.only_second
    if not alone:
        return f"There is none: {name} and {first} are right on the same faces."
    if not compared.is_real:
        reach = max(abs(test.low), abs(test.high))
        return f"It cannot be told: {name} and {first} could be equally good, or differ by up to {100 * reach:.1f} points."
    better = name if test.difference > 0 else first
    more = max(test.only_first, test.only_second)
    return f"Yes, {better} is better: it is the one that is right on {more:,} of the {alone:,} faces where only one of them is."


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"


FORMATS = ("table", "json", "html")
"""By their names on the command line; Markdown reads as a table on a terminal too."""

FORMAT_BY_ENDING = {".json": "json", ".html": "html", ".htm": "html"}
"""What a file is to hold by the ending of its name; any other holds the table."""


def compare(sources: Sequence[Path]) -> list[RunSummary]:
    """Summarise runs.

    Where a name comes twice, the later one stands, and a line on stderr says so.

    Args:
        sources: run folders, folders of reports in them, and JSON files that `as_json` wrote.

    Returns:
        Those that were measured on the same faces together, in the order in which these faces come first; among them the most
        accurate first.

    Raises:
        MienError: if one is none of these.
    """
    found: dict[str, RunSummary] = {}
    for source in sources:
        for each in read_summaries(source) if _is_json(source) else [summarise(source)]:
            if each.name in found:
                print(f"{each.name} comes more than once; that of {source} stands for it", file=sys.stderr)
            found[each.name] = each
    order = list(dict.fromkeys(each.data for each in found.values()))
    return sorted(found.values(), key=lambda each: (order.index(each.data), -each.accuracy))


def find_predictions(sources: Sequence[Path]) -> dict[str, Path]:
    """Find the answers of the runs that have them.

    Args:
        sources: as for `compare`.

    Returns:
        The path of predictions.csv by the run's name, in the order of the sources; runs that stand in a JSON file have none.
    """
    found: dict[str, Path] = {}
    for source in sources:
        if _is_json(source):
            for each in read_summaries(source):
                found.pop(each.name, None)  # the later one stands
            continue
        name, path = predictions_of(source)
        if path.is_file():
            found[name] = path
    return found


def _is_json(source: Path) -> bool:
    return source.suffix.lower() == ".json" and not source.is_dir()


def as_markdown(
    summaries: Sequence[RunSummary],
    title: str | None = None,
    command: str | None = None,
    predictions: Mapping[str, Path] | None = None,
) -> str:
    """Write the figures, a table for each set of faces, then one table of all recalls and one of what made the runs.

    Below the figures of each set of faces stands whether the runs differ truly from the first of them, where the answers of
    two or more are there.

    Args:
        summaries: as `compare` gives them.
        title: a heading.
        command: the command line that writes this; with it, a file of its own says what its figures are.
        predictions: as `find_predictions` gives it.

    Raises:
        MienError: if predictions cannot be read, or are not of as many rows as another run's on the same faces.
    """
    groups = by_faces(summaries)
    parts = [f"# {title}"] if title else []
    parts += [f"{WHAT_THE_FIGURES_ARE} Written by: `{command}`"] if command else []
    parts += [OTHER_FACES] if len(groups) > 1 else []
    parts += [AUGMENTED] if is_augmented(summaries) else []
    for group in groups:
        figures = [[*left, *right[1:]] for left, right in zip(reached(group), cost(group), strict=True)]
        parts += [faces(group[0]), markdown_table(figures)]
        if tests := tests_within(group, predictions):
            parts.append(paired_table(tests))
    header, *rows = making(summaries)
    made = [header, *([*cells, f"`{line}`" if line else ""] for *cells, line in rows)]
    return "\n\n".join([*parts, markdown_table(recalls(summaries)), markdown_table(made)]) + "\n"


def tests_within(group: Sequence[RunSummary], predictions: Mapping[str, Path] | None) -> list[ComparedRun]:
    """Test runs on the same faces against the first of them, where the answers of two or more are there.

    Args:
        group: the runs.
        predictions: as `find_predictions` gives it; the first that is named there is the one the others are tested against.

    Raises:
        MienError: as `paired_tests`.
    """
    names = {each.name for each in group}
    return paired_tests({name: path for name, path in (predictions or {}).items() if name in names})


def as_json(summaries: Sequence[RunSummary]) -> str:
    """Write the summaries as a JSON list; the keys are the fields of `RunSummary`."""
    return json.dumps([asdict(each) for each in summaries], indent=2, ensure_ascii=False) + "\n"
