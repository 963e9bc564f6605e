"""A network with its preprocessing, uint8 faces to logits; and its BatchNorm statistics, measured on given faces."""

from collections.abc import Iterator
from functools import partial

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mien.training.batches import DeviceFaces
from mien.training.recipe import Recipe

MOST_FACES, BATCH, SPREAD_FACES, SPREAD_BATCH = 4096, 512, 1024, 128


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


@torch.no_grad()
def measure_batch_norm(model: nn.Module, faces: DeviceFaces) -> None:
    """Set all BatchNorm statistics to those of at most `MOST_FACES` faces; the model is left in evaluation mode."""
    momenta = {layer: layer.momentum for layer in _batch_norms(model.eval())}  # without dropout
    for layer in momenta:
        layer.reset_running_stats()
        layer.train()
        layer.momentum = None  # the plain mean over batches
    for batch in _sample(faces, MOST_FACES, BATCH) if momenta else ():
        model(batch)
    for layer, momentum in momenta.items():
        layer.momentum = momentum
        layer.eval()


@torch.no_grad()
def spread_batch_norm(model: nn.Module, faces: DeviceFaces) -> None:
    """Set all BatchNorm statistics to those of at most `SPREAD_FACES` faces, and the weights so that outputs stay the same."""
    # a model file holds BatchNorm folded into the layer before it, without the scale of each channel, by which training divides
    device = next(model.parameters()).device
    meters = {each: type(each)(each.num_features, affine=False, momentum=None).to(device) for each in _batch_norms(model)}
    hooks = [layer.register_forward_pre_hook(partial(_record, meter)) for layer, meter in meters.items()]
    model.eval()
    for batch in _sample(faces, SPREAD_FACES, SPREAD_BATCH):
        model(batch.to(device))
    for hook in hooks:
        hook.remove()
    for layer, meter in meters.items():
        old_mean, old_variance = map(layer.get_buffer, ("running_mean", "running_var"))
        mean, variance = map(meter.get_buffer, ("running_mean", "running_var"))
        slope = layer.weight / (old_variance + layer.eps).sqrt()
        layer.bias.add_(slope * (mean - old_mean))
        layer.weight.copy_(slope * (variance + layer.eps).sqrt())
        old_mean.copy_(mean)
        old_variance.copy_(variance)


def share_batch_norm(model: nn.Module) -> None:
    """Let plain BatchNorm layers use the statistics of whole batches, as torch.nn.SyncBatchNorm does on GPUs only."""
    for layer in _batch_norms(model):
        if type(layer) in (nn.BatchNorm1d, nn.BatchNorm2d) and layer.affine:  # not the kinds of some of timm's networks
            layer.__class__ = _SharedBatchNorm


class _SharedBatchNorm(_BatchNorm):
    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, features: Tensor) -> Tensor:
        if not self.training or self.momentum is None:  # momentum is None while statistics are measured
            return super().forward(features)
        from torch.distributed.nn.functional import all_reduce  # which not every build of torch has; with a gradient

        running_mean, running_var, done = map(self.get_buffer, ("running_mean", "running_var", "num_batches_tracked"))
        shape = (1, -1, *[1] * (features.ndim - 2))
        shifted = features.float() - running_mean.view(shape)  # near 0, where variances lose no digits
        axes = [axis for axis in range(features.ndim) if axis != 1]
        processes = dist.get_world_size()
        moments = torch.stack([shifted.mean(axes), shifted.square().mean(axes)]) / processes
        mean, square = all_reduce(moments)  # type: ignore[no-untyped-call]
        variance = square - mean.square()
        count = processes * features.numel() / features.shape[1]
        with torch.no_grad():
            done += 1
            running_mean += self.momentum * mean
            running_var.lerp_(variance * count / (count - 1), self.momentum)
        slope = (self.weight / (variance + self.eps).sqrt()).view(shape)
        normalised: Tensor = (shifted - mean.view(shape)) * slope + self.bias.view(shape)
        return normalised.to(features.dtype)


def _batch_norms(model: nn.Module) -> list[_BatchNorm]:
    return [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]


def _sample(faces: DeviceFaces, most: int, batch: int) -> Iterator[Tensor]:
    """Yield batches of a fixed random sample of the faces; rows are often sorted by label."""
    rows = torch.randperm(len(faces), generator=torch.Generator().manual_seed(0))[:most]
    for part in torch.chunk(rows, -(-len(rows) // batch)):
        yield faces.rows(part).faces


def _record(meter: _BatchNorm, _: nn.Module, inputs: tuple[Tensor]) -> None:
    meter(inputs[0])  # in training mode it records the mean and variance of each channel
