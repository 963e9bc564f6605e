"""Training from labelled faces to a run folder with a model file: a plain loop, its files, and its progress on stderr."""

import json
import logging
import multiprocessing
import os
import shutil
import signal
import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from copy import deepcopy
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from lightning_fabric import Fabric
from safetensors.torch import load_file
from torch.multiprocessing.spawn import ProcessException
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from mien import __version__
from mien.data.copies import as_text, describe_training_rows
from mien.data.faceset import SPLITS, FaceSet, move_split
from mien.data.reading import MOST_SHOWN
from mien.errors import MienError, load_table, load_templates, progress, say
from mien.files import write_whole
from mien.inference.classifier import Classifier
from mien.labels import is_no_expression, label_changes, meaning
from mien.training.batches import DeviceFaces, worsen
from mien.training.networks import FaceNetwork, multiply_adds
from mien.training.recipe import FIRST_LINE, MISTAKES, Recipe, call_own, check_run_folder, load_own, load_recipe, shared_name
from mien.training.run_folder import CHECKPOINTS, RunFolder, calibrate, export, training_priors, validation_rows
from mien.training.task import ClassificationTask, spread_batch_norm
from mien.training.transfer import Views, is_model, load_teachers, starting_model, starting_network, trained_run

FEWEST_VALIDATION = 20  # rows of a label, below which training warns: the 95% interval of a recall of 0.5 has 40 points
PROGRESS: dict[str, str] = load_table(__file__, "progress")
TEMPERATURES = {"label": "temperature", "crowd": "crowd_temperature"}  # names in the metadata
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # of which ranks there are


def train(
    recipe: Recipe,
    faces: FaceSet,
    out: Path,
    resume: bool = False,
    device: str = "auto",
    threads: int | None = None,
    quiet: bool = False,
    devices: int = 1,
    nodes: int = 1,
    is_first: bool = True,
    temperature: float | None = None,  # of a model without validation rows
    callbacks: list[Any] | None = None,  # functions of an epoch's figures, or their names
) -> Path:
    """Train on faces prepared by `arrange`, write the run folder if this process `is_first`, and return its model file."""
    where = choose_device(device)
    fabric, processes = open_fabric(where, devices, nodes)
    if recipe.batch_size % processes or processes > len(faces.split("train")):
        raise MienError(f"{processes} processes share a batch; choose a --recipe.batch_size that is a multiple of {processes}.")
    torch.manual_seed(recipe.seed)
    if threads is not None:
        torch.set_num_threads(threads)
    has_weights = resume and any((out / name).is_file() for name in CHECKPOINTS)
    start = replace(recipe, weights=None, weights_share=0.0) if has_weights else recipe
    model = FaceNetwork(recipe, starting_network(start, faces.labels))
    teachers = load_teachers(recipe, faces) if recipe.distillation.teachers else None
    for how in (recipe.augmentation, recipe.balance.copies):
        if how.function:  # which fails now, and not after the folder is made
            worsen(torch.rand(2, recipe.channels, recipe.seen, recipe.seen), how)
    for each in callbacks or ():  # the same for a misspelt one
        load_own(each)
    if is_first:
        open_run_folder(out, resume, recipe, faces.split("train").fingerprint())
    if (out / "model.onnx").is_file():
        say(f"{out} is already finished", quiet)
        return out / "model.onnx"

    before = multiprocessing.active_children()
    arguments = (model, teachers, is_model(start.weights), faces, out, threads, quiet, callbacks)
    with _sigterm_like_ctrl_c():
        try:
            fabric.launch(partial(_train_network, arguments))  # Fabric itself would look into the arguments
        except ProcessException as problem:
            raise MienError(str(problem).strip().splitlines()[-1].removeprefix("mien.errors.MienError: ")) from problem
        except KeyboardInterrupt:
            for process in set(multiprocessing.active_children()).difference(before):
                process.kill()  # it may wait for another one, and would not notice a milder signal
            raise
    if is_first:
        say(f"calibrating and writing {out / 'model.onnx'}", quiet)
        model.load_state_dict(load_file(out / "weights.safetensors"))
        _finish(model.eval(), faces, where, out, processes, temperature)
        (out / CHECKPOINTS[1]).unlink(missing_ok=True)
    return out / "model.onnx"


