"""Runs side by side, as tables or as JSON."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from mien.evaluation.markdown import markdown_table
from mien.evaluation.paired_table import paired_table, paired_tests
from mien.evaluation.run_summary import RunSummary, predictions_of, read_summaries, summarise

FORMATS = ("table", "json")
"""By their names on the command line; Markdown reads as a table on a terminal too."""

WHAT_THE_FIGURES_ARE = (
    "Accuracy stands with its 95% interval (Wilson); the best epoch was chosen on the run's own validation rows, "
    "so where the split is validation, the figure is on the very rows that chose its epoch, and lies a little high."
)


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
    groups: dict[str, list[RunSummary]] = {}
    for each in summaries:
        groups.setdefault(each.data, []).append(each)
    parts = [f"# {title}"] if title else []
    parts += [f"{WHAT_THE_FIGURES_ARE} Written by: `{command}`"] if command else []
    if len(groups) > 1:
        parts.append("These runs were not all measured on the same faces: compare figures only within a table.")
    for group in groups.values():
        parts += [_faces(group[0]), _figures(group)]
        names = {each.name for each in group}
        if tests := paired_tests({name: path for name, path in (predictions or {}).items() if name in names}):
            parts.append(paired_table(tests))
    return "\n\n".join([*parts, _recalls(summaries), _making(summaries)]) + "\n"


def as_json(summaries: Sequence[RunSummary]) -> str:
    """Write the summaries as a JSON list; the keys are the fields of `RunSummary`."""
    return json.dumps([asdict(each) for each in summaries], indent=2, ensure_ascii=False) + "\n"


def _faces(summary: RunSummary) -> str:
    rows = {"all": "all rows", "none": "rows in no split"}.get(summary.split, f"{summary.split} split")
    return f"{summary.rows:,} faces, {rows}: {', '.join(label for label, count in summary.support.items() if count)}"


def _figures(summaries: Sequence[RunSummary]) -> str:
    header = ["run", "accuracy, 95% interval", "macro-F1", "network", "parameters", "multiply-adds"]
    header += ["epochs", "training time", "s an epoch", "faces/s"]
    rows = [
        [
            each.name,
            f"{each.accuracy:.1%}, {each.low:.1%} to {each.high:.1%}",
            f"{each.macro_f1:.3f}",
            each.network,
            f"{each.parameters:,}",
            "" if each.multiply_adds is None else f"{each.multiply_adds / 1e6:,.1f}M",
            f"{each.epochs} (best {each.best_epoch})",
            _duration(each.training_seconds),
            f"{each.seconds_an_epoch:,.1f}",
            f"{each.faces_a_second:,.0f}",
        ]
        for each in summaries
    ]
    return markdown_table([header, *rows])


def _recalls(summaries: Sequence[RunSummary]) -> str:
    labels = list(dict.fromkeys(label for each in summaries for label in each.recall))
    rows = [[each.name, *(_share(each.recall.get(label)) for label in labels)] for each in summaries]
    return markdown_table([["recall", *labels], *rows])


def _making(summaries: Sequence[RunSummary]) -> str:
    rows = [[each.name, each.recipe, each.hardware or "", f"`{each.command}`" if each.command else ""] for each in summaries]
    return markdown_table([["run", "recipe", "hardware", "command"], *rows])


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
