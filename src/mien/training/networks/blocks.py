"""What every network is built for, and mien's own networks; the shapes in them are those of gray faces of 48 pixels."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
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

    def check_size(self, name: str, least: int = 16) -> None:
        """Reject faces that are too small for a network."""
        if self.size < least:
            raise MienError(f"{name} needs faces of at least {least} pixels, not {self.size}; set --recipe.size.")

    def act(self) -> nn.Module:
        """Create an activation layer."""
        return ACTIVATIONS[self.activation](inplace=True)


def head_of(network: nn.Module) -> nn.Module:
    """Find the classification head: by timm's own function, or the last dense layer."""
    if get_classifier := getattr(network, "get_classifier", None):
        head = get_classifier()  # a tuple for some of timm's networks
        return head if isinstance(head, nn.Module) else nn.ModuleList(head)
    return [module for module in network.modules() if isinstance(module, nn.Linear)][-1]


def six_conv(spec: NetworkSpec) -> nn.Module:
    """Build a student's first network: six convolutions with ReLU, max pooling after each second one, no normalisation.

    (16, 48, 48) -> (32, 24, 24) -> (64, 24, 24) -> (64, 12, 12) -> (128, 12, 12) -> (128, 6, 6) -> 256 -> 128 -> classes;
    1,494,851 parameters with three classes. About 52% on validation with seven classes in its source.
    """
    spec.check_size("six_conv", least=8)
    layers: list[nn.Module] = []
    for inputs, middle, outputs in ((spec.channels, 16, 32), (32, 64, 64), (64, 128, 128)):
        layers += [nn.Conv2d(inputs, middle, 3, padding=1), spec.act()]
        layers += [nn.Conv2d(middle, outputs, 3, padding=1), spec.act(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, *_dense(spec, 128 * (spec.size // 8) ** 2, 256, 128))


def wide_cnn(spec: NetworkSpec) -> nn.Module:
    """Build the wide CNN of students: 68.34% on the validation rows of FER-2013 in its source, with dropout 0.36.

    (64, 24, 24) -> (128, 12, 12) -> (256, 6, 6) -> (256, 3, 3) -> 256 -> 512 -> classes; 1,819,015 parameters with seven.
    """
    spec.check_size("wide_cnn")  # four poolings leave one pixel of 16
    layers: list[nn.Module] = []
    for inputs, outputs, kernel in ((spec.channels, 64, 3), (64, 128, 5), (128, 256, 3), (256, 256, 3)):
        layers += [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), nn.BatchNorm2d(outputs)]
        layers += [spec.act(), nn.MaxPool2d(2), nn.Dropout(spec.dropout)]
    return nn.Sequential(*layers, *_dense(spec, 256 * (spec.size // 16) ** 2, 256, 512, normalised=True))


def mish_cnn(spec: NetworkSpec) -> nn.Module:
    """Build the Mish CNN (Misra, Mish: A Self Regularized Non-Monotonic Activation Function, 2019) with a recipe's activation.

    (32, 24, 24) -> (64, 12, 12) -> (128, 6, 6) -> (256, 3, 3) -> 256 -> classes; 980,199 parameters with seven. The source does
    not give the widths; these train three times faster on a CPU than twice the width in the first layers.
    """
    spec.check_size("mish_cnn")
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((spec.channels, 32, 64, 128, 256)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)]
        layers += [spec.act(), nn.MaxPool2d(2), nn.Dropout(spec.dropout / 2)]
    return nn.Sequential(*layers, *_dense(spec, 256 * (spec.size // 16) ** 2, 256))


def deepface_cnn(spec: NetworkSpec) -> nn.Module:
    """Build deepface's emotion network, for the only faces whose last feature map is a single pixel.

    Serengil and Ozpinar, deepface; trained on FER-2013 without disgust in its source. Sides of the feature maps: 44, 20, 18,
    16, 7, 5, 3, 1; then 128 -> 1024 -> 1024 -> classes; 1,484,806 parameters with six.
    """
    if not 48 <= spec.size <= 51:
        raise MienError(f"deepface_cnn needs faces of 48 pixels, not {spec.size}; set --recipe.size 48.")
    layers = [nn.Conv2d(spec.channels, 64, 5), spec.act(), nn.MaxPool2d(5, stride=2)]
    for inputs, outputs in ((64, 64), (64, 128)):
        layers += [nn.Conv2d(inputs, outputs, 3), spec.act()]
        layers += [nn.Conv2d(outputs, outputs, 3), spec.act(), nn.AvgPool2d(3, stride=2)]
    return nn.Sequential(*layers, *_dense(spec, 128, 1024, 1024))


def _dense(spec: NetworkSpec, *widths: int, normalised: bool = False) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), *([nn.BatchNorm1d(outputs)] if normalised else [])]
        layers += [spec.act(), nn.Dropout(spec.dropout)]
    return [*layers, nn.Linear(widths[-1], spec.classes)]


def compact_resnet(spec: NetworkSpec) -> nn.Module:
    """Build the compact network: four residual blocks at 24, 12, 6 and 3 pixels, 1.05M parameters, 34M multiply-adds."""
    spec.check_size("compact_resnet")
    squeeze, widths = bool(spec.options.get("squeeze_excitation")), (32, 64, 128, 224)
    blocks = [ResidualBlock(spec, inputs, outputs, squeeze, pool=True) for inputs, outputs in pairwise((widths[0], *widths))]
    # the stem halves the face at once, since the embedded model must classify one within a millisecond on one core
    return _with_stem_and_head(spec, blocks, widths, stride=2)


def se_resnet(spec: NetworkSpec) -> nn.Module:
    """Build the large network: two residual blocks each at 48, 24, 12 and 6 pixels, with dropout; 11.3M parameters."""
    spec.check_size("se_resnet")
    blocks, widths = [], (64, 128, 256, 512)
    for inputs, outputs in pairwise((widths[0], *widths)):
        blocks += [ResidualBlock(spec, each, outputs, squeeze=True, dropout=True) for each in (inputs, outputs)]
    return _with_stem_and_head(spec, blocks, widths, stride=1)  # which keeps the resolution: 48 pixels are few


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
            *([nn.Dropout(spec.dropout)] if dropout else []),  # Zagoruyko and Komodakis, Wide residual networks, 2016
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
