"""A finished run, as what another one starts from or is taught by."""

from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file

from mien.errors import MienError
from mien.inference.classifier import Classifier
from mien.labels import LabelSet
from mien.training.face_network import FaceNetwork
from mien.training.networks import build_network
from mien.training.networks.spec import NetworkSpec
from mien.training.recipe import Recipe
from mien.training.recipe_files import load_recipe

FILES = ("recipe.yaml", "weights.safetensors", "model.onnx")


@dataclass(frozen=True)
class TrainedRun:
    """What a finished run was trained by and for.

    Attributes:
        recipe: with all overrides.
        labels: what it tells apart.
        weights: the file of its weights.
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

    def network(self) -> FaceNetwork:
        """Build the run's network with its weights, as uint8 faces are put into it."""
        spec = NetworkSpec.of(self.recipe, len(self.labels) * len(self.recipe.heads))
        model = FaceNetwork.of(self.recipe, build_network(self.recipe.network, spec))
        model.load_state_dict(load_file(self.weights))
        return model
