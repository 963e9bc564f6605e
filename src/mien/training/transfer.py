"""Transfer learning: a network starts from trained weights (Yosinski et al., 2014; Howard and Ruder, 2018)."""

from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mien.errors import MienError, say
from mien.inference.classifier import Classifier, embedded_models
from mien.inference.model_file import ON_HUB
from mien.inputs import parse_yaml
from mien.labels import LabelSet
from mien.training.face_network import FaceNetwork
from mien.training.networks import NetworkSpec, build_network, fetch_from_hub, head_of, input_failure, timm_backbone
from mien.training.recipe import HUB, TIMM, Recipe, load_recipe, recipe_from_dict

QUANTIZED = "mien.quantized"  # metadata key of a quantized model file; its value is the type, such as int8
PREFIX = "model.network."  # prefix of the network's own names in a model file
PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl")  # suffixes of weights in formats that can run code


@dataclass(frozen=True)
class TrainedRun:
    """A finished run: its recipe with all overrides, its labels, and the file of its weights, which can be the model file."""

    recipe: Recipe
    labels: LabelSet
    weights: Path

    @classmethod
    def open(cls, run: Path, role: str) -> "TrainedRun":
        """Open the folder of a finished run; `role` names it in the error message."""
        recipe, weights, model = (run / name for name in ("recipe.yaml", "weights.safetensors", "model.onnx"))
        if not all(file.is_file() for file in (recipe, weights, model)):
            raise MienError(f"The {role} {run} is not the folder of a finished run; train it, or finish it with --resume.")
        return cls(load_recipe(recipe), Classifier(model).labels, weights)

    @classmethod
    def of_model(cls, name: str) -> "TrainedRun":
        """Open a float32 model file of one of mien's own networks, by any name that `mien.Classifier` accepts."""
        model = Classifier(name, threads=1)
        if kind := model.metadata.get(QUANTIZED):
            raise MienError(f"{name} is in {kind}, which cannot be trained further; use the float32 model it was made from.")
        recipe = parse_yaml(model.metadata.get("mien.recipe") or "{}", f"The recipe in {name}")
        if not recipe:
            raise MienError(f"{name} does not contain its recipe, so its weights cannot be used; use another model.")
        if str(recipe.get("network", "")).startswith(TIMM):  # in which other layers are folded
            raise MienError(f"Weights of timm's networks cannot be read from a model file; use the run folder of {name}.")
        return cls(recipe_from_dict(recipe), model.labels, model.path)

    def network(self) -> FaceNetwork:
        """Build the run's network with its weights and preprocessing."""
        spec = NetworkSpec.of(self.recipe, len(self.labels) * len(self.recipe.heads))
        model = FaceNetwork.of(self.recipe, build_network(self.recipe.network, spec))
        model.load_state_dict(load_file(self.weights))
        return model


def is_model(weights: str | None) -> bool:
    """Return whether `Recipe.weights` names a model file: by its suffix, an embedded model, or one on the hub."""
    name = weights or ""
    is_embedded = name in embedded_models() and not Path(name).exists()
    return name.startswith(ON_HUB) or Path(name).suffix.lower() == ".onnx" or is_embedded


def trained_run(weights: str | None) -> TrainedRun | None:
    """Open the run or the model that initial weights come from; None for those of the hub and for files of weights alone."""
    if weights is None or weights == HUB:
        return None
    if is_model(weights):
        return TrainedRun.of_model(weights)
    path = Path(weights)
    if path.name == "weights.safetensors" and (path.parent / "recipe.yaml").is_file():
        path = path.parent
    return TrainedRun.open(path, "run to take weights from") if path.is_dir() else None


def starting_model(weights: str | None) -> Classifier | None:
    """Open the model that initial weights come from; None for random weights and where there are weights alone."""
    with suppress(MienError):
        return Classifier(weights, head="label") if weights else None
    return None


def starting_network(recipe: Recipe, labels: LabelSet) -> nn.Module:
    """Build a recipe's network with its initial weights, and check that it accepts growing faces if the recipe has them."""
    spec, name = NetworkSpec.of(recipe, len(labels) * len(recipe.heads)), recipe.network.removeprefix(TIMM)
    from_hub = recipe.weights == HUB
    network = timm_backbone(name, spec, fetch_from_hub(name)) if from_hub else build_network(recipe.network, spec)
    if recipe.weights is not None and not from_hub:
        _take_weights(network, recipe.weights, recipe, labels)
    side = recipe.crop_from
    if side is not None and recipe.enlarge_to is None and input_failure(network, recipe.channels, side):
        told = f"{recipe.network} takes faces of one size, which cannot grow from {side} pixels"
        raise MienError(f"{told}; remove --recipe.crop_from.")
    return network


def _take_weights(network: nn.Module, name: str, recipe: Recipe, labels: LabelSet) -> None:
    if (run := trained_run(name)) is None:
        mismatch = "" if load_weights(network, Path(name)) else f"the head of {name} has another shape"
    else:
        mismatch = _head_mismatch(run, name, recipe, labels)
        load_weights(network, run.weights, head=not mismatch, first_head=len(run.recipe.heads) > len(recipe.heads))
    if mismatch and recipe.weights_share:
        raise MienError(f"weights_share needs weights with the same head, but {mismatch}; remove weights_share.")
    say(f"the head starts with random weights: {mismatch}", quiet=not mismatch)


