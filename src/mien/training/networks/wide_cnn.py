"""The wide CNN: four blocks of convolution, BatchNorm, ReLU, max pooling and dropout, then two dense layers.

By students working on FER-2013; 68.34% on validation in its source, with dropout 0.36. Shapes for gray 48-pixel faces:
(1, 48, 48) -> (64, 24, 24) -> (128, 12, 12) -> (256, 6, 6) -> (256, 3, 3) -> 2304 -> 256 -> 512 -> classes;
1,819,015 parameters with seven classes.
"""

from torch import nn

from mien.training.networks.blocks import NetworkSpec, check_size


def wide_cnn(spec: NetworkSpec) -> nn.Module:
    """Build the wide CNN."""
    check_size("wide_cnn", spec)  # four poolings leave one pixel of 16
    return nn.Sequential(
        *_block(spec, spec.channels, 64, 3),
        *_block(spec, 64, 128, 5),
        *_block(spec, 128, 256, 3),
        *_block(spec, 256, 256, 3),
        nn.Flatten(),
        *_dense(spec, 256 * (spec.size // 16) ** 2, 256),
        *_dense(spec, 256, 512),
        nn.Linear(512, spec.classes),
    )


def _block(spec: NetworkSpec, inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    return [convolution, nn.BatchNorm2d(outputs), spec.act(), nn.MaxPool2d(2), nn.Dropout(spec.dropout)]


def _dense(spec: NetworkSpec, inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), spec.act(), nn.Dropout(spec.dropout)]
