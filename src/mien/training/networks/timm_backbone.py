"""Any network of timm with a classification head of its own: `timm:<name>` in a recipe (Wightman, PyTorch Image Models).

Weights come from the hub by the name's tag, as in timm:resnet50.tv_in1k, or from a file; see `mien.training.transfer`.
timm folds a pretrained first convolution for three colours into one for gray faces by summing over them.
"""

import difflib
import os
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from mien.errors import MienError
from mien.training.networks.blocks import NetworkSpec, head_of


def timm_backbone(name: str, spec: NetworkSpec, pretrained: Path | None = None) -> nn.Module:
    """Build a network of timm.

    Args:
        name: as timm lists it, with or without a tag.
        spec: what it is built for; `options` are passed to timm's create_model.
        pretrained: a .safetensors file from the hub whose weights are loaded, all but the head's.

    Raises:
        MienError: if timm is not installed, has no such network or tag (the sentence names the nearest), or cannot
            build it with these options or put faces of this size into it.
    """
    timm = _timm()
    _check_name(timm, name)
    overlay = {"pretrained": True, "pretrained_cfg_overlay": {"file": str(pretrained)}} if pretrained else {}
    try:
        network: nn.Module = timm.create_model(
            name, num_classes=spec.classes, in_chans=spec.channels, drop_rate=spec.dropout, **overlay, **spec.options
        )
    except (TypeError, ValueError, AssertionError, RuntimeError) as problem:
        options = f" and the options {dict(spec.options)}" if spec.options else ""
        raise MienError(f"timm cannot build {name} with {spec.channels} channels{options}: {_first_line(problem)}.") from None
    if reason := why_not_taken(network, spec.channels, spec.size):  # said before anything is written
        size = f'{{"img_size": {spec.size}}}'
        raise MienError(
            f"{name} does not take faces of {spec.size} pixels ({reason}): enlarge them with --recipe.enlarge_to, or, where "
            f"the network can be built for a size, --recipe.network_options '{size}'."
        )
    for layer in head_of(network).modules():
        if isinstance(layer, nn.Linear):
            # some of timm's networks start heads for thousands of labels: with seven, their first logits differ by 7
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)
    return network


def fetch_from_hub(name: str) -> Path:
    """Find the pretrained weights of a network in the hub's cache, or fetch them.

    Raises:
        MienError: if timm knows of none, or they cannot be fetched; the sentence names `--recipe.weights`.
    """
    timm = _timm()
    _check_name(timm, name)
    import huggingface_hub

    origin = timm.get_pretrained_cfg(name)
    if origin is None or not origin.hf_hub_id:
        raise MienError(f"timm knows of no weights on the hub for {name}; give a .safetensors file with --recipe.weights FILE.")
    repository, _, revision = origin.hf_hub_id.partition("@")
    place: dict[str, Any] = {"repo_id": repository, "filename": "model.safetensors", "revision": revision or None}
    try:
        return Path(huggingface_hub.hf_hub_download(**place, local_files_only=True))
    except FileNotFoundError:
        pass  # not in the cache yet
    try:
        # asked once before the download, which would retry for half a minute where there is no network
        huggingface_hub.get_hf_file_metadata(huggingface_hub.hf_hub_url(**place), timeout=10)
        return Path(huggingface_hub.hf_hub_download(**place))
    except Exception as problem:  # the hub's client lets errors of whichever HTTP library it uses through
        offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
        raise MienError(
            f"The weights of {name} cannot be fetched from the hub{offline}: {_first_line(problem)}. Without a network, get "
            f"model.safetensors of {repository} elsewhere and give it with --recipe.weights FILE."
        ) from None


def _timm() -> ModuleType:
    try:
        return import_module("timm")
    except ModuleNotFoundError as missing:
        if missing.name not in ("timm", "torchvision"):
            raise
        raise MienError(f"Not installed, and needed for this: {missing.name}; run: pip install 'mien[timm]'") from None
    except RuntimeError as problem:  # torchvision's answer to a release of torch that it was not built for
        raise MienError(
            f"timm cannot be imported: {_first_line(problem)}. Install the torchvision that belongs to this release of torch."
        ) from None


def _check_name(timm: ModuleType, name: str) -> None:
    architecture, _, tag = name.partition(".")
    known = timm.list_models()
    if architecture not in known:
        near = difflib.get_close_matches(architecture.lower(), known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "timm.list_models() lists them."
        raise MienError(f"timm has no network {architecture!r}; {hint}")
    tags = [each.partition(".")[2] for each in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        raise MienError(f"timm has no weights {tag!r} for {architecture}; it has {', '.join(tags) or 'none'}.")


@torch.no_grad()
def why_not_taken(network: nn.Module, channels: int, side: int) -> str:
    """Say why a network cannot answer about faces of this side, in its own words; empty where it can."""
    was_training = network.training
    try:
        network.eval()(torch.zeros(1, channels, side, side))
    except (AssertionError, RuntimeError, ValueError) as problem:
        return _first_line(problem)
    finally:
        network.train(was_training)
    return ""


def _first_line(problem: Exception) -> str:
    lines = str(problem).strip().splitlines() or [type(problem).__name__]
    return lines[0].rstrip(".: ")