def train_folds(
    recipe: Recipe,
    faces: FaceSet,
    out: Path,
    count: int,
    resume: bool,
    device: str,
    threads: int | None,
    quiet: bool,
    callbacks: list[Any],
) -> tuple[np.ndarray, np.ndarray]:
    """Train in out/fold-1, ... without each fold, then on all rows; return each row's fold and what its model predicts."""
    fold, recipe = faces.folds(count, recipe.seed), replace(recipe, select_by="last")  # no row chooses an epoch
    for label, name in enumerate(faces.labels):
        if without := count - len(np.unique(fold[faces.classes == label])):
            say(f"no rows of {name} in {without} of {count} folds")
    runs = [out / f"fold-{number}" for number in range(1, fold.max() + 1)]
    open_run_folder(out, resume, recipe, faces.fingerprint())
    for number, run in enumerate(runs, start=1):
        held = np.where(fold == number, SPLITS.index("validation"), SPLITS.index("train")).astype(np.uint8)
        say(f"fold {number} of {len(runs)}: {(fold == number).sum():,} of {len(fold):,} faces held out", quiet)
        train(recipe, replace(faces, splits=held), run, resume, device, threads, quiet, callbacks=callbacks)
    models = [Classifier(run) for run in runs]
    logarithms = np.log([float(model.metadata["mien.temperature"]) for model in models])
    say(f"the model of all {len(faces):,} faces", quiet)
    train(recipe, faces, out, True, device, threads, quiet, temperature=float(np.exp(logarithms.mean())), callbacks=callbacks)
    header = (runs[0] / "log.csv").read_text(encoding="utf-8").partition("\n")[0]
    log = np.mean([np.loadtxt(run / "log.csv", delimiter=",", skiprows=1, ndmin=2) for run in runs], axis=0)
    write_whole(out / "log.csv", lambda part: np.savetxt(part, log, "%.6g", ",", header=header, comments=""))
    powers = np.zeros((len(faces), len(faces.labels)))
    for number, model in enumerate(models):
        rows = np.flatnonzero(fold == number + 1)
        ratio = np.exp(logarithms[number] - np.delete(logarithms, number).mean())
        powers[rows] = model.predict_proba(faces.images[rows]).astype(np.float64) ** ratio
    return fold, np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)


def open_fabric(device: torch.device, devices: int, nodes: int) -> tuple[Fabric, int]:
    """Return Lightning Fabric for so many devices of a kind on each of the nodes, or as torchrun says, and the processes."""
    if by_torchrun := "LOCAL_WORLD_SIZE" in os.environ:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    most = torch.cuda.device_count() if device.type == "cuda" else 1 if device.type == "mps" else os.cpu_count() or 1
    if not 1 <= devices <= most or nodes < 1:
        raise MienError(f"--devices must be between 1 and {most}, those of kind {device.type} here, and --nodes at least 1.")
    if device.index is not None and devices > 1:
        raise MienError(f"--device {device} is one device; for {devices} give --device {device.type}.")
    fabric = Fabric(
        accelerator=device.type,
        devices=[device.index or 0] if device.type == "cuda" and devices == 1 else devices,
        num_nodes=nodes,
        strategy="auto" if devices * nodes == 1 else "ddp" if by_torchrun else "ddp_spawn",
        precision="bf16-mixed" if device.type == "cuda" else "32-true",  # bfloat16 is slower on most CPUs
    )
    return fabric, devices * nodes