def _head_mismatch(run: TrainedRun, name: str, recipe: Recipe, labels: LabelSet) -> str:
    """Return why the head of a run cannot be used, or an empty string; reject a run of another network."""
    keys = ("network", "network_options", "activation", "mean", "std")
    others = [key for key in keys if getattr(run.recipe, key) != getattr(recipe, key)]
    if others:
        differences = ", ".join(f"{key} {getattr(run.recipe, key)}, not {getattr(recipe, key)}" for key in others)
        raise MienError(f"{name} was trained with {differences}; set the same --recipe.{others[0]} to use its weights.")
    if run.labels != labels:
        return f"the labels of {name} are {', '.join(run.labels)}"
    if run.recipe.heads[: len(recipe.heads)] != recipe.heads:
        return f"the heads of {name} are {' and '.join(run.recipe.heads)}"
    return ""


def head_only(network: nn.Module, alone: bool) -> None:
    """Freeze all but the head, including BatchNorm statistics, or unfreeze everything."""
    network.requires_grad_(not alone).train(not alone)
    head_of(network).requires_grad_(True).train()


@torch.no_grad()
def load_weights(network: nn.Module, file: Path, head: bool = True, first_head: bool = False) -> bool:
    """Load weights from a .safetensors or model file, of two heads there the first, and tell whether the head was loaded."""
    given = read_model_weights(file, network) if file.suffix.lower() == ".onnx" else _read_safetensors(file)
    of_head = {id(parameter) for parameter in head_of(network).parameters()}
    in_head = {name for name, parameter in network.named_parameters() if id(parameter) in of_head}
    problems, loaded = [], set()
    for name, value in network.state_dict().items():
        found = given.get(name) if head or name not in in_head else None
        if found is not None:
            found = _adapt_channels(found[: len(value)] if name in in_head and first_head else found, value)
        if found is not None and found.shape == value.shape:
            value.copy_(found)
            loaded.add(name)
        elif name not in in_head and not name.endswith("num_batches_tracked"):
            shape = tuple(given[name].shape) if name in given else "missing"
            problems.append(f"{name} is {shape}, not {tuple(value.shape)}")
    if problems:
        more = f", and {len(problems) - 3} more" if len(problems) > 3 else ""
        advice = "Give weights of the same network, with the same --recipe.network_options and --recipe.activation."
        raise MienError(f"The weights in {file} do not fit the network: {', '.join(problems[:3])}{more}. {advice}")
    return in_head <= loaded


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    if not file.is_file() and file.suffix.lower() not in PICKLES:
        raise MienError(f"There is no run folder and no file {str(file)!r}; check --recipe.weights.")
    if file.suffix.lower() != ".safetensors":
        advice = "Convert a model that you trust with safetensors.torch.save_file(model.state_dict(), FILE)."
        raise MienError(f"Weights must be a .safetensors file, not {str(file)!r}: others can run code when read. {advice}")
    try:
        return {name.removeprefix("network."): value for name, value in load_file(file).items()}  # a prefix in run folders
    except SafetensorError as problem:
        raise MienError(f"The weights in {file} cannot be read ({problem}); is the file whole?") from None


def _adapt_channels(weight: Tensor, like: Tensor) -> Tensor:
    """Adapt a first convolution between one and three channels so that answers for gray faces stay; other weights stay."""
    if weight.ndim != 4 or like.ndim != 4 or {weight.shape[1], like.shape[1]} != {1, 3}:
        return weight
    return weight.float().sum(1, keepdim=True) if like.shape[1] == 1 else weight.float().expand(-1, 3, -1, -1) / 3


def read_model_weights(file: Path, network: nn.Module) -> dict[str, Tensor]:
    """Read the weights of a float32 model file, by their names in a network of the same kind."""
    graph = onnx.load(file).graph
    arrays = {each.name.removeprefix(PREFIX): numpy_helper.to_array(each) for each in graph.initializer}
    weights = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    layers = [node.input for node in graph.node if node.op_type in ("Conv", "Gemm") and len(node.input) > 2]
    biases = {weight.removeprefix(PREFIX): bias.removeprefix(PREFIX) for _, weight, bias in layers}
    # a BatchNorm follows its layer, into which it was folded: restored, it changes nothing but adds the bias
    for (layer, _), (norm, module) in pairwise(network.named_modules()):
        bias = weights.get(biases.get(f"{layer}.weight", ""))
        if not isinstance(module, _BatchNorm) or f"{norm}.running_mean" in weights or bias is None:
            continue
        weights |= {
            f"{norm}.weight": torch.full_like(bias, (1 + module.eps) ** 0.5),
            f"{norm}.bias": bias,
            f"{norm}.running_mean": torch.zeros_like(bias),
            f"{norm}.running_var": torch.ones_like(bias),
            f"{layer}.bias": torch.zeros_like(bias),
        }
    return {name: weights[name] for name in network.state_dict() if name in weights}
