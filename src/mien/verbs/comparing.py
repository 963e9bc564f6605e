"""Comparing: finished runs side by side."""

from collections.abc import Sequence
from pathlib import Path

from mien.errors import MienError
from mien.verbs.extras import require


def compare(runs: Sequence[str | Path], format: str = "table", title: str | None = None, command: str | None = None) -> str:
    """Set finished runs side by side, the most accurate first: accuracy with its interval, recalls, size, speed, command.

    Below the table of those measured on the same faces stands, for each against the first one named, whether it differs truly
    (McNemar's exact test); not in JSON, and not for runs out of .json files, which hold no answers face by face. The page also
    draws accuracies, recalls and the course of training.

    Args:
        runs: run folders of `train`, folders of reports that `evaluate` wrote, and .json files of this function.
            Where a name comes twice, the later one stands.
        format: table, which is Markdown, json, or html, which is a page that opens offline.
        title: a heading of the table or the page.
        command: the command line, to be noted above the table together with what its figures are, or on the page.

    Raises:
        MienError: if one is none of these, the format is unknown, or a title is given to JSON, which has none.
    """
    require("evaluate", "sklearn", "matplotlib", "jinja2")
    from mien.evaluation import comparison

    if format not in comparison.FORMATS:
        raise MienError(f"There is no format {format!r}; choose {', '.join(comparison.FORMATS)}.")
    if format == "json" and title is not None:
        raise MienError("JSON has no title; leave out --title, or choose the format table or html.")
    sources = [Path(run) for run in runs]
    if not sources:
        raise MienError("There are no runs to compare; name at least one.")
    summaries = comparison.compare(sources)
    if format == "json":
        return comparison.as_json(summaries)
    predictions = comparison.find_predictions(sources)
    if format == "html":
        from mien.evaluation.comparison_page import render

        return render(summaries, title, command, predictions)
    return comparison.as_markdown(summaries, title, command, predictions)


def format_of(out: Path | None) -> str:
    """Choose a format by the ending of a file's name: json for .json, html for .html, else table."""
    from mien.evaluation.comparison import FORMAT_BY_ENDING

    if out is not None and out.suffix.lower() not in (*FORMAT_BY_ENDING, ".md", ".txt", ""):
        raise MienError(
            f"{str(out)!r} ends in no format that mien compare writes; end it in .md, .json or .html, or add --format."
        )
    return "table" if out is None else FORMAT_BY_ENDING.get(out.suffix.lower(), "table")
