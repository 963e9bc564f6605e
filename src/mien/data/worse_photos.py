"""Eighteen changes of faces as in worse photos: small, blurred, dark, turned, covered ... (Hendrycks and Dietterich, 2019)."""

import io
import math
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from mien.errors import load_table

CHANGES: dict[str, list[Any]] = load_table(__file__)


def worse_copies(faces: np.ndarray, seed: int = 0, change: str | None = None) -> np.ndarray:
    """Change each face, uint8 (N, S, S) or (N, S, S, 3), in the same way, or each way about equally often in random order."""
    random, names = np.random.default_rng(seed), [change] if change else list(CHANGES)
    chosen = random.permutation(-(-len(faces) // len(names)) * len(names)) % len(names)
    return np.stack([worsen(face, names[which], random) for face, which in zip(faces, chosen, strict=False)])


def worsen(face: np.ndarray, change: str, random: np.random.Generator) -> np.ndarray:
    """Change a face, uint8 (S, S) or (S, S, 3), in one of the ways of CHANGES; directions and places are random."""
    side, image, changed = len(face), Image.fromarray(face), np.array(face, dtype=np.float32)
    match CHANGES[change]:
        case ["small", share]:
            small = image.resize((max(1, round(share * side)),) * 2, Image.Resampling.BOX)
            changed = np.asarray(small.resize(image.size, Image.Resampling.BILINEAR))
        case ["out of focus", sigma]:
            changed = np.asarray(image.filter(ImageFilter.GaussianBlur(sigma * side)))
        case ["moving", length]:
            angle = random.uniform(0, math.pi)
            steps = [(step * math.cos(angle), step * math.sin(angle)) for step in np.linspace(-length / 2, length / 2, 7)]
            changed = np.mean([_placed(face, 0, 1, step) for step in steps], axis=0)
        case ["noise", deviation]:
            changed += random.normal(0, deviation, face.shape)
        case ["JPEG", quality]:
            image.save(file := io.BytesIO(), "JPEG", quality=quality)
            changed = np.asarray(Image.open(file))
        case ["light", low, high, added]:  # from one side to the other
            across = np.linspace(low, high, side)[:: random.choice((-1, 1)) if low < high else 1]
            changed = changed * across.reshape(-1, *face.shape[2:] and (1,)) + added
        case ["placed", degrees, zoom, shift]:
            signs = random.choice((-1, 1), 3)
            changed = _placed(face, signs[0] * degrees, zoom, shift * signs[1:])
        case ["band", top, bottom]:
            changed[round(top * side) : round(bottom * side)] = face.mean(axis=(0, 1)).round()
        case ["patch", share]:
            length = max(1, round(share * side))
            top, left = random.integers(0, side - length + 1, 2)
            changed[top : top + length, left : left + length] = random.integers(0, 256)
    return np.clip(changed, 0, 255).astype(np.uint8)


def _placed(face: np.ndarray, degrees: float, zoom: float, shift: Any) -> np.ndarray:
    """Turn and enlarge a face around its centre, and move it right and down by shares of its side; its border is repeated."""
    side, border, angle = len(face), len(face) // 2, math.radians(degrees)
    cos, sin, (x, y) = math.cos(angle) / zoom, math.sin(angle) / zoom, (side * (0.5 + each) for each in shift)
    centre = border + side / 2
    matrix = (cos, sin, centre - cos * x - sin * y, -sin, cos, centre + sin * x - cos * y)
    wider = Image.fromarray(np.pad(face, [(border, border)] * 2 + [(0, 0)] * (face.ndim - 2), "edge"))
    return np.asarray(wider.transform((side, side), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR))
