"""The run folder while training goes on: best weights, the log and the last checkpoint, each of them whole at any moment."""

import csv
import io
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from safetensors.torch import save_file

from mien.files import write_whole
from mien.training.task import ClassificationTask

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
        batches = pl_module.train_dataloader()
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
            write_whole(self.folder / "weights.safetensors", lambda path: save_file(weights, path))
        if self.patience is not None and row["epoch"] - self.best["epoch"] >= self.patience:
            trainer.should_stop = True
        write_whole(self.folder / "log.csv", lambda path: path.write_text(as_csv(self.history), encoding="utf-8"))
        write_whole(self.folder / "last.ckpt", trainer.save_checkpoint)

    def _score(self, row: dict[str, float]) -> float:
        return row["validation_accuracy"] if self.select_by == "accuracy" else -row["validation_loss"]


def as_csv(history: list[dict[str, float]]) -> str:
    """Write a history as the text of log.csv."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: round(value, 6) for name, value in row.items()} for row in history)
    return text.getvalue()
