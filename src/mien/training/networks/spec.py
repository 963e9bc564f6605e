"""What a network is built for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

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
