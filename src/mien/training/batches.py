"""Batches of faces that lie on the device as uint8 where they fit: no worker processes, no copies per epoch."""

import copy
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mien.data.faceset import FaceSet
from mien.training.recipe import Balance

# What can be done about rare labels: numbers in, numbers out.


def class_weights(counts: np.ndarray) -> np.ndarray:
    """Weigh labels by how rare they are, as scikit-learn's "balanced" does (King and Zeng, 2001).

    Args:
        counts: (K,), rows of each label.

    Returns:
        (K,), float32: rows / (labels with rows * rows of the label); 0 for a label without rows.
    """
    counts = np.asarray(counts, dtype=np.float64)
    there = counts > 0
    weights = np.divide(counts.sum(), there.sum() * counts, out=np.zeros_like(counts), where=there)
    return np.asarray(weights, dtype=np.float32)


def sampling_probabilities(classes: np.ndarray) -> np.ndarray:
    """Give each row the probability with which a weighted sampler draws it: every label is drawn equally often.

    Args:
        classes: (N,), the label of each row.

    Returns:
        (N,), float64, summing to 1.
    """
    counts = np.bincount(classes)
    return np.asarray(1.0 / (np.count_nonzero(counts) * counts[classes]))


def minority_copies(classes: np.ndarray, seed: int) -> np.ndarray:
    """Choose rows to be repeated until every label has as many as the largest.

    Every row of a label is repeated equally often, but for a remainder drawn at random; a label without rows stays without.

    Args:
        classes: (N,), the label of each row.
        seed: the same seed chooses the same rows.

    Returns:
        (M,), int64: rows to be added to the N.
    """
    random = np.random.default_rng(seed)
    counts = np.bincount(classes)
    added = [np.empty(0, dtype=np.int64)]
    for label in np.flatnonzero(counts):
        rows = np.flatnonzero(classes == label)
        rounds, rest = divmod(counts.max() - len(rows), len(rows))
        added += [np.tile(rows, rounds), random.permutation(rows)[:rest]]
    return np.concatenate(added)


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
