"""Our large residual network: squeeze-and-excitation, full resolution at the start, dropout in every block; 11.3M parameters.

Residual blocks (He et al., 2016) weighed by squeeze-and-excitation (Hu et al., 2018), with dropout between their two
convolutions (Zagoruyko and Komodakis, Wide residual networks, 2016). The stem keeps the resolution, since a face of 48 pixels
has none to spare. Shapes for gray 48-pixel faces: (1, 48, 48) -> (64, 48, 48) -> 2 blocks (64, 48, 48) -> 2 blocks
(128, 24, 24) -> 2 blocks (256, 12, 12) -> 2 blocks (512, 6, 6) -> 512 -> classes.
"""

from torch import Tensor, nn

from mien.training.networks.blocks import NetworkSpec, SqueezeExcitation, check_size, with_stem_and_head

WIDTHS, BLOCKS = (64, 128, 256, 512), 2


def se_resnet(spec: NetworkSpec) -> nn.Module:
    """Build the large residual network.

    Raises:
        MienError: if the faces are smaller than 16 pixels.
    """
    check_size("se_resnet", spec)
    blocks = [
        Block(spec, (inputs if number == 0 else outputs), outputs, stride=2 if number == 0 and inputs != outputs else 1)
        for inputs, outputs in zip((WIDTHS[0], *WIDTHS[:-1]), WIDTHS, strict=True)
        for number in range(BLOCKS)
    ]
    return with_stem_and_head(spec, blocks, WIDTHS, stride=1)


class Block(nn.Module):
    """Two 3x3 convolutions with dropout between them, weighed by squeeze-and-excitation, beside a shortcut."""

    def __init__(self, spec: NetworkSpec, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            spec.act(),
            nn.Dropout(spec.dropout),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            SqueezeExcitation(outputs),
        )
        self.shortcut = (
            nn.Identity()
            if inputs == outputs
            else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))
        )
        self.act = spec.act()

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H / stride, W / stride), rounded up."""
        summed: Tensor = self.act(self.residual(features) + self.shortcut(features))
        return summed
