"""Random changes of batches of faces (N, C, H, W) between 0 and 1 on their device, separately for each face of a batch."""

import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import beta
from torch import Tensor

from mien.training.recipe import Augmentation

SIDES = 16  # that a blurred face is shrunk to: a matrix each, so that the size is drawn on the device
MOST_DEFOCUS, MOST_NOISE = 1 / 32, 0.1  # standard deviations: of the blur in sides of the face, of the noise where white is 1


def place(faces: Tensor, how: Augmentation, crop: int | None = None) -> Tensor:
    """Apply the geometric changes, which keep the quality of the photo, and take a random square of side `crop` from each."""
    side = crop or faces.shape[-1]
    is_warped = how.flip or how.rotation or how.translation or how.scale or side < faces.shape[-1]
    return _warp(faces, how, side) if is_warped else faces


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


def _warp(faces: Tensor, how: Augmentation, side: int) -> Tensor:
    """Flip, rotate, scale, shift and crop in one resampling; areas outside the face repeat its border."""
    count, channels = faces.shape[:2]
    share = side / faces.shape[-1]
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
