"""What a network is built for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, nn

from mien.errors import MienError
from mien.training.recipe import Recipe

ActivationName = Literal["relu", "leaky_relu", "swish", "mish"]


@dataclass(frozen=True)
class NetworkSpec:
    """What every network is told; those that have no use for a field ignore it.

    Attributes:
        classes: number of labels, K.
        channels: 1 for gray, 3 for colour.
        size: side in pixels of what the network sees.
        dropout: share of activations dropped in training.
        activation: relu, leaky_relu (slope 0.01), swish (SiLU; Ramachandran et al., 2017) or mish (Misra, 2019).
        options: what some networks, and those of timm, are told besides.
    """

    classes: int
    channels: int = 1
    size: int = 48
    dropout: float = 0.2
    activation: ActivationName = "relu"
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, recipe: Recipe, classes: int) -> "NetworkSpec":
        """Take from a recipe what its network is told."""
        return cls(
            classes, recipe.channels, recipe.network_size, recipe.dropout, recipe.activation, recipe.network_options or {}
        )

    def act(self) -> nn.Module:
        """Make the activation."""
        return ACTIVATIONS[self.activation](inplace=True)


ACTIVATIONS: dict[str, type[nn.ReLU] | type[nn.LeakyReLU] | type[nn.SiLU] | type[nn.Mish]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "swish": nn.SiLU,
    "mish": nn.Mish,
}


# Which part of a network is its classification head.


def head_of(network: nn.Module) -> nn.Module:
    """Find the classification head: what timm calls so, or the last dense layer."""
    timms = getattr(network, "get_classifier", None)
    if callable(timms):
        head = timms()  # some of timm's networks have two
        return head if isinstance(head, nn.Module) else nn.ModuleList(head)
    return [module for module in network.modules() if isinstance(module, nn.Linear)][-1]


# Squeeze-and-excitation: a block's channels weighed by what the whole face shows (Hu et al., 2018).


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


# What our residual networks have in common: a stem of one convolution, blocks, and the mean over the face at the end.


def check_size(name: str, spec: NetworkSpec) -> None:
    """Make sure that the faces are large enough.

    Raises:
        MienError: if they are smaller than 16 pixels.
    """
    if spec.size < 16:
        raise MienError(f"{name} needs faces of at least 16 pixels, not {spec.size}; set --recipe.size.")


def with_stem_and_head(spec: NetworkSpec, blocks: Iterable[nn.Module], widths: tuple[int, ...], stride: int) -> nn.Module:
    """Put a stem before residual blocks, and pooling and the classification head behind them.

    Args:
        spec: what the network is built for.
        blocks: from (N, widths[0], H / stride, W / stride) to (N, widths[-1], ...).
        widths: channels of the stages.
        stride: of the stem.
    """
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
