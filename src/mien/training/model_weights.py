"""What an exported model has learned, as the weights of its network again, so that it can be trained further.

In the model file every BatchNorm is folded into the layer before it, which answers the same and is faster. The network gets
BatchNorm layers that change nothing but add the bias. Such a network answers as before, and would not learn so: in training
BatchNorm divides by the spread of each channel, which folding has made part of the weights. So the spread is to be measured on
faces (`mien.training.batch_norm.spread_batch_norm`).
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

PREFIX = "model.network."
"""What stands before a network's own names in a model file."""


def read_model_weights(file: Path, network: nn.Module) -> dict[str, Tensor]:
    """Read the weights out of a model file in float32.

    Args:
        file: what `export` wrote.
        network: of the kind that was exported; says which layers a BatchNorm was folded into.

    Returns:
        By the names of the network's own state; what the file does not hold under such a name is missing.
    """
    graph = onnx.load(file).graph
    held = {
        tensor.name.removeprefix(PREFIX): torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer
    }
    biases = {
        node.input[1].removeprefix(PREFIX): node.input[2].removeprefix(PREFIX)
        for node in graph.node
        if node.op_type in ("Conv", "Gemm") and len(node.input) > 2
    }
    for layer, norm, module in _normalised(network):
        bias = held.get(biases.get(f"{layer}.weight", ""))
        if f"{norm}.running_mean" in held or bias is None:
            continue
        held |= {
            f"{norm}.weight": torch.full_like(bias, (1 + module.eps) ** 0.5),
            f"{norm}.bias": bias,
            f"{norm}.running_mean": torch.zeros_like(bias),
            f"{norm}.running_var": torch.ones_like(bias),
            f"{layer}.bias": torch.zeros_like(bias),
        }
    wanted = network.state_dict()
    return {name: value for name, value in held.items() if name in wanted}


def _normalised(network: nn.Module) -> Iterator[tuple[str, str, _BatchNorm]]:
    """Give the names of the layers that a BatchNorm follows, its name, and itself."""
    for name, group in network.named_modules():
        if isinstance(group, nn.Sequential):
            children = [(f"{name}.{own}" if name else own, module) for own, module in group.named_children()]
            for (layer, before), (norm, module) in pairwise(children):
                if isinstance(before, nn.Conv2d | nn.Linear) and isinstance(module, _BatchNorm):
                    yield layer, norm, module
