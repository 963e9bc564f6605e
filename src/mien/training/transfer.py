"""Transfer learning: weights that were learned elsewhere, a classification head of one's own, head first and then all.

How transferable are features in deep neural networks? (Yosinski et al., 2014); gentler steps for the backbone than for the
head are discriminative fine-tuning (Howard and Ruder, 2018).
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import onnx
import torch
import yaml
from onnx import numpy_helper
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mien.errors import MienError
from mien.inference.classifier import Classifier, embedded_models, is_on_hub
from mien.labels import LabelSet
from mien.training.face_network import FaceNetwork
from mien.training.networks import build_network
from mien.training.networks.blocks import NetworkSpec, head_of
from mien.training.networks.timm_backbone import fetch_from_hub, timm_backbone, why_not_taken
from mien.training.recipe import HUB, TIMM, Recipe, load_recipe, recipe_from_dict

# A finished run, as what another one starts from or is taught by.

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


# What an exported model has learned, as the weights of its network again, so that it can be trained further.

PREFIX = "model.network."
"""What stands before a network's own names in a model file."""


def read_model_weights(file: Path, network: nn.Module) -> dict[str, Tensor]:
    """Read the weights out of a model file in float32.

    Args:
        file: what `export` wrote.
        network: of the kind that was exported; says which layers a BatchNorm was folded into.

    Returns:
        By the names of the network's own state; what the file does not hold under such a name is missing.
    """
    graph = onnx.load(file).graph
    held = {
        tensor.name.removeprefix(PREFIX): torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer
    }
    biases = {
        node.input[1].removeprefix(PREFIX): node.input[2].removeprefix(PREFIX)
        for node in graph.node
        if node.op_type in ("Conv", "Gemm") and len(node.input) > 2
    }
    for layer, norm, module in _normalised(network):
        bias = held.get(biases.get(f"{layer}.weight", ""))
        if f"{norm}.running_mean" in held or bias is None:
            continue
        held |= {
            f"{norm}.weight": torch.full_like(bias, (1 + module.eps) ** 0.5),
            f"{norm}.bias": bias,
            f"{norm}.running_mean": torch.zeros_like(bias),
            f"{norm}.running_var": torch.ones_like(bias),
            f"{layer}.bias": torch.zeros_like(bias),
        }
    wanted = network.state_dict()
    return {name: value for name, value in held.items() if name in wanted}


def _normalised(network: nn.Module) -> Iterator[tuple[str, str, _BatchNorm]]:
    """Give the names of the layers that a BatchNorm follows, its name, and itself."""
    for name, group in network.named_modules():
        if isinstance(group, nn.Sequential):
            children = [(f"{name}.{own}" if name else own, module) for own, module in group.named_children()]
            for (layer, before), (norm, module) in pairwise(children):
                if isinstance(before, nn.Conv2d | nn.Linear) and isinstance(module, _BatchNorm):
                    yield layer, norm, module


PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl")
"""How files of weights are called that are not safetensors."""


def starting_network(recipe: Recipe, labels: LabelSet) -> nn.Module:
    """Build a recipe's network with the weights that its training starts from.

    Args:
        recipe: names the network, and the weights or none.
        labels: what each head is to tell apart.

    Raises:
        MienError: if there is no such network, its weights cannot be fetched or do not fit, or its faces are to grow during
            training and it takes faces of one size only.
    """
    network = _with_weights(recipe, labels)
    side = recipe.crop_from
    if side is not None and recipe.enlarge_to is None and why_not_taken(network, recipe.channels, side):
        raise MienError(
            f"{recipe.network} takes faces of one size, which cannot grow from {side} pixels; leave out --recipe.crop_from."
        )
    return network


def _with_weights(recipe: Recipe, labels: LabelSet) -> nn.Module:
    spec = NetworkSpec.of(recipe, len(labels) * len(recipe.heads))
    if recipe.weights == HUB:
        name = recipe.network.removeprefix(TIMM)
        return timm_backbone(name, spec, fetch_from_hub(name))
    network = build_network(recipe.network, spec)
    if recipe.weights is None:
        return network
    if is_model(recipe.weights):
        return _with_run(network, TrainedRun.of_model(recipe.weights), recipe.weights, recipe, labels)
    given = Path(recipe.weights)
    folder = given.parent if given.name == "weights.safetensors" and (given.parent / "recipe.yaml").is_file() else given
    if folder.is_dir():
        return _with_run(network, TrainedRun.open(folder, "run to take weights from"), str(folder), recipe, labels)
    if not load_weights(network, given):
        _tell_of_fresh_head(recipe, str(given), "its head has another shape")
    return network


