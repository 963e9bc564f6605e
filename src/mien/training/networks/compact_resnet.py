"""Our compact residual network: four residual blocks at 24, 12, 6 and 3 pixels, 1.05M parameters, 34M multiply-adds.

The stem halves a 48-pixel face at once, since the embedded model must classify a face within a millisecond on one core.
Shapes for gray 48-pixel faces: (1, 48, 48) -> (32, 24, 24) -> (32, 24, 24) -> (64, 12, 12) -> (128, 6, 6) -> (224, 3, 3)
-> 224 -> classes. The option squeeze_excitation adds squeeze-and-excitation to every block.
"""

from itertools import pairwise

from torch import nn

from mien.training.networks.blocks import NetworkSpec, ResidualBlock, check_size, with_stem_and_head

WIDTHS = (32, 64, 128, 224)


def compact_resnet(spec: NetworkSpec) -> nn.Module:
    """Build the compact residual network."""
    check_size("compact_resnet", spec)
    squeeze = bool(spec.options.get("squeeze_excitation"))
    blocks = [ResidualBlock(spec, inputs, outputs, squeeze, pool=True) for inputs, outputs in pairwise((WIDTHS[0], *WIDTHS))]
    return with_stem_and_head(spec, blocks, WIDTHS, stride=2)
