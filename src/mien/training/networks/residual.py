"""What our residual networks have in common: a stem of one convolution, blocks, and the mean over the face at the end."""

from collections.abc import Iterable

from torch import nn

from mien.errors import MienError
from mien.training.networks.spec import NetworkSpec


def check_size(name: str, spec: NetworkSpec) -> None:
    """Make sure that the faces are large enough.

    Raises:
        MienError: if they are smaller than 16 pixels.
    """
    if spec.size < 16:
        raise MienError(f"{name} needs faces of at least 16 pixels, not {spec.size}; set --recipe.size.")


def with_stem_and_head(spec: NetworkSpec, blocks: Iterable[nn.Module], widths: tuple[int, ...], stride: int) -> nn.Module:
    """Put a stem before residual blocks, and pooling and the classification head behind them.

    Args:
        spec: what the network is built for.
        blocks: from (N, widths[0], H / stride, W / stride) to (N, widths[-1], ...).
        widths: channels of the stages.
        stride: of the stem.
    """
    return nn.Sequential(
        nn.Conv2d(spec.channels, widths[0], 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(widths[0]),
        spec.act(),
        *blocks,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(spec.dropout),
        nn.Linear(widths[-1], spec.classes),
    )
