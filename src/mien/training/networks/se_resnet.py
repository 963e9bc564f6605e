"""Our large residual network: squeeze-and-excitation, full resolution at the start, dropout in every block; 11.3M parameters.

Dropout is between the two convolutions of a block (Zagoruyko and Komodakis, Wide residual networks, 2016). The stem keeps the
resolution, since 48 pixels are few. Shapes for gray 48-pixel faces: (1, 48, 48) -> (64, 48, 48) -> 2 blocks (64, 48, 48) ->
2 blocks (128, 24, 24) -> 2 blocks (256, 12, 12) -> 2 blocks (512, 6, 6) -> 512 -> classes.
"""

from itertools import pairwise

from torch import nn

from mien.training.networks.blocks import NetworkSpec, ResidualBlock, check_size, with_stem_and_head

WIDTHS = (64, 128, 256, 512)


def se_resnet(spec: NetworkSpec) -> nn.Module:
    """Build the large residual network."""
    check_size("se_resnet", spec)
    blocks = []
    for inputs, outputs in pairwise((WIDTHS[0], *WIDTHS)):
        blocks += [ResidualBlock(spec, each, outputs, squeeze=True, dropout=True) for each in (inputs, outputs)]
    return with_stem_and_head(spec, blocks, WIDTHS, stride=1)
