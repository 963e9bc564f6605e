"""Measuring: what a model is worth on labelled faces, and what these are worth."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mien.data.faceset import FaceSet
from mien.data.source import DataSource, as_source
from mien.errors import MienError
from mien.verbs import judged_by_votes, read_data, require

if TYPE_CHECKING:
    from mien.evaluation.findings import Audit
    from mien.evaluation.report import Report


def evaluate(
    model: str | Path,
    data: FaceSet | DataSource | str | Path,
    out: str | Path,
    split: str | None = None,
    head: str | None = None,
    tta: Literal["none", "flip", "ten-crops"] = "none",
    by: str | list[str] | None = None,
    labels: dict[str, list[str]] | None = None,
    quiet: bool = False,
    command: str | None = None,
) -> "Report":
    """Measure a model on labelled faces: writes index.html, metrics.json and predictions.csv, and prints the table.

    Args:
        model: a model file, a run folder, a name that `mien models` lists, or hf:owner/name on the Hugging Face hub.
        data: labelled faces.
        out: the folder to write; an earlier report there is replaced.
        split: train, validation, test or all; test where there is one, else validation, else all, if not given.
        head: which head of a model with two is measured: label, or crowd, judged by the votes where the data have them beside
            their labels; if not given, label, but crowd where the data are read with votes in place of their labels.
        tta: test-time augmentation, the mean answer to several views of each face: none, flip (two views) or ten-crops; the
            report says what it brought and cost.
        by: a column of a manifest, such as age_group, or several: every figure is given for each of its values too, with how
            far that group lies from the others.
        labels: labels of the data to merge or rename: for a label of the model those of the data that stand for it, such as
            {"happy": ["happiness"], "sad": ["sadness", "grief"]}.
        quiet: no progress on stderr.
        command: the command line, to be noted in the report.

    Raises:
        MienError: if model and data do not fit each other, or the folder is a run's own report on another; the sentence
            says what to do.
    """
    require("evaluate", "sklearn", "matplotlib", "jinja2")
    from mien.evaluation.label_match import fit_to_model, with_labels
    from mien.evaluation.report import evaluate as report_on
    from mien.inference.classifier import Classifier

    classifier = Classifier(model, head=head)
    _check_not_anothers(Path(out), classifier.path)
    if head is None:
        votes_are_targets = isinstance(data, DataSource) and data.votes is not None and data.votes_as != "beside"
        classifier = classifier.with_head("crowd" if votes_are_targets and "crowd" in classifier.heads else "label")
    columns = [by] if isinstance(by, str) else list(by or ())
    faces = read_data(_with_columns(data, columns), classifier.size, classifier.channels, quiet, Path(out))
    if classifier.head == "crowd" and faces.votes is not None:
        faces = judged_by_votes(faces)
    faces = with_labels(faces, labels, classifier.labels) if labels else faces
    faces = fit_to_model(classifier.metadata.get("mien.recipe", ""), classifier.labels, faces)
    log = classifier.path.parent / "log.csv" if (classifier.path.parent / "log.csv").is_file() else None
    return report_on(classifier, faces, Path(out), split, log=log, command=command, tta=tta, by=columns, merged=labels)


def _check_not_anothers(out: Path, model: Path) -> None:
    """Keep a run's own reports from being replaced by those on another model, with which `mien compare` would show the run."""
    own = out.parent / "model.onnx"
    if out.name in ("report", "report-crowd") and out.exists() and own.is_file() and own.resolve() != model.resolve():
        raise MienError(f"{out} is the report of the run in {out.parent} on its own model; choose another --out.")


def _with_columns(data: FaceSet | DataSource | str | Path, columns: list[str]) -> FaceSet | DataSource:
    """Ask for further columns where the data are still to be read."""
    if isinstance(data, FaceSet):
        return data
    source = as_source(data)
    wanted = dict.fromkeys([*(source.columns or ()), *columns])
    return replace(source, columns=list(wanted) or None)


def audit(
    data: FaceSet | DataSource | str | Path,
    out: str | Path,
    write: str | Path | None = None,
    quiet: bool = False,
    command: str | None = None,
) -> "Audit":
    """Look for copies, conflicting labels, images without a face and outliers in labelled faces, and show them on a page.

    Args:
        data: labelled faces.
        out: the folder to write: index.html, findings.csv, audit.json; an earlier audit there is replaced.
        write: a CSV file to write the rows to that training is better without; train with --data.drop FILE.
        quiet: no progress on stderr.
        command: the command line, to be noted in the page.

    Raises:
        MienError: if there are no faces, or the folder or the file holds something else; the sentence says what to do.
    """
    require("evaluate", "sklearn", "scipy", "matplotlib", "jinja2")
    from mien.evaluation.audit import inspect
    from mien.evaluation.audit_page import check_places, write_audit

    check_places(Path(out), None if write is None else Path(write))
    found = inspect(read_data(data, 48, 1, quiet, Path(out)))
    listed = write_audit(found, Path(out), None if write is None else Path(write), command)
    if not quiet:
        print(f"audit   {Path(out) / 'index.html'}", file=sys.stderr)
    if write is not None and not quiet:
        print(f"{listed:,} rows to leave out are listed in {write}: train with --data.drop {write}", file=sys.stderr)
    return found


# Comparing: finished runs side by side.


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
    summaries, predictions = comparison.read_runs(sources)
    if format == "json":
        return comparison.as_json(summaries)
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
