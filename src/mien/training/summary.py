"""A network layer by layer: name, output shape, parameters, and what an answer costs."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


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
