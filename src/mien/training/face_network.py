"""A network with all that comes before it: bytes of faces in, logits out."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.training.recipe import Recipe


class FaceNetwork(nn.Module):
    """A network with the crop, the normalisation and the enlargement of its faces in front: uint8 faces to logits.

    Attributes:
        network: float32 (N, C, S, S) to logits (N, heads x K), one head after the other.
        heads: what each head answers as, such as label and crowd.
        crop: side of the square in the middle of a face that is seen; None for all of it.
        enlarge_to: S, where that is not the side of what is seen.
    """

    def __init__(
        self,
        network: nn.Module,
        mean: float,
        std: float,
        heads: tuple[str, ...] = ("label",),
        crop: int | None = None,
        enlarge_to: int | None = None,
    ) -> None:
        super().__init__()
        self.network, self.mean, self.std = network, mean, std
        self.heads, self.crop, self.enlarge_to = heads, crop, enlarge_to

    @classmethod
    def of(cls, recipe: Recipe, network: nn.Module) -> "FaceNetwork":
        """Put in front of a network what its recipe says."""
        return cls(network, recipe.mean, recipe.std, recipe.heads, recipe.crop, recipe.enlarge_to)

    def forward(self, faces: Tensor) -> Tensor:
        """Map uint8 faces (N, H, W) or (N, H, W, 3) to logits (N, heads, K)."""
        planes = pixels(faces)
        if self.crop is not None:
            top = (planes.shape[-1] - self.crop) // 2
            planes = planes[..., top : top + self.crop, top : top + self.crop]
        return self.logits(planes)

    def logits(self, faces: Tensor) -> Tensor:
        """Map float32 faces (N, C, H, W) between 0 and 1, cropped already, to logits (N, heads, K)."""
        normalised = (faces - self.mean) / self.std
        if self.enlarge_to is not None:
            sides = (self.enlarge_to, self.enlarge_to)
            normalised = F.interpolate(normalised, sides, mode="bilinear", align_corners=False)
        logits: Tensor = self.network(normalised.contiguous(memory_format=torch.channels_last))
        return logits.float().reshape(-1, len(self.heads), logits.shape[1] // len(self.heads))


def pixels(faces: Tensor) -> Tensor:
    """Turn uint8 faces (N, H, W) or (N, H, W, 3) into float32 (N, C, H, W) between 0 and 1."""
    planes = faces.unsqueeze(1) if faces.ndim == 3 else faces.permute(0, 3, 1, 2)
    return planes.float() / 255
