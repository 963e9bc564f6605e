"""Training from labelled faces to a run folder with a model file: a plain loop, its files, and its progress on stderr."""

import io
import json
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors.torch import load_file, save
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from mien import __version__
from mien.data.faceset import FaceSet, move_split
from mien.data.signatures import as_text, describe_training_rows
from mien.errors import MienError, say
from mien.files import write_whole
from mien.labels import is_no_expression, label_changes, meaning
from mien.training.batches import DeviceFaces, in_order
from mien.training.distillation import Views, load_teachers
from mien.training.export import export, fit_temperature, training_priors
from mien.training.face_network import FaceNetwork, spread_batch_norm
from mien.training.networks import multiply_adds
from mien.training.recipe import FIRST_LINE, Recipe, check_run_folder, load_recipe, shared_name
from mien.training.task import ClassificationTask
from mien.training.transfer import is_model, starting_network, trained_run


def train(
    recipe: Recipe,
    faces: FaceSet,
    out: Path,
    resume: bool = False,
    device: str = "auto",
    threads: int | None = None,
    quiet: bool = False,
) -> Path:
    """Train on faces prepared by `arrange`, write the run folder and return its model file; parameters as `mien.train`."""
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
        say(f"{out} is already finished", quiet)
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
    say(f"calibrating and writing {out / 'model.onnx'}", quiet)
    model.load_state_dict(load_file(out / "weights.safetensors"))
    return _finish(model, recipe, faces, validation_faces, out)


def _fit(run: "RunFolder", quiet: bool) -> None:
    """Train epoch after epoch until the run is complete."""
    task, epochs, resumed = run.task, run.recipe.epochs, len(run.history)
    started = time.perf_counter()
    if resumed:
        say(f"resuming after epoch {resumed}", quiet)
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


def print_epoch(run: "RunFolder", seconds_left: float, busy: str) -> None:
    """Print the line of the last epoch."""
    recipe, row = run.recipe, run.history[-1]
    minutes, seconds = divmod(round(seconds_left), 60)
    duration = f"{minutes // 60}:{minutes % 60:02}:{seconds:02}" if minutes >= 60 else f"{minutes}:{seconds:02}"
    say(
        f"epoch {row['epoch']:>3}/{recipe.epochs}  train loss {row['train_loss']:.4f}  "
        f"validation loss {row['validation_loss']:.4f}  accuracy {row['validation_accuracy']:.1%}"
        f"{' (best)' if run.chosen is row else ''}  {row['images_per_second']:,.0f} images/s{busy}  {duration} left"
        f"{'  head only' if row['epoch'] <= recipe.head_epochs else ''}"
    )


def gpu_busy(device: torch.device) -> str:
    """Return the utilization of a GPU in words; empty for other devices, or if the driver or nvidia-ml-py does not give it."""
    if device.type != "cuda":
        return ""
    try:
        return f"  GPU {torch.cuda.utilization(device)}% busy"
    except Exception:  # NVML's error classes exist only where it is installed, and no error should stop the training
        return ""


def open_run_folder(out: Path, resume: bool, recipe: Recipe, fingerprint: str) -> None:
    """Create the run folder, or check that the run in it can be resumed with this recipe and fingerprint of training rows."""
    recipe_file, first_line = out / "recipe.yaml", f"{FIRST_LINE}{fingerprint}\n"
    check_run_folder(out, resume)
    if recipe_file.is_file():
        # loaded as a recipe: one of an older mien lacks keys, and was trained with their defaults
        then, now = asdict(load_recipe(recipe_file)), yaml.safe_load(recipe.to_yaml())
        changed = [f"its {key} is {then[key]}, not {now[key]}" for key in now if key != "description" and then[key] != now[key]]
        if not recipe_file.read_text(encoding="utf-8").startswith(first_line):
            changed.append("it was trained on other data")
        if changed:
            raise MienError(f"{out} cannot be resumed: {'; '.join(changed)}. Resume it with the same, or choose another --out.")
    out.mkdir(parents=True, exist_ok=True)
    write_whole(recipe_file, lambda path: path.write_text(first_line + recipe.to_yaml(), encoding="utf-8"))
    if not (out / "last.ckpt").is_file():
        shutil.rmtree(out / "tensorboard", ignore_errors=True)


