"""Measure how much images differ from the rest: brightness, contrast, distance from faces, size."""

from collections.abc import Iterator

import cv2
import numpy as np

from mien.data.copies import SIDE, gray_chunks

NEARLY_BLANK = 5.0
"""Standard deviation of the pixels below which nothing is visible, in grays of 256. FER-2013's faintest face has 9."""

FAR_FROM_FACES = 4.0
"""Robust standard deviations from the usual distance beyond which an image may show no face: 78% of these rows of FER-2013
are "not a face" by FER+'s votes (docs/fer2013.md)."""

TOO_DARK_OR_BRIGHT = 3.0  # robust standard deviations from the usual brightness
ODD_SIZE = 3.0  # robust standard deviations from the usual height, width or aspect ratio, in logarithms

LEAST_SPREAD = 1 / 3
"""Least standard deviation of sizes, in octaves: where all sizes are equal, nothing within a factor of 2 (`ODD_SIZE`
times this) is odd."""


def brightness_and_contrast(images: np.ndarray) -> np.ndarray:
    """Compute the mean and the standard deviation of every face's pixels: (2, N), float32, in grays of 0 to 255."""
    return np.concatenate([[gray.mean((1, 2), np.float32), gray.std((1, 2), np.float32)] for gray in gray_chunks(images)], 1)


def distance_from_faces(images: np.ndarray) -> np.ndarray:
    """Compute how far every image lies from the mean of all, by histograms of oriented gradients: (N,), float32.

    This is the distance from face space of Turk and Pentland (Eigenfaces, 1991) with gradients (Dalal and Triggs, 2005) in
    place of pixels and the mean alone in place of components, which found FER-2013's images without a face better: average
    precision 0.39 instead of 0.10. It assumes that most images show a face.
    """
    cell = SIDE // 6
    histograms = cv2.HOGDescriptor((SIDE, SIDE), (2 * cell, 2 * cell), (cell, cell), (cell, cell), 9)

    def described() -> Iterator[np.ndarray]:  # twice, because 900 numbers a face take more memory than its pixels
        for gray in gray_chunks(images):
            yield from (np.asarray(histograms.compute(face)).ravel() for face in np.ascontiguousarray(gray))

    mean = sum(described(), np.zeros(histograms.getDescriptorSize())) / max(len(images), 1)
    return np.array([np.linalg.norm(each - mean) for each in described()], dtype=np.float32)


def robust_deviations(values: np.ndarray, least: float = 0.0) -> np.ndarray:
    """Compute how many robust standard deviations every value lies from the median, signed: (N,) to (N,), float64.

    A standard deviation is at least `least`; where it is 0, because more than half of the values are equal, all lie 0 away.
    """
    if not len(values):
        return np.zeros(0)
    distance = values.astype(np.float64) - np.median(values)
    deviation = max(1.4826 * float(np.median(np.abs(distance))), least)  # that of a normal distribution (Hampel, 1974)
    return np.asarray(distance / deviation) if deviation else np.zeros(len(values))


def size_deviations(sizes: np.ndarray) -> np.ndarray:
    """Compute how many robust standard deviations the size of every image lies from the usual one: (N, 2) to (N,), float64.

    Height, width and their ratio are compared by their logarithms, and the largest deviation counts.
    """
    height, width = np.log2(sizes.astype(np.float64)).T
    deviations = [robust_deviations(octaves, LEAST_SPREAD) for octaves in (height, width, height - width)]
    return np.asarray(np.abs(deviations).max(axis=0))
