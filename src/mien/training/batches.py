"""Batches of faces that lie on the device as uint8 where they fit: no worker processes, no copies per epoch."""

import copy
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mien.data.balance import minority_copies, sampling_probabilities
from mien.data.faceset import FaceSet
from mien.training.recipe_parts import Balance


class Batch(NamedTuple):
    """Some rows on the device.

    Attributes:
        faces: uint8 (N, H, W) or (N, H, W, 3).
        targets: float32 (N, K).
        votes: float32 (N, K), the crowd's; zeros where there are none.
        is_copy: bool (N,), whether each is a copy that balances a rare label; None where none is.
        taught: float32 (N, heads, K), what teachers answered to these very faces; None where they were not asked yet.
    """

    faces: Tensor
    targets: Tensor
    votes: Tensor
    is_copy: Tensor | None = None
    taught: Tensor | None = None


class DeviceFaces:
    """A FaceSet as tensors: on the device where it takes at most half of the free memory, else on the host.

    Attributes:
        images: (N, H, W) or (N, H, W, 3), uint8.
        targets: (N, K), float32.
        votes: (N, K), float32, zeros where there are none.
        classes: (N,), int64, the likeliest label of each row; a numpy array.
        taught: (N, heads, K), float32, what teachers answered to these images; None where they were not asked.
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
        votes = np.zeros_like(faces.targets) if faces.votes is None else np.array(faces.votes)
        self.votes = torch.from_numpy(votes).to(device)
        self.classes = faces.classes
        self.taught: Tensor | None = None

    def seen_as(self, images: Tensor, taught: Tensor) -> "DeviceFaces":
        """Give the same rows with other pictures of them, and what teachers answered to these: (N, heads, K), float32."""
        other = copy.copy(self)
        other.images = images.to(self.images.device)
        other.taught = taught.to(self.device)
        return other

    def __len__(self) -> int:
        return len(self.images)

    def rows(self, indices: Tensor, is_copy: Tensor | None = None) -> Batch:
        """Take rows by index, on the device."""
        images = self.images[indices.to(self.images.device)].to(self.device, non_blocking=True)
        there = indices.to(self.device)
        is_copy = None if is_copy is None else is_copy.to(self.device)
        taught = None if self.taught is None else self.taught[there]
        return Batch(images, self.targets[there], self.votes[there], is_copy, taught)


class TrainingBatches:
    """One epoch in a random order that depends on nothing but seed and epoch; a last, incomplete batch is left out."""

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

    def __iter__(self) -> Iterator[Batch]:
        for number in range(len(self)):
            here = slice(number * self.batch_size, (number + 1) * self.batch_size)
            # looked at here: there, training would wait for the device
            is_copy = torch.from_numpy(self.is_copy[here]) if self.is_copy[here].any() else None
            yield self.faces.rows(torch.from_numpy(self.order[here]), is_copy)


class ValidationBatches:
    """Every row once, in order."""

    def __init__(self, faces: DeviceFaces, batch_size: int = 512) -> None:
        self.faces, self.batch_size = faces, batch_size

    def __len__(self) -> int:
        return -(-len(self.faces) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self.faces), self.batch_size):
            yield self.faces.rows(torch.arange(start, min(start + self.batch_size, len(self.faces))))
