"""Six convolution layers with ReLU and max pooling, three dense layers, no normalisation: a student's first network.

Shapes for gray 48-pixel faces: (1, 48, 48) -> (16, 48, 48) -> (32, 24, 24) -> (64, 24, 24) -> (64, 12, 12) -> (128, 12, 12)
-> (128, 6, 6) -> 4608 -> 256 -> 128 -> classes; 1,494,851 parameters with three classes. About 52% on validation with seven
classes in its source.
"""

from torch import nn

from mien.training.networks.blocks import NetworkSpec, check_size


def six_conv(spec: NetworkSpec) -> nn.Module:
    """Build the six-convolution network."""
    check_size("six_conv", spec, least=8)
    return nn.Sequential(
        *_pair(spec, spec.channels, 16, 32),
        *_pair(spec, 32, 64, 64),
        *_pair(spec, 64, 128, 128),
        nn.Flatten(),
        nn.Linear(128 * (spec.size // 8) ** 2, 256),
        spec.act(),
        nn.Dropout(spec.dropout),
        nn.Linear(256, 128),
        spec.act(),
        nn.Dropout(spec.dropout),
        nn.Linear(128, spec.classes),
    )


def _pair(spec: NetworkSpec, inputs: int, middle: int, outputs: int) -> list[nn.Module]:
    first, second = nn.Conv2d(inputs, middle, 3, padding=1), nn.Conv2d(middle, outputs, 3, padding=1)
    return [first, spec.act(), second, spec.act(), nn.MaxPool2d(2)]
