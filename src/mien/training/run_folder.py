"""The files of a run and their epochs, from which it is resumed exactly or not at all."""

import hashlib
import io
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from safetensors.torch import save

from mien import __version__
from mien.data.faceset import FaceSet
from mien.errors import MienError, say
from mien.files import write_whole
from mien.training.recipe import MISTAKES, Recipe
from mien.training.task import ClassificationTask
from mien.training.transfer import TAUGHT

CHECKPOINTS = ("last.ckpt", "previous.ckpt")  # of the last epoch and the one before


def describe_conditions(recipe: Recipe, faces: FaceSet, out: Path, fabric: Fabric) -> dict[str, dict[str, str]]:
    """Describe what decides a run: what must be the same to resume it, and what only changes last digits."""
    settings = replace(recipe, description="").to_yaml() + faces.split("train").fingerprint()
    same = {
        "the recipe or the training rows": hashlib.sha256(settings.encode()).hexdigest(),
        "the version of mien": __version__,
        "the validation rows": validation_rows(faces).fingerprint(),
    }
    files = {f"the teacher {run}": Path(run, "weights.safetensors") for run in recipe.distillation.teachers}
    files[f"{TAUGHT} in that folder (delete it, and it is made again)"] = out / TAUGHT
    same |= {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items() if file.is_file()}
    close = {"device": fabric.device.type, "torch": str(torch.__version__), "threads": str(torch.get_num_threads())}
    return {"same": same, "close": {**close, "processes": str(fabric.world_size)}}


def validation_rows(faces: FaceSet) -> FaceSet:
    """Take the validation rows; a model of all rows has none, and is watched, but not chosen, on some of its training rows."""
    return faces.split("validation") if "validation" in faces.split_names else faces.take(np.arange(min(len(faces), 256)))


class RunFolder:
    """The epochs of a run, as in log.csv, the `best` one, and their files, which resuming repairs from a checkpoint."""

    def __init__(self, folder: Path, task: ClassificationTask, conditions: dict[str, dict[str, str]]) -> None:
        self.folder, self.recipe, self.task, self.conditions = folder, task.recipe, task, conditions
        self.writes = task.fabric.is_global_zero
        self.history: list[dict[str, float]] = []
        self.best: dict[str, float] | None = None
        self.weights: dict[str, torch.Tensor] = {}
        state = task.fabric.broadcast(self._resumable() if self.writes else None)
        if state is not None:
            self.history, self.best, self.weights = state["history"], state["best"], state["weights"]
            task.load_state_dict(state["task"])
            self._write_results()

    def _resumable(self) -> dict[str, Any] | None:
        """Read the newest whole checkpoint, if any, and check that it was made under the same conditions."""
        damaged = []
        for path in (self.folder / name for name in CHECKPOINTS if (self.folder / name).exists()):
            if (state := _read_checkpoint(path)) is None:
                damaged.append(path)
                continue
            if (then := state.get("conditions")) is None:
                raise MienError(f"{path} is of another program or an older mien; train again into another --out.")
            if changed := [name for name, value in self.conditions["same"].items() if then["same"].get(name) != value]:
                raise MienError(MISTAKES["changed"].format(out=self.folder, changes=", ".join(changed)))
            for name, value in self.conditions["close"].items():
                if (before := then["close"][name]) != value:
                    say(f"resuming with {name} {value}, not {before}: the result can differ in the last digits")
            for each in damaged:
                say(f"{each} is damaged; going on from the epoch before it, in {path.name}")
                each.unlink()
            return state
        if damaged:
            raise MienError(MISTAKES["lost"].format(damaged=" and ".join(map(str, damaged))))
        return None

    @property
    def chosen(self) -> dict[str, float] | None:
        """The best epoch by validation; None if the last epoch is always kept."""
        return None if self.recipe.select_by == "last" else self.best

    @property
    def is_complete(self) -> bool:
        """Whether all epochs are done, or enough of them brought no improvement."""
        done, patience = len(self.history), self.recipe.early_stopping or float("inf")
        return done == self.recipe.epochs or (self.best is not None and done - self.best["epoch"] >= patience)

    def add(self, row: dict[str, float]) -> None:
        """Write `weights.safetensors` if the epoch is the best, `log.csv` and the checkpoint."""
        row = self.task.fabric.broadcast(row)  # so that all processes decide the same
        self.history.append(row)
        if self.best is None or self._score(row) > self._score(self.best):
            self.best = row
            state = self.task.best_model.state_dict()
            self.weights = {name: value.to("cpu", copy=True).contiguous() for name, value in state.items()}
        if not self.writes:
            return
        self._write_results()
        state = {"history": self.history, "best": self.best, "weights": self.weights, "task": self.task.state_dict()}
        checkpoint = io.BytesIO()  # torch.save itself does not say that a disk is full
        torch.save({**state, "conditions": self.conditions}, checkpoint)
        last, previous = (self.folder / name for name in CHECKPOINTS)
        if last.exists():
            last.replace(previous)
        write_whole(last, lambda path: path.write_bytes(checkpoint.getbuffer()))

    def _write_results(self) -> None:
        rows = [",".join(str(round(value, 6)) for value in each.values()) for each in self.history]
        lines = "\n".join([",".join(self.history[0]), *rows, ""])
        write_whole(self.folder / "weights.safetensors", lambda path: path.write_bytes(save(self.weights)))
        write_whole(self.folder / "log.csv", lambda path: path.write_text(lines, encoding="utf-8"))

    def _score(self, row: dict[str, float]) -> float:
        scores = {"accuracy": row["validation_accuracy"], "loss": -row["validation_loss"], "last": row["epoch"]}
        return scores[self.recipe.select_by]


def _read_checkpoint(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint; None if it is damaged: torch.load does not check the checksums of the zip that it is."""
    try:
        with zipfile.ZipFile(path) as zipped:
            state = torch.load(path, map_location="cpu", weights_only=True) if zipped.testzip() is None else None
    except Exception:  # whatever torch's reader raises about broken bytes
        return None
    return state if isinstance(state, dict) else None