class RunFolder:
    """The epochs of a run, as in log.csv, the `best` one, whose weights are kept, and their files; resumed if possible."""

    def __init__(self, folder: Path, recipe: Recipe, task: ClassificationTask) -> None:
        self.folder, self.recipe, self.task = folder, recipe, task
        self.history: list[dict[str, float]] = []
        self.best: dict[str, float] | None = None
        if (folder / "last.ckpt").is_file():
            state = torch.load(folder / "last.ckpt", map_location="cpu", weights_only=True)
            if "history" not in state:
                raise MienError(f"The checkpoint in {folder} is of an older mien; train again into another --out.")
            self.history, self.best = state["history"], state["best"]
            task.load_state_dict(state["task"])

    @property
    def chosen(self) -> dict[str, float] | None:
        """The best epoch by validation; None if the last epoch is always kept."""
        return None if self.recipe.select_by == "last" else self.best

    @property
    def is_complete(self) -> bool:
        """Whether all epochs are done, or enough of them brought no improvement."""
        done, patience = len(self.history), self.recipe.early_stopping
        return done == self.recipe.epochs or (
            patience is not None and self.best is not None and done - self.best["epoch"] >= patience
        )

    def add(self, row: dict[str, float]) -> None:
        """Write `weights.safetensors` if the epoch is the best, `log.csv` and `last.ckpt`."""
        self.history.append(row)
        # in this order: if killed between two files, a resumed run repeats the epoch and writes the same files again
        if self.best is None or self._score(row) > self._score(self.best):
            self.best = row
            weights = {name: value.contiguous() for name, value in self.task.best_model.state_dict().items()}
            write_whole(self.folder / "weights.safetensors", lambda path: path.write_bytes(save(weights)))
        lines = [",".join(row), *(",".join(str(round(value, 6)) for value in each.values()) for each in self.history)]
        write_whole(self.folder / "log.csv", lambda path: path.write_text("\n".join([*lines, ""]), encoding="utf-8"))
        checkpoint = io.BytesIO()  # torch.save itself does not say that a disk is full
        torch.save({"history": self.history, "best": self.best, "task": self.task.state_dict()}, checkpoint)
        write_whole(self.folder / "last.ckpt", lambda path: path.write_bytes(checkpoint.getbuffer()))

    def _score(self, row: dict[str, float]) -> float:
        scores = {"accuracy": row["validation_accuracy"], "loss": -row["validation_loss"], "last": row["epoch"]}
        return scores[self.recipe.select_by]


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
    with suppress(RuntimeError):
        if available.get(torch.device(name).type):
            return torch.device(name)
    names = ", ".join(kind for kind, is_there in available.items() if is_there)
    raise MienError(f"There is no device {name!r} here; use auto or one of {names} (GPUs are cuda or mps).")


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
        faces = faces.keep(recipe.keep) if recipe.keep else _name_labels(recipe, faces)
    except MienError as problem:
        raise MienError(
            f"The recipe does not fit the data: {problem} Choose labels with --labels, --recipe.keep and --recipe.merge."
        ) from None
    if (recipe.votes.head or recipe.votes.mix) and faces.votes is None:
        raise MienError("The recipe needs crowd votes; add those of FER+: --data.votes fer2013new.csv --data.votes_as beside.")
    if "train" not in faces.split_names and "none" in faces.split_names:
        faces = move_split(faces, "none", "train")
    if not recipe.own_validation:
        faces = move_split(faces, "validation", "test")
    empty = [name for name, count in zip(faces.labels, faces.split("train").counts(), strict=True) if count == 0]
    present = [name for name in faces.labels if name not in empty]
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
        say(f"carved {amount} of each label's training rows for validation, {count} rows")
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
        count, faces = len(faces), faces.merge(dict.fromkeys(left_out))
        new = [name for name in new if name not in left_out]
        rows = f"{count - len(faces):,} rows of {', '.join(left_out)} left out"
        say(f"{rows}; to train on them: --labels '{json.dumps({left_out[0]: left_out[0]})}'")
    if 0 < len(new) < len(faces.labels):
        flag = f"--labels '{json.dumps({new[0]: None})}'"
        say(f"labels of their own: {', '.join(new)}; to leave one out: {flag}")
    return faces


def _finish(model: FaceNetwork, recipe: Recipe, faces: FaceSet, validation: DeviceFaces, out: Path) -> Path:
    """Calibrate on the validation rows, then export."""
    model.eval()
    with torch.inference_mode():
        logits = torch.cat([model(batch.faces) for batch in in_order(validation)]).cpu()
    truth = {"label": validation.targets.cpu(), "crowd": validation.votes.cpu()}
    temperatures = [fit_temperature(logits[:, number], truth[head]) for number, head in enumerate(model.heads)]
    train_rows = faces.split("train")
    taught = replace(recipe.distillation, teachers=[shared_name(run) for run in recipe.distillation.teachers])
    without_folders = replace(recipe, weights=recipe.weights and shared_name(recipe.weights), distillation=taught)
    trained_on = {
        "kind": faces.origin.kind,
        "path": Path(faces.origin.path).name,
        "train_fingerprint": train_rows.fingerprint(),
        "train_count": len(train_rows),
        "validation_count": len(validation),
    }
    metadata = {
        "mien.format": "1" if len(model.heads) == 1 else "2",
        "mien.labels": json.dumps(faces.labels.names),
        "mien.size": str(recipe.size),
        "mien.channels": str(recipe.channels),
        "mien.version": __version__,
        "mien.recipe": without_folders.to_yaml(),
        "mien.prior": json.dumps(training_priors(recipe, train_rows)),
        "mien.temperature": repr(temperatures[0]),
        "mien.parameters": str(sum(p.numel() for p in model.parameters())),
        "mien.multiply_adds": str(multiply_adds(model.cpu().network, recipe.channels, recipe.network_size)),
        "mien.hardware": describe_hardware(validation.device),
        "mien.data": json.dumps(trained_on),
        "mien.train_rows": as_text(describe_training_rows(train_rows.images)),
    }
    if len(model.heads) > 1:
        metadata |= {"mien.heads": json.dumps(model.heads), "mien.crowd_temperature": repr(temperatures[1])}
    export(model, temperatures, faces.split("validation").images[:256], metadata, out / "model.onnx")
    return out / "model.onnx"
