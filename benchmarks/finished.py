"""Whether a run that is to be trained is there already, and is the one that is wanted."""

from dataclasses import asdict
from pathlib import Path

import mien
from mien.training.recipe import Recipe, flat


def is_finished(run: Path, recipe: Recipe) -> bool:
    """Say whether a run is finished.

    Raises:
        MienError: if it was finished by another recipe; how recipes describe themselves does not count.
    """
    if not ((run / "report" / "metrics.json").is_file() and (run / "model.onnx").is_file()):
        return False
    had, wanted = (dict(flat(asdict(each))) for each in (mien.load_recipe(run / "recipe.yaml"), recipe))
    others = [key for key in {**had, **wanted} if key != "description" and had.get(key) != wanted.get(key)]
    if others:
        told = ", ".join(f"{key} {had.get(key)}, not {wanted.get(key)}" for key in others)
        raise mien.MienError(f"{run} was trained with {told}; give another --out, or the --epochs it had.")
    return True
