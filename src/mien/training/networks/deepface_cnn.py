"""The emotion network of the deepface package: five convolution layers and two wide dense layers, 1,484,806 parameters.

Serengil and Ozpinar, deepface; trained on FER-2013 without disgust in its source. Sides of the feature maps for 48-pixel
faces: 44, 20, 18, 16, 7, 5, 3, 1; then 128 -> 1024 -> 1024 -> classes.
"""

from torch import nn

from mien.errors import MienError
from mien.training.networks.blocks import NetworkSpec


def deepface_cnn(spec: NetworkSpec) -> nn.Module:
    """Build deepface's emotion network, for the only faces whose last feature map is a single pixel."""
    if not 48 <= spec.size <= 51:
        raise MienError(f"deepface_cnn needs faces of 48 pixels, not {spec.size}; set --recipe.size 48.")
    return nn.Sequential(
        nn.Conv2d(spec.channels, 64, 5),
        spec.act(),
        nn.MaxPool2d(5, stride=2),
        nn.Conv2d(64, 64, 3),
        spec.act(),
        nn.Conv2d(64, 64, 3),
        spec.act(),
        nn.AvgPool2d(3, stride=2),
        nn.Conv2d(64, 128, 3),
        spec.act(),
        nn.Conv2d(128, 128, 3),
        spec.act(),
        nn.AvgPool2d(3, stride=2),
        nn.Flatten(),
        nn.Linear(128, 1024),
        spec.act(),
        nn.Dropout(spec.dropout),
        nn.Linear(1024, 1024),
        spec.act(),
        nn.Dropout(spec.dropout),
        nn.Linear(1024, spec.classes),
    )
