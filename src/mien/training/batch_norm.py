"""BatchNorm's statistics, measured on faces as they will be seen.

In training they are moving averages, of changed faces and of weights that changed meanwhile. Measured anew with the final
weights they fit better (precise BN, in Rethinking "Batch" in BatchNorm; Wu and Johnson, 2021), the more so with faces that are
not changed: augmentation makes them other than those that the network is asked about (Fixing the train-test resolution
discrepancy; Touvron et al., 2019).
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mien.training.batches import DeviceFaces

MOST_FACES, BATCH = 4096, 512
SPREAD_FACES, SPREAD_BATCH = 1024, 128


@torch.no_grad()
def measure_batch_norm(model: nn.Module, faces: DeviceFaces) -> None:
    """Set the running means and variances of all BatchNorm layers to those of unchanged faces.

    Args:
        model: takes uint8 faces; changed in place, and left in evaluation mode. Without BatchNorm nothing happens.
        faces: at most `MOST_FACES` of them are used, always the same ones, drawn over all rows.
    """
    model.eval()  # so that dropout changes nothing
    layers = _layers(model)
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.train()
        layer.momentum = None  # the plain mean over batches
    for batch in _unchanged(faces, MOST_FACES, BATCH):
        model(batch)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
        layer.eval()


@torch.no_grad()
def spread_batch_norm(model: nn.Module, faces: DeviceFaces) -> None:
    """Measure what every BatchNorm layer is given, and set its statistics and weights so that it answers what it did.

    In training it then divides by about as much as its weights multiply by. Layers out of a model file want it: there they
    are folded into the weights before them, and the spread of each channel with them.

    Args:
        model: takes uint8 faces; changed in place, on any device, and left in evaluation mode.
        faces: at most `SPREAD_FACES` of them are used, always the same ones, drawn over all rows.
    """
    layers, device = _layers(model), next(model.parameters()).device
    meters = [type(layer)(layer.num_features, affine=False, momentum=None).to(device) for layer in layers]
    hooks = [layer.register_forward_pre_hook(_reading(meter)) for layer, meter in zip(layers, meters, strict=True)]
    model.eval()
    for batch in _unchanged(faces, SPREAD_FACES, SPREAD_BATCH):
        model(batch.to(device))
    for hook in hooks:
        hook.remove()
    for layer, meter in zip(layers, meters, strict=True):
        (old_mean, old_variance), (mean, variance) = _statistics(layer), _statistics(meter)
        slope = layer.weight / (old_variance + layer.eps).sqrt()
        layer.bias.add_(slope * (mean - old_mean))
        layer.weight.copy_(slope * (variance + layer.eps).sqrt())
        old_mean.copy_(mean)
        old_variance.copy_(variance)


def _layers(model: nn.Module) -> list[_BatchNorm]:
    return [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]


def _unchanged(faces: DeviceFaces, most: int, batch: int) -> Iterator[Tensor]:
    """Give batches of some faces, always the same ones, drawn over all rows: often those of one label lie together."""
    rows = torch.randperm(len(faces), generator=torch.Generator().manual_seed(0))[:most]
    for part in torch.chunk(rows, -(-len(rows) // batch)):
        yield faces.rows(part).faces


def _statistics(layer: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Give a layer's own means and variances, to read or to write."""
    assert layer.running_mean is not None
    assert layer.running_var is not None
    return layer.running_mean, layer.running_var


def _reading(meter: _BatchNorm) -> Callable[[nn.Module, tuple[Tensor]], None]:
    def read(_: nn.Module, given: tuple[Tensor]) -> None:
        meter(given[0])  # in training it notes the mean and the variance of each channel

    return read
