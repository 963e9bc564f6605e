"""How the search for near copies scales with the number of faces, and what it finds.

    OMP_NUM_THREADS=1 python benchmarks/copies.py [--largest 1000000]

The fingerprints are random smooth thumbnails whose principal components fall off about as those of FER-2013's faces do. One in
fifty is a copy of another, every second copy mirrored; it differs by something smooth, as much as FER-2013's near copies do.
"CPU" is the time of the search, "per n log2 n" that time relative to the first row. "found" is the share of the planted copies
among the pairs, then by correlation. "peak" is the memory of the process, one for each row.
"""

import time

import numpy as np
from scipy.fft import idctn

from mien.data.copies import alike
from shared import in_fresh_process, parse, peak_megabytes

SIDE = 12  # height and width of a thumbnail
FALL = 0.6
"""The k-th coefficient's standard deviation is k to the power of minus this: the first 16 of 143 hold 69% of the variance, of
FER-2013's 74%."""
COPIES = 50  # one face in so many is a copy of another
BANDS = ((0.95, 1.0, 0.70), (0.85, 0.95, 0.26), (0.82, 0.85, 0.04))
"""Correlation of copies, from and to, and the share of FER-2013's near copies in this band."""


def smooth(count: int, random: np.random.Generator) -> np.ndarray:
    """Draw thumbnails of cosines, the slower the stronger: (count, 144), float32, of mean 0 and length 1."""
    order = np.argsort((np.indices((SIDE, SIDE)) ** 2).sum(axis=0), axis=None, kind="stable")
    scale = np.zeros(SIDE * SIDE, dtype=np.float32)
    scale[order[1:]] = np.arange(1, SIDE * SIDE) ** -FALL  # the slowest is the mean, and stays 0
    drawn = np.empty((count, SIDE * SIDE), dtype=np.float32)
    for start in range(0, count, 65_536):
        part = drawn[start : start + 65_536]
        coefficients = random.standard_normal(part.shape, dtype=np.float32) * scale
        part[:] = idctn(coefficients.reshape(-1, SIDE, SIDE), axes=(1, 2), norm="ortho").reshape(part.shape)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return drawn


def generate(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make fingerprints, of which the last `count // COPIES` are copies of the first, every second one mirrored.

    Returns the fingerprints, (count, 144); and of each copy its correlation with the original, and whether it is mirrored.
    """
    random = np.random.default_rng(seed)
    prints, copies = smooth(count, random), count // COPIES
    low, high, share = (np.array(column) for column in zip(*BANDS, strict=True))
    band = random.choice(len(BANDS), size=copies, p=share)
    correlation = random.uniform(low[band], high[band])
    other = smooth(copies, random)
    other -= np.einsum("ij,ij->i", other, prints[:copies])[:, None] * prints[:copies]
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    copied = correlation[:, None] * prints[:copies] + np.sqrt(1 - correlation**2)[:, None] * other
    turned = np.arange(copies) % 2 == 1
    copied[turned] = copied[turned].reshape(-1, SIDE, SIDE)[:, :, ::-1].reshape(-1, SIDE * SIDE)
    prints[-copies:] = copied
    return prints, correlation, turned


def measure(count: int) -> tuple[float, int, list[float], float]:
    """Search once: seconds of CPU, pairs found, the share of copies found (of all, then of each band), peak of memory in MB."""
    prints, correlation, turned = generate(count)
    start = time.process_time()
    pairs, mirrored = alike(prints)
    seconds = time.process_time() - start
    found = np.zeros(len(correlation), dtype=bool)
    planted = pairs[:, 1] - pairs[:, 0] == count - len(correlation)
    first = pairs[planted, 0]
    found[first[mirrored[planted] == turned[first]]] = True
    by_band = [found[(low <= correlation) & (correlation < high)].mean() for low, high, _ in BANDS]
    return seconds, len(pairs), [found.mean(), *by_band], peak_megabytes()


if __name__ == "__main__":
    largest = parse(__doc__, largest=1_000_000).largest
    bands = " | ".join(f"{low:.2f}-{high:.2f}" for low, high, _ in BANDS)
    print(f"| faces | CPU | per n log2 n | pairs | found | {bands} | peak |")
    print("|" + " --- |" * (6 + len(BANDS)), flush=True)
    first = None
    for count in (each for each in (10_000, 30_000, 100_000, 300_000, 1_000_000) if each <= largest):
        seconds, pairs, shares, peak = in_fresh_process(measure, count)
        level = seconds / (count * np.log2(count))
        first = first or level
        found = " | ".join(f"{share:.1%}" for share in shares)
        print(f"| {count:,} | {seconds:.1f} s | {level / first:.2f} | {pairs:,.0f} | {found} | {peak:,.0f} MB |", flush=True)
