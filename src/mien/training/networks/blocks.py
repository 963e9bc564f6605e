"""What every network is built for, and where its head is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

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
