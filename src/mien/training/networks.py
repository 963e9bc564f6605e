"""Networks with their preprocessing, by name: mien's own, and `timm:<name>` for those of timm with a new head (Wightman)."""

import os
from collections import namedtuple
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mien.errors import MienError, first_line, suggestion
from mien.training.recipe import MISTAKES, TIMM, Recipe, call_own

# swish: Ramachandran et al., 2017; mish: Misra, 2019
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "swish": nn.SiLU, "mish": nn.Mish}
NetworkSpec = namedtuple("NetworkSpec", "classes channels size dropout activation")  # what a user's network is built for


def _act(recipe: Recipe) -> nn.Module:
    return ACTIVATIONS[recipe.activation](inplace=True)


class FaceNetwork(nn.Module):
    """A network preceded by central crop, normalisation and enlargement: uint8 faces to logits."""

    def __init__(self, recipe: Recipe, network: nn.Module) -> None:
        super().__init__()
        self.recipe, self.heads = recipe, recipe.heads
        self.network = network  # float32 (N, C, S, S) to logits (N, heads x K), one head after the other

    def forward(self, faces: Tensor) -> Tensor:
        """Map uint8 faces (N, H, W) or (N, H, W, 3) to logits (N, heads, K)."""
        planes = pixels(faces)
        if (side := self.recipe.crop) is not None:
            top = (planes.shape[-1] - side) // 2
            planes = planes[..., top : top + side, top : top + side]
        return self.logits(planes)

    def logits(self, faces: Tensor) -> Tensor:
        """Map cropped float32 faces (N, C, H, W) between 0 and 1 to logits (N, heads, K)."""
        normalised = (faces - self.recipe.mean) / self.recipe.std
        if self.recipe.enlarge_to is not None:
            normalised = F.interpolate(normalised, [self.recipe.enlarge_to] * 2, mode="bilinear", align_corners=False)
        logits: Tensor = self.network(normalised.contiguous(memory_format=torch.channels_last))
        return logits.float().reshape(-1, len(self.heads), logits.shape[1] // len(self.heads))


def pixels(faces: Tensor) -> Tensor:
    """Convert uint8 faces (N, H, W) or (N, H, W, 3) to float32 (N, C, H, W) between 0 and 1."""
    planes = faces.unsqueeze(1) if faces.ndim == 3 else faces.permute(0, 3, 1, 2)
    return planes.float() / 255


def head_of(network: nn.Module) -> nn.Module:
    """Find the classification head: by timm's own function, or the last dense layer, or else the last one."""
    if get_classifier := getattr(network, "get_classifier", None):
        head = get_classifier()  # a tuple for some of timm's networks
        return head if isinstance(head, nn.Module) else nn.ModuleList(head)
    layers = [module for module in network.modules() if list(module.parameters(recurse=False))]
    return max(reversed(layers), key=lambda layer: isinstance(layer, nn.Linear), default=network)


def six_conv(recipe: Recipe, classes: int) -> nn.Module:
    """Build a student's first network: six convolutions, no normalisation; about 52% on validation in its source."""
    layers: list[nn.Module] = []
    for inputs, middle, outputs in ((recipe.channels, 16, 32), (32, 64, 64), (64, 128, 128)):
        layers += [nn.Conv2d(inputs, middle, 3, padding=1), _act(recipe)]
        layers += [nn.Conv2d(middle, outputs, 3, padding=1), _act(recipe), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, *_dense(recipe, classes, 128 * (recipe.network_size // 8) ** 2, 256, 128))


def wide_cnn(recipe: Recipe, classes: int) -> nn.Module:
    """Build the wide CNN of students: 68.34% on the validation rows of FER-2013 in its source, with dropout 0.36."""
    layers: list[nn.Module] = []
    for inputs, outputs, kernel in ((recipe.channels, 64, 3), (64, 128, 5), (128, 256, 3), (256, 256, 3)):
        layers += [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), nn.BatchNorm2d(outputs)]
        layers += [_act(recipe), nn.MaxPool2d(2), nn.Dropout(recipe.dropout)]
    return nn.Sequential(*layers, *_dense(recipe, classes, 256 * (recipe.network_size // 16) ** 2, 256, 512, normalised=True))


def mish_cnn(recipe: Recipe, classes: int) -> nn.Module:
    """Build the CNN of Misra, Mish: A Self Regularized Non-Monotonic Activation Function, 2019, with a recipe's activation."""
    # the source does not give the widths; these train three times faster on a CPU than twice the width in the first layers
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((recipe.channels, 32, 64, 128, 256)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)]
        layers += [_act(recipe), nn.MaxPool2d(2), nn.Dropout(recipe.dropout / 2)]
    return nn.Sequential(*layers, *_dense(recipe, classes, 256 * (recipe.network_size // 16) ** 2, 256))


def deepface_cnn(recipe: Recipe, classes: int) -> nn.Module:
    """Build the emotion network of deepface (Serengil and Ozpinar), trained on FER-2013 without disgust in its source."""
    if not 48 <= recipe.network_size <= 51:  # with others the last feature map is not a single pixel
        raise MienError(f"deepface_cnn needs faces of 48 pixels, not {recipe.network_size}; set --recipe.size 48.")
    layers = [nn.Conv2d(recipe.channels, 64, 5), _act(recipe), nn.MaxPool2d(5, stride=2)]
    for inputs, outputs in ((64, 64), (64, 128)):
        layers += [nn.Conv2d(inputs, outputs, 3), _act(recipe)]
        layers += [nn.Conv2d(outputs, outputs, 3), _act(recipe), nn.AvgPool2d(3, stride=2)]
    return nn.Sequential(*layers, *_dense(recipe, classes, 128, 1024, 1024))


def _dense(recipe: Recipe, classes: int, *widths: int, normalised: bool = False) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), *([nn.BatchNorm1d(outputs)] if normalised else [])]
        layers += [_act(recipe), nn.Dropout(recipe.dropout)]
    return [*layers, nn.Linear(widths[-1], classes)]


def compact_resnet(recipe: Recipe, classes: int) -> nn.Module:
    """Build the compact network: four residual blocks at 24, 12, 6 and 3 pixels, 1.05M parameters, 34M multiply-adds."""
    # the stem halves the face at once, since the embedded model must classify one within a millisecond on one core
    options: dict[str, Any] = {"squeeze_excitation": False, "stride": 2, "width": 1} | (recipe.network_options or {})
    if options["stride"] not in (1, 2) or type(options["width"]) not in (int, float) or not 0.5 <= options["width"] <= 8:
        raise MienError("The options of compact_resnet are stride, 1 or 2, and width, a factor between 0.5 and 8.")
    widths = tuple(round(channels * options["width"]) for channels in (32, 64, 128, 224))
    blocks = [ResidualBlock(recipe, *pair, options["squeeze_excitation"], pool=True) for pair in pairwise((widths[0], *widths))]
    return _resnet(recipe, classes, blocks, widths, options["stride"])


def se_resnet(recipe: Recipe, classes: int) -> nn.Module:
    """Build the large network: two residual blocks each at 48, 24, 12 and 6 pixels, with dropout; 11.3M parameters."""
    blocks, widths = [], (64, 128, 256, 512)
    for inputs, outputs in pairwise((widths[0], *widths)):
        blocks += [ResidualBlock(recipe, each, outputs, squeeze=True, dropout=True) for each in (inputs, outputs)]
    return _resnet(recipe, classes, blocks, widths, stride=1)  # which keeps the resolution: 48 pixels are few


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
        self, recipe: Recipe, inputs: int, outputs: int, squeeze: bool, dropout: bool = False, pool: bool = False
    ) -> None:
        super().__init__()
        stride = 1 if inputs == outputs else 2
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            _act(recipe),
            *([nn.Dropout(recipe.dropout)] if dropout else []),  # Zagoruyko and Komodakis, Wide residual networks, 2016
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            *([SqueezeExcitation(outputs)] if squeeze else []),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1:
            pooling = [nn.AvgPool2d(stride, ceil_mode=True)] if pool else []
            convolution = nn.Conv2d(inputs, outputs, 1, stride=1 if pool else stride, bias=False)
            self.shortcut = nn.Sequential(*pooling, convolution, nn.BatchNorm2d(outputs))
        self.act = _act(recipe)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H / stride, W / stride), rounded up."""
        summed: Tensor = self.act(self.residual(features) + self.shortcut(features))
        return summed


def _resnet(recipe: Recipe, classes: int, blocks: Iterable[nn.Module], widths: tuple[int, ...], stride: int) -> nn.Module:
    """Put a convolution of widths[0] channels before residual blocks; pooling and the classification head after them."""
    return nn.Sequential(
        nn.Conv2d(recipe.channels, widths[0], 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(widths[0]),
        _act(recipe),
        *blocks,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(recipe.dropout),
        nn.Linear(widths[-1], classes),
    )


def timm_backbone(recipe: Recipe, classes: int, pretrained: Path | None = None) -> nn.Module:
    """Build a network of timm with the recipe's options for create_model, and load a .safetensors file except for the head."""
    name, options = recipe.network.removeprefix(TIMM), recipe.network_options or {}
    timm = _import_timm(name)
    overlay = {"pretrained": True, "pretrained_cfg_overlay": {"file": str(pretrained)}} if pretrained else {}
    try:  # where weights are for three colours, timm sums their first convolution over the colours for gray faces
        network: nn.Module = timm.create_model(
            name, num_classes=classes, in_chans=recipe.channels, drop_rate=recipe.dropout, **overlay, **options
        )
    except (TypeError, ValueError, AssertionError, RuntimeError) as problem:
        given = f" and the options {options}" if options else ""
        raise MienError(f"timm cannot build {name} with {recipe.channels} channels{given}: {first_line(problem)}.") from None
    if reason := input_failure(network, recipe.channels, recipe.network_size):  # before any file is written
        raise MienError(MISTAKES["other size"].format(name=name, size=recipe.network_size, reason=reason))
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


@torch.enable_grad()
def own_network(recipe: Recipe, classes: int) -> nn.Module:
    """Build a user's network, module:name, called with values of the recipe by their usual names, or as one `spec`."""
    spec = NetworkSpec(classes, recipe.channels, recipe.network_size, recipe.dropout, recipe.activation)
    aliases = {"num_classes": classes, "in_channels": spec.channels, "in_chans": spec.channels, "spec": spec}
    network: nn.Module = call_own(recipe.network, known=spec._asdict() | aliases, **(recipe.network_options or {}))
    try:
        if not any(weights.requires_grad for weights in network.parameters()):
            raise ValueError("it has no weights to train")
        faces, count = torch.zeros(2, spec.channels, spec.size, spec.size), torch.export.Dim("faces", min=1)
        found = network.eval()(faces)
        if not isinstance(found, Tensor):
            raise ValueError(f"it gives a {type(found).__name__}")
        if found.shape != (2, classes):
            raise ValueError(f"it gives {tuple(found.shape)}")
        if not found.isfinite().all():
            raise ValueError("it gives values that are not numbers")
        if not found.requires_grad:
            raise ValueError("its output has no gradient")
        if found.min() >= 0 and torch.allclose(found.sum(dim=1), torch.ones(2)):
            raise ValueError("it gives probabilities; leave out its softmax")
        torch.export.export(network, (faces,), dynamic_shapes=({0: count},))  # fails now, and not after the training
    except Exception as problem:  # whatever the network does
        reason = "it takes only two faces" if "Constraints violated" in str(problem) else first_line(problem)
        raise MienError(MISTAKES["own network"].format(recipe=recipe, classes=classes, reason=reason)) from problem
    return network.train()


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
NETWORKS: dict[str, Callable[[Recipe, int], nn.Module]] = {build.__name__: build for build in OWN}
"""Each maps float32 (N, C, H, W) to logits (N, classes)."""

SMALLEST = {"six_conv": 8, "deepface_cnn": 0}  # faces in pixels; 16 for the others: four poolings leave one pixel of them
OPTIONS = {"compact_resnet": ("squeeze_excitation", "stride", "width")}  # names of the `network_options` of each


def build_network(recipe: Recipe, classes: int, pretrained: Path | None = None) -> nn.Module:
    """Build a recipe's network with random weights from torch's global generator; those of timm as `timm_backbone` does."""
    if (name := recipe.network).startswith(TIMM):
        return timm_backbone(recipe, classes, pretrained)
    if ":" in name:
        return own_network(recipe, classes)
    if name not in NETWORKS:
        hint = suggestion(name, NETWORKS, f"the networks are {', '.join(NETWORKS)}, timm:<name>, and module:name for your own.")
        raise MienError(f"There is no network {name!r}; {hint}")
    options = OPTIONS.get(name, ())
    if unknown := set(recipe.network_options or {}).difference(options):
        known = ", ".join(options) or "none"
        raise MienError(MISTAKES["no such option"].format(name=name, option=unknown.pop(), known=known))
    if recipe.network_size < (least := SMALLEST.get(name, 16)):
        raise MienError(f"{name} needs faces of at least {least} pixels, not {recipe.network_size}; set --recipe.size.")
    return NETWORKS[name](recipe, classes)


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
