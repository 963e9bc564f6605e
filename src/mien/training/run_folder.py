"""The run folder during training: best weights, log and last checkpoint, each written atomically; and progress on stderr."""

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

FIRST_LINE = "# what mien trained here; data: "
"""Start of a run's recipe.yaml, followed by the fingerprint of the training rows."""


class Progress(pl.Callback):
    """Shows a progress bar on a terminal and a line per epoch on stderr; nothing if `quiet`."""

    def __init__(self, run: "RunFolder", quiet: bool = False) -> None:
        self.run, self.quiet = run, quiet
        self.terminal = sys.stderr.isatty()
        self.bar: tqdm | None = None
        self.busy = ""

    def on_train_start(self, trainer: pl.Trainer, _: pl.LightningModule) -> None:
        """Start the clock for the remaining time."""
        self._started, self._first_epoch = time.perf_counter(), trainer.current_epoch
        if self._first_epoch and not self.quiet:
            print(f"resuming after epoch {self._first_epoch}", file=sys.stderr)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the progress bar of the epoch."""
        assert isinstance(pl_module, ClassificationTask)
        if self.terminal and not self.quiet:
            batches = pl_module.batches
            title = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
            total = len(batches) * batches.batch_size
            self.bar = tqdm(total=total, desc=title, unit=" images", leave=False, dynamic_ncols=True)
            if self.run.chosen is not None:
                self.bar.set_postfix_str(f"best accuracy {self.run.chosen['validation_accuracy']:.1%}")

    def on_train_batch_end(self, *arguments: Any) -> None:
        """Advance the progress bar."""
        if self.bar is not None:
            _, _, _, batch, _ = arguments
            self.bar.update(len(batch.targets))

    def on_validation_start(self, _: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Read the GPU utilization of the last training batches."""
        self.busy = "" if self.quiet else gpu_busy(pl_module.device)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the progress bar and print the line of the epoch."""
        assert isinstance(pl_module, ClassificationTask)
        if self.bar is not None:
            self.bar.close()
        if self.quiet:
            return
        row, done = self.run.history[-1], trainer.current_epoch + 1
        left = (time.perf_counter() - self._started) / (done - self._first_epoch) * ((trainer.max_epochs or done) - done)
        minutes, seconds = divmod(round(left), 60)
        duration = f"{minutes // 60}:{minutes % 60:02}:{seconds:02}" if minutes >= 60 else f"{minutes}:{seconds:02}"
        best = " (best)" if self.run.chosen is row else ""
        head = "  head only" if done <= pl_module.recipe.head_epochs else ""
        print(
            f"epoch {done:>3}/{trainer.max_epochs}  train loss {row['train_loss']:.4f}  "
            f"validation loss {row['validation_loss']:.4f}  accuracy {row['validation_accuracy']:.1%}{best}  "
            f"{row['images_per_second']:,.0f} images/s{self.busy}  {duration} left{head}",
            file=sys.stderr,
            flush=True,
        )


def gpu_busy(device: torch.device) -> str:
    """Return the utilization of a GPU in words; empty for other devices, or if the driver or nvidia-ml-py does not give it."""
    if device.type != "cuda":
        return ""
    try:
        return f"  GPU {torch.cuda.utilization(device)}% busy"
    except Exception:  # NVML's error classes exist only where it is installed, and no error should stop the training
        return ""


def open_run_folder(out: Path, resume: bool, identity: dict[str, str]) -> Path | None:
    """Create the run folder, or check that the run in it can be resumed; return its last checkpoint, if any.

    `identity` contains "recipe", the recipe's YAML, and "fingerprint", that of the training rows.
    """
    recipe_file = out / "recipe.yaml"
    if out.exists() and not resume:
        raise MienError(f"{out} exists; choose another --out, or add --resume to resume that run.")
    if out.exists() and not recipe_file.is_file():
        if not out.is_dir() or any(not path.name.endswith(".part") for path in out.iterdir()):
            raise MienError(f"{out} is not a run folder (it has no recipe.yaml); choose another --out.")
    elif out.exists() and (differences := _differences(recipe_file, identity)):
        raise MienError(f"{out} cannot be resumed: {differences}. Resume it with the same, or choose another --out.")
    out.mkdir(parents=True, exist_ok=True)
    content = f"{FIRST_LINE}{identity['fingerprint']}\n{identity['recipe']}"
    write_whole(recipe_file, lambda path: path.write_text(content, encoding="utf-8"))
    for leftover in out.glob(".*.part"):
        leftover.unlink()
    last = out / "last.ckpt"
    if last.is_file():
        return last
    shutil.rmtree(out / "tensorboard", ignore_errors=True)
    return None


def _differences(recipe_file: Path, identity: dict[str, str]) -> str:
    """Describe how the run in a folder differs from the requested one, apart from the description."""
    # loaded as a recipe: one of an older mien lacks keys, and was trained with their defaults
    then, now = asdict(load_recipe(recipe_file)), yaml.safe_load(identity["recipe"])
    changed = [f"its {key} is {then[key]}, not {now[key]}" for key in now if key != "description" and then[key] != now[key]]
    if not recipe_file.read_text(encoding="utf-8").startswith(f"{FIRST_LINE}{identity['fingerprint']}\n"):
        changed.append("it was trained on other data")
    return "; ".join(changed)


class RunFolder(pl.Callback):
    """Writes `weights.safetensors`, `log.csv` and `last.ckpt` after every epoch.

    In this order: if killed between two of them, a resumed run repeats the epoch and writes the same files again. `history`
    has a dict for each epoch, with the columns of log.csv; `best` is the one whose weights are kept.
    """

    def __init__(self, folder: Path, select_by: str, patience: int | None) -> None:
        self.folder, self.select_by, self.patience = folder, select_by, patience
        self.history: list[dict[str, float]] = []
        self.best: dict[str, float] | None = None
        self._started = 0.0

    @property
    def chosen(self) -> dict[str, float] | None:
        """The best epoch by validation; None if the last epoch is always kept."""
        return None if self.select_by == "last" else self.best

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {"history": self.history, "best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        self.history, self.best = state_dict["history"], state_dict["best"]

    def on_train_epoch_start(self, *_: object) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_validation_start(self, *_: object) -> None:
        """Stop the clock: images per second are those of training alone."""
        self._seconds = time.perf_counter() - self._started

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the files of the epoch."""
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
        write_whole(self.folder / "log.csv", lambda path: path.write_text(self._log(), encoding="utf-8"))
        write_whole(self.folder / "last.ckpt", trainer.save_checkpoint)

    def _score(self, row: dict[str, float]) -> float:
        match self.select_by:
            case "accuracy":
                return row["validation_accuracy"]
            case "loss":
                return -row["validation_loss"]
            case _:
                return row["epoch"]

    def _log(self) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self.history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: round(value, 6) for name, value in row.items()} for row in self.history)
        return text.getvalue()
