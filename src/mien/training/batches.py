"""Batches of faces that lie on the device as uint8 where they fit: no worker processes, no copies per epoch."""

import warnings
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from mien.data.balance import minority_copies, sampling_probabilities
from mien.data.faceset import FaceSet
from mien.training.recipe import Balance

Batch = tuple[Tensor, Tensor]
"""Faces uint8 (N, H, W) or (N, H, W, 3), and targets float32 (N, K)."""


class DeviceFaces:
    """A FaceSet as tensors: on the device where it takes at most half of the free memory, else on the host.

    Attributes:
        images: (N, H, W) or (N, H, W, 3), uint8.
        targets: (N, K), float32.
        classes: (N,), int64, the likeliest label of each row; a numpy array.
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
        self.classes = faces.classes

    def __len__(self) -> int:
        return len(self.images)

    def rows(self, indices: Tensor) -> Batch:
        """Take rows by index, on the device."""
        images = self.images[indices.to(self.images.device)]
        return images.to(self.device, non_blocking=True), self.targets[indices.to(self.device)]


class TrainingBatches:
    """One epoch in a random order that depends on nothing but seed and epoch; a last, incomplete batch is left out.

    Yields faces, targets, and for each row whether it is a copy that balances a rare label: bool (N,).
    """

    def __init__(self, faces: DeviceFaces, batch_size: int, seed: int, epoch: int, balance: Balance | None = None) -> None:
        balance = balance or Balance()
        self.faces = faces
        random = np.random.default_rng((seed, epoch))
        rows = np.arange(len(faces))
        if balance.augment_minorities:
            rows = np.concatenate([rows, minority_copies(faces.classes, seed)])
        chances = sampling_probabilities(faces.classes[rows]) if balance.sampler else None
        places = random.permutation(len(rows)) if chances is None else random.choice(len(rows), len(rows), p=chances)
        self.order, self.is_copy = rows[places], places >= len(faces)
        self.batch_size = min(batch_size, len(rows))

    def __len__(self) -> int:
        return len(self.order) // self.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for number in range(len(self)):
            here = slice(number * self.batch_size, (number + 1) * self.batch_size)
            images, targets = self.faces.rows(torch.from_numpy(self.order[here]))
            yield images, targets, torch.from_numpy(self.is_copy[here]).to(self.faces.device)


class ValidationBatches:
    """Every row once, in order."""

    def __init__(self, faces: DeviceFaces, batch_size: int = 512) -> None:
        self.faces, self.batch_size = faces, batch_size

    def __len__(self) -> int:
        return -(-len(self.faces) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self.faces), self.batch_size):
            yield self.faces.rows(torch.arange(start, min(start + self.batch_size, len(self.faces))))
