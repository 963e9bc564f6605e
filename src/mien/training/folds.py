"""Cross-validation: a model for every fold of the rows, which is measured on them, and one of all rows, which is used."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from mien.data.faceset import SPLITS, FaceSet
from mien.errors import MienError, say
from mien.files import write_whole
from mien.inference.classifier import Classifier
from mien.training.loop import open_run_folder, train
from mien.training.recipe import Recipe


def divide(recipe: Recipe, faces: FaceSet, count: int, devices: int = 1) -> np.ndarray:
    """Number the fold of every row, 1 to `count`, and say which labels a fold lacks.

    MienError for recipes that need the rows of a fold while training without it, and for several devices.
    """
    refused = {
        "several devices or processes; leave --devices, --nodes and torchrun out": devices > 1 or "WORLD_SIZE" in os.environ,
        "recipes that stop early; add --recipe.early_stopping null --recipe.epochs N": recipe.early_stopping,
        "the schedule plateau, which needs validation rows; choose another": recipe.schedule.name == "plateau",
        "distillation.teachers, which may have seen the faces that are held out": recipe.distillation.teachers,
        "networks with two heads; add --recipe.votes.head 0": recipe.votes.head,
    }
    for why in (why for why, holds in refused.items() if holds):
        raise MienError(f"--folds cannot be used with {why}.")
    fold = faces.folds(count, recipe.seed)
    for label, name in enumerate(faces.labels):
        if without := set(range(1, count + 1)).difference(fold[faces.classes == label].tolist()):
            say(f"no rows of {name} in {len(without)} of {count} folds")
    return fold


def train_folds(
    recipe: Recipe, faces: FaceSet, out: Path, fold: np.ndarray, resume: bool, device: str, threads: int | None, quiet: bool
) -> np.ndarray:
    """Train in out/fold-1, ... without each fold, then in `out` on all rows; return what models that did not see them predict.

    All train for the recipe's epochs, so that no row chooses one. Each row's temperature is the mean one of the other folds.
    """
    recipe, runs = replace(recipe, select_by="last"), [out / f"fold-{number}" for number in range(1, fold.max() + 1)]
    open_run_folder(out, resume, recipe, faces.fingerprint())
    for number, run in enumerate(runs, start=1):
        held = np.where(fold == number, SPLITS.index("validation"), SPLITS.index("train")).astype(np.uint8)
        say(f"fold {number} of {len(runs)}: {(fold == number).sum():,} of {len(fold):,} faces held out", quiet)
        train(recipe, replace(faces, splits=held), run, resume, device, threads, quiet)
    models = [Classifier(run) for run in runs]
    logarithms = np.log([float(model.metadata["mien.temperature"]) for model in models])
    say(f"the model of all {len(faces):,} faces", quiet)
    train(recipe, faces, out, True, device, threads, quiet, temperature=float(np.exp(logarithms.mean())))
    header = (runs[0] / "log.csv").read_text(encoding="utf-8").partition("\n")[0]
    log = np.mean([np.loadtxt(run / "log.csv", delimiter=",", skiprows=1, ndmin=2) for run in runs], axis=0)
    write_whole(out / "log.csv", lambda part: np.savetxt(part, log, "%.6g", ",", header=header, comments=""))
    powers = np.zeros((len(faces), len(faces.labels)))
    for number, model in enumerate(models):
        rows = np.flatnonzero(fold == number + 1)
        ratio = np.exp(logarithms[number] - np.delete(logarithms, number).mean())
        powers[rows] = model.predict_proba(faces.images[rows]).astype(np.float64) ** ratio
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)
