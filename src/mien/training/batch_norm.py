"""BatchNorm's statistics, measured on faces as they will be seen.

In training they are moving averages, of changed faces and of weights that changed meanwhile. Measured anew with the final
weights they fit better (precise BN, in Rethinking "Batch" in BatchNorm; Wu and Johnson, 2021), the more so with faces that are
not changed: augmentation makes them other than those that the network is asked about (Fixing the train-test resolution
discrepancy; Touvron et al., 2019).
"""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mien.training.batches import DeviceFaces

MOST_FACES = 4096
BATCH = 512


@torch.no_grad()
def measure_batch_norm(model: nn.Module, faces: DeviceFaces) -> None:
    """Set the running means and variances of all BatchNorm layers to those of unchanged faces.

    Args:
        model: takes uint8 faces; changed in place, and left in evaluation mode. Without BatchNorm nothing happens.
        faces: at most `MOST_FACES` of them are used, always the same ones, drawn over all rows.
    """
    model.eval()  # so that dropout changes nothing
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.train()
        layer.momentum = None  # the plain mean over batches
    # rows often lie sorted by label, and the faces of one label vary less than those of all
    rows = torch.randperm(len(faces), generator=torch.Generator().manual_seed(0))[:MOST_FACES]
    for batch in torch.chunk(rows, -(-len(rows) // BATCH)):
        model(faces.rows(batch).faces)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
        layer.eval()
