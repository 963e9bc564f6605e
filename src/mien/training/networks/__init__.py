"""The networks by name: a new one is a file here and a line in `NETWORKS`."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mien.errors import MienError
from mien.training.networks.blocks import NetworkSpec
from mien.training.networks.compact_resnet import compact_resnet
from mien.training.networks.deepface_cnn import deepface_cnn
from mien.training.networks.mish_cnn import mish_cnn
from mien.training.networks.se_resnet import se_resnet
from mien.training.networks.six_conv import six_conv
from mien.training.networks.timm_backbone import timm_backbone
from mien.training.networks.wide_cnn import wide_cnn
from mien.training.recipe import TIMM

NETWORKS: dict[str, Callable[[NetworkSpec], nn.Module]] = {
    "compact_resnet": compact_resnet,
    "deepface_cnn": deepface_cnn,
    "mish_cnn": mish_cnn,
    "se_resnet": se_resnet,
    "six_conv": six_conv,
    "wide_cnn": wide_cnn,
}
"""Each maps float32 (N, C, H, W) to logits (N, classes)."""


OPTIONS = {"compact_resnet": ("squeeze_excitation",)}
"""What some of them can be told besides, by `network_options`."""


def build_network(name: str, spec: NetworkSpec) -> nn.Module:
    """Build a network with fresh weights from torch's global random state.

    Raises:
        MienError: if there is no such network (the sentence names the nearest), it has no such option, or the faces are too
            small for it.
    """
    if name.startswith(TIMM):
        return timm_backbone(name.removeprefix(TIMM), spec)
    if name not in NETWORKS:
        near = difflib.get_close_matches(name, NETWORKS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(NETWORKS)}, and timm:<name>."
        raise MienError(f"There is no network {name!r}; {hint}")
    if unknown := set(spec.options).difference(OPTIONS.get(name, ())):
        known = ", ".join(OPTIONS.get(name, ())) or "none"
        raise MienError(
            f"{name} has no option {unknown.pop()}; its options are: {known}. Change --recipe.network_options, or say null."
        )
    return NETWORKS[name](spec)


# A network layer by layer: name, output shape, parameters, and what an answer costs.


@dataclass(frozen=True)
class Layer:
    """One layer of a network.

    Attributes:
        name: its kind and place, such as "Conv2d 0".
        shape: of its output for one face, without the batch.
        parameters: how many numbers it learns.
    """

    name: str
    shape: tuple[int, ...]
    parameters: int


@torch.no_grad()
def layers(network: nn.Module, channels: int, size: int) -> list[Layer]:
    """List the layers of a network that hold no others, in the order in which they run.

    Args:
        network: float32 (N, C, H, W) to logits.
        channels: C.
        size: H and W.
    """
    found: list[Layer] = []

    def note(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        learned = sum(p.numel() for p in module.parameters())
        found.append(Layer(f"{type(module).__name__} {names[module]}", tuple(output.shape[1:]), learned))

    names = {module: name for name, module in network.named_modules()}
    hooks = [m.register_forward_hook(note) for m in network.modules() if not list(m.children())]
    network.eval()(torch.zeros(1, channels, size, size))
    for hook in hooks:
        hook.remove()
    return found


@torch.no_grad()
def multiply_adds(network: nn.Module, channels: int, size: int) -> int:
    """Count the multiply-add operations of convolutions and dense layers for one face."""
    with FlopCounterMode(display=False) as counter:
        network.eval()(torch.zeros(1, channels, size, size))
    return int(counter.get_total_flops()) // 2


def as_table(network: nn.Module, channels: int, size: int) -> str:
    """Write the layers as aligned text, with parameters and multiply-adds below."""
    rows = [("layer", "output", "parameters")]
    rows += [(each.name, " x ".join(map(str, each.shape)), f"{each.parameters:,}") for each in layers(network, channels, size)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [f"{name:<{widths[0]}}  {shape:<{widths[1]}}  {count:>{widths[2]}}" for name, shape, count in rows]
    total = sum(p.numel() for p in network.parameters())
    return "\n".join([*lines, "", f"{total:,} parameters, {multiply_adds(network, channels, size):,} multiply-adds a face"])
