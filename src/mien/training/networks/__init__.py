"""The networks by name: a new one is a function in `blocks` and a name in `NETWORKS`."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mien.errors import MienError, suggestion
from mien.training.networks import blocks
from mien.training.networks.blocks import NetworkSpec
from mien.training.networks.timm_backbone import timm_backbone
from mien.training.recipe import TIMM

_NAMES = ("compact_resnet", "deepface_cnn", "mish_cnn", "se_resnet", "six_conv", "wide_cnn")
NETWORKS: dict[str, Callable[[NetworkSpec], nn.Module]] = {name: getattr(blocks, name) for name in _NAMES}
"""Each maps float32 (N, C, H, W) to logits (N, classes)."""

OPTIONS = {"compact_resnet": ("squeeze_excitation",)}  # names of the `network_options` of networks that have some


def build_network(name: str, spec: NetworkSpec) -> nn.Module:
    """Build a network with random weights from torch's global generator."""
    if name.startswith(TIMM):
        return timm_backbone(name.removeprefix(TIMM), spec)
    if name not in NETWORKS:
        hint = suggestion(name, NETWORKS, f"the networks are {', '.join(NETWORKS)}, and timm:<name>.")
        raise MienError(f"There is no network {name!r}; {hint}")
    options = OPTIONS.get(name, ())
    if unknown := set(spec.options).difference(options):
        told = f"{name} has no option {unknown.pop()}; its options are: {', '.join(options) or 'none'}"
        raise MienError(f"{told}. Change --recipe.network_options, or set it to null.")
    return NETWORKS[name](spec)


@torch.no_grad()
def layers(network: nn.Module, channels: int, size: int) -> list[tuple[str, tuple[int, ...], int]]:
    """List the layers that contain no others as they run: name, shape of the output for one face, number of parameters."""
    found = []

    def note(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        parameters = sum(p.numel() for p in module.parameters())
        found.append((f"{type(module).__name__} {names[module]}", tuple(output.shape[1:]), parameters))

    names = {module: name for name, module in network.named_modules()}
    hooks = [module.register_forward_hook(note) for module in names if not list(module.children())]
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
    """Format the layers as aligned text, with the totals of parameters and multiply-adds below."""
    rows = [("layer", "output", "parameters")]
    rows += [(name, " x ".join(map(str, shape)), f"{count:,}") for name, shape, count in layers(network, channels, size)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"{name:<{widths[0]}}  {shape:<{widths[1]}}  {count:>{widths[2]}}" for name, shape, count in rows]
    total = sum(p.numel() for p in network.parameters())
    return "\n".join([*lines, "", f"{total:,} parameters, {multiply_adds(network, channels, size):,} multiply-adds a face"])
