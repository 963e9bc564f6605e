"""Our residual networks, a compact and a large one: blocks with shortcuts, squeeze-and-excitation."""

from collections.abc import Iterable
from itertools import pairwise

from torch import Tensor, nn

from mien.training.networks.blocks import NetworkSpec, check_size

COMPACT_WIDTHS = (32, 64, 128, 224)
LARGE_WIDTHS = (64, 128, 256, 512)


def compact_resnet(spec: NetworkSpec) -> nn.Module:
    """Build the compact network: four residual blocks at 24, 12, 6 and 3 pixels, 1.05M parameters, 34M multiply-adds.

    The stem halves a 48-pixel face at once, since the embedded model must classify a face within a millisecond on one core.
    The option squeeze_excitation adds squeeze-and-excitation to every block.
    """
    check_size("compact_resnet", spec)
    squeeze, widths = bool(spec.options.get("squeeze_excitation")), COMPACT_WIDTHS
    blocks = [ResidualBlock(spec, inputs, outputs, squeeze, pool=True) for inputs, outputs in pairwise((widths[0], *widths))]
    return _with_stem_and_head(spec, blocks, widths, stride=2)


def se_resnet(spec: NetworkSpec) -> nn.Module:
    """Build the large network: two residual blocks each at 48, 24, 12 and 6 pixels, with dropout; 11.3M parameters.

    Dropout is between the two convolutions of a block (Zagoruyko and Komodakis, Wide residual networks, 2016). The stem keeps
    the resolution, since 48 pixels are few.
    """
    check_size("se_resnet", spec)
    blocks = []
    for inputs, outputs in pairwise((LARGE_WIDTHS[0], *LARGE_WIDTHS)):
        blocks += [ResidualBlock(spec, each, outputs, squeeze=True, dropout=True) for each in (inputs, outputs)]
    return _with_stem_and_head(spec, blocks, LARGE_WIDTHS, stride=1)


class SqueezeExcitation(nn.Module):
    """Multiplies each channel by a number between 0 and 1 that depends on all channels (Hu et al., 2018)."""

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


class ResidualBlock(nn.Module):
    """The activation of the sum of two convolutions and a shortcut (He et al., 2016); more channels halve the resolution."""

    def __init__(
        self, spec: NetworkSpec, inputs: int, outputs: int, squeeze: bool, dropout: bool = False, pool: bool = False
    ) -> None:
        super().__init__()
        stride = 1 if inputs == outputs else 2
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            spec.act(),
            *([nn.Dropout(spec.dropout)] if dropout else []),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            *([SqueezeExcitation(outputs)] if squeeze else []),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1:
            pooling = [nn.AvgPool2d(stride, ceil_mode=True)] if pool else []
            convolution = nn.Conv2d(inputs, outputs, 1, stride=1 if pool else stride, bias=False)
            self.shortcut = nn.Sequential(*pooling, convolution, nn.BatchNorm2d(outputs))
        self.act = spec.act()

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H / stride, W / stride), rounded up."""
        summed: Tensor = self.act(self.residual(features) + self.shortcut(features))
        return summed


def _with_stem_and_head(spec: NetworkSpec, blocks: Iterable[nn.Module], widths: tuple[int, ...], stride: int) -> nn.Module:
    """Put a convolution of widths[0] channels before residual blocks; pooling and the classification head after them."""
    return nn.Sequential(
        nn.Conv2d(spec.channels, widths[0], 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(widths[0]),
        spec.act(),
        *blocks,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(spec.dropout),
        nn.Linear(widths[-1], spec.classes),
    )
