"""The wide CNN: four blocks of convolution, BatchNorm, ReLU, max pooling and dropout, then two dense layers.

A system of FER-2013's students, 68.34% on validation in its source. Shapes for gray 48-pixel faces:
(1, 48, 48) -> (64, 24, 24) -> (128, 12, 12) -> (256, 6, 6) -> (256, 3, 3) -> 2304 -> 256 -> 512 -> classes;
1,819,015 parameters with seven classes.
"""

from torch import nn

from mien.errors import MienError


def wide_cnn(classes: int, channels: int, size: int, dropout: float) -> nn.Module:
    """Build the wide CNN; 0.36 is its source's dropout.

    Raises:
        MienError: if the faces are smaller than 16 pixels, which four poolings do not leave a pixel of.
    """
    if size < 16:
        raise MienError(f"wide_cnn needs faces of at least 16 pixels, not {size}; set --recipe.size.")
    side = size // 16
    return nn.Sequential(
        *_block(channels, 64, 3, dropout),
        *_block(64, 128, 5, dropout),
        *_block(128, 256, 3, dropout),
        *_block(256, 256, 3, dropout),
        nn.Flatten(),
        *_dense(256 * side * side, 256, dropout),
        *_dense(256, 512, dropout),
        nn.Linear(512, classes),
    )


def _block(inputs: int, outputs: int, kernel: int, dropout: float) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(dropout),
    ]


def _dense(inputs: int, outputs: int, dropout: float) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(), nn.Dropout(dropout)]
