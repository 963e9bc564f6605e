"""The run folder while training goes on: best weights, the log and the last checkpoint, each of them whole at any moment."""

import csv
import io
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import yaml
from safetensors.torch import save
from tqdm import tqdm

from mien.errors import MienError
from mien.files import write_whole
from mien.training.recipe import load_recipe
from mien.training.task import ClassificationTask

# What a person sees of a training: a bar on a terminal, a plain line now and then elsewhere.


class Progress(pl.Callback):
    """Shows rate, how busy a GPU is, time left and validation accuracy, on stderr; with `quiet` nothing."""

    def __init__(self, run: "RunFolder", quiet: bool = False) -> None:
        self.run, self.quiet = run, quiet
        self.terminal = sys.stderr.isatty()
        self.bar: tqdm | None = None
        self.busy = ""

    def on_train_start(self, trainer: pl.Trainer, _: pl.LightningModule) -> None:
        """Take the time that the rest is reckoned from; a resumed run says where it goes on."""
        self._started, self._first_epoch = time.perf_counter(), trainer.current_epoch
        if self._first_epoch and not self.quiet:
            print(f"going on after epoch {self._first_epoch}", file=sys.stderr)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open a bar for the epoch."""
        assert isinstance(pl_module, ClassificationTask)
        if self.terminal and not self.quiet:
            batches = pl_module.batches
            title = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
            total = len(batches) * batches.batch_size
            self.bar = tqdm(total=total, desc=title, unit=" images", leave=False, dynamic_ncols=True)
            if self.run.chosen is not None:
                self.bar.set_postfix_str(f"best accuracy {self.run.chosen['validation_accuracy']:.1%}")

    def on_train_batch_end(self, *arguments: Any) -> None:
        """Move the bar."""
        if self.bar is not None:
            _, _, _, batch, _ = arguments
            self.bar.update(len(batch.targets))

    def on_validation_start(self, _: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """See how busy the epoch's last batches kept the GPU."""
        self.busy = "" if self.quiet else gpu_busy(pl_module.device)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar and leave a line."""
        assert isinstance(pl_module, ClassificationTask)
        if self.bar is not None:
            self.bar.close()
        if self.quiet:
            return
        row, done = self.run.history[-1], trainer.current_epoch + 1
        left = (time.perf_counter() - self._started) / (done - self._first_epoch) * ((trainer.max_epochs or done) - done)
        best = " (best)" if self.run.chosen is row else ""
        head = "  head only" if done <= pl_module.recipe.head_epochs else ""
        print(
            f"epoch {done:>3}/{trainer.max_epochs}  train loss {row['train_loss']:.4f}  "
            f"validation loss {row['validation_loss']:.4f}  accuracy {row['validation_accuracy']:.1%}{best}  "
            f"{row['images_per_second']:,.0f} images/s{self.busy}  {_duration(left)} left{head}",
            file=sys.stderr,
            flush=True,
        )


def gpu_busy(device: torch.device) -> str:
    """Say during how much of the last moment a GPU was at work, as its driver tells; nothing of another device.

    Nothing too where nvidia-ml-py is not installed, or the driver does not tell.
    """
    if device.type != "cuda":
        return ""
    try:
        return f"  GPU {torch.cuda.utilization(device)}% busy"
    except Exception:  # NVML's own errors are known only where it is installed, and none is worth a training
        return ""


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


COLUMNS = (
    "epoch",
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
    "learning_rate",
    "seconds",
    "images_per_second",
)


FIRST_LINE = "# what mien trained here; data: "
"""Of a run's recipe.yaml, before the fingerprint of the training rows."""


