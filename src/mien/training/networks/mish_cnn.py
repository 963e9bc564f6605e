"""The Mish CNN: four convolution layers with BatchNorm, two dense layers, dropout; the activation is a recipe's choice.

Mish (Misra, Mish: A Self Regularized Non-Monotonic Activation Function, 2019). Shapes for gray 48-pixel faces:
(1, 48, 48) -> (32, 24, 24) -> (64, 12, 12) -> (128, 6, 6) -> (256, 3, 3) -> 2304 -> 256 -> classes;
980,199 parameters with seven classes. The source does not give the widths; these train three times faster on a CPU than
twice the width in the first layers.
"""

from itertools import pairwise

from torch import nn

from mien.training.networks.blocks import NetworkSpec, check_size


def mish_cnn(spec: NetworkSpec) -> nn.Module:
    """Build the Mish CNN."""
    check_size("mish_cnn", spec)
    widths = (spec.channels, 32, 64, 128, 256)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            spec.act(),
            nn.MaxPool2d(2),
            nn.Dropout(spec.dropout / 2),
        ]
    return nn.Sequential(
        *layers,
        nn.Flatten(),
        nn.Linear(widths[-1] * (spec.size // 16) ** 2, 256),
        spec.act(),
        nn.Dropout(spec.dropout),
        nn.Linear(256, spec.classes),
    )
