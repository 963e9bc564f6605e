"""Batches of faces that lie on the device as uint8 where they fit: no worker processes, no copies per epoch."""

import warnings
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from mien.data.faceset import FaceSet

Batch = tuple[Tensor, Tensor]
"""Faces uint8 (N, H, W) or (N, H, W, 3), and targets float32 (N, K)."""


class DeviceFaces:
    """A FaceSet as tensors: on the device where it takes at most half of the free memory, else on the host.

    Attributes:
        images: (N, H, W) or (N, H, W, 3), uint8.
        targets: (N, K), float32.
    """

    def __init__(self, faces: FaceSet, device: torch.device) -> None:
        self.device = device
        free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else float("inf")
        with warnings.catch_warnings():
            # torch warns of arrays mapped for reading only; nothing here writes to them
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            images = torch.from_numpy(np.asarray(faces.images))
        self.images = images.to(device) if images.nbytes <= free / 2 else images
        self.targets = torch.from_numpy(np.array(faces.targets)).to(device)

    def __len__(self) -> int:
        return len(self.images)

    def rows(self, indices: Tensor) -> Batch:
        """Take rows by index, on the device."""
        images = self.images[indices.to(self.images.device)]
        return images.to(self.device, non_blocking=True), self.targets[indices.to(self.device)]


class TrainingBatches:
    """One epoch in a random order that depends on nothing but seed and epoch; a last, incomplete batch is left out."""

    def __init__(self, faces: DeviceFaces, batch_size: int, seed: int, epoch: int) -> None:
        self.faces, self.batch_size = faces, min(batch_size, len(faces))
        self.order = np.random.default_rng((seed, epoch)).permutation(len(faces))

    def __len__(self) -> int:
        return len(self.faces) // self.batch_size

    def __iter__(self) -> Iterator[Batch]:
        for number in range(len(self)):
            chosen = self.order[number * self.batch_size : (number + 1) * self.batch_size]
            yield self.faces.rows(torch.from_numpy(chosen))


class ValidationBatches:
    """Every row once, in order."""

    def __init__(self, faces: DeviceFaces, batch_size: int = 512) -> None:
        self.faces, self.batch_size = faces, batch_size

    def __len__(self) -> int:
        return -(-len(self.faces) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self.faces), self.batch_size):
            yield self.faces.rows(torch.arange(start, min(start + self.batch_size, len(self.faces))))
