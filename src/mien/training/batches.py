"""Batches of faces stored on the device as uint8 if they fit: no worker processes, no copies per epoch."""

import copy
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mien.data.faceset import FaceSet
from mien.training.recipe import Balance


def class_weights(counts: np.ndarray) -> np.ndarray:
    """Compute the label weights (K,) of scikit-learn's "balanced" (King and Zeng, 2001), with 0 for a label without rows."""
    present = counts > 0
    weights = np.divide(counts.sum(), present.sum() * counts, out=np.zeros(len(counts)), where=present)
    return np.asarray(weights, dtype=np.float32)


def sampling_probabilities(classes: np.ndarray) -> np.ndarray:
    """Return the probabilities (N,) of the rows in a sampler that draws every label equally often."""
    counts = np.bincount(classes)
    return np.asarray(1.0 / (np.count_nonzero(counts) * counts[classes]))


def minority_copies(classes: np.ndarray, seed: int) -> np.ndarray:
    """Choose rows to repeat until every label has as many as the largest, each row of a label about equally often."""
    random = np.random.default_rng(seed)
    counts = np.bincount(classes)
    added = [np.empty(0, dtype=np.int64)]
    for label in np.flatnonzero(counts):
        rows = np.flatnonzero(classes == label)
        rounds, rest = divmod(counts.max() - len(rows), len(rows))
        added += [np.tile(rows, rounds), random.permutation(rows)[:rest]]
    return np.concatenate(added)


class Batch(NamedTuple):
    """Some rows on the device."""

    faces: Tensor  # uint8 (N, H, W) or (N, H, W, 3)
    targets: Tensor  # float32 (N, K)
    votes: Tensor  # float32 (N, K), zeros where there are none
    is_copy: Tensor | None = None  # bool (N,), copies that balance rare labels; None if there are none
    taught: Tensor | None = None  # float32 (N, heads, K), predictions of teachers for these images, if precomputed


class DeviceFaces:
    """The images, targets and votes of a FaceSet as tensors; images stay on the host if they take over half of free memory."""

    def __init__(self, faces: FaceSet, device: torch.device) -> None:
        self.device = device
        free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else float("inf")
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # of read-only memory maps; nothing writes to them
            images = torch.from_numpy(np.asarray(faces.images))
        self.images = images.to(device) if images.nbytes <= free / 2 else images
        self.targets = torch.from_numpy(np.array(faces.targets)).to(device)
        votes = np.zeros_like(faces.targets) if faces.votes is None else np.array(faces.votes)
        self.votes = torch.from_numpy(votes).to(device)
        self.classes = faces.classes
        self.taught: Tensor | None = None

    def seen_as(self, images: Tensor, taught: Tensor) -> "DeviceFaces":
        """Return the same rows with other images, and the teachers' predictions for these: (N, heads, K), float32."""
        other = copy.copy(self)
        other.images, other.taught = images.to(self.images.device), taught.to(self.device)
        return other

    def __len__(self) -> int:
        return len(self.images)

    def rows(self, indices: Tensor, is_copy: Tensor | None = None) -> Batch:
        """Select rows by index, on the device."""
        images = self.images[indices.to(self.images.device)].to(self.device, non_blocking=True)
        indices = indices.to(self.device)
        taught = None if self.taught is None else self.taught[indices]
        return Batch(images, self.targets[indices], self.votes[indices], is_copy, taught)


class TrainingBatches:
    """One epoch in an order by seed and epoch, or the part of one of several processes; an incomplete last batch is dropped."""

    def __init__(
        self,
        faces: DeviceFaces,
        batch_size: int,
        seed: int,
        epoch: int,
        balance: Balance | None = None,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        balance = balance or Balance()
        random = np.random.default_rng((seed, epoch))
        rows = np.arange(len(faces))
        if balance.augment_minorities:
            rows = np.concatenate([rows, minority_copies(faces.classes, seed)])
        if balance.sampler:
            places = random.choice(len(rows), len(rows), p=sampling_probabilities(faces.classes[rows]))
        else:
            places = random.permutation(len(rows))
        self.faces, self.rank = faces, rank
        self.part = min(batch_size, len(rows)) // processes
        self.batch_size = self.part * processes
        self.order = torch.from_numpy(rows[places]).to(faces.images.device)
        self.is_copy = torch.from_numpy(places >= len(faces)).to(faces.device) if balance.augment_minorities else None

    def __len__(self) -> int:
        return len(self.order) // self.batch_size

    def __iter__(self) -> Iterator[Batch]:
        for start in range(self.rank * self.part, len(self) * self.batch_size, self.batch_size):
            here = slice(start, start + self.part)
            yield self.faces.rows(self.order[here], None if self.is_copy is None else self.is_copy[here])


def in_order(faces: DeviceFaces, batch_size: int = 512, rank: int = 0, processes: int = 1) -> Iterator[Batch]:
    """Yield every row once, in order; of several processes each yields its part, with the last row repeated for equal parts."""
    part = -(-len(faces) // processes)
    for rows in torch.split(torch.arange(rank * part, (rank + 1) * part).clamp(max=len(faces) - 1), batch_size):
        yield faces.rows(rows)
