"""Training from labelled faces to a run folder with a model file."""

import json
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from mien import __version__
from mien.data.faceset import FaceSet, move_split
from mien.data.signatures import as_text, describe_training_rows
from mien.errors import MienError
from mien.training.batches import DeviceFaces, in_order
from mien.training.distillation import Views, load_teachers
from mien.training.export import export, fit_temperature, training_priors
from mien.training.face_network import FaceNetwork, spread_batch_norm
from mien.training.networks import multiply_adds
from mien.training.recipe import Recipe, shared_name
from mien.training.run_folder import RunFolder, gpu_busy, open_run_folder, print_epoch
from mien.training.task import ClassificationTask
from mien.training.transfer import is_model, starting_network


def train(
    recipe: Recipe,
    faces: FaceSet,
    out: Path,
    resume: bool = False,
    device: str = "auto",
    threads: int | None = None,
    quiet: bool = False,
) -> Path:
    """Train a classifier and write it to a run folder.

    Args:
        recipe: the recipe.
        faces: labelled faces, prepared by `arrange`.
        out: the run folder; it must not exist, unless resumed.
        resume: continue from the last checkpoint in the folder; the result is the same as without interruption.
        device: auto, cpu, cuda, cuda:1 or mps.
        threads: number of CPU threads; default all. Another number changes the order of summation, and so the last digits.
        quiet: print nothing.

    Returns:
        The model file, `out/model.onnx`.

    Raises:
        MienError: if recipe, faces and folder do not fit each other, or training diverges.
    """
    where = choose_device(device)
    if threads is not None and threads < 1:
        raise MienError(f"Training needs at least one thread, not {threads}.")
    torch.manual_seed(recipe.seed)
    if threads is not None:
        torch.set_num_threads(threads)
    started = resume and (out / "last.ckpt").is_file()  # the initial weights are not needed again then
    start = replace(recipe, weights=None, weights_share=0.0) if started else recipe
    model = FaceNetwork.of(recipe, starting_network(start, faces.labels))
    teachers = load_teachers(recipe, faces) if recipe.distillation.teachers else None
    open_run_folder(out, resume, recipe, faces.split("train").fingerprint())
    if (out / "model.onnx").is_file():
        if not quiet:
            print(f"{out} is already finished", file=sys.stderr)
        return out / "model.onnx"

    train_faces, validation_faces = (DeviceFaces(faces.split(name), where) for name in ("train", "validation"))
    teachers = teachers and teachers.to(where)
    teaching = Views(recipe, train_faces, teachers, out) if teachers and recipe.distillation.views else teachers
    if is_model(start.weights):
        spread_batch_norm(model, train_faces)
    run = RunFolder(out, recipe, ClassificationTask(model, recipe, train_faces, validation_faces, teaching))
    with _sigterm_like_ctrl_c():
        _fit(run, quiet)
    if run.best is None or not np.isfinite(run.best["validation_loss"]):
        raise MienError("Training diverged: the validation loss is not a number; lower --recipe.optimizer.learning_rate.")
    if not quiet:
        print(f"calibrating and writing {out / 'model.onnx'}", file=sys.stderr)
    model.load_state_dict(load_file(out / "weights.safetensors"))
    return _finish(model, recipe, faces, validation_faces, out)


def _fit(run: RunFolder, quiet: bool) -> None:
    """Train epoch after epoch until the run is complete."""
    task, epochs, resumed = run.task, run.recipe.epochs, len(run.history)
    started = time.perf_counter()
    if resumed and not quiet:
        print(f"resuming after epoch {resumed}", file=sys.stderr)
    bar = partial(tqdm, disable=quiet or not sys.stderr.isatty(), unit=" images", leave=False, dynamic_ncols=True)
    with SummaryWriter(run.folder / "tensorboard") as board:
        while not run.is_complete:
            epoch = len(run.history) + 1
            epoch_started = time.perf_counter()
            batches = task.start_epoch(epoch - 1)
            images = len(batches) * batches.batch_size
            with bar(total=images, desc=f"epoch {epoch}/{epochs}") as shown:
                if run.chosen is not None:
                    shown.set_postfix_str(f"best accuracy {run.chosen['validation_accuracy']:.1%}")
                for batch in batches:
                    task.step(batch)
                    shown.update(len(batch.targets))
            seconds = time.perf_counter() - epoch_started  # of training alone
            busy = "" if quiet else gpu_busy(task.train_faces.device)
            row = {"epoch": epoch, **task.validate(), "learning_rate": task.optimizer.param_groups[0]["lr"]}
            run.add({**row, "seconds": seconds, "images_per_second": images / seconds})
            for name, value in run.history[-1].items():
                board.add_scalar(name, value, epoch)
            if not quiet:
                print_epoch(run, (time.perf_counter() - started) / (epoch - resumed) * (epochs - epoch), busy)


