"""Batches of faces stored on the device as uint8 if they fit, without worker processes; and random changes of such batches."""

import math
import warnings
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import beta
from torch import Tensor

from mien.data.faceset import FaceSet, fits_in_memory
from mien.errors import MienError
from mien.training.recipe import MISTAKES, Augmentation, Recipe, call_own

BLOCK, WINDOW = 256, 128  # consecutive rows, and blocks whose rows are shuffled, where faces do not fit into memory
SIDES = 16  # that a blurred face is shrunk to: a matrix each, so that the size is drawn on the device
MOST_DEFOCUS, MOST_NOISE = 1 / 32, 0.1  # standard deviations: of the blur in sides of the face, of the noise where white is 1


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


def with_votes(targets: Tensor, votes: Tensor, share: float) -> Tensor:
    """Mix a share of the votes (N, K) into the targets (N, K) of rows that have votes; the others have zeros."""
    if not share:
        return targets
    return torch.where(votes.sum(1, keepdim=True) > 0, (1 - share) * targets + share * votes, targets)


class DeviceFaces:
    """The images, targets and votes of a FaceSet as tensors; images stay on the host if they take over half of free memory."""

    def __init__(self, faces: FaceSet, device: torch.device) -> None:
        self.device = device
        free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else float("inf")
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # of read-only memory maps; nothing writes to them
            images = torch.from_numpy(np.asarray(faces.images))
        self.images = images.to(device) if images.nbytes <= free / 2 else images
        self.targets = torch.from_numpy(np.array(faces.targets)).to(device)
        self.votes = torch.from_numpy(np.zeros_like(faces.targets) if faces.votes is None else np.array(faces.votes)).to(device)
        self.classes = faces.classes
        self.taught: Tensor | None = None

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

    def __init__(self, faces: DeviceFaces, recipe: Recipe, epoch: int, rank: int = 0, processes: int = 1) -> None:
        random = np.random.default_rng((recipe.seed, epoch))
        rows = np.arange(len(faces))
        if has_copies := recipe.balance.augment_minorities:
            rows = np.concatenate([rows, minority_copies(faces.classes, recipe.seed)])
        if recipe.balance.sampler:
            places = random.choice(len(rows), len(rows), p=sampling_probabilities(faces.classes[rows]))
        else:
            places = random.permutation(len(rows))
        if not (faces.images.is_cuda or fits_in_memory(faces.images.nbytes)):
            windows = np.arange(max(1, round(len(faces) / BLOCK / WINDOW)))  # each gets blocks from the whole file
            windows = random.permuted(np.tile(windows, (len(faces) // BLOCK // len(windows) + 1, 1)), axis=1).ravel()
            places = places[np.argsort(windows[rows[places] // BLOCK], kind="stable")]
        self.faces, self.rank = faces, rank
        self.part = min(recipe.batch_size, len(rows)) // processes
        self.batch_size = self.part * processes
        self.order = torch.from_numpy(rows[places]).to(faces.images.device)
        self.is_copy = torch.from_numpy(places >= len(faces)).to(faces.device) if has_copies else None

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


def place(faces: Tensor, how: Augmentation, crop: int | None = None) -> Tensor:
    """Apply the geometric changes, which keep the quality of the photo, and take a random square of side `crop` from each."""
    side = crop or faces.shape[-1]
    share = side / faces.shape[-1]
    if not (how.flip or how.rotation or how.translation or how.scale or share < 1):
        return faces
    # all in one resampling; areas outside the face repeat its border
    count, channels = faces.shape[:2]
    angle = math.radians(how.rotation) * _uniform(faces).view(count)
    zoom = 1 + how.scale * _uniform(faces).view(count)
    mirror = 1 - 2 * (torch.rand(count, device=faces.device) < how.flip).float()
    cos, sin = share * torch.cos(angle) / zoom, share * torch.sin(angle) / zoom
    shift = 2 * how.translation * torch.empty(count, 2, device=faces.device).uniform_(-1, 1)
    if share < 1:
        shift = shift + (1 - share) * torch.empty(count, 2, device=faces.device).uniform_(-1, 1)
    rows = torch.stack([mirror * cos, -sin, shift[:, 0], mirror * sin, cos, shift[:, 1]], dim=1)
    grid = F.affine_grid(rows.view(count, 2, 3), [count, channels, side, side], align_corners=False)
    return F.grid_sample(faces, grid, padding_mode="border", align_corners=False)


def worsen(faces: Tensor, how: Augmentation) -> Tensor:
    """Apply the changes that lower the quality of the photo: light, focus, noise and covered parts; values can leave 0 to 1."""
    if how.blur:
        faces = _blur(faces, how.blur)
    if how.brightness or how.contrast:
        mean = faces.mean(dim=(1, 2, 3), keepdim=True)
        faces = (faces - mean) * (1 + how.contrast * _uniform(faces)) + mean + how.brightness * _uniform(faces)
    if how.degradation:
        faces = _degrade(faces, how.degradation)
    if how.noise:
        faces = faces + how.noise * torch.randn_like(faces)
    if how.erasing:
        faces = _erase(faces, how.erasing)
    if how.function:
        given, faces = tuple(faces.shape), call_own(how.function, faces)
        found = tuple(faces.shape) if isinstance(faces, Tensor) else f"a {type(faces).__name__}"
        if found != given:
            raise MienError(MISTAKES["own faces"].format(name=how.function, given=given, found=found))
    return faces


def mixed(strength: float, faces: Tensor, *targets: Tensor) -> tuple[Tensor, ...]:
    """Blend each face with another of the batch, and the targets in the same proportion (mixup; Zhang et al., 2018)."""
    quantiles = _beta_quantiles(strength, faces.device)
    share = quantiles[(torch.rand(len(faces), device=faces.device) * len(quantiles)).long()]
    others = torch.rand(len(faces), device=faces.device).argsort()
    parts = (faces, *targets)
    weights = [share.view(-1, *[1] * (each.ndim - 1)) for each in parts]
    return tuple(weight * each + (1 - weight) * each[others] for weight, each in zip(weights, parts, strict=True))


@lru_cache(maxsize=8)
def _beta_quantiles(strength: float, device: torch.device, count: int = 4096) -> Tensor:
    """Tabulate the Beta distribution, which torch can draw on some devices only, and not without waiting for them."""
    return torch.from_numpy(beta.ppf((np.arange(count) + 0.5) / count, strength, strength)).float().to(device)


def _uniform(faces: Tensor, low: float = -1.0) -> Tensor:
    return torch.empty(len(faces), 1, 1, 1, device=faces.device).uniform_(low, 1.0)


def _blur(faces: Tensor, probability: float) -> Tensor:
    """Shrink some of the faces, each to its own random side, and enlarge them again, as if far from the camera."""
    count, channels, side = faces.shape[:3]
    matrices = _resampling(side, faces.device)
    draws = torch.rand(2, count, device=faces.device)
    which = torch.where(draws[0] < probability, (draws[1] * SIDES).long(), SIDES)
    chosen = matrices[which].repeat_interleave(channels, 0)  # (N x C, S, S)
    return (chosen @ faces.flatten(0, 1) @ chosen.mT).view_as(faces)


@lru_cache(maxsize=8)
def _resampling(side: int, device: torch.device) -> Tensor:
    """Make matrices (SIDES + 1, S, S) that shrink a line to between a third and all of it and enlarge it; the last is 1."""
    matrices = [torch.eye(side)]
    for number in reversed(range(SIDES)):
        small = max(1, round(side * (1 + 2 * (number + 0.5) / SIDES) / 3))
        shrunk = F.interpolate(torch.eye(side)[None, None], (small, side), mode="bilinear", antialias=True)
        matrices.insert(0, F.interpolate(shrunk, (side, side), mode="bilinear")[0, 0])
    return torch.stack(matrices).to(device)


def _degrade(faces: Tensor, probability: float) -> Tensor:
    """Defocus some of the faces and add sensor noise, with a separate strength for each face."""
    count, channels, height, width = faces.shape
    chosen = (torch.rand(count, device=faces.device) < probability).float()
    most = MOST_DEFOCUS * height
    sigma = (most * chosen * torch.rand(count, device=faces.device)).clamp(min=0.1)  # 0.1 pixels change nothing
    reach = math.ceil(2 * most)
    offsets = torch.arange(-reach, reach + 1, device=faces.device)
    kernels = torch.exp(-0.5 * (offsets / sigma.view(-1, 1)) ** 2)
    kernels = (kernels / kernels.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    planes = F.pad(faces.reshape(1, count * channels, height, width), [reach] * 4, mode="replicate")
    for shape in ((-1, 1, 1, 2 * reach + 1), (-1, 1, 2 * reach + 1, 1)):
        planes = F.conv2d(planes, kernels.view(shape), groups=count * channels)
    noise = MOST_NOISE * chosen * torch.rand(count, device=faces.device)
    return planes.view_as(faces) + noise.view(-1, 1, 1, 1) * torch.randn_like(faces)


def _erase(faces: Tensor, probability: float) -> Tensor:
    """Cover a rectangle of 2 to 20% of the face, with aspect ratio 1:3 to 3:1, by one random gray."""
    count, _, height, width = faces.shape
    area = torch.empty(count, 1, device=faces.device).uniform_(0.02, 0.2)
    aspect = torch.exp(torch.empty(count, 1, device=faces.device).uniform_(-math.log(3), math.log(3)))
    tall, wide = (area * aspect).sqrt().clamp(max=1) * height, (area / aspect).sqrt().clamp(max=1) * width
    top, left = torch.rand_like(tall) * (height - tall), torch.rand_like(wide) * (width - wide)
    y, x = torch.arange(height, device=faces.device), torch.arange(width, device=faces.device)
    in_rows, in_columns = (y >= top) & (y < top + tall), (x >= left) & (x < left + wide)
    chosen = (torch.rand(count, device=faces.device) < probability).view(-1, 1, 1, 1)
    return torch.where(in_rows[:, None, :, None] & in_columns[:, None, None, :] & chosen, _uniform(faces, low=0.0), faces)
