"""What a person sees of a training: a bar on a terminal, a plain line now and then elsewhere."""

import sys
import time
from typing import Any

import lightning.pytorch as pl
import torch
from tqdm import tqdm

from mien.training.run_folder import RunFolder
from mien.training.task import ClassificationTask


class Progress(pl.Callback):
    """Shows rate, how busy a GPU is, time left and validation accuracy, on stderr; with `quiet` nothing."""

    def __init__(self, run: RunFolder, quiet: bool = False) -> None:
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
