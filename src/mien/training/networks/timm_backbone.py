"""Networks of timm with a new classification head: `timm:<name>` in a recipe (Wightman, PyTorch Image Models).

timm adapts a pretrained first convolution for three colours to gray faces by summing over the colours.
"""

import os
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from mien.errors import MienError, first_line, suggestion
from mien.training.networks.blocks import NetworkSpec, head_of


def timm_backbone(name: str, spec: NetworkSpec, pretrained: Path | None = None) -> nn.Module:
    """Build a network of timm with `spec.options` for its create_model, and load a .safetensors file except for the head."""
    timm = _import_timm(name)
    overlay = {"pretrained": True, "pretrained_cfg_overlay": {"file": str(pretrained)}} if pretrained else {}
    try:
        network: nn.Module = timm.create_model(
            name, num_classes=spec.classes, in_chans=spec.channels, drop_rate=spec.dropout, **overlay, **spec.options
        )
    except (TypeError, ValueError, AssertionError, RuntimeError) as problem:
        options = f" and the options {dict(spec.options)}" if spec.options else ""
        raise MienError(f"timm cannot build {name} with {spec.channels} channels{options}: {first_line(problem)}.") from None
    if reason := input_failure(network, spec.channels, spec.size):  # before any file is written
        advice = f"if the network can be built for a size, set --recipe.network_options '{{\"img_size\": {spec.size}}}'"
        told = f"{name} does not take faces of {spec.size} pixels ({reason})"
        raise MienError(f"{told}: enlarge them with --recipe.enlarge_to, or, {advice}.")
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
        advice = f"copy model.safetensors of {repository} from elsewhere and give it with --recipe.weights FILE"
        told = f"The weights of {name} cannot be downloaded from the hub{offline}: {first_line(problem)}"
        raise MienError(f"{told}. Without a network, {advice}.") from None


def _import_timm(name: str) -> ModuleType:
    """Import timm and check that it has the network and the tag of its weights."""
    try:
        timm = import_module("timm")
    except ModuleNotFoundError as missing:
        if missing.name not in ("timm", "torchvision"):
            raise
        raise MienError(f"{missing.name} is not installed; run: pip install 'mien[timm]'") from None
    except RuntimeError as problem:  # from torchvision, if it was built for another release of torch
        advice = "Install the torchvision release that belongs to this torch."
        raise MienError(f"timm cannot be imported: {first_line(problem)}. {advice}") from None
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