def _train_network(arguments: tuple[Any, ...], fabric: Fabric) -> None:
    model, teachers, spread, faces, out, threads, quiet, callbacks = arguments
    recipe = model.recipe
    model = model if fabric.world_size == 1 else deepcopy(model)  # processes start with one in shared memory
    if threads is not None:
        torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = True
    warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")  # the first steps are plain
    rows = (faces.split("train"), validation_rows(faces))
    train_faces, validation_faces = (DeviceFaces(each, fabric.device) for each in rows)
    teaching = teachers and teachers.to(fabric.device)
    if teachers and recipe.distillation.views:
        with fabric.rank_zero_first():
            teaching = Views(recipe, train_faces, teachers, out)
    if spread:
        spread_batch_norm(model, train_faces)
    task = ClassificationTask(fabric, model, train_faces, validation_faces, teaching)
    run = RunFolder(out, task, faces)
    watched = "validation" if "validation" in faces.split_names else "seen"
    quiet, resumed, started = quiet or not run.writes, len(run.history), time.perf_counter()
    say(f"resuming after epoch {resumed}", quiet or not resumed)
    with _sigterm_like_ctrl_c(), SummaryWriter(out / "tensorboard") if run.writes else nullcontext() as board:
        if board and not resumed:
            _, shown = task.augment(next(iter(task.start_epoch(0))))
            board.add_images("training faces", shown[:64].nan_to_num().clamp(0, 1))
        while not run.is_complete:
            busy = _train_epoch(run, quiet, callbacks or ())
            row, done = run.history[-1], len(run.history)
            for name, value in row.items() if board else ():
                board.add_scalar(name, value, done)  # type: ignore[union-attr]
            seconds = round((time.perf_counter() - started) / (done - resumed) * (recipe.epochs - done))
            told = {"epochs": recipe.epochs, "left": tqdm.format_interval(seconds).removeprefix("0"), "watched": watched}
            best = " (best)" if run.chosen is row and np.isfinite(row["validation_loss"]) else ""
            head = "  head only" if done <= recipe.head_epochs else ""
            say(PROGRESS["epoch"].format(**row, **told, best=best, busy=busy, head=head), quiet)
    last, kept = run.history[-1], run.best or run.history[-1]
    if not np.isfinite(kept["validation_loss"]):
        raise MienError(MISTAKES["diverged"].format(epoch=last["epoch"], out=out))
    if np.isnan(last["validation_loss"]):
        say(PROGRESS["diverged"].format(last=last, kept=kept), not run.writes)


def _train_epoch(run: RunFolder, quiet: bool, callbacks: Iterable[Any]) -> str:
    """Train one epoch, validate, and write the files of the run; return how busy a GPU was."""
    task, epoch = run.task, len(run.history) + 1
    started = time.perf_counter()
    batches = task.start_epoch(epoch - 1)
    best = f"best accuracy {run.chosen['validation_accuracy']:.1%}" if run.chosen else ""
    with progress("images", task.images, quiet, desc=f"epoch {epoch}/{run.recipe.epochs}", postfix=best) as bar:
        for batch in batches:
            task.step(batch)
            bar.update(batches.batch_size)
    busy = "" if quiet else gpu_busy(task.train_faces.device)
    task.totals.tolist()  # waits for the device
    seconds = time.perf_counter() - started  # of training alone
    row = {"epoch": epoch, **task.validate(), "seconds": seconds, "images_per_second": task.images / seconds}
    for each in callbacks if run.writes else ():  # before the epoch is kept: a resumed run trains it again, and tells it
        call_own(each, row.copy())
    run.add(row)
    return busy


def gpu_busy(device: torch.device) -> str:
    """Return the utilization of a GPU in words; empty for other devices, or if the driver or nvidia-ml-py does not give it."""
    with suppress(Exception):  # NVML's error classes exist only where it is installed, and none should stop the training
        return f"  GPU {torch.cuda.utilization(device)}% busy" if device.type == "cuda" else ""
    return ""


