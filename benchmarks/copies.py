"""How the search for near copies grows with the number of faces, and what it finds.

    OMP_NUM_THREADS=1 python benchmarks/copies.py [--largest 1000000]

The fingerprints are generated: random smooth thumbnails whose principal components fall off about as those of FER-2013's
faces do. One in fifty is a copy of another, every second copy mirrored. What a copy differs by is itself smooth, which parts
more pairs than noise does; how far it differs is spread as among FER-2013's near copies. Each number of faces is a process of
its own.

"CPU" is the time of the search, "per n log2 n" that time divided by n log2 n, with 1 for the first row: where it does not rise,
the search grows no faster than n log n. "found" is the share of the planted copies among the pairs, then by how they correlate.
"peak" is the memory of the whole process.
"""

import argparse
import resource
import subprocess
import sys
import time

import numpy as np
from scipy.fft import idctn

SIDE = 12
"""Height and width of a thumbnail."""

FALL = 0.6
"""The k-th coefficient's standard deviation is k to the power of minus this: the first 16 of 143 hold 69% of the variance, of
FER-2013's 74%."""

COPIES = 50
"""One face in so many is a copy of another."""

BANDS = ((0.95, 1.0, 0.70), (0.85, 0.95, 0.26), (0.82, 0.85, 0.04))
"""Correlation of copies, from and to, and the share of FER-2013's near copies that it holds."""

COUNTS = (10_000, 30_000, 100_000, 300_000, 1_000_000)


def smooth(count: int, random: np.random.Generator) -> np.ndarray:
    """Draw thumbnails out of cosines, the slower the stronger.

    Returns:
        (count, 144), float32, of mean 0 and length 1.
    """
    down, across = np.divmod(np.arange(SIDE * SIDE), SIDE)
    order = np.argsort(down**2 + across**2, kind="stable")
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
    """Make fingerprints; the last `count // COPIES` of them are copies of the first, every second one mirrored.

    Args:
        count: how many.
        seed: of the numbers.

    Returns:
        (count, 144), float32, of mean 0 and length 1; of each copy its correlation with what it is a copy of, float64, and
        whether it is mirrored.
    """
    random = np.random.default_rng(seed)
    prints, copies = smooth(count, random), count // COPIES
    low, high, share = (np.array(column) for column in zip(*BANDS, strict=True))
    band = random.choice(len(BANDS), size=copies, p=share)
    likeness = random.uniform(low[band], high[band])
    other = smooth(copies, random)
    other -= np.einsum("ij,ij->i", other, prints[:copies])[:, None] * prints[:copies]
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    copied = likeness[:, None] * prints[:copies] + np.sqrt(1 - likeness**2)[:, None] * other
    turned = np.arange(copies) % 2 == 1
    copied[turned] = copied[turned].reshape(-1, SIDE, SIDE)[:, :, ::-1].reshape(-1, SIDE * SIDE)
    prints[-copies:] = copied
    return prints, likeness, turned


def measure(count: int) -> tuple[float, int, list[float], float]:
    """Search once, in this process.

    Returns:
        Seconds of CPU, pairs found, the share of the planted copies found (of all, then of each band), megabytes at the peak.
    """
    from mien.data.copies import alike

    prints, likeness, turned = generate(count)
    start = time.process_time()
    pairs, mirrored = alike(prints)
    seconds = time.process_time() - start
    found = np.zeros(len(likeness), dtype=bool)
    planted = pairs[:, 1] - pairs[:, 0] == count - len(likeness)
    first = pairs[planted, 0]
    found[first[mirrored[planted] == turned[first]]] = True
    shares = [found.mean(), *(found[(low <= likeness) & (likeness < high)].mean() for low, high, _ in BANDS)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1024)
    return seconds, len(pairs), shares, peak


def main() -> None:
    """Measure growing numbers of faces and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=int, default=1_000_000, help="at most so many faces (default 1000000)")
    parser.add_argument("--here", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        seconds, pairs, shares, peak = measure(arguments.here)
        print(seconds, pairs, *shares, peak)
        return
    bands = [f"{low:.2f}-{high:.2f}" for low, high, _ in BANDS]
    print("| faces | CPU | per n log2 n | pairs | found |", " | ".join(bands), "| peak |")
    print("|", " | ".join(["---"] * (6 + len(BANDS))), "|", flush=True)
    first = None
    for count in (each for each in COUNTS if each <= arguments.largest):
        said = subprocess.run(
            [sys.executable, __file__, "--here", str(count)], check=True, capture_output=True, text=True
        ).stdout
        seconds, pairs, *shares, peak = map(float, said.split())
        level = seconds / (count * np.log2(count))
        first = first or level
        told = " | ".join(f"{share:.1%}" for share in shares)
        print(f"| {count:,} | {seconds:.1f} s | {level / first:.2f} | {pairs:,.0f} | {told} | {peak:,.0f} MB |", flush=True)


if __name__ == "__main__":
    main()
