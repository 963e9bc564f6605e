"""Networks without shortcuts, of students and of the deepface package: convolutions, then dense layers.

Shapes are those of gray faces of 48 pixels.
"""

from itertools import pairwise

from torch import nn

from mien.errors import MienError
from mien.training.networks.blocks import NetworkSpec, check_size


def six_conv(spec: NetworkSpec) -> nn.Module:
    """Build a student's first network: six convolutions with ReLU, max pooling after each second one, no normalisation.

    (16, 48, 48) -> (32, 24, 24) -> (64, 24, 24) -> (64, 12, 12) -> (128, 12, 12) -> (128, 6, 6) -> 256 -> 128 -> classes;
    1,494,851 parameters with three classes. About 52% on validation with seven classes in its source.
    """
    check_size("six_conv", spec, least=8)
    layers: list[nn.Module] = []
    for inputs, middle, outputs in ((spec.channels, 16, 32), (32, 64, 64), (64, 128, 128)):
        layers += [nn.Conv2d(inputs, middle, 3, padding=1), spec.act()]
        layers += [nn.Conv2d(middle, outputs, 3, padding=1), spec.act(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, *_dense(spec, 128 * (spec.size // 8) ** 2, 256, 128))


def wide_cnn(spec: NetworkSpec) -> nn.Module:
    """Build the wide CNN of students: 68.34% on the validation rows of FER-2013 in its source, with dropout 0.36.

    (64, 24, 24) -> (128, 12, 12) -> (256, 6, 6) -> (256, 3, 3) -> 256 -> 512 -> classes; 1,819,015 parameters with seven.
    """
    check_size("wide_cnn", spec)  # four poolings leave one pixel of 16
    layers: list[nn.Module] = []
    for inputs, outputs, kernel in ((spec.channels, 64, 3), (64, 128, 5), (128, 256, 3), (256, 256, 3)):
        layers += [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), nn.BatchNorm2d(outputs)]
        layers += [spec.act(), nn.MaxPool2d(2), nn.Dropout(spec.dropout)]
    return nn.Sequential(*layers, *_dense(spec, 256 * (spec.size // 16) ** 2, 256, 512, normalised=True))


def mish_cnn(spec: NetworkSpec) -> nn.Module:
    """Build the Mish CNN (Misra, Mish: A Self Regularized Non-Monotonic Activation Function, 2019) with a recipe's activation.

    (32, 24, 24) -> (64, 12, 12) -> (128, 6, 6) -> (256, 3, 3) -> 256 -> classes; 980,199 parameters with seven. The source does
    not give the widths; these train three times faster on a CPU than twice the width in the first layers.
    """
    check_size("mish_cnn", spec)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((spec.channels, 32, 64, 128, 256)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)]
        layers += [spec.act(), nn.MaxPool2d(2), nn.Dropout(spec.dropout / 2)]
    return nn.Sequential(*layers, *_dense(spec, 256 * (spec.size // 16) ** 2, 256))


def deepface_cnn(spec: NetworkSpec) -> nn.Module:
    """Build deepface's emotion network, for the only faces whose last feature map is a single pixel.

    Serengil and Ozpinar, deepface; trained on FER-2013 without disgust in its source. Sides of the feature maps: 44, 20, 18,
    16, 7, 5, 3, 1; then 128 -> 1024 -> 1024 -> classes; 1,484,806 parameters with six.
    """
    if not 48 <= spec.size <= 51:
        raise MienError(f"deepface_cnn needs faces of 48 pixels, not {spec.size}; set --recipe.size 48.")
    layers = [nn.Conv2d(spec.channels, 64, 5), spec.act(), nn.MaxPool2d(5, stride=2)]
    for inputs, outputs in ((64, 64), (64, 128)):
        layers += [nn.Conv2d(inputs, outputs, 3), spec.act()]
        layers += [nn.Conv2d(outputs, outputs, 3), spec.act(), nn.AvgPool2d(3, stride=2)]
    return nn.Sequential(*layers, *_dense(spec, 128, 1024, 1024))


def _dense(spec: NetworkSpec, *widths: int, normalised: bool = False) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), *([nn.BatchNorm1d(outputs)] if normalised else [])]
        layers += [spec.act(), nn.Dropout(spec.dropout)]
    return [*layers, nn.Linear(widths[-1], spec.classes)]
