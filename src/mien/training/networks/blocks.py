"""What every network is built for, and the parts that several networks share."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from mien.errors import MienError
from mien.training.recipe import Recipe

ACTIVATIONS: dict[str, Callable[..., nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "swish": nn.SiLU,  # Ramachandran et al., 2017
    "mish": nn.Mish,  # Misra, 2019
}


@dataclass(frozen=True)
class NetworkSpec:
    """What a network is built for; a network ignores the fields that it does not use."""

    classes: int
    channels: int = 1
    size: int = 48  # side of the faces in pixels
    dropout: float = 0.2
    activation: str = "relu"
    options: Mapping[str, Any] = field(default_factory=dict)  # `Recipe.network_options`

    @classmethod
    def of(cls, recipe: Recipe, classes: int) -> "NetworkSpec":
        """Take the values of a recipe."""
        options = recipe.network_options or {}
        return cls(classes, recipe.channels, recipe.network_size, recipe.dropout, recipe.activation, options)

    def act(self) -> nn.Module:
        """Create an activation layer."""
        return ACTIVATIONS[self.activation](inplace=True)


def check_size(name: str, spec: NetworkSpec, least: int = 16) -> None:
    """Reject faces that are too small for a network."""
    if spec.size < least:
        raise MienError(f"{name} needs faces of at least {least} pixels, not {spec.size}; set --recipe.size.")


def head_of(network: nn.Module) -> nn.Module:
    """Find the classification head: by timm's own function, or the last dense layer."""
    get_classifier = getattr(network, "get_classifier", None)
    if callable(get_classifier):
        head = get_classifier()  # a tuple for some of timm's networks
        return head if isinstance(head, nn.Module) else nn.ModuleList(head)
    return [module for module in network.modules() if isinstance(module, nn.Linear)][-1]


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


def with_stem_and_head(spec: NetworkSpec, blocks: Iterable[nn.Module], widths: tuple[int, ...], stride: int) -> nn.Module:
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
