"""Our compact residual network: four residual blocks at 24, 12, 6 and 3 pixels, 1.05M parameters, 34M multiply-adds.

Basic residual blocks (He et al., 2016). The stem halves a 48-pixel face at once, since a network for the embedded model
must answer in a millisecond on one core. Shapes for gray 48-pixel faces: (1, 48, 48) -> (32, 24, 24) -> (32, 24, 24) ->
(64, 12, 12) -> (128, 6, 6) -> (224, 3, 3) -> 224 -> classes. The option squeeze_excitation weighs every block's channels
(Hu et al., 2018).
"""

from torch import Tensor, nn

from mien.training.networks.blocks import NetworkSpec, SqueezeExcitation, check_size, with_stem_and_head

WIDTHS = (32, 64, 128, 224)


def compact_resnet(spec: NetworkSpec) -> nn.Module:
    """Build the compact residual network.

    Raises:
        MienError: if the faces are smaller than 16 pixels.
    """
    check_size("compact_resnet", spec)
    blocks = [
        ResidualBlock(spec, inputs, outputs, stride=1 if number == 0 else 2)
        for number, (inputs, outputs) in enumerate(zip((WIDTHS[0], *WIDTHS[:-1]), WIDTHS, strict=True))
    ]
    return with_stem_and_head(spec, blocks, WIDTHS, stride=2)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, spec: NetworkSpec, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            spec.act(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            *([SqueezeExcitation(outputs)] if spec.options.get("squeeze_excitation") else []),
        )
        self.shortcut = (
            nn.Identity()
            if stride == 1 and inputs == outputs
            else nn.Sequential(
                nn.AvgPool2d(stride, ceil_mode=True),
                nn.Conv2d(inputs, outputs, 1, bias=False),
                nn.BatchNorm2d(outputs),
            )
        )

        self.act = spec.act()

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H / stride, W / stride), rounded up."""
        summed: Tensor = self.act(self.residual(features) + self.shortcut(features))
        return summed
