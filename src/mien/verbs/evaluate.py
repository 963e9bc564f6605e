"""Measuring a model on labelled faces, auditing these faces, and comparing finished runs."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mien.data.faceset import FaceSet
from mien.data.source import DataSource, as_source
from mien.errors import MienError, say
from mien.files import AUDIT, COMPARISON, EXCLUDED_ROWS, REPORT, check_file, check_folder, write_whole
from mien.labels import select_changes
from mien.verbs import inputs_of, read_data, require

if TYPE_CHECKING:
    from mien.evaluation.audit import Audit
    from mien.evaluation.report import Report

# the formats of `mien compare` by the ending of its file; table is Markdown
FORMATS = {"": "table", ".md": "table", ".txt": "table", ".json": "json", ".html": "html", ".htm": "html"}
MARK = "<!-- written by mien compare -->"  # begins Markdown without a command line


def evaluate(
    model: str | Path,
    data: FaceSet | DataSource | str | Path,
    out: str | Path,
    split: str | None = None,
    head: str | None = None,
    prior: float | str | dict[str, float] | None = None,
    tta: Literal["none", "flip", "ten-crops"] = "none",
    by: str | list[str] | None = None,
    labels: dict[Any, Any] | None = None,
    quiet: bool = False,
    command: str | None = None,
) -> "Report":
    """Measure a model on labelled faces: write index.html, metrics.json and predictions.csv.

    Args:
        model: a model file, a run folder, a name that `mien models` lists, or hf:owner/name on the Hugging Face hub.
        data: labelled faces.
        out: the folder to write; an earlier report there is replaced.
        split: train, validation, test or all; if not given, test where there is one, else validation, else all.
        head: the head to measure of a model with two: label, or crowd, judged by the votes where the data have them beside
            their labels; if not given, label, but crowd where the data are read with votes in place of their labels.
        prior: how often each label is expected: training, balanced, a number between 0 and 1, or a share for each label, as for
            `mien predict`; if not given, training for the head label, 0.25 for the head crowd.
        tta: test-time augmentation, the mean of the probabilities for several views of each face: none, flip (two views) or
            ten-crops; the report gives its gain and its cost.
        by: a column of a manifest, such as age_group: every figure is also given for each of its values, with the difference
            between that group and the others. Can be repeated.
        labels: what becomes of labels of the data, and of the model as for `mien predict`: {"joy": "happy"} counts one as
            another, {"negative": ["angry", "fear", "sad"]} several as one, {"contempt": null} leaves one out with its rows.
        quiet: print no progress to stderr.
        command: the command line, to be noted in the report.

    Raises:
        MienError: if model and data do not fit each other, or the folder is the report of another model's run.
    """
    require("evaluate", "sklearn", "matplotlib", "jinja2")
    out = Path(out)
    is_earlier = check_folder(out, REPORT, [*inputs_of(data, out), model])
    from mien.evaluation import label_match, report as reports
    from mien.inference.classifier import Classifier

    classifier = Classifier(model, head=head, prior=prior)
    own = out.parent / "model.onnx"  # `mien compare` would show the report as one of this model
    if out.name in ("report", "report-crowd") and out.exists() and own.is_file() and own.resolve() != classifier.path.resolve():
        raise MienError(f"{out} is the report of the run in {out.parent} on its own model; choose another --out.")
    if head is None:
        votes_are_targets = isinstance(data, DataSource) and data.votes is not None and data.votes_as != "beside"
        classifier = classifier.with_head("crowd" if votes_are_targets and "crowd" in classifier.heads else "label")
    columns = [by] if isinstance(by, str) else list(by or ())
    if columns and not isinstance(data, FaceSet):
        data = replace(as_source(data), columns=list(dict.fromkeys([*(as_source(data).columns or ()), *columns])))
    faces = read_data(data, classifier.size, classifier.channels, quiet)
    if classifier.head == "crowd" and faces.votes is not None:
        judged = faces.judged_by_votes()
        say(f"judged by crowd votes: {len(faces) - len(judged):,} rows without clear votes left out")
        faces = replace(judged, origin=replace(judged.origin, kind=f"{judged.origin.kind}, judged by the votes"))
    faces = label_match.fit_to_model(classifier.metadata.get("mien.recipe", ""), classifier.labels, faces, labels)
    classifier = classifier.with_labels(select_changes(labels or {}, classifier.labels.find))
    log = classifier.path.parent / "log.csv" if (classifier.path.parent / "log.csv").is_file() else None
    report = reports.evaluate(classifier, faces, out, split, log=log, command=command, tta=tta, by=columns, merged=labels)
    _say_written("report  ", out / "index.html", is_earlier, quiet)
    return report


def _say_written(kind: str, out: Path, is_earlier: bool, quiet: bool) -> None:
    say(f"{kind}{out}{', which replaces an earlier one' if is_earlier else ''}", quiet and not is_earlier)


def audit(
    data: FaceSet | DataSource | str | Path,
    out: str | Path,
    write: str | Path | None = None,
    quiet: bool = False,
    command: str | None = None,
    labels: dict[Any, Any] | None = None,
    csv_safe: bool = False,
) -> "Audit":
    """Find copies, conflicting labels, images without a face and outliers in labelled faces, and show them on a page.

    Args:
        data: labelled faces.
        out: the folder to write: index.html, findings.csv, audit.json; an earlier audit there is replaced.
        write: a CSV file for the rows to leave out of training; train with --data.drop FILE.
        quiet: print no progress to stderr.
        command: the command line, to be noted on the page.
        labels: what becomes of labels of the data, as for `mien train`: merged labels are no conflict.
        csv_safe: in findings.csv, an apostrophe before text that a spreadsheet would run as a formula; the file of `write`
            stays exact.

    Raises:
        MienError: if there are no faces, or the folder or the file holds something else; the sentence says what to do.
    """
    require("evaluate", "sklearn", "scipy", "matplotlib", "jinja2")
    folder, file = Path(out), None if write is None else Path(write)
    is_earlier = check_folder(folder, AUDIT, inputs_of(data, folder))
    if file is not None:
        check_file(str(write), EXCLUDED_ROWS, inputs_of(data), "--write")
        own = [folder.resolve(), *(folder.resolve() / name for name in (*AUDIT.patterns, AUDIT.record))]
        if file.resolve().with_name(file.name.casefold()) in own or file.resolve() == folder.resolve():
            raise MienError(f"{write} is what the audit itself writes; choose another name for --write.")
    from mien.evaluation import audit as audits, label_match

    faces = read_data(data, 48, 1, quiet)
    found = audits.inspect(label_match.with_labels(faces, labels) if labels else faces)
    listed = audits.write_audit(found, folder, file, command, csv_safe)
    _say_written("audit   ", folder / "index.html", is_earlier, quiet)
    if write is not None:
        say(f"{listed:,} rows to leave out are listed in {write}: train with --data.drop {write}", quiet)
    return found


def compare(
    runs: Sequence[str | Path],
    format: str | None = None,
    title: str | None = None,
    command: str | None = None,
    out: str | Path | None = None,
) -> str:
    """Compare finished runs, the most accurate first: accuracy with its interval, recalls, size, speed, command.

    Below the table of the runs that were measured on the same faces, each is compared with the first one named: whether the
    difference is significant (McNemar's exact test). This is left out in JSON and for runs out of .json files, which hold no
    predictions for single faces. The page also draws accuracies, recalls and the course of training.

    Args:
        runs: run folders, folders of reports that `mien evaluate` wrote, and .json files that `mien compare` wrote. Of a name
            that occurs twice, the later one counts.
        format: table, which is Markdown, json, or html, which is a page that opens offline; if not given, by the ending of
            `out`, else table.
        title: a heading of the table or the page.
        command: the command line, to be noted with an explanation of the figures.
        out: a file to write the text to.

    Returns:
        The text, or an empty one if it was written to `out`.

    Raises:
        MienError: if one is none of these, the format is unknown, or a title is given to JSON, which has none.
    """
    require("evaluate", "sklearn", "matplotlib", "jinja2")
    out = None if out is None else Path(out)
    format = format or FORMATS.get(out.suffix.lower() if out else "")
    if format is None:
        raise MienError(f"{str(out)!r} ends in no format of `mien compare`; end it in .md, .json or .html, or add --format.")
    if format not in FORMATS.values():
        raise MienError(f"There is no format {format!r}; choose {', '.join(dict.fromkeys(FORMATS.values()))}.")
    if format == "json" and title is not None:
        raise MienError("JSON has no title; leave out --title, or choose the format table or html.")
    sources = [Path(run) for run in runs]
    if not sources:
        raise MienError("There are no runs to compare; name at least one.")
    is_earlier = out is not None and check_file(out, COMPARISON, sources).exists()
    from mien.evaluation import comparison

    summaries, predictions = comparison.read_runs(sources)
    if format == "json":
        text = comparison.as_json(summaries)
    else:
        text = comparison.render(summaries, title, command, predictions, "html" if format == "html" else "md")
    if out is None:
        return text
    if command is None and format == "table":
        text = f"{MARK}\n\n{text}"
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, lambda part: part.write_text(text, encoding="utf-8"), COMPARISON)
    _say_written("comparison ", out, is_earlier, command is None)
    return ""
