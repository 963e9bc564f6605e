"""The tables of a comparison as rows of text, which Markdown and the page write alike; the first row is the header."""

from collections.abc import Callable, Mapping, Sequence

from mien.evaluation.run_summary import RunSummary

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
