"""How long labelled faces take to read, the first time and the second, and how much memory.

    python benchmarks/reading.py PATH [--size 48] [--channels 1] [--batch-size 128]

Each reading is a process of its own, with a cache that is empty at first and in a temporary folder. "read" is `read_faces`;
"first batch" adds the split and the first training batch on the CPU, without the import of torch; "peak" is until "read".
"""

import os
import tempfile
import time

from shared import in_fresh_process, parse, peak_megabytes


def measure(path: str, size: int, channels: int, batch_size: int) -> tuple[int, float, float, float]:
    """Read once, in this process: rows, seconds to read, seconds to the first batch, peak of memory in MB."""
    from mien.data.reading import read_faces

    start = time.perf_counter()
    faces = read_faces(path, size, channels)
    read, peak = time.perf_counter() - start, peak_megabytes()

    import torch

    from mien.training.batches import DeviceFaces, TrainingBatches

    start = time.perf_counter()
    rows = faces.split("train" if "train" in faces.split_names else faces.split_names[0])
    images, *_ = next(iter(TrainingBatches(DeviceFaces(rows, torch.device("cpu")), batch_size, seed=0, epoch=0)))
    images.sum().item()  # reads the pixels, which may only be memory-mapped
    return len(faces), read, read + time.perf_counter() - start, peak


if __name__ == "__main__":
    arguments = parse(__doc__, "path", size=48, channels=1, batch_size=128)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["MIEN_CACHE"] = cache
        print(f"{'reading':<8}{'rows':>9}{'read':>10}{'first batch':>13}{'peak':>10}", flush=True)
        for name in ("first", "second"):
            how = (arguments.path, arguments.size, arguments.channels, arguments.batch_size)
            rows, read, first_batch, peak = in_fresh_process(measure, *how)
            print(f"{name:<8}{rows:>9,}{read:>8.3f} s{first_batch:>11.3f} s{peak:>7.0f} MB", flush=True)
