"""The run folder during training: best weights, log and last checkpoint, each written atomically; and progress on stderr."""

import io
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

import torch
import yaml
from safetensors.torch import save

from mien.errors import MienError
from mien.files import write_whole
from mien.training.recipe import Recipe, load_recipe
from mien.training.task import ClassificationTask

FIRST_LINE = "# what mien trained here; data: "
"""Start of a run's recipe.yaml, followed by the fingerprint of the training rows."""


def print_epoch(run: "RunFolder", seconds_left: float, busy: str) -> None:
    """Print the line of the last epoch."""
    recipe, row = run.recipe, run.history[-1]
    minutes, seconds = divmod(round(seconds_left), 60)
    duration = f"{minutes // 60}:{minutes % 60:02}:{seconds:02}" if minutes >= 60 else f"{minutes}:{seconds:02}"
    print(
        f"epoch {row['epoch']:>3}/{recipe.epochs}  train loss {row['train_loss']:.4f}  "
        f"validation loss {row['validation_loss']:.4f}  accuracy {row['validation_accuracy']:.1%}"
        f"{' (best)' if run.chosen is row else ''}  {row['images_per_second']:,.0f} images/s{busy}  {duration} left"
        f"{'  head only' if row['epoch'] <= recipe.head_epochs else ''}",
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


def open_run_folder(out: Path, resume: bool, recipe: Recipe, fingerprint: str) -> None:
    """Create the run folder, or check that the run in it can be resumed with this recipe and fingerprint of training rows."""
    recipe_file, first_line = out / "recipe.yaml", f"{FIRST_LINE}{fingerprint}\n"
    if out.exists() and not resume:
        raise MienError(f"{out} exists; choose another --out, or add --resume to resume that run.")
    if recipe_file.is_file():
        # loaded as a recipe: one of an older mien lacks keys, and was trained with their defaults
        then, now = asdict(load_recipe(recipe_file)), yaml.safe_load(recipe.to_yaml())
        changed = [f"its {key} is {then[key]}, not {now[key]}" for key in now if key != "description" and then[key] != now[key]]
        if not recipe_file.read_text(encoding="utf-8").startswith(first_line):
            changed.append("it was trained on other data")
        if changed:
            raise MienError(f"{out} cannot be resumed: {'; '.join(changed)}. Resume it with the same, or choose another --out.")
    elif out.exists() and (not out.is_dir() or any(not path.name.endswith(".part") for path in out.iterdir())):
        raise MienError(f"{out} is not a run folder (it has no recipe.yaml); choose another --out.")
    out.mkdir(parents=True, exist_ok=True)
    write_whole(recipe_file, lambda path: path.write_text(first_line + recipe.to_yaml(), encoding="utf-8"))
    for leftover in out.glob(".*.part"):
        leftover.unlink()
    if not (out / "last.ckpt").is_file():
        shutil.rmtree(out / "tensorboard", ignore_errors=True)


class RunFolder:
    """The epochs of a run and their files; a run that has a checkpoint is resumed from it.

    `history` has a dict for each epoch, with the columns of log.csv; `best` is the one whose weights are kept.
    """

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
        """Write `weights.safetensors` if the epoch is the best, `log.csv` and `last.ckpt`.

        In this order: if killed between two of them, a resumed run repeats the epoch and writes the same files again.
        """
        self.history.append(row)
        if self.best is None or self._score(row) > self._score(self.best):
            self.best = row
            weights = {name: value.contiguous() for name, value in self.task.best_model.state_dict().items()}
            write_whole(self.folder / "weights.safetensors", lambda path: path.write_bytes(save(weights)))
        lines = [",".join(row), *(",".join(str(round(value, 6)) for value in each.values()) for each in self.history)]
        log = "\n".join([*lines, ""])
        write_whole(self.folder / "log.csv", lambda path: path.write_text(log, encoding="utf-8"))
        checkpoint = io.BytesIO()  # torch.save itself does not say that a disk is full
        torch.save({"history": self.history, "best": self.best, "task": self.task.state_dict()}, checkpoint)
        write_whole(self.folder / "last.ckpt", lambda path: path.write_bytes(checkpoint.getbuffer()))

    def _score(self, row: dict[str, float]) -> float:
        scores = {"accuracy": row["validation_accuracy"], "loss": -row["validation_loss"], "last": row["epoch"]}
        return scores[self.recipe.select_by]
