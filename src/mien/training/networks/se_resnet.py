"""Our large residual network: squeeze-and-excitation, full resolution at the start, dropout in every block; 11.3M parameters.

Dropout is between the two convolutions of a block (Zagoruyko and Komodakis, Wide residual networks, 2016). The stem keeps the
resolution, since 48 pixels are few. Shapes for gray 48-pixel faces: (1, 48, 48) -> (64, 48, 48) -> 2 blocks (64, 48, 48) ->
2 blocks (128, 24, 24) -> 2 blocks (256, 12, 12) -> 2 blocks (512, 6, 6) -> 512 -> classes.
"""

from torch import nn

from mien.training.networks.blocks import NetworkSpec, ResidualBlock, SqueezeExcitation, check_size, with_stem_and_head

WIDTHS = (64, 128, 256, 512)


def se_resnet(spec: NetworkSpec) -> nn.Module:
    """Build the large residual network."""
    check_size("se_resnet", spec)
    blocks = []
    for inputs, outputs in zip((WIDTHS[0], *WIDTHS[:-1]), WIDTHS, strict=True):
        blocks += [_block(spec, inputs, outputs), _block(spec, outputs, outputs)]
    return with_stem_and_head(spec, blocks, WIDTHS, stride=1)


def _block(spec: NetworkSpec, inputs: int, outputs: int) -> nn.Module:
    stride = 1 if inputs == outputs else 2
    residual = nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        spec.act(),
        nn.Dropout(spec.dropout),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        SqueezeExcitation(outputs),
    )
    shortcut: nn.Module = nn.Identity()
    if stride > 1:
        shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))
    return ResidualBlock(residual, shortcut, spec.act())
