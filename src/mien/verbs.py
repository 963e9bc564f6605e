"""The verbs, the same in Python and on the command line: each reads its data, does the work and says what it did."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mien.data.faceset import SPLITS, FaceSet
from mien.data.source import DataSource
from mien.errors import MienError
from mien.training.recipe import Recipe
from mien.training.recipe_files import load_recipe

if TYPE_CHECKING:  # parameters are annotated without quotes: for a quoted one jsonargparse would import this too, and sklearn
    from mien.evaluation.audit import Audit
    from mien.evaluation.report import Report


def train(
    recipe: Recipe | str | Path,
    data: FaceSet | DataSource | str | Path,
    out: str | Path,
    resume: bool = False,
    device: str = "auto",
    threads: int | None = None,
    quiet: bool = False,
    command: str | None = None,
) -> "Report":
    """Train a classifier on labelled faces, export it as one model file, and report on its validation faces.

    The run folder holds model.onnx, weights.safetensors (of the best epoch), recipe.yaml, log.csv, tensorboard/,
    last.ckpt and report/; with a head that answers as the crowd also report-crowd/, judged by its votes.

    Args:
        recipe: the name of a recipe that `mien recipes` lists, or a YAML file.
        data: labelled faces.
        out: the run folder to make.
        resume: go on with the run in that folder; the result is that of an unbroken run.
        device: auto, cpu, cuda, cuda:1 or mps.
        threads: threads of the CPU; all of its cores, if not given.
        quiet: no progress on stderr.
        command: the command line, to be noted in the report.

    Returns:
        The report on the validation rows, as in `out/report`.

    Raises:
        MienError: if the recipe, the data or the folder do not allow it; the sentence says what to do.
    """
    require("train", "torch", "lightning", "onnx", "onnxscript", "safetensors", "tensorboard", "tqdm", "sklearn")
    out = Path(out)
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    if out.exists() and not resume:
        raise MienError(f"{out} exists; choose another --out, or add --resume to go on with that run.")
    read = _read(data, recipe.size, recipe.channels, quiet)

    # only now, for these take seconds, and most mistakes are known already
    from mien.evaluation.report import evaluate as report_on
    from mien.inference.classifier import Classifier
    from mien.training.train import arrange
    from mien.training.train import train as train_model

    faces = arrange(recipe, read)
    model = train_model(recipe, faces, out, resume, device, threads, quiet)
    _write_skipped(faces, out)
    classifier = Classifier(model, head="label")
    report = report_on(classifier, faces, out / "report", "validation", log=out / "log.csv", command=command)
    if "crowd" in classifier.heads:
        judged = faces.judged_by_votes()
        report_on(classifier.with_head("crowd"), judged, out / "report-crowd", "validation", command=command)
    return report


def evaluate(
    model: str | Path,
    data: FaceSet | DataSource | str | Path,
    out: str | Path,
    split: str | None = None,
    head: str | None = None,
    tta: Literal["none", "flip", "ten-crops"] = "none",
    quiet: bool = False,
    command: str | None = None,
) -> "Report":
    """Measure a model on labelled faces: writes index.html, metrics.json and predictions.csv, and prints the table.

    Args:
        model: a model file, a run folder, or a name that `mien models` lists.
        data: labelled faces.
        out: the folder to write; an earlier report there is replaced.
        split: train, validation, test or all; test where there is one, else validation, else all, if not given.
        head: which head of a model with two is measured: label, or crowd, judged by the votes where the data have them beside
            their labels; if not given, label, but crowd where the data are read with votes in place of their labels.
        tta: test-time augmentation, the mean answer to several views of each face: none, flip (two views) or ten-crops; the
            report says what it brought and cost.
        quiet: no progress on stderr.
        command: the command line, to be noted in the report.

    Raises:
        MienError: if model and data do not fit each other; the sentence says what to do.
    """
    require("evaluate", "sklearn", "matplotlib", "jinja2")
    from mien.evaluation.model_fit import fit_to_model
    from mien.evaluation.report import evaluate as report_on
    from mien.inference.classifier import Classifier

    classifier = Classifier(model, head=head)
    if head is None:
        votes_are_targets = isinstance(data, DataSource) and data.votes is not None and data.votes_as != "beside"
        classifier = classifier.with_head("crowd" if votes_are_targets and "crowd" in classifier.heads else "label")
    faces = _read(data, classifier.size, classifier.channels, quiet)
    if classifier.head == "crowd" and faces.votes is not None:
        faces = _judged_by_votes(faces)
    faces = fit_to_model(classifier.metadata.get("mien.recipe", ""), classifier.labels, faces)
    log = classifier.path.parent / "log.csv"
    return report_on(classifier, faces, Path(out), split, log=log if log.is_file() else None, command=command, tta=tta)


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
    from mien.evaluation.audit_folder import check_places, write_audit

    check_places(Path(out), None if write is None else Path(write))
    found = inspect(_read(data, 48, 1, quiet))
    listed = write_audit(found, Path(out), None if write is None else Path(write), command)
    if not quiet:
        print(f"audit   {Path(out) / 'index.html'}", file=sys.stderr)
    if write is not None and not quiet:
        print(f"{listed:,} rows to leave out are listed in {write}: train with --data.drop {write}", file=sys.stderr)
    return found


def compare(runs: Sequence[str | Path], format: str = "table", title: str | None = None, command: str | None = None) -> str:
    """Set finished runs side by side, the most accurate first: accuracy with its interval, recalls, size, speed, command.

    Below the table of those measured on the same faces stands, for each against the first one named, whether it differs truly
    (McNemar's exact test); not in JSON, and not for runs out of .json files, which hold no answers face by face.

    Args:
        runs: run folders of `train`, folders of reports that `evaluate` wrote into them, and .json files of this function.
            Where a name comes twice, the later one stands.
        format: table, which is Markdown, or json.
        title: a heading of the table.
        command: the command line, to be noted above the table together with what its figures are.

    Raises:
        MienError: if one is none of these, the format is unknown, or a title is given to JSON, which has none.
    """
    require("evaluate", "sklearn", "matplotlib", "jinja2")
    from mien.evaluation import comparison

    if format not in comparison.FORMATS:
        raise MienError(f"There is no format {format!r}; choose {', '.join(comparison.FORMATS)}.")
    if format == "json" and title is not None:
        raise MienError("JSON has no title; leave out --title, or choose the format table.")
    sources = [Path(run) for run in runs]
    summaries = comparison.compare(sources)
    if format == "json":
        return comparison.as_json(summaries)
    return comparison.as_markdown(summaries, title, command, comparison.find_predictions(sources))


def describe_network(recipe: Recipe | str | Path, labels: int = 7) -> str:
    """Write the layers of a recipe's network as a table: name, output shape, parameters; and what a face costs.

    Args:
        recipe: a recipe, its name, or a YAML file.
        labels: how many labels the data have, where the recipe does not say which to keep.

    Raises:
        MienError: if there is no such recipe or network, or PyTorch is not installed.
    """
    require("train", "torch")
    from mien.training.networks import build_network
    from mien.training.networks.spec import NetworkSpec
    from mien.training.summary import as_table

    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    classes = (len(recipe.keep) if recipe.keep else labels) * len(recipe.heads)
    network = build_network(recipe.network, NetworkSpec.of(recipe, classes))
    return as_table(network, recipe.channels, recipe.network_size)


def require(extra: str, *modules: str) -> None:
    """Make sure that an optional part is installed.

    Raises:
        MienError: if one of its modules is missing; the sentence says which extra brings it.
    """
    from importlib.util import find_spec

    if missing := [name for name in modules if find_spec(name) is None]:
        raise MienError(f"Not installed, and needed for this: {', '.join(missing)}; run: pip install 'mien[{extra}]'")


def _read(data: FaceSet | DataSource | str | Path, size: int, channels: int, quiet: bool) -> FaceSet:
    if isinstance(data, FaceSet):
        return data
    from mien.data.reading import read_faces

    source = data if isinstance(data, DataSource) else DataSource(Path(data))
    faces = read_faces(source, size, channels, None if quiet else _show_reading)
    if not quiet:
        counts = [(name, int((faces.splits == SPLITS.index(name)).sum())) for name in faces.split_names]
        splits = ", ".join("not divided" if name == "none" else f"{name} {count:,}" for name, count in counts)
        print(f"took {faces.origin.path} for {faces.origin.kind}: {len(faces):,} faces ({splits})", file=sys.stderr)
        print(f"labels: {', '.join(faces.labels.names)}", file=sys.stderr)
    return faces


def _judged_by_votes(faces: FaceSet) -> FaceSet:
    judged = faces.judged_by_votes()
    print(f"judged by crowd votes: {len(faces) - len(judged):,} rows without clear votes left out", file=sys.stderr)
    return replace(judged, origin=replace(judged.origin, kind=f"{judged.origin.kind}, judged by the votes"))


def _show_reading(done: int, total: int | None) -> None:
    if sys.stderr.isatty():
        of_all = f" of {total:,}" if total else ""
        print(f"\rreading {done:,}{of_all} faces", end="\n" if done == total else "", file=sys.stderr, flush=True)


def _write_skipped(faces: FaceSet, folder: Path) -> None:
    if faces.origin.skipped:
        (folder / "skipped.txt").write_text("\n".join(faces.origin.skipped) + "\n", encoding="utf-8")
        print(
            f"{len(faces.origin.skipped)} rows could not be read; they are listed in {folder / 'skipped.txt'}", file=sys.stderr
        )
