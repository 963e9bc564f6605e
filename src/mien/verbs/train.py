"""Training a model, measuring it on labelled faces, auditing these, comparing runs; and the demo, which runs all of it."""

import io
import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext, redirect_stderr
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mien.data.faceset import Data, check_limit, limited
from mien.data.source import DataSource, as_source
from mien.errors import MienError, check_number, say
from mien.files import AUDIT, COMPARISON, EXCLUDED_ROWS, REPORT, FolderKind, check_file, check_folder, write_whole
from mien.labels import select_changes
from mien.training.recipe import Recipe, check_folds, check_run_folder, load_recipe
from mien.verbs import inputs_of, read_data, require

if TYPE_CHECKING:
    from mien.evaluation.audit import Audit
    from mien.evaluation.report import Report

FACES_PER_LABEL = 160
DEMO = FolderKind("about-this-folder.json", "demo", "mien demo")  # all of which `mien demo` replaces when run again
# the formats of `mien compare` by the ending of its file; table is Markdown
FORMATS = {"": "table", ".md": "table", ".txt": "table", ".json": "json", ".html": "html", ".htm": "html", ".tex": "latex"}


def train(
    recipe: Recipe | str | Path,
    data: Data,
    out: str | Path,
    resume: bool = False,
    device: str = "auto",
    threads: int | None = None,
    labels: dict[Any, Any] | None = None,
    quiet: bool = False,
    command: str | None = None,
    devices: int = 1,
    nodes: int = 1,
    folds: int | None = None,
    limit: int | float | None = None,
    callback: str | list[Any] | Callable[[dict[str, float]], object] | None = None,
) -> "Report":
    """Train a classifier on labelled faces, export it as one model file, and report on its validation faces.

    The run folder holds model.onnx, weights.safetensors (of the kept epoch), recipe.yaml, log.csv, tensorboard/,
    last.ckpt and report/; with a second head for the crowd's votes also report-crowd/, judged by these votes.

    Args:
        recipe: the name of a recipe that `mien recipes` lists, or a YAML file.
        data: labelled faces.
        out: the run folder to make.
        resume: continue the run in that folder; the result is the same as that of an unbroken run.
        device: auto, cpu, cuda, cuda:1 or mps.
        threads: CPU threads; all cores, if not given.
        labels: what becomes of labels of the data, added to the recipe's `merge`: {"joy": "happy"} renames one, {"negative":
            ["angry", "sad"]} merges several, {"contempt": null} leaves its rows out.
        quiet: print no progress to stderr.
        command: the command line, to be noted in the report.
        devices: GPUs of each machine (or processes, on a CPU) that train together and share each batch.
        nodes: machines that train together; each runs this command with its NODE_RANK and the first one's MASTER_ADDR.
        folds: divide the rows into so many folds, train a model without each, by which its rows are measured, then the model of
            all rows; all for the recipe's number of epochs.
        limit: use a part of the data, for a first try: a number of rows, or a share below 1 of them, drawn from each label and
            split alike.
        callback: a function that is called after each epoch with its figures, a dict with the keys of log.csv: module:name, or
            in Python the function. Can be repeated.

    Returns:
        The report on the validation rows, or the folds, as in `out/report`; None in all but the first process of torchrun.

    Raises:
        MienError: if the recipe, the data or the folder do not allow it; the sentence says what to do.
    """
    require("train", "torch", "lightning_fabric", "onnx", "onnxscript", "safetensors", "tensorboard", "sklearn")
    for name, value, least in (("threads", threads, 1), ("devices", devices, 1), ("nodes", nodes, 1), ("folds", folds, 2)):
        if value is not None:
            check_number(f"The number of {name}", value, least)
    out = Path(out)
    check_limit(limit)
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    recipe = replace(recipe, merge={**(recipe.merge or {}), **labels}) if labels else recipe
    if folds is not None:
        check_folds(recipe, devices * nodes)
    first = int(os.environ.get("RANK", os.environ.get("NODE_RANK", "0"))) == 0  # of those of torchrun or of several nodes
    if first:
        check_run_folder(out, resume)
        inputs_of(data, out)  # rejects an `out` among them
    if resume and not out.exists():
        say(f"there is no run in {out} yet; starting it", quiet)
    read = read_data(data, recipe.size, recipe.channels, quiet or not first)

    # imported here, since these take seconds and most mistakes are found by now
    from mien.evaluation.report import evaluate as report_on
    from mien.inference.classifier import Classifier
    from mien.training import loop, transfer

    with nullcontext() if first else redirect_stderr(io.StringIO()):
        faces = loop.arrange(recipe, limited(read, limit), for_folds=folds is not None)
    if first and faces.labels != read.labels:
        say(f"labels of the model: {', '.join(faces.labels)}", quiet)
    held_out, callbacks = None, list(callback) if isinstance(callback, list) else [callback] if callback else []
    if folds is None:
        loop.train(recipe, faces, out, resume, device, threads, quiet, devices, nodes, first, callbacks=callbacks)
    else:
        held_out = loop.train_folds(recipe, faces, out, folds, resume, device, threads, quiet, callbacks)
    if not first:
        return None  # type: ignore[return-value]
    if skipped := faces.origin.skipped:
        faces.origin.write_skipped(out)
        say(f"{len(skipped)} rows were left out; they are listed in {out / 'skipped.txt'}")
    classifier = Classifier(out / "model.onnx", head="label")
    say(f"writing {out / 'report'}", quiet)
    split, start = "validation" if folds is None else "all", transfer.start_of(recipe, classifier)
    report = report_on(
        classifier, faces, out / "report", split, log=out / "log.csv", command=command, folds=held_out, start=start
    )
    if "crowd" in classifier.heads:
        report_on(classifier.with_head("crowd"), faces.judged_by_votes(), out / "report-crowd", "validation", command=command)
    say(f"model   {out / 'model.onnx'}", quiet)
    say(f"report  {report.folder / 'index.html'}", quiet)
    return report


