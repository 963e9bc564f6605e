"""How the search for near copies grows with the number of faces.

    python benchmarks/copies.py [--largest 100000]

The fingerprints are generated: random smooth pictures whose principal components fall off as those of FER-2013's faces do, a
fiftieth of them copies of others with a little noise. Each number of faces is a process of its own. "per n log n" is the time
divided by n log2 n, in microseconds: where it stays level the search grows as n log n. "found" is the share of the planted
copies among the pairs, "peak" the memory of the whole process.
"""

import argparse
import resource
import subprocess
import sys
import time

import numpy as np

FALL = 0.6
"""The k-th component's standard deviation is k to the power of minus this: the first 16 of 144 hold 73% of the variance."""

COPIES = 50
"""One face in so many is a copy of another."""

NOISE = 0.15
"""Length of what a copy differs by, where a fingerprint has length 1: they correlate by about 0.99."""


def generate(count: int, seed: int = 0) -> np.ndarray:
    """Make fingerprints; the last `count // COPIES` of them are copies of the first.

    Args:
        count: how many.
        seed: of the numbers.

    Returns:
        (count, 144), float32, of mean 0 and length 1.
    """
    random = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(random.normal(size=(144, 144)))
    scale = (np.arange(1, 145) ** -FALL)[:, None] * basis.T
    prints = np.empty((count, 144), dtype=np.float32)
    for start in range(0, count, 65_536):
        part = prints[start : start + 65_536]
        part[:] = random.normal(size=part.shape).astype(np.float32) @ scale.astype(np.float32)
    prints -= prints.mean(axis=1, keepdims=True)
    prints /= np.linalg.norm(prints, axis=1, keepdims=True)
    copies = count // COPIES
    noise = random.normal(size=(copies, 144)).astype(np.float32)
    prints[-copies:] = prints[:copies] + NOISE * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    return np.asarray(prints / np.linalg.norm(prints, axis=1, keepdims=True))


def measure(count: int) -> str:
    """Search once, in this process, and write a line of the table."""
    from mien.data.fingerprints import alike

    prints = generate(count)
    start = time.perf_counter()
    pairs, mirrored = alike(prints)
    seconds = time.perf_counter() - start
    copies = count // COPIES
    plain = pairs[~mirrored]
    found = int((plain[:, 1] - plain[:, 0] == count - copies).sum())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1024)
    level = 1e6 * seconds / (count * np.log2(count))
    return f"{count:>10,}{seconds:>9.1f} s{level:>14.2f}{len(pairs):>10,}{found / copies:>8.1%}{peak:>9.0f} MB"


def main() -> None:
    """Measure growing numbers of faces and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=int, default=100_000, help="at most so many faces, 1000000 for all (default 100000)")
    parser.add_argument("--here", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        print(measure(arguments.here))
        return
    print(f"{'faces':>10}{'time':>11}{'per n log n':>14}{'pairs':>10}{'found':>8}{'peak':>12}", flush=True)
    for count in (10_000, 30_000, 100_000, 300_000, 1_000_000):
        if count <= arguments.largest:
            subprocess.run([sys.executable, __file__, "--here", str(count)], check=True)


if __name__ == "__main__":
    main()
