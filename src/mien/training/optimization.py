"""What training minimises and how: losses on target distributions, optimizers, learning-rate schedules, averages of weights."""

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim
from torch.optim import Optimizer

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
    device = next(network.parameters()).device
    groups = [
        {
            "params": [p for p in network.parameters() if (id(p) in in_head) == of_head and (p.ndim > 1) == decays],
            "weight_decay": how.weight_decay if decays else 0.0,
            # a tensor, so that a captured step reads what it is now
            "lr": torch.tensor(how.learning_rate * (1.0 if of_head else how.backbone_rate), device=device),
        }
        for of_head in (True, False)  # the head first: the rate of the first group is the one logged
        for decays in (True, False)
    ]
    fused = device.type in ("cpu", "cuda")
    if how.name == "sgd":
        return optim.SGD(groups, lr=how.learning_rate, momentum=how.momentum, nesterov=how.momentum > 0, fused=fused)
    kind = optim.AdamW if how.name == "adamw" else optim.Adam
    return kind(groups, lr=how.learning_rate, fused=fused, capturable=device.type == "cuda")


def rate_factors(how: recipe.Schedule, steps: int) -> Tensor | None:
    """Return the factor (steps,) on the learning rate in every step, or None if steps do not change it."""
    if how.name not in ("cosine", "one_cycle"):
        return None
    rising = how.warmup * steps if how.name == "one_cycle" else 0.0
    step = torch.arange(steps, dtype=torch.float64)
    falling = 0.5 * (1 + torch.cos(math.pi * ((step - rising) / max(1.0, steps - rising)).clamp(max=1)))
    return torch.where(step + 1 < rising, (step + 1) / max(1.0, rising), falling).float()


class MovingAverage:
    """The moving average of a network's weights; its decay starts low, so that a short run forgets the initial weights too."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.network, self.decay = copy.deepcopy(model).requires_grad_(False), decay
        pairs = list(zip(self.network.state_dict().values(), model.state_dict().values(), strict=True))
        self.averages, self.currents = ([pair[k] for pair in pairs if pair[0].is_floating_point()] for k in (0, 1))
        self.counts = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self, done: Tensor) -> None:
        """Move the average towards the weights after so many earlier updates, a number on the device."""
        weight = 1 - (done / (done + 9)).clamp(max=self.decay).squeeze()
        changes = torch._foreach_sub(self.currents, self.averages)
        torch._foreach_mul_(changes, weight)
        torch._foreach_add_(self.averages, changes)
        for average, current in self.counts:
            average.copy_(current)


@torch.no_grad()
def interpolate(network: nn.Module, start: nn.Module, trained: nn.Module, share: float) -> None:
    """Set a network's weights to `share` of `start` and the rest of `trained` (WiSE-FT; Wortsman et al., 2022)."""
    for value, before, after in zip(*(each.state_dict().values() for each in (network, start, trained)), strict=True):
        value.copy_(torch.lerp(after, before, share) if value.is_floating_point() else after)
