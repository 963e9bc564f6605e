"""The networks by name: a new one is a file here and a line in `NETWORKS`."""

import difflib
from collections.abc import Callable

from torch import nn

from mien.errors import MienError
from mien.training.networks.compact_resnet import compact_resnet
from mien.training.networks.deepface_cnn import deepface_cnn
from mien.training.networks.mish_cnn import mish_cnn
from mien.training.networks.se_resnet import se_resnet
from mien.training.networks.six_conv import six_conv
from mien.training.networks.spec import NetworkSpec
from mien.training.networks.timm_backbone import timm_backbone
from mien.training.networks.wide_cnn import wide_cnn
from mien.training.recipe import TIMM

NETWORKS: dict[str, Callable[[NetworkSpec], nn.Module]] = {
    "compact_resnet": compact_resnet,
    "deepface_cnn": deepface_cnn,
    "mish_cnn": mish_cnn,
    "se_resnet": se_resnet,
    "six_conv": six_conv,
    "wide_cnn": wide_cnn,
}
"""Each maps float32 (N, C, H, W) to logits (N, classes)."""


OPTIONS = {"compact_resnet": ("squeeze_excitation",)}
"""What some of them can be told besides, by `network_options`."""


def build_network(name: str, spec: NetworkSpec) -> nn.Module:
    """Build a network with fresh weights from torch's global random state.

    Raises:
        MienError: if there is no such network (the sentence names the nearest), it has no such option, or the faces are too
            small for it.
    """
    if name.startswith(TIMM):
        return timm_backbone(name.removeprefix(TIMM), spec)
    if name not in NETWORKS:
        near = difflib.get_close_matches(name, NETWORKS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(NETWORKS)}, and timm:<name>."
        raise MienError(f"There is no network {name!r}; {hint}")
    if unknown := set(spec.options).difference(OPTIONS.get(name, ())):
        known = ", ".join(OPTIONS.get(name, ())) or "none"
        raise MienError(
            f"{name} has no option {unknown.pop()}; its options are: {known}. Change --recipe.network_options, or say null."
        )
    return NETWORKS[name](spec)
