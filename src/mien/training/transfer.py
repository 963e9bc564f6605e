"""Transfer learning: weights that were learned elsewhere, a classification head of one's own, head first and then all.

How transferable are features in deep neural networks? (Yosinski et al., 2014); gentler steps for the backbone than for the
head are discriminative fine-tuning (Howard and Ruder, 2018).
"""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mien.errors import MienError
from mien.training.networks import build_network
from mien.training.networks.head import head_of
from mien.training.networks.spec import NetworkSpec
from mien.training.networks.timm_backbone import fetch_from_hub, timm_backbone, why_not_taken
from mien.training.recipe import HUB, TIMM, Recipe


def starting_network(recipe: Recipe, classes: int) -> nn.Module:
    """Build a recipe's network with the weights that its training starts from.

    Args:
        recipe: names the network, and the weights or none.
        classes: number of labels, for each head.

    Raises:
        MienError: if there is no such network, its weights cannot be fetched or do not fit, or its faces are to grow during
            training and it takes faces of one size only.
    """
    network = _with_weights(recipe, classes)
    side = recipe.crop_from
    if side is not None and recipe.enlarge_to is None and why_not_taken(network, recipe.channels, side):
        raise MienError(
            f"{recipe.network} takes faces of one size, which cannot grow from {side} pixels; leave out --recipe.crop_from."
        )
    return network


def _with_weights(recipe: Recipe, classes: int) -> nn.Module:
    spec = NetworkSpec.of(recipe, classes * len(recipe.heads))
    if recipe.weights == HUB:
        name = recipe.network.removeprefix(TIMM)
        return timm_backbone(name, spec, fetch_from_hub(name))
    network = build_network(recipe.network, spec)
    if recipe.weights is not None and not load_weights(network, Path(recipe.weights)) and recipe.weights_share:
        raise MienError(
            f"The weights in {recipe.weights} are for other labels, and weights_share is of weights for the same; leave it out."
        )
    return network


def head_only(network: nn.Module, alone: bool) -> None:
    """Let the head learn alone, the backbone fixed with its BatchNorm statistics, or let everything learn."""
    network.requires_grad_(not alone).train(not alone)
    head_of(network).requires_grad_(True).train()


@torch.no_grad()
def load_weights(network: nn.Module, file: Path) -> bool:
    """Start a network from a .safetensors file, such as timm's, or from the weights.safetensors of a run.

    The head stays fresh where the file's has another shape. A first convolution for three colours is summed for gray
    faces, one for gray shared out over three colours; both give the same answers for gray pictures.

    Args:
        network: changed in place; kept in float32 whatever the file holds.
        file: its names are those of the network, or these after `network.` as in a run; or a run folder.

    Returns:
        Whether the head was taken too.

    Raises:
        MienError: if it cannot be read, or a layer is missing or of another shape (the sentence names them).
    """
    given = _read(file)
    wanted = network.state_dict()
    head = {id(parameter) for parameter in head_of(network).parameters()}
    in_head = {name for name, parameter in network.named_parameters() if id(parameter) in head}
    problems, taken = [], set()
    for name, value in wanted.items():
        found = given.get(name)
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
    if file.is_dir():
        file = file / "weights.safetensors"
        if not file.is_file():
            raise MienError(f"{file.parent} holds no weights.safetensors, so it is no run to take weights from.")
    if file.suffix.lower() != ".safetensors":
        raise MienError(
            f"Weights must be a .safetensors file, not {str(file)!r}: other kinds can run code when they are read. "
            "safetensors.torch.save_file(model.state_dict(), FILE) writes one from a model you trust."
        )
    if not file.is_file():
        raise MienError(f"There is no file {str(file)!r} to take weights from; look at --recipe.weights.")
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
