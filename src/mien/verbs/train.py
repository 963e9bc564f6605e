"""Training: labelled faces to a model file; and the demo, which runs every verb on drawn faces."""

import io
import json
import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext, redirect_stderr
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.data.faceset import FaceSet
from mien.data.source import DataSource
from mien.errors import check_number, say
from mien.files import FolderKind, check_folder, write_whole
from mien.training.recipe import Recipe, check_run_folder, load_recipe
from mien.verbs import inputs_of, read_data, require

if TYPE_CHECKING:
    from mien.evaluation.report import Report

FACES_PER_LABEL = 160
DEMO = FolderKind("about-this-folder.json", "demo", "mien demo")  # all of which `mien demo` replaces when run again
STEPS = Path(__file__).with_name("demo.txt")  # of each step its title, the words after `mien`, and what came out


def train(
    recipe: Recipe | str | Path,
    data: FaceSet | DataSource | str | Path,
    out: str | Path,
    resume: bool = False,
    device: str = "auto",
    threads: int | None = None,
    labels: dict[Any, Any] | None = None,
    quiet: bool = False,
    command: str | None = None,
    devices: int = 1,
    nodes: int = 1,
) -> "Report":
    """Train a classifier on labelled faces, export it as one model file, and report on its validation faces.

    The run folder holds model.onnx, weights.safetensors (of the best epoch), recipe.yaml, log.csv, tensorboard/,
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

    Returns:
        The report on the validation rows, as in `out/report`; None in all but the first process of torchrun.

    Raises:
        MienError: if the recipe, the data or the folder do not allow it; the sentence says what to do.
    """
    require("train", "torch", "lightning_fabric", "onnx", "onnxscript", "safetensors", "tensorboard", "tqdm", "sklearn")
    if threads is not None:
        check_number("The number of threads", threads, 1)
    out = Path(out)
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    if labels:
        recipe = replace(recipe, merge={**(recipe.merge or {}), **labels})
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
    from mien.training.loop import arrange, train as train_model

    with nullcontext() if first else redirect_stderr(io.StringIO()):
        faces = arrange(recipe, read)
    if first and faces.labels != read.labels:
        say(f"labels of the model: {', '.join(faces.labels)}", quiet)
    model = train_model(recipe, faces, out, resume, device, threads, quiet, devices, nodes, first)
    if not first:
        return None  # type: ignore[return-value]
    if skipped := faces.origin.skipped:
        (out / "skipped.txt").write_text("\n".join([*skipped, ""]), encoding="utf-8")
        say(f"{len(skipped)} rows were left out; they are listed in {out / 'skipped.txt'}")
    classifier = Classifier(model, head="label")
    say(f"writing {out / 'report'}", quiet)
    report = report_on(classifier, faces, out / "report", "validation", log=out / "log.csv", command=command)
    if "crowd" in classifier.heads:
        report_on(classifier.with_head("crowd"), faces.judged_by_votes(), out / "report-crowd", "validation", command=command)
    say(f"model   {model}", quiet)
    say(f"report  {report.folder / 'index.html'}", quiet)
    return report


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
        for step in STEPS.read_text(encoding="utf-8").split("\n\n"):
            _list_files(out)
            *title, command, result = step.splitlines()
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


def _list_files(out: Path) -> None:
    """Write the list of all files, by which the next demo knows what it may replace."""
    files = [DEMO.record, *(path.relative_to(out).as_posix() for path in out.rglob("*") if not path.is_dir())]
    record = json.dumps({"made_by": DEMO.made_by, "format": DEMO.format, "files": files}, indent=2)
    write_whole(out / DEMO.record, lambda part: part.write_text(record, encoding="utf-8"))
