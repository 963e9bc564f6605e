"""The loss on distributions: cross-entropy or focal, smoothed, weighted by label; hard labels and crowd votes alike."""

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
