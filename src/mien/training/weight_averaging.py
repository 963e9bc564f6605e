"""Weights that are means of others: over the steps of a training, and of where it started from and where it came to."""

from typing import Any

import torch
from torch import Tensor, nn


def moving_average(decay: float) -> Any:
    """Average with a decay that grows to its value over the first steps, so that a short run forgets its start too."""

    @torch.no_grad()
    def update(averages: Any, currents: Any, count: Tensor | int) -> None:
        weight = 1 - min(decay, (1 + int(count)) / (10 + int(count)))
        for average, current in zip(averages, currents, strict=True):
            if average.is_floating_point():
                average.lerp_(current.to(average.device), weight)
            else:
                average.copy_(current)

    return update


@torch.no_grad()
def interpolate(network: nn.Module, start: nn.Module, trained: nn.Module, share: float) -> None:
    """Give a network the weights between those that training started from and those that it came to.

    What further training gains on other faces is kept, and little lost of what was learned before (Robust fine-tuning of
    zero-shot models; Wortsman et al., 2022).

    Args:
        network: changed in place; of the same kind as the other two.
        start: what training started from.
        trained: what it came to.
        share: of `start`, 0 to 1. BatchNorm's statistics are mixed likewise, which is near what they should be, not exact.
    """
    states = (module.state_dict().values() for module in (network, start, trained))
    for value, before, after in zip(*states, strict=True):
        value.copy_(torch.lerp(after, before, share) if value.is_floating_point() else after)