def open_run_folder(out: Path, resume: bool, recipe: Recipe, fingerprint: str) -> None:
    """Create the run folder, or check that the run in it can be resumed with this recipe and fingerprint of training rows."""
    recipe_file, first_line = out / "recipe.yaml", f"{FIRST_LINE}{fingerprint}\n"
    check_run_folder(out, resume)
    if recipe_file.is_file():
        try:
            then = asdict(load_recipe(recipe_file))  # with the defaults of keys that an older mien lacked
        except MienError as problem:
            raise MienError(f"The run cannot be resumed: {problem} Train again into another --out.") from None
        now = yaml.safe_load(recipe.to_yaml())
        changed = [f"its {key} is {then[key]}, not {now[key]}" for key in now if key != "description" and then[key] != now[key]]
        if not recipe_file.read_text(encoding="utf-8").startswith(first_line):
            changed.append("it was trained on other data")
        if changed:
            raise MienError(MISTAKES["other run"].format(out=out, changes="; ".join(changed)))
    out.mkdir(parents=True, exist_ok=True)
    write_whole(recipe_file, lambda path: path.write_text(first_line + recipe.to_yaml(), encoding="utf-8"))
    if not any((out / name).exists() for name in CHECKPOINTS):
        shutil.rmtree(out / "tensorboard", ignore_errors=True)


@contextmanager
def _sigterm_like_ctrl_c() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGTERM too, where signals can be handled: in the main thread."""
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler) if is_main else None
    try:
        yield
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, before)


def choose_device(name: str) -> torch.device:
    """Return an available device by its name; auto is the first available of cuda, mps and cpu."""
    kinds = ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available() + ["cpu"]
    with suppress(RuntimeError):
        if name == "auto" or torch.device(name).type in kinds:
            return torch.device(kinds[0] if name == "auto" else name)
    raise MienError(f"There is no device {name!r} here; use auto or one of {', '.join(kinds)} (GPUs are cuda or mps).")


def describe_hardware(device: torch.device, processes: int = 1) -> str:
    """Describe the hardware that a network is trained on, without the name of the machine."""
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} {device.type} threads"
    return f"{f'{processes} x ' if processes > 1 else ''}{kind}, torch {torch.__version__}"


def arrange(recipe: Recipe, faces: FaceSet, for_folds: bool = False) -> FaceSet:
    """Apply the recipe's labels and splits to the data; reject data that do not fit the recipe or lack training rows."""
    if (faces.size, faces.channels) != (recipe.size, recipe.channels):
        raise MienError(MISTAKES["faces"].format(recipe=recipe, faces=faces))
    try:
        faces = faces.merge(recipe.merge) if recipe.merge else faces
        faces = faces.keep(recipe.keep) if recipe.keep else _name_labels(recipe, faces)
    except MienError as problem:
        raise MienError(MISTAKES["labels"].format(problem=problem)) from None
    if (recipe.votes.head or recipe.votes.mix) and faces.votes is None:
        raise MienError("The recipe needs crowd votes; add those of FER+: --data.votes fer2013new.csv --data.votes_as beside.")
    if "train" not in faces.split_names and "none" in faces.split_names:
        faces = move_split(faces, "none", "train")
    if for_folds:  # of all rows but those of test
        count, faces = len(faces), move_split(faces, "validation", "train").split("train")
        say(f"{count - len(faces):,} test rows are in no fold", quiet=count == len(faces))
    elif not recipe.own_validation:
        faces = move_split(faces, "validation", "test")
    present = [name for name, count in zip(faces.labels, faces.split("train").counts(), strict=True) if count]
    if len(present) < 2:
        raise MienError(MISTAKES["one label"].format(present=", ".join(present) or "none"))
    if empty := [name for name in faces.labels if name not in present]:
        raise MienError(MISTAKES["no rows"].format(empty=", ".join(empty), present=json.dumps(present)))
    if for_folds:
        return faces
    if "validation" not in faces.split_names:
        given, faces = faces.split("train"), faces.carve(recipe.carve, seed=recipe.seed)
        template = load_templates(__file__, text=True).get_template("carved.txt")
        say(template.render(amount=recipe.carve, faces=given, carved=faces.split("validation"), most=MOST_SHOWN))
    counts = zip(faces.labels, faces.split("validation").counts(), strict=True)
    if few := [f"{name} ({count})" for name, count in counts if count < FEWEST_VALIDATION]:
        choice = "" if recipe.select_by == "last" else " and no basis to choose an epoch (--recipe.select_by last)"
        say(PROGRESS["few rows"].format(most=FEWEST_VALIDATION, few=", ".join(few), choice=choice))
    return faces


