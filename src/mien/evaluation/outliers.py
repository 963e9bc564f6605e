"""Measure how much images differ from the rest: brightness, contrast, distance from faces, size."""

import numpy as np

from mien.data.copies import SIDE, gray_chunks

NEARLY_BLANK = 5.0  # standard deviation of the pixels below which nothing is visible; FER-2013's faintest face has 9
FAR_FROM_FACES = 4.0
"""Robust standard deviations from the usual distance beyond which an image may show no face: 78% of these rows of FER-2013
are "not a face" by FER+'s votes (docs/fer2013.md)."""

TOO_DARK_OR_BRIGHT = 3.0  # robust standard deviations from the usual brightness
ODD_SIZE = 3.0  # robust standard deviations from the usual height, width or aspect ratio, in logarithms
LEAST_SPREAD = 1 / 3  # least standard deviation of sizes, in octaves: of equal sizes, nothing within a factor of 2 is odd
BINS = 9  # orientations of gradients, over half a turn, as in Dalal and Triggs
FACES = 2048  # faces whose gradients are computed at a time, which bounds memory


def brightness_and_contrast(images: np.ndarray) -> np.ndarray:
    """Compute the mean and the standard deviation of every face's pixels: (2, N), float32, in grays of 0 to 255."""
    return np.concatenate([[gray.mean((1, 2), np.float32), gray.std((1, 2), np.float32)] for gray in gray_chunks(images)], 1)


def distance_from_faces(images: np.ndarray) -> np.ndarray:
    """Compute how far every image lies from the mean of all, by histograms of oriented gradients: (N,), float32.

    This is the distance from face space of Turk and Pentland (Eigenfaces, 1991) with gradients (Dalal and Triggs, 2005) in
    place of pixels and the mean alone in place of components, which found FER-2013's images without a face better: average
    precision 0.39 instead of 0.10. It assumes that most images show a face.
    """
    total = sum(_gradient_histograms(gray).sum(axis=0, dtype=np.float64) for gray in gray_chunks(images, FACES))
    mean = total / max(len(images), 1)
    # computed twice, because 900 numbers a face take more memory than its pixels
    distances = [np.linalg.norm(_gradient_histograms(gray) - mean, axis=1) for gray in gray_chunks(images, FACES)]
    return np.concatenate(distances).astype(np.float32)


def _gradient_histograms(gray: np.ndarray) -> np.ndarray:
    """Compute the histograms of 5 by 5 overlapping blocks of 2 by 2 cells: (N, SIDE, SIDE) to (N, 900), float32.

    A gradient is shared between the two nearest bins and the nearest cells, and counts less far from the middle of its block. A
    block is scaled to length 1, clipped at 0.2 and scaled again. This gives what OpenCV's HOGDescriptor gives, within 0.001.
    """
    edged = np.pad(gray.astype(np.float32), ((0, 0), (1, 1), (1, 1)), mode="reflect")
    down, across = edged[:, 2:, 1:-1] - edged[:, :-2, 1:-1], edged[:, 1:-1, 2:] - edged[:, 1:-1, :-2]
    strength, angle = np.hypot(down, across), np.arctan2(down, across)
    place = np.where(angle < 0, angle + np.pi, angle) * (BINS / np.pi) - 0.5
    apart = (np.abs(place - number) for number in range(BINS))
    shares = (strength * np.maximum(0, 1 - np.minimum(each, BINS - each)) for each in apart)
    pixel = np.arange(16)  # of a row or column of a block
    cells = np.maximum(0, 1 - np.abs((pixel + 0.5) / 8 - 0.5 - [[0], [1]])) * np.exp(-((pixel - 8) ** 2) / 32)  # (2, 16)
    weights = np.zeros((5, 2, SIDE), dtype=np.float32)
    for block, rows in enumerate(weights):
        rows[:, 8 * block : 8 * block + 16] = cells
    flat = weights.reshape(-1, SIDE)
    blocks = np.stack([flat @ each @ flat.T for each in shares], axis=-1).reshape(-1, 5, 2, 5, 2, BINS)
    for limit, least in ((0.2, 3.6), (np.inf, 1e-3)):  # `least` keeps blocks without gradients at 0
        length = np.sqrt((blocks**2).sum(axis=(2, 4, 5), keepdims=True))
        blocks = np.minimum(blocks / (length + np.float32(least)), limit)
    return blocks.reshape(-1, 900)


def robust_deviations(values: np.ndarray, least: float = 0.0) -> np.ndarray:
    """Compute how many robust standard deviations, of at least `least`, values lie from their median, signed: (N,), float64."""
    if not len(values):
        return np.zeros(0)
    distance = values.astype(np.float64) - np.median(values)
    deviation = max(1.4826 * float(np.median(np.abs(distance))), least)  # that of a normal distribution (Hampel, 1974)
    return np.asarray(distance / deviation) if deviation else np.zeros(len(values))


def size_deviations(sizes: np.ndarray) -> np.ndarray:
    """Compute the largest robust deviation of each height, width and aspect ratio, by logarithms: (N, 2) to (N,), float64."""
    height, width = np.log2(sizes.astype(np.float64)).T
    deviations = [robust_deviations(octaves, LEAST_SPREAD) for octaves in (height, width, height - width)]
    return np.asarray(np.abs(deviations).max(axis=0))