def evaluate(
    model: str | Path,
    data: Data,
    out: str | Path,
    split: str | None = None,
    head: str | None = None,
    prior: float | str | dict[str, float] | None = None,
    tta: Literal["none", "flip", "ten-crops"] = "none",
    by: str | list[str] | None = None,
    labels: dict[Any, Any] | None = None,
    quiet: bool = False,
    command: str | None = None,
    limit: int | float | None = None,
    paper: bool = False,
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
        limit: measure on a part of the data, as for `mien train`; the report says so.
        paper: also write paper/ in that folder: plots as PDF and SVG, and the tables in LaTeX.

    Raises:
        MienError: if model and data do not fit each other, or the folder is the report of another model's run.
    """
    require("evaluate", "sklearn", "matplotlib")
    out = Path(out)
    check_limit(limit)
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
    if columns and isinstance(data, DataSource | str | Path):
        data = replace(as_source(data), columns=list(dict.fromkeys([*(as_source(data).columns or ()), *columns])))
    faces = limited(read_data(data, classifier.size, classifier.channels, quiet), limit)
    if classifier.head == "crowd" and faces.votes is not None:
        judged = faces.judged_by_votes()
        say(f"judged by crowd votes: {len(faces) - len(judged):,} rows without clear votes left out")
        faces = replace(judged, origin=replace(judged.origin, kind=f"{judged.origin.kind}, judged by the votes"))
    faces = label_match.fit_to_model(classifier.metadata.get("mien.recipe", ""), classifier.labels, faces, labels)
    classifier = classifier.with_labels(select_changes(labels or {}, classifier.labels.find))
    log = classifier.path.parent / "log.csv" if (classifier.path.parent / "log.csv").is_file() else None
    report = reports.evaluate(
        classifier, faces, out, split, log=log, command=command, tta=tta, by=columns, merged=labels, paper=paper, quiet=quiet
    )
    _say_written("report  ", out / "index.html", is_earlier, quiet)
    return report


def _say_written(kind: str, out: Path, is_earlier: bool, quiet: bool) -> None:
    say(f"{kind}{out}{', which replaces an earlier one' if is_earlier else ''}", quiet and not is_earlier)


def audit(
    data: Data,
    out: str | Path,
    write: str | Path | None = None,
    quiet: bool = False,
    command: str | None = None,
    labels: dict[Any, Any] | None = None,
    csv_safe: bool = False,
    near: bool = False,
    force: bool = False,
    limit: int | float | None = None,
) -> "Audit":
    """Find copies, conflicting labels, images without a face and outliers in labelled faces, and show them on a page.

    Args:
        data: labelled faces.
        out: the folder to write: index.html, findings.csv, audit.json, skipped.txt; an earlier audit there is replaced.
        write: a CSV file for the rows to leave out of training: exact copies in excess or with conflicting labels, and images
            that are blank or may show no face; train with --data.drop FILE.
        quiet: print no progress to stderr.
        command: the command line, to be noted on the page.
        labels: what becomes of labels of the data, as for `mien train`: merged labels are no conflict.
        csv_safe: in findings.csv, an apostrophe before text that a spreadsheet would run as a formula; the file of `write`
            stays exact.
        near: list near copies for `write` too: the same photograph with other pixels.
        force: write the list even if it has more than a fifth of the rows, or every row of a label.
        limit: look at a part of the data, as for `mien train`; the page says so.

    Raises:
        MienError: if there are no faces, the folder or the file holds something else, or the list needs `force`; the sentence
            says what to do.
    """
    require("evaluate", "sklearn", "scipy", "matplotlib")
    if (write is None and (near or force)) or not (isinstance(near, bool) and isinstance(force, bool)):
        raise MienError("--near and --force belong to --write FILE, and are true or false; add --write, or leave them out.")
    folder, file = Path(out), None if write is None else Path(write)
    check_limit(limit)
    is_earlier = check_folder(folder, AUDIT, inputs_of(data, folder))
    if file is not None:
        check_file(str(write), EXCLUDED_ROWS, inputs_of(data), "--write")
        own = [folder.resolve(), *(folder.resolve() / name for name in (*AUDIT.patterns, AUDIT.record, "skipped.txt"))]
        if file.resolve().with_name(file.name.casefold()) in own or file.resolve() == folder.resolve():
            raise MienError(f"{write} is what the audit itself writes; choose another name for --write.")
    from mien.evaluation import audit as audits, label_match

    faces = limited(read_data(data, 48, 1, quiet), limit)
    found = audits.inspect(label_match.with_labels(faces, labels) if labels else faces)
    listed = audits.write_audit(found, folder, file, command, csv_safe, near, force)
    _say_written("audit   ", folder / "index.html", is_earlier, quiet)
    if skipped := faces.origin.skipped:
        say(f"images that were left out: {len(skipped)}; they are listed in {folder / 'skipped.txt'}", quiet)
    if write is not None:
        say(f"{listed:,} rows to leave out are listed in {write}{f': train with --data.drop {write}' if listed else ''}", quiet)
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
        format: table, which is Markdown, json, html, which is a page that opens offline, or latex; if not given, by the ending
            of `out`, else table.
        title: a heading of the table or the page.
        command: the command line, to be noted with an explanation of the figures.
        out: a file to write the text to.

    Returns:
        The text, or an empty one if it was written to `out`.

    Raises:
        MienError: if one is none of these, the format is unknown, or a title is given to JSON, which has none.
    """
    require("evaluate", "sklearn", "matplotlib")
    out = None if out is None else Path(out)
    format = format or FORMATS.get(out.suffix.lower() if out else "")
    if format is None:
        raise MienError(
            f"{str(out)!r} ends in no format of `mien compare`; end it in .md, .json, .html or .tex, or add --format."
        )
    if format not in FORMATS.values():
        raise MienError(f"There is no format {format!r}; choose {', '.join(dict.fromkeys(FORMATS.values()))}.")
    if format == "json" and title is not None:
        raise MienError("JSON has no title; leave out --title, or choose the format table or html.")
    sources = [Path(run) for run in ([runs] if isinstance(runs, str | Path) else runs)]
    if not sources:
        raise MienError("There are no runs to compare; name at least one.")
    is_earlier = out is not None and check_file(out, COMPARISON, sources).exists()
    from mien.evaluation import comparison

    summaries, predictions = comparison.read_runs(sources)
    if format == "json":
        text = comparison.as_json(summaries)
    else:
        suffixes: dict[str, Literal["html", "md", "tex"]] = {"html": "html", "table": "md", "latex": "tex"}
        text = comparison.render(summaries, title, command, predictions, suffixes[format])
    if out is None:
        return text
    if command is None and format == "table":
        text = f"<!-- written by mien compare -->\n\n{text}"
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, lambda part: part.write_text(text, encoding="utf-8"), COMPARISON)
    _say_written("comparison ", out, is_earlier, command is None)
    return ""


