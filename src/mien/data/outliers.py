"""Which faces are hardly pictures at all: blank, without a face, far too dark or too bright, or of an odd size."""

from collections.abc import Iterator

import cv2
import numpy as np

from mien.data.fingerprints import CHUNK, SIDE, in_gray

NEARLY_BLANK = 5.0
"""Standard deviation of the pixels below which nothing can be seen, in grays of 256. FER-2013's faintest face has 9."""

FAR_FROM_FACES = 4.0
"""Robust standard deviations from the usual distance beyond which an image may show no face: 78% of these rows of FER-2013
are "not a face" by FER+'s votes (docs/fer2013.md)."""

TOO_DARK_OR_BRIGHT = 3.0
"""Robust standard deviations from the usual brightness."""

ODD_SIZE = 3.0
"""Robust standard deviations from the usual height, width or shape, in logarithms."""

LEAST_SPREAD = 1 / 3
"""Sizes count as spread by at least so many octaves, so that nothing within a factor of 2 (`ODD_SIZE` times this) is odd where
all others are equal."""


def brightness_and_contrast(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Measure the mean and the standard deviation of every face's pixels.

    Args:
        images: (N, H, W) or (N, H, W, 3), uint8.

    Returns:
        Two of (N,), float32, in grays of 0 to 255.
    """
    mean, deviation = np.empty((2, len(images)), dtype=np.float32)
    for start, gray in _chunks(images):
        mean[start : start + len(gray)] = gray.mean(axis=(1, 2), dtype=np.float32)
        deviation[start : start + len(gray)] = gray.std(axis=(1, 2), dtype=np.float32)
    return mean, deviation


def distance_from_faces(images: np.ndarray) -> np.ndarray:
    """Measure how far every image lies from the mean of all, by its histograms of oriented gradients.

    This is the distance from face space of Turk and Pentland (Eigenfaces, 1991) with gradients (Dalal and Triggs, 2005) in
    place of pixels and the mean alone in place of components, which found FER-2013's images without a face better: average
    precision 0.39 instead of 0.10. It takes for granted that most images show a face.

    Args:
        images: (N, H, W) or (N, H, W, 3), uint8.

    Returns:
        (N,), float32.
    """
    cell = SIDE // 6
    histograms = cv2.HOGDescriptor((SIDE, SIDE), (2 * cell, 2 * cell), (cell, cell), (cell, cell), 9)
    total = np.zeros(histograms.getDescriptorSize(), dtype=np.float64)
    for _, gray in _chunks(images):
        total += sum(np.asarray(histograms.compute(face)).ravel() for face in gray)
    mean = total / max(len(images), 1)
    distance = np.empty(len(images), dtype=np.float32)
    for start, gray in _chunks(images):  # computed twice rather than kept: 900 numbers a face are more than its pixels
        for row, face in enumerate(gray, start):
            distance[row] = np.linalg.norm(np.asarray(histograms.compute(face)).ravel() - mean)
    return distance


def robust_deviations(values: np.ndarray) -> np.ndarray:
    """Say how many standard deviations every value lies from the median, the deviation estimated from the median one.

    Args:
        values: (N,).

    Returns:
        (N,), float64, signed; zeros where more than half of the values are equal.
    """
    if not len(values):
        return np.zeros(0)
    distance = values.astype(np.float64) - np.median(values)
    deviation = 1.4826 * np.median(np.abs(distance))  # that of a normal distribution (Hampel, 1974)
    return np.asarray(distance / deviation) if deviation > 0 else np.zeros(len(values))


def size_deviations(sizes: np.ndarray) -> np.ndarray:
    """Say how many robust standard deviations the size of every image lies from the usual.

    Height, width and their ratio are compared by their logarithms with the medians of all; of the three the farthest counts.
    A deviation is never taken for less than `LEAST_SPREAD` octaves.

    Args:
        sizes: (N, 2), height and width in pixels, above 0.

    Returns:
        (N,), float64, 0 and more.
    """
    farthest = np.zeros(len(sizes))
    if not len(sizes):
        return farthest
    height, width = np.log2(sizes.astype(np.float64)).T
    for octaves in (height, width, height - width):
        distance = np.abs(octaves - np.median(octaves))
        deviation = max(1.4826 * float(np.median(distance)), LEAST_SPREAD)
        farthest = np.maximum(farthest, distance / deviation)
    return farthest


def _chunks(images: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, len(images), CHUNK):
        yield start, np.ascontiguousarray(in_gray(images[start : start + CHUNK]))