def _name_labels(recipe: Recipe, faces: FaceSet) -> FaceSet:
    """Call labels as the model of the weights does, leave out those such as Unknown that it lacks, and report new ones."""
    known, decided = None, {new for _, new in label_changes(recipe.merge or {})}
    with suppress(MienError):  # a resumed run needs its initial weights no more; otherwise `starting_network` reports it
        if run := trained_run(recipe.weights):
            known = run.labels
            faces = faces.merge({name: named for name in faces.labels if (named := known.find(name))})
    new = [name for name in faces.labels if name not in decided and not (known.find(name) if known else meaning(name))]
    if known and (left_out := [name for name in new if is_no_expression(name)]):
        count, faces, new = len(faces), faces.merge(dict.fromkeys(left_out)), [name for name in new if name not in left_out]
        rows = f"{count - len(faces):,} rows of {', '.join(left_out)} left out"
        say(f"{rows}; to train on them: --labels '{json.dumps({left_out[0]: left_out[0]})}'")
    if 0 < len(new) < len(faces.labels):
        say(f"labels of their own: {', '.join(new)}; to leave one out: --labels '{json.dumps({new[0]: None})}'")
    return faces


def _finish(model: FaceNetwork, faces: FaceSet, device: torch.device, out: Path, processes: int, given: float | None) -> None:
    """Calibrate on the validation rows and on worse copies of them, unless the temperature is given, then export."""
    recipe, rows = model.recipe, validation_rows(faces)
    start = starting_model(recipe.weights)
    initial = [float(start.metadata.get(f"mien.{TEMPERATURES[head]}", 1)) if start else 1.0 for head in model.heads]
    temperatures, calibrated_on = calibrate(model, DeviceFaces(rows, device), initial) if given is None else ([given], None)
    train_rows, origin = faces.split("train"), faces.origin
    taught = replace(recipe.distillation, teachers=[shared_name(run) for run in recipe.distillation.teachers])
    without_folders = replace(recipe, weights=recipe.weights and shared_name(recipe.weights), distillation=taught)
    data: dict[str, Any] = {"kind": origin.kind, "path": Path(origin.path).name, "train_fingerprint": train_rows.fingerprint()}
    data |= {"train_count": len(train_rows), "validation_count": int((faces.splits == SPLITS.index("validation")).sum())}
    facts: dict[str, Any] = {"format": len(model.heads), "labels": faces.labels.names}  # format 2 is of files with two heads
    facts |= {"size": recipe.size, "channels": recipe.channels, "version": __version__}
    facts |= {
        "recipe": without_folders.to_yaml(),
        "prior": training_priors(recipe, train_rows),
        "parameters": sum(p.numel() for p in model.parameters()),
        "multiply_adds": multiply_adds(model.cpu().network, recipe.channels, recipe.network_size),
        "hardware": describe_hardware(device, processes),
        "data": data,
        "train_rows": as_text(describe_training_rows(train_rows.images)),
        "calibrated_on": calibrated_on,
        "heads": model.heads if len(model.heads) > 1 else None,
        **{TEMPERATURES[head]: value for head, value in zip(model.heads, temperatures, strict=True)},
    }
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items() if value is not None}
    metadata = {f"mien.{key}": text for key, text in texts.items()}
    export(model, temperatures, rows.images[:256], metadata, out / "model.onnx")
