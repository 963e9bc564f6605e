"""Optimizers and learning-rate schedules by the names that a recipe gives them."""

import math
from typing import Any

import torch
from torch import Tensor, nn, optim

from mien.training import recipe as recipe_parts


def build_optimizer(network: nn.Module, head: nn.Module, how: recipe_parts.Optimizer) -> optim.Optimizer:
    """Build an optimizer that decays only weights with two dimensions or more: not biases, not normalisation.

    Args:
        network: whose parameters are learned.
        head: its classification head, a part of it, which learns at the full rate.
        how: the recipe's optimizer.
    """
    in_head = {id(parameter) for parameter in head.parameters()}
    groups = [
        {
            "params": [p for p in network.parameters() if (id(p) in in_head) == of_head and (p.ndim > 1) == decays],
            "weight_decay": how.weight_decay if decays else 0.0,
            "lr": how.learning_rate * (1.0 if of_head else how.backbone_rate),
        }
        for of_head in (True, False)  # the head first: the first group's rate is the one that is logged
        for decays in (True, False)
    ]
    match how.name:
        case "adamw":
            return optim.AdamW(groups, lr=how.learning_rate)
        case "adam":
            return optim.Adam(groups, lr=how.learning_rate)
        case "sgd":
            return optim.SGD(groups, lr=how.learning_rate, momentum=how.momentum, nesterov=how.momentum > 0)


def build_schedule(
    optimizer: optim.Optimizer, how: recipe_parts.Schedule, steps: int
) -> optim.lr_scheduler.LambdaLR | optim.lr_scheduler.ReduceLROnPlateau | None:
    """Build the schedule of a recipe; a constant rate needs none.

    Args:
        optimizer: whose rate is changed.
        how: the recipe's schedule.
        steps: steps of the whole training.

    Returns:
        A ReduceLROnPlateau to be stepped with validation loss after every epoch, or a LambdaLR to be stepped after
        every batch.
    """
    rising = how.warmup * steps

    def down(progress: float) -> float:
        return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    def up_and_down(step: int) -> float:
        return (step + 1) / rising if step + 1 < rising else down((step - rising) / max(1.0, steps - rising))

    match how.name:
        case "constant":
            return None
        case "plateau":
            return optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="min", factor=how.factor, patience=how.patience)
        case "cosine":
            return optim.lr_scheduler.LambdaLR(optimizer, lambda step: down(step / steps))
        case "one_cycle":
            return optim.lr_scheduler.LambdaLR(optimizer, up_and_down)


# Weights that are means of others: over the steps of a training, and of where it started from and where it came to.


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
