"""Which part of a network is its classification head."""

from torch import nn


def head_of(network: nn.Module) -> nn.Module:
    """Find the classification head: what timm calls so, or the last dense layer."""
    timms = getattr(network, "get_classifier", None)
    if callable(timms):
        head = timms()  # some of timm's networks have two
        return head if isinstance(head, nn.Module) else nn.ModuleList(head)
    return [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
