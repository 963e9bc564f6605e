"""The networks by name: mien's own, and `timm:<name>` for those of timm with a new head (Wightman, PyTorch Image Models)."""

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mien.errors import MienError, first_line, suggestion
from mien.training.recipe import MISTAKES, TIMM, Recipe

# swish: Ramachandran et al., 2017; mish: Misra, 2019
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "swish": nn.SiLU, "mish": nn.Mish}


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


def head_of(network: nn.Module) -> nn.Module:
    """Find the classification head: by timm's own function, or the last dense layer."""
    if get_classifier := getattr(network, "get_classifier", None):
        head = get_classifier()  # a tuple for some of timm's networks
        return head if isinstance(head, nn.Module) else nn.ModuleList(head)
    return [module for module in network.modules() if isinstance(module, nn.Linear)][-1]


def six_conv(spec: NetworkSpec) -> nn.Module:
    """Build a student's first network: six convolutions, no normalisation; about 52% on validation in its source."""
    layers: list[nn.Module] = []
    for inputs, middle, outputs in ((spec.channels, 16, 32), (32, 64, 64), (64, 128, 128)):
        layers += [nn.Conv2d(inputs, middle, 3, padding=1), spec.act()]
        layers += [nn.Conv2d(middle, outputs, 3, padding=1), spec.act(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, *_dense(spec, 128 * (spec.size // 8) ** 2, 256, 128))


def wide_cnn(spec: NetworkSpec) -> nn.Module:
    """Build the wide CNN of students: 68.34% on the validation rows of FER-2013 in its source, with dropout 0.36."""
    layers: list[nn.Module] = []
    for inputs, outputs, kernel in ((spec.channels, 64, 3), (64, 128, 5), (128, 256, 3), (256, 256, 3)):
        layers += [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), nn.BatchNorm2d(outputs)]
        layers += [spec.act(), nn.MaxPool2d(2), nn.Dropout(spec.dropout)]
    return nn.Sequential(*layers, *_dense(spec, 256 * (spec.size // 16) ** 2, 256, 512, normalised=True))


def mish_cnn(spec: NetworkSpec) -> nn.Module:
    """Build the CNN of Misra, Mish: A Self Regularized Non-Monotonic Activation Function, 2019, with a recipe's activation."""
    # the source does not give the widths; these train three times faster on a CPU than twice the width in the first layers
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((spec.channels, 32, 64, 128, 256)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)]
        layers += [spec.act(), nn.MaxPool2d(2), nn.Dropout(spec.dropout / 2)]
    return nn.Sequential(*layers, *_dense(spec, 256 * (spec.size // 16) ** 2, 256))


def deepface_cnn(spec: NetworkSpec) -> nn.Module:
    """Build the emotion network of deepface (Serengil and Ozpinar), trained on FER-2013 without disgust in its source."""
    if not 48 <= spec.size <= 51:  # with others the last feature map is not a single pixel
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
    squeeze, widths = bool(spec.options.get("squeeze_excitation")), (32, 64, 128, 224)
    blocks = [ResidualBlock(spec, inputs, outputs, squeeze, pool=True) for inputs, outputs in pairwise((widths[0], *widths))]
    # the stem halves the face at once, since the embedded model must classify one within a millisecond on one core
    return _with_stem_and_head(spec, blocks, widths, stride=2)


def se_resnet(spec: NetworkSpec) -> nn.Module:
    """Build the large network: two residual blocks each at 48, 24, 12 and 6 pixels, with dropout; 11.3M parameters."""
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
        return features.mul(self.weigh(features))


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


def timm_backbone(name: str, spec: NetworkSpec, pretrained: Path | None = None) -> nn.Module:
    """Build a network of timm with `spec.options` for its create_model, and load a .safetensors file except for the head."""
    timm = _import_timm(name)
    overlay = {"pretrained": True, "pretrained_cfg_overlay": {"file": str(pretrained)}} if pretrained else {}
    try:  # where weights are for three colours, timm sums their first convolution over the colours for gray faces
        network: nn.Module = timm.create_model(
            name, num_classes=spec.classes, in_chans=spec.channels, drop_rate=spec.dropout, **overlay, **spec.options
        )
    except (TypeError, ValueError, AssertionError, RuntimeError) as problem:
        options = f" and the options {dict(spec.options)}" if spec.options else ""
        raise MienError(f"timm cannot build {name} with {spec.channels} channels{options}: {first_line(problem)}.") from None
    if reason := input_failure(network, spec.channels, spec.size):  # before any file is written
        raise MienError(MISTAKES["other size"].format(name=name, size=spec.size, reason=reason))
    for layer in head_of(network).modules():
        if isinstance(layer, nn.Linear):
            # some of timm's networks initialise heads for thousands of classes; with seven, the first logits differ by 7
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)
    return network


def fetch_from_hub(name: str) -> Path:
    """Return the file of a network's pretrained weights in the hub's cache, downloaded if necessary."""
    timm = _import_timm(name)
    import huggingface_hub

    origin = timm.get_pretrained_cfg(name)
    if origin is None or not origin.hf_hub_id:
        raise MienError(f"timm has no weights on the hub for {name}; give a .safetensors file with --recipe.weights FILE.")
    repository, _, revision = origin.hf_hub_id.partition("@")
    place: dict[str, Any] = {"repo_id": repository, "filename": "model.safetensors", "revision": revision or None}
    with suppress(FileNotFoundError):  # not in the cache yet
        return Path(huggingface_hub.hf_hub_download(**place, local_files_only=True))
    try:
        # one request before the download, which retries for half a minute without a network
        huggingface_hub.get_hf_file_metadata(huggingface_hub.hf_hub_url(**place), timeout=10)
        return Path(huggingface_hub.hf_hub_download(**place))
    except Exception as problem:  # the hub's client passes on the errors of its HTTP library
        offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
        told = {"name": name, "offline": offline, "reason": first_line(problem), "repository": repository}
        raise MienError(MISTAKES["no download"].format(**told)) from None


def _import_timm(name: str) -> ModuleType:
    try:
        timm = import_module("timm")
    except ModuleNotFoundError as missing:
        if missing.name not in ("timm", "torchvision"):
            raise
        raise MienError(f"{missing.name} is not installed; run: pip install 'mien[timm]'") from None
    except RuntimeError as problem:  # from torchvision, if it was built for another release of torch
        raise MienError(MISTAKES["broken timm"].format(reason=first_line(problem))) from None
    architecture, _, tag = name.partition(".")
    known = timm.list_models()
    if architecture not in known:
        hint = suggestion(architecture.lower(), known, "timm.list_models() lists them.", most=3, cutoff=0.5)
        raise MienError(f"timm has no network {architecture!r}; {hint}")
    tags = [each.partition(".")[2] for each in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        raise MienError(f"timm has no weights {tag!r} for {architecture}; it has {', '.join(tags) or 'none'}.")
    return timm


@torch.no_grad()
def input_failure(network: nn.Module, channels: int, side: int) -> str:
    """Return the network's error message for faces of this size; empty if it accepts them."""
    was_training = network.training
    try:
        network.eval()(torch.zeros(1, channels, side, side))
    except (AssertionError, RuntimeError, ValueError) as problem:
        return first_line(problem)
    finally:
        network.train(was_training)
    return ""


OWN = (compact_resnet, deepface_cnn, mish_cnn, se_resnet, six_conv, wide_cnn)
NETWORKS: dict[str, Callable[[NetworkSpec], nn.Module]] = {build.__name__: build for build in OWN}
"""Each maps float32 (N, C, H, W) to logits (N, classes)."""

SMALLEST = {"six_conv": 8, "deepface_cnn": 0}  # faces in pixels; 16 for the others: four poolings leave one pixel of them
OPTIONS = {"compact_resnet": ("squeeze_excitation",)}  # names of the `network_options` of networks that have some


def build_network(name: str, spec: NetworkSpec) -> nn.Module:
    """Build a network with random weights from torch's global generator."""
    if name.startswith(TIMM):
        return timm_backbone(name.removeprefix(TIMM), spec)
    if name not in NETWORKS:
        hint = suggestion(name, NETWORKS, f"the networks are {', '.join(NETWORKS)}, and timm:<name>.")
        raise MienError(f"There is no network {name!r}; {hint}")
    options = OPTIONS.get(name, ())
    if unknown := set(spec.options).difference(options):
        known = ", ".join(options) or "none"
        raise MienError(MISTAKES["no such option"].format(name=name, option=unknown.pop(), known=known))
    if spec.size < (least := SMALLEST.get(name, 16)):
        raise MienError(f"{name} needs faces of at least {least} pixels, not {spec.size}; set --recipe.size.")
    return NETWORKS[name](spec)


@torch.no_grad()
def layers(network: nn.Module, channels: int, size: int) -> list[tuple[str, tuple[int, ...], int]]:
    """List the layers that contain no others as they run: name, shape of the output for one face, number of parameters."""
    found = []

    def note(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        parameters = sum(p.numel() for p in module.parameters())
        found.append((f"{type(module).__name__} {names[module]}", tuple(output.shape[1:]), parameters))

    names = {module: name for name, module in network.named_modules()}
    hooks = [module.register_forward_hook(note) for module in names if not list(module.children())]
    network.eval()(torch.zeros(1, channels, size, size))
    for hook in hooks:
        hook.remove()
    return found


@torch.no_grad()
def multiply_adds(network: nn.Module, channels: int, size: int) -> int:
    """Count the multiply-add operations of convolutions and dense layers for one face."""
    with FlopCounterMode(display=False) as counter:
        network.eval()(torch.zeros(1, channels, size, size))
    return int(counter.get_total_flops()) // 2


def as_table(network: nn.Module, channels: int, size: int) -> str:
    """Format the layers as aligned text, with the totals of parameters and multiply-adds below."""
    rows = [("layer", "output", "parameters")]
    rows += [(name, " x ".join(map(str, shape)), f"{count:,}") for name, shape, count in layers(network, channels, size)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"{name:<{widths[0]}}  {shape:<{widths[1]}}  {count:>{widths[2]}}" for name, shape, count in rows]
    total = sum(p.numel() for p in network.parameters())
    return "\n".join([*lines, "", f"{total:,} parameters, {multiply_adds(network, channels, size):,} multiply-adds a face"])