@contextmanager
def _sigterm_like_ctrl_c() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGTERM too, where signals can be handled: in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def choose_device(name: str) -> torch.device:
    """Return an available device by its name; auto is the first available of cuda, mps and cpu."""
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if available[kind]))
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or not available.get(device.type, False):
        names = ", ".join(kind for kind, is_there in available.items() if is_there)
        raise MienError(f"There is no device {name!r} here; use auto or one of {names}.")
    return device


def describe_hardware(device: torch.device) -> str:
    """Describe the hardware that a network is trained on, without the name of the machine."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    return f"{torch.get_num_threads()} {device.type} threads, torch {torch.__version__}"


def arrange(recipe: Recipe, faces: FaceSet) -> FaceSet:
    """Apply the recipe's labels and splits to the data; reject data that do not fit the recipe or lack training rows."""
    if (faces.size, faces.channels) != (recipe.size, recipe.channels):
        raise MienError(
            f"The recipe needs {recipe.size} pixels and {recipe.channels} channels; the faces have {faces.size} and "
            f"{faces.channels}. Read them with read_faces(path, size={recipe.size}, channels={recipe.channels})."
        )
    try:
        faces = faces.merge(recipe.merge) if recipe.merge else faces
        faces = faces.keep(recipe.keep) if recipe.keep else faces
    except MienError as problem:
        raise MienError(
            f"The recipe does not fit the data: {problem} Choose labels with --recipe.keep and --recipe.merge."
        ) from None
    if (recipe.votes.head or recipe.votes.mix) and faces.votes is None:
        raise MienError("The recipe needs crowd votes; add those of FER+: --data.votes fer2013new.csv --data.votes_as beside.")
    if "train" not in faces.split_names and "none" in faces.split_names:
        faces = move_split(faces, "none", "train")
    if not recipe.own_validation:
        faces = move_split(faces, "validation", "test")
    counts = faces.split("train").counts()
    empty = [name for name, count in zip(faces.labels.names, counts, strict=True) if count == 0]
    present = [name for name in faces.labels.names if name not in empty]
    if len(present) < 2:
        raise MienError(f"Training needs faces of at least two labels; there are only rows of {', '.join(present) or 'none'}.")
    if empty:
        raise MienError(
            f"No training rows for {', '.join(empty)}; add some, or drop the label with --recipe.keep '{json.dumps(present)}'."
        )
    if "validation" not in faces.split_names:
        faces = faces.carve(recipe.carve, seed=recipe.seed)
        amount = f"{recipe.carve:.0%}" if isinstance(recipe.carve, float) else recipe.carve
        count = len(faces.split("validation"))
        print(f"carved {amount} of each label's training rows for validation, {count} rows", file=sys.stderr)
    return faces


def _finish(model: FaceNetwork, recipe: Recipe, faces: FaceSet, validation: DeviceFaces, out: Path) -> Path:
    """Calibrate on the validation rows, then export."""
    model.eval()
    with torch.inference_mode():
        logits = torch.cat([model(batch.faces) for batch in in_order(validation)]).cpu()
    truth = {"label": validation.targets.cpu(), "crowd": validation.votes.cpu()}
    temperatures = [fit_temperature(logits[:, number], truth[head]) for number, head in enumerate(model.heads)]
    train_rows = faces.split("train")
    # without the folders of this machine
    teachers = [shared_name(run) for run in recipe.distillation.teachers]
    weights = None if recipe.weights is None else shared_name(recipe.weights)
    shared_recipe = replace(recipe, weights=weights, distillation=replace(recipe.distillation, teachers=teachers))
    metadata = {
        "mien.format": "1" if len(model.heads) == 1 else "2",
        "mien.labels": json.dumps(faces.labels.names),
        "mien.size": str(recipe.size),
        "mien.channels": str(recipe.channels),
        "mien.version": __version__,
        "mien.recipe": shared_recipe.to_yaml(),
        "mien.prior": json.dumps(training_priors(recipe, train_rows)),
        "mien.temperature": repr(temperatures[0]),
        "mien.parameters": str(sum(p.numel() for p in model.parameters())),
        "mien.multiply_adds": str(multiply_adds(model.cpu().network, recipe.channels, recipe.network_size)),
        "mien.hardware": describe_hardware(validation.device),
        "mien.data": json.dumps(
            {
                "kind": faces.origin.kind,
                "path": Path(faces.origin.path).name,
                "train_fingerprint": train_rows.fingerprint(),
                "train_count": len(train_rows),
                "validation_count": len(validation),
            }
        ),
    }
    metadata["mien.train_rows"] = as_text(describe_training_rows(train_rows.images))
    if len(model.heads) > 1:
        metadata |= {"mien.heads": json.dumps(model.heads), "mien.crowd_temperature": repr(temperatures[1])}
    export(model, temperatures, faces.split("validation").images[:256], metadata, out / "model.onnx")
    return out / "model.onnx"
