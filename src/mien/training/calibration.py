"""One temperature that makes probabilities mean what they say (Guo et al., On Calibration of Modern Neural Networks, 2017)."""

import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch import Tensor


def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    """Find the temperature that gives validation rows the lowest log loss.

    Args:
        logits: (N, K), float32.
        targets: (N, K), float32, each row a distribution, or zeros for a row that says nothing.

    Returns:
        A number between 0.05 and 20 that logits are to be divided by; 1 where no row says anything.
    """
    if not targets.any():
        return 1.0
    logits, targets = logits.double(), targets.double()

    def loss(log_temperature: float) -> float:
        return float(F.cross_entropy(logits / torch.tensor(log_temperature).exp(), targets))

    found = minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded")
    return float(torch.tensor(found.x).exp())
