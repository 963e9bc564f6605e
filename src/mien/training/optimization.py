"""What training minimises and how: losses on target distributions, optimizers, learning-rate schedules, averages of weights."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from mien.training import recipe


def classification_loss(
    logits: Tensor, targets: Tensor, smoothing: float = 0.0, weights: Tensor | None = None, focal_gamma: float = 0.0
) -> Tensor:
    """Compute cross-entropy or focal loss (Lin et al., 2017) of logits (N, K) with target distributions (N, K)."""
    log_probabilities = F.log_softmax(logits, dim=1)
    losses = -log_probabilities
    if focal_gamma:
        losses = losses * (1 - log_probabilities.exp()).clamp(min=1e-7) ** focal_gamma  # at 0 its gradient is infinite
    smoothed = targets * (1 - smoothing) + smoothing / targets.shape[1] if smoothing else targets
    if weights is None:
        return (smoothed * losses).sum() / len(targets)
    # PyTorch's mean would divide by N for soft targets; the summed weights make hard ones give its hard-label loss
    return (smoothed * losses * weights).sum() / (targets * weights).sum()


def with_votes(targets: Tensor, votes: Tensor, share: float) -> Tensor:
    """Mix a share of the votes (N, K) into the targets (N, K) of rows that have votes; the others have zeros."""
    if not share:
        return targets
    return torch.where(votes.sum(1, keepdim=True) > 0, (1 - share) * targets + share * votes, targets)


def votes_loss(logits: Tensor, votes: Tensor) -> Tensor:
    """Compute cross-entropy with the votes over the rows that have some (Barsoum et al., 2016); 0 if none has."""
    return -(votes * F.log_softmax(logits, dim=1)).sum() / votes.sum().clamp(min=1)


def distillation_loss(logits: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """Compute cross-entropy of softened logits with the teachers' probabilities (Hinton et al., 2015)."""
    return F.cross_entropy(logits / temperature, taught) * temperature**2  # the factor keeps the size of the gradients


def build_optimizer(network: nn.Module, head: nn.Module, how: recipe.Optimizer) -> Optimizer:
    """Build an optimizer with the full rate for the head, and weight decay only for weights of two or more dimensions."""
    in_head = {id(parameter) for parameter in head.parameters()}
    groups = [
        {
            "params": [p for p in network.parameters() if (id(p) in in_head) == of_head and (p.ndim > 1) == decays],
            "weight_decay": how.weight_decay if decays else 0.0,
            "lr": how.learning_rate * (1.0 if of_head else how.backbone_rate),
        }
        for of_head in (True, False)  # the head first: the rate of the first group is the one logged
        for decays in (True, False)
    ]
    if how.name == "sgd":
        return optim.SGD(groups, lr=how.learning_rate, momentum=how.momentum, nesterov=how.momentum > 0)
    return (optim.AdamW if how.name == "adamw" else optim.Adam)(groups, lr=how.learning_rate)


def build_schedule(optimizer: Optimizer, how: recipe.Schedule, steps: int) -> LambdaLR | ReduceLROnPlateau | None:
    """Build the schedule: ReduceLROnPlateau to step with each epoch's validation loss, or LambdaLR to step after each batch."""
    rising = how.warmup * steps

    def down(progress: float) -> float:
        return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    def up_and_down(step: int) -> float:
        return (step + 1) / rising if step + 1 < rising else down((step - rising) / max(1.0, steps - rising))

    match how.name:
        case "constant":
            return None
        case "plateau":
            return ReduceLROnPlateau(optimizer, mode="min", factor=how.factor, patience=how.patience)
        case "cosine":
            return LambdaLR(optimizer, lambda step: down(step / steps))
        case "one_cycle":
            return LambdaLR(optimizer, up_and_down)


def moving_average(decay: float) -> Any:
    """Return an update for AveragedModel; its decay starts low, so that a short run forgets the initial weights too."""

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
    """Set a network's weights to `share` of `start` and the rest of `trained` (WiSE-FT; Wortsman et al., 2022)."""
    for value, before, after in zip(*(each.state_dict().values() for each in (network, start, trained)), strict=True):
        value.copy_(torch.lerp(after, before, share) if value.is_floating_point() else after)
