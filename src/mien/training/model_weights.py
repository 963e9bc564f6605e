"""What an exported model has learned, as the weights of its network again, so that it can be trained further.

In the model file every BatchNorm is folded into the layer before it, which answers the same and is faster. The network gets
BatchNorm layers that change nothing but add the bias. Such a network answers as before, and would not learn so: in training
BatchNorm divides by the spread of each channel, which folding has made part of the weights. So the spread is measured on faces.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mien.training.batches import DeviceFaces

PREFIX = "model.network."
"""What stands before a network's own names in a model file."""

MOST_FACES, BATCH = 1024, 128


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


@torch.no_grad()
def spread_batch_norm(model: nn.Module, faces: DeviceFaces) -> None:
    """Measure what every BatchNorm layer is given, and set its statistics and weights so that it answers what it did.

    In training it then divides by about as much as its weights multiply by.

    Args:
        model: takes uint8 faces; changed in place, on any device, and left in evaluation mode.
        faces: at most `MOST_FACES` of them are used, always the same ones, drawn over all rows.
    """
    device = next(model.parameters()).device
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    meters = [type(layer)(layer.num_features, affine=False, momentum=None).to(device) for layer in layers]
    hooks = [layer.register_forward_pre_hook(_reading(meter)) for layer, meter in zip(layers, meters, strict=True)]
    model.eval()
    rows = torch.randperm(len(faces), generator=torch.Generator().manual_seed(0))[:MOST_FACES]
    for batch in torch.chunk(rows, -(-len(rows) // BATCH)):
        model(faces.rows(batch).faces.to(device))
    for hook in hooks:
        hook.remove()
    for layer, meter in zip(layers, meters, strict=True):
        (old_mean, old_variance), (mean, variance) = _statistics(layer), _statistics(meter)
        slope = layer.weight / (old_variance + layer.eps).sqrt()
        layer.bias.add_(slope * (mean - old_mean))
        layer.weight.copy_(slope * (variance + layer.eps).sqrt())
        old_mean.copy_(mean)
        old_variance.copy_(variance)


def _statistics(layer: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Give a layer's own means and variances, to read or to write."""
    assert layer.running_mean is not None
    assert layer.running_var is not None
    return layer.running_mean, layer.running_var


def _reading(meter: _BatchNorm) -> Callable[[nn.Module, tuple[Tensor]], None]:
    def read(_: nn.Module, given: tuple[Tensor]) -> None:
        meter(given[0])  # in training it notes the mean and the variance of each channel

    return read
