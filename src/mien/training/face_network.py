"""A network with all that comes before it: bytes of faces in, logits out."""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mien.training.batches import DeviceFaces
from mien.training.recipe import Recipe


class FaceNetwork(nn.Module):
    """A network with the crop, the normalisation and the enlargement of its faces in front: uint8 faces to logits.

    Attributes:
        network: float32 (N, C, S, S) to logits (N, heads x K), one head after the other.
        heads: what each head answers as, such as label and crowd.
        crop: side of the square in the middle of a face that is seen; None for all of it.
        enlarge_to: S, where that is not the side of what is seen.
    """

    def __init__(
        self,
        network: nn.Module,
        mean: float,
        std: float,
        heads: tuple[str, ...] = ("label",),
        crop: int | None = None,
        enlarge_to: int | None = None,
    ) -> None:
        super().__init__()
        self.network, self.mean, self.std = network, mean, std
        self.heads, self.crop, self.enlarge_to = heads, crop, enlarge_to

    @classmethod
    def of(cls, recipe: Recipe, network: nn.Module) -> "FaceNetwork":
        """Put in front of a network what its recipe says."""
        return cls(network, recipe.mean, recipe.std, recipe.heads, recipe.crop, recipe.enlarge_to)

    def forward(self, faces: Tensor) -> Tensor:
        """Map uint8 faces (N, H, W) or (N, H, W, 3) to logits (N, heads, K)."""
        planes = pixels(faces)
        if self.crop is not None:
            top = (planes.shape[-1] - self.crop) // 2
            planes = planes[..., top : top + self.crop, top : top + self.crop]
        return self.logits(planes)

    def logits(self, faces: Tensor) -> Tensor:
        """Map float32 faces (N, C, H, W) between 0 and 1, cropped already, to logits (N, heads, K)."""
        normalised = (faces - self.mean) / self.std
        if self.enlarge_to is not None:
            sides = (self.enlarge_to, self.enlarge_to)
            normalised = F.interpolate(normalised, sides, mode="bilinear", align_corners=False)
        logits: Tensor = self.network(normalised.contiguous(memory_format=torch.channels_last))
        return logits.float().reshape(-1, len(self.heads), logits.shape[1] // len(self.heads))


def pixels(faces: Tensor) -> Tensor:
    """Turn uint8 faces (N, H, W) or (N, H, W, 3) into float32 (N, C, H, W) between 0 and 1."""
    planes = faces.unsqueeze(1) if faces.ndim == 3 else faces.permute(0, 3, 1, 2)
    return planes.float() / 255


# BatchNorm's statistics, measured on faces as they will be seen.

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
