"""Squeeze-and-excitation: a block's channels weighed by what the whole face shows (Hu et al., 2018)."""

from torch import Tensor, nn


class SqueezeExcitation(nn.Module):
    """Weighs each channel by a number between 0 and 1 that depends on all of them.

    Args:
        channels: of the features.
        reduction: how many times fewer the hidden layer has.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, channels // reduction, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels // reduction, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, channels, H, W) to the same shape."""
        weighed: Tensor = features * self.weigh(features)
        return weighed
