"""Our compact residual network: four residual blocks at 24, 12, 6 and 3 pixels, 1.05M parameters, 34M multiply-adds.

The stem halves a 48-pixel face at once, since the embedded model must classify a face within a millisecond on one core.
Shapes for gray 48-pixel faces: (1, 48, 48) -> (32, 24, 24) -> (32, 24, 24) -> (64, 12, 12) -> (128, 6, 6) -> (224, 3, 3)
-> 224 -> classes. The option squeeze_excitation adds squeeze-and-excitation to every block.
"""

from torch import nn

from mien.training.networks.blocks import NetworkSpec, ResidualBlock, SqueezeExcitation, check_size, with_stem_and_head

WIDTHS = (32, 64, 128, 224)


def compact_resnet(spec: NetworkSpec) -> nn.Module:
    """Build the compact residual network."""
    check_size("compact_resnet", spec)
    blocks = [
        _block(spec, inputs, outputs, stride=1 if inputs == outputs else 2)
        for inputs, outputs in zip((WIDTHS[0], *WIDTHS[:-1]), WIDTHS, strict=True)
    ]
    return with_stem_and_head(spec, blocks, WIDTHS, stride=2)


def _block(spec: NetworkSpec, inputs: int, outputs: int, stride: int) -> nn.Module:
    residual = nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        spec.act(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        *([SqueezeExcitation(outputs)] if spec.options.get("squeeze_excitation") else []),
    )
    shortcut: nn.Module = nn.Identity()
    if stride > 1:
        pool, convolution = nn.AvgPool2d(stride, ceil_mode=True), nn.Conv2d(inputs, outputs, 1, bias=False)
        shortcut = nn.Sequential(pool, convolution, nn.BatchNorm2d(outputs))
    return ResidualBlock(residual, shortcut, spec.act())