def demo(*, out: Path = Path("demo"), run_verb: Callable[[list[str]], int]) -> int:
    """Run every step on drawn faces: data, training, report, predictions for photos.

    The exit status is that of the first step that fails, else 0.

    Args:
        out: the folder to make; an earlier demo there is replaced.
        run_verb: runs the words after `mien`.
    """
    require("train", "torch", "sklearn", "matplotlib")
    import matplotlib
    from PIL import Image

    from mien.drawn import draw_photo, write_folder

    if check_folder(out, DEMO):
        shutil.rmtree(os.path.realpath(out))
    out.mkdir(parents=True, exist_ok=True)
    try:
        _list_files(out)
        say(f"1/5  Drawing {FACES_PER_LABEL} faces for each of seven expressions, as PNG files in a folder per label.")
        # validation and test show other people than training; a random split would share people between them
        write_folder(FACES_PER_LABEL, out / "faces", validation=0.15, test=0.2)
        photo = out / "drawn-photo.png"
        Image.fromarray(draw_photo(["happy", "surprise", "sad", "angry"], seed=5)[0]).save(photo)
        say(f"     Look at {out / 'faces'} and {photo}.")
        places = {"out": out, "samples": Path(matplotlib.get_data_path()) / "sample_data"}
        for step in Path(__file__).with_name("demo.txt").read_text(encoding="utf-8").split("\n\n"):
            _list_files(out)
            *title, command, result = step.splitlines()  # the words after `mien`, and what came out
            words = [word.format(**places) for word in command.split()]
            for line in ("", *title, f"     $ mien {' '.join(words)}"):
                say(line)
            if status := run_verb(words):
                return status
            say(f"     {result.format(**places)}")
    finally:
        _list_files(out)
    say("")
    say(f"Done. Everything lies in {out}; `mien demo` replaces it when run again.")
    return 0


def _list_files(out: Path) -> None:  # by which the next demo knows what it may replace
    files = [DEMO.record, *(path.relative_to(out).as_posix() for path in out.rglob("*") if not path.is_dir())]
    record = json.dumps({"made_by": DEMO.made_by, "format": DEMO.format, "files": files}, indent=2)
    write_whole(out / DEMO.record, lambda part: part.write_text(record, encoding="utf-8"))
