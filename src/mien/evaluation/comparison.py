"""Runs side by side, as tables, as a page or as JSON."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from mien.evaluation import comparison_tables as tables
from mien.evaluation.markdown import markdown_table
from mien.evaluation.paired_table import ComparedRun, paired_table, paired_tests
from mien.evaluation.run_summary import RunSummary, predictions_of, read_summaries, summarise

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
    groups = tables.by_faces(summaries)
    parts = [f"# {title}"] if title else []
    parts += [f"{tables.WHAT_THE_FIGURES_ARE} Written by: `{command}`"] if command else []
    parts += [tables.OTHER_FACES] if len(groups) > 1 else []
    parts += [tables.AUGMENTED] if tables.is_augmented(summaries) else []
    for group in groups:
        figures = [[*left, *right[1:]] for left, right in zip(tables.reached(group), tables.cost(group), strict=True)]
        parts += [tables.faces(group[0]), markdown_table(figures)]
        if tests := tests_within(group, predictions):
            parts.append(paired_table(tests))
    header, *rows = tables.making(summaries)
    making = [header, *([*cells, f"`{line}`" if line else ""] for *cells, line in rows)]
    return "\n\n".join([*parts, markdown_table(tables.recalls(summaries)), markdown_table(making)]) + "\n"


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