def _with_run(network: nn.Module, run: TrainedRun, name: str, recipe: Recipe, labels: LabelSet) -> nn.Module:
    whole, why = _fitting(run, name, recipe, labels)
    load_weights(network, run.weights, head=whole, first_head=len(run.recipe.heads) > len(recipe.heads))
    if not whole:
        _tell_of_fresh_head(recipe, name, why)
    return network


def _tell_of_fresh_head(recipe: Recipe, given: str, why: str) -> None:
    if recipe.weights_share:
        raise MienError(f"weights_share wants weights with the same head, and of {given} {why}; leave weights_share out.")
    print(f"the head starts afresh: of {given} {why}", file=sys.stderr)


def _fitting(run: TrainedRun, name: str, recipe: Recipe, labels: LabelSet) -> tuple[bool, str]:
    """Say whether the head of a run can be taken too, and why not.

    Raises:
        MienError: if the run's network is another, or sees its faces otherwise.
    """
    keys = ("network", "network_options", "activation", "mean", "std")
    others = [key for key in keys if getattr(run.recipe, key) != getattr(recipe, key)]
    if others:
        told = ", ".join(f"{key} {getattr(run.recipe, key)}, not {getattr(recipe, key)}" for key in others)
        raise MienError(f"{name} was trained with {told}; give the same --recipe.{others[0]} to take its weights.")
    if run.labels != labels:
        return False, f"the labels are {', '.join(run.labels)}"
    # where the first alone is wanted, it is taken out of two
    return run.recipe.heads[: len(recipe.heads)] == recipe.heads, f"the heads are {' and '.join(run.recipe.heads)}"


def head_only(network: nn.Module, alone: bool) -> None:
    """Let the head learn alone, the backbone fixed with its BatchNorm statistics, or let everything learn."""
    network.requires_grad_(not alone).train(not alone)
    head_of(network).requires_grad_(True).train()


@torch.no_grad()
def load_weights(network: nn.Module, file: Path, head: bool = True, first_head: bool = False) -> bool:
    """Start a network from a .safetensors file, such as timm's or the weights.safetensors of a run, or from a model file.

    The head stays fresh where the file's has another shape. A first convolution for three colours is summed for gray
    faces, one for gray shared out over three colours; both give the same answers for gray pictures.

    Args:
        network: changed in place; kept in float32 whatever the file holds.
        file: its names are those of the network, or these after `network.` as in a run.
        head: whether to take the head too, where its shape is the same.
        first_head: whether the file holds two heads, and the first is to be taken.

    Returns:
        Whether the head was taken too.

    Raises:
        MienError: if it cannot be read, or a layer is missing or of another shape (the sentence names them).
    """
    given = read_model_weights(file, network) if file.suffix.lower() == ".onnx" else _read(file)
    wanted = network.state_dict()
    of_head = {id(parameter) for parameter in head_of(network).parameters()}
    in_head = {name for name, parameter in network.named_parameters() if id(parameter) in of_head}
    problems, taken = [], set()
    for name, value in wanted.items():
        found = given.get(name) if head or name not in in_head else None
        if found is not None and name in in_head and first_head:
            found = found[: len(value)]
        if found is not None and found.shape != value.shape:
            found = _as_channels(found, value)
        if found is not None and found.shape == value.shape:
            value.copy_(found)
            taken.add(name)
        elif name not in in_head and not name.endswith("num_batches_tracked"):
            is_there = tuple(given[name].shape) if name in given else "missing"
            problems.append(f"{name} is {is_there}, not {tuple(value.shape)}")
    if problems:
        more = f", and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise MienError(
            f"The weights in {file} do not fit the network: {', '.join(problems[:3])}{more}. "
            "Give weights of the same network, with the same --recipe.network_options and --recipe.activation."
        )
    return in_head <= taken


def _read(file: Path) -> dict[str, Tensor]:
    if not file.is_file() and file.suffix.lower() not in PICKLES:
        raise MienError(f"There is no run folder and no file {str(file)!r} to take weights from; look at --recipe.weights.")
    if file.suffix.lower() != ".safetensors":
        raise MienError(
            f"Weights must be a .safetensors file, not {str(file)!r}: other kinds can run code when they are read. "
            "safetensors.torch.save_file(model.state_dict(), FILE) writes one from a model you trust."
        )
    try:
        tensors = load_file(file)
    except SafetensorError as problem:
        raise MienError(f"The weights in {file} cannot be read ({problem}); is the file whole?") from None
    return {name.removeprefix("network."): value for name, value in tensors.items()}


def _as_channels(weight: Tensor, like: Tensor) -> Tensor:
    """Fit a first convolution to another number of channels, where nothing else differs."""
    if weight.ndim != 4 or like.ndim != 4 or {weight.shape[1], like.shape[1]} != {1, 3}:
        return weight
    if like.shape[1] == 1:
        return weight.float().sum(1, keepdim=True)
    return weight.float().expand(-1, 3, -1, -1) / 3
