"""The loss on distributions: cross-entropy or focal, smoothed, weighted by label; hard labels and crowd votes alike."""

import torch
import torch.nn.functional as F
from torch import Tensor


def classification_loss(
    logits: Tensor, targets: Tensor, smoothing: float = 0.0, weights: Tensor | None = None, focal_gamma: float = 0.0
) -> Tensor:
    """Compare logits with target distributions.

    PyTorch's weighted mean divides by N for soft targets and by the summed weights for hard ones; here it is always by the
    summed weights of the targets, so that hard labels written as distributions give PyTorch's hard-label loss.

    Args:
        logits: (N, K), float32.
        targets: (N, K), float32, each row a distribution.
        smoothing: share of each target spread evenly over all labels (Szegedy et al., 2016).
        weights: (K,), float32, how much each label counts; all alike, if not given.
        focal_gamma: how much less a label counts that is already likely: its log loss times (1 - p) ** gamma (Lin et al.,
            Focal Loss for Dense Object Detection, 2017); 0 is cross-entropy.

    Returns:
        A scalar.
    """
    log_probabilities = F.log_softmax(logits, dim=1)
    losses = -log_probabilities
    if focal_gamma:
        losses = losses * (1 - log_probabilities.exp()).clamp(min=1e-7) ** focal_gamma  # at 0 its gradient is infinite
    smoothed = targets * (1 - smoothing) + smoothing / targets.shape[1] if smoothing else targets
    if weights is None:
        return (smoothed * losses).sum() / len(targets)
    return (smoothed * losses * weights).sum() / (targets * weights).sum()


def with_votes(targets: Tensor, votes: Tensor, share: float) -> Tensor:
    """Mix the crowd's votes into the targets of the rows that have some.

    Args:
        targets: (N, K), float32, each row a distribution.
        votes: (N, K), float32, each row a distribution or zeros.
        share: of the votes, 0 to 1.

    Returns:
        (N, K), float32, each row a distribution.
    """
    if not share:
        return targets
    return torch.where(votes.sum(1, keepdim=True) > 0, (1 - share) * targets + share * votes, targets)


def votes_loss(logits: Tensor, votes: Tensor) -> Tensor:
    """Cross-entropy with the crowd's votes, over the rows that have some (Barsoum et al., 2016).

    Args:
        logits: (N, K), float32.
        votes: (N, K), float32, each row a distribution or zeros.

    Returns:
        A scalar; 0 where no row has votes.
    """
    return -(votes * F.log_softmax(logits, dim=1)).sum() / votes.sum().clamp(min=1)


def distillation_loss(logits: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """Cross-entropy with what teachers answer, both softened (Hinton et al., 2015).

    Args:
        logits: (N, K), float32, the student's.
        taught: (N, K), float32, the teachers' probabilities at this temperature.
        temperature: what the student's logits are divided by; the loss is multiplied by its square, so that gradients keep
            their size.

    Returns:
        A scalar.
    """
    return F.cross_entropy(logits / temperature, taught) * temperature**2
