"""A finished run, as what another one starts from or is taught by."""

from dataclasses import dataclass
from pathlib import Path

import yaml
from safetensors.torch import load_file

from mien.errors import MienError
from mien.inference.classifier import Classifier, embedded_models
from mien.inference.hub import is_on_hub
from mien.labels import LabelSet
from mien.training.face_network import FaceNetwork
from mien.training.networks import build_network
from mien.training.networks.spec import NetworkSpec
from mien.training.recipe import TIMM, Recipe
from mien.training.recipe_files import load_recipe, recipe_from_dict

QUANTIZED = "mien.quantized"
"""The key by which the metadata of a model file in int8 say so, with the kind as its value."""

FILES = ("recipe.yaml", "weights.safetensors", "model.onnx")


@dataclass(frozen=True)
class TrainedRun:
    """What a finished run was trained by and for.

    Attributes:
        recipe: with all overrides.
        labels: what it tells apart.
        weights: the file of its weights, or the model file where that is all there is.
    """

    recipe: Recipe
    labels: LabelSet
    weights: Path

    @classmethod
    def open(cls, run: Path, role: str) -> "TrainedRun":
        """Open a run folder.

        Args:
            run: the folder.
            role: what it is wanted as, for the sentence where it cannot be.

        Raises:
            MienError: if it is not the folder of a finished run.
        """
        recipe, weights, model = (run / name for name in FILES)
        if not all(file.is_file() for file in (recipe, weights, model)):
            raise MienError(
                f"The {role} {run} is not the folder of a finished run; train it first, or finish it with --resume."
            )
        return cls(load_recipe(recipe), Classifier(model).labels, weights)

    @classmethod
    def of_model(cls, name: str) -> "TrainedRun":
        """Take a model file for the run that it came from.

        Args:
            name: as for `mien.Classifier`.

        Raises:
            MienError: if there is no such model, it says of no recipe, is in int8, or is a network of timm, in which other
                layers are folded than in ours.
        """
        model = Classifier(name, threads=1)
        if kind := model.metadata.get(QUANTIZED):
            raise MienError(
                f"{name} is in {kind}, which cannot be trained further; name the float32 model that it was made from."
            )
        recipe = yaml.safe_load(model.metadata.get("mien.recipe", ""))
        if not recipe:
            raise MienError(f"{name} does not say by which recipe it was trained, so its weights cannot be taken.")
        if str(recipe.get("network", "")).startswith(TIMM):
            raise MienError(f"Weights of timm's networks are not taken out of a model file; name the run folder of {name}.")
        return cls(recipe_from_dict(recipe), model.labels, model.path)

    def network(self) -> FaceNetwork:
        """Build the run's network with its weights, as uint8 faces are put into it."""
        spec = NetworkSpec.of(self.recipe, len(self.labels) * len(self.recipe.heads))
        model = FaceNetwork.of(self.recipe, build_network(self.recipe.network, spec))
        model.load_state_dict(load_file(self.weights))
        return model


def is_model(weights: str | None) -> bool:
    """Tell whether weights are those of a model file: named so, embedded, or on the Hugging Face hub."""
    if weights is None:
        return False
    if is_on_hub(weights) or Path(weights).suffix.lower() == ".onnx":
        return True
    return weights in embedded_models() and not Path(weights).exists()