def open_run_folder(out: Path, resume: bool, identity: dict[str, str]) -> Path | None:
    """Make the run folder, or find the checkpoint to go on from.

    Args:
        out: the folder.
        resume: whether to go on with a run that is there.
        identity: "recipe", the recipe's YAML, and "fingerprint", that of the training rows.

    Returns:
        The last checkpoint, or None where there is none yet.

    Raises:
        MienError: if the folder is there and must not be, or is that of another run.
    """
    told = out / "recipe.yaml"
    content = f"{FIRST_LINE}{identity['fingerprint']}\n{identity['recipe']}"
    if out.exists() and not resume:
        raise MienError(f"{out} exists; choose another --out, or add --resume to go on with that run.")
    if out.exists() and not told.is_file():
        if not out.is_dir() or any(not path.name.endswith(".part") for path in out.iterdir()):
            raise MienError(f"{out} is not a run folder (it has no recipe.yaml); choose another --out.")
    elif out.exists() and (changes := _difference(told, identity)):
        raise MienError(f"{out} cannot be resumed: {changes}. Resume it with the same, or choose another --out.")
    out.mkdir(parents=True, exist_ok=True)
    write_whole(told, lambda path: path.write_text(content, encoding="utf-8"))
    for leftover in out.glob(".*.part"):
        leftover.unlink()
    last = out / "last.ckpt"
    if last.is_file():
        return last
    shutil.rmtree(out / "tensorboard", ignore_errors=True)
    return None


def _difference(told: Path, identity: dict[str, str]) -> str:
    """Say how the run in a folder differs from what is asked for now; nothing where only words about it do."""
    text = told.read_text(encoding="utf-8")
    # read as a recipe, for one of an older mien lacks keys, and was trained with their defaults
    then, now = asdict(load_recipe(told)), yaml.safe_load(identity["recipe"])
    changed = [f"its {key} is {then[key]}, not {now[key]}" for key in now if key != "description" and then[key] != now[key]]
    if not text.startswith(f"{FIRST_LINE}{identity['fingerprint']}\n"):
        changed.append("it was trained on other data")
    return "; ".join(changed)


class RunFolder(pl.Callback):
    """Writes `weights.safetensors`, `log.csv` and `last.ckpt` after every epoch.

    They are written in this order: killed between two of them, a resumed run repeats the epoch and writes the same again.

    Attributes:
        history: a dict per finished epoch, keyed by `COLUMNS`.
        best: the row of `history` whose weights are kept, or None before the first epoch.
    """

    def __init__(self, folder: Path, select_by: str, patience: int | None) -> None:
        self.folder, self.select_by, self.patience = folder, select_by, patience
        self.history: list[dict[str, float]] = []
        self.best: dict[str, float] | None = None
        self._started = 0.0

    @property
    def chosen(self) -> dict[str, float] | None:
        """The best row so far by what validation says of it; None where the last is kept, whatever it brings."""
        return None if self.select_by == "last" else self.best

    def state_dict(self) -> dict[str, Any]:
        """Give what a resumed run continues from."""
        return {"history": self.history, "best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what a checkpoint holds."""
        self.history, self.best = state_dict["history"], state_dict["best"]

    def on_train_epoch_start(self, *_: object) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_validation_start(self, *_: object) -> None:
        """Stop the clock: images a second are those of training alone."""
        self._seconds = time.perf_counter() - self._started

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write what the epoch brought."""
        assert isinstance(pl_module, ClassificationTask)
        batches = pl_module.batches
        row = {
            "epoch": trainer.current_epoch + 1,
            **pl_module.figures,
            "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
            "seconds": self._seconds,
            "images_per_second": len(batches) * batches.batch_size / self._seconds,
        }
        self.history.append(row)
        if self.best is None or self._score(row) > self._score(self.best):
            self.best = row
            weights = {name: value.contiguous() for name, value in pl_module.best_model.state_dict().items()}
            write_whole(self.folder / "weights.safetensors", lambda path: path.write_bytes(save(weights)))
        if self.patience is not None and row["epoch"] - self.best["epoch"] >= self.patience:
            trainer.should_stop = True
        write_whole(self.folder / "log.csv", lambda path: path.write_text(as_csv(self.history), encoding="utf-8"))
        write_whole(self.folder / "last.ckpt", trainer.save_checkpoint)

    def _score(self, row: dict[str, float]) -> float:
        match self.select_by:
            case "accuracy":
                return row["validation_accuracy"]
            case "loss":
                return -row["validation_loss"]
            case _:
                return row["epoch"]


def as_csv(history: list[dict[str, float]]) -> str:
    """Write a history as the text of log.csv."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: round(value, 6) for name, value in row.items()} for row in history)
    return text.getvalue()
