"""How long labelled faces take to read, the first time and the second, and how much memory.

    python benchmarks/reading.py PATH [--size 48] [--channels 1] [--batch-size 128]

Each reading is a process of its own, with a cache that is empty at first and lies in a temporary folder. "read" is
`read_faces`; "first batch" is that, the split and the first training batch on the CPU, without the time that importing
torch takes; "peak" is the memory of the whole process until the faces are read. The first reading finds the source in the
system's file cache where that holds it: say so beside the figures.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time


def measure(path: str, size: int, channels: int, batch_size: int) -> dict[str, float]:
    """Read once, in this process.

    Returns:
        rows; seconds to read, and to the first batch; the peak of memory in MB.
    """
    from mien.data.reading import read_faces
    from mien.errors import MienError

    start = time.perf_counter()
    try:
        faces = read_faces(path, size, channels)
    except MienError as mistake:
        sys.exit(str(mistake))
    read = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1024)

    import torch

    from mien.training.batches import DeviceFaces, TrainingBatches

    start = time.perf_counter()
    rows = faces.split("train" if "train" in faces.split_names else faces.split_names[0])
    images, *_ = next(iter(TrainingBatches(DeviceFaces(rows, torch.device("cpu")), batch_size, seed=0, epoch=0)))
    images.sum().item()  # the pixels are there, and not only mapped
    return {"rows": len(faces), "read": read, "first_batch": read + time.perf_counter() - start, "peak": peak}


def main() -> None:
    """Read twice, in a process each, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", help="labelled faces, as `mien train --data` takes them")
    parser.add_argument("--size", type=int, default=48, help="side of the faces in pixels (default 48)")
    parser.add_argument("--channels", type=int, default=1, choices=(1, 3), help="1 for gray, 3 for colour (default 1)")
    parser.add_argument("--batch-size", type=int, default=128, help="faces in the first batch (default 128)")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        print(json.dumps(measure(arguments.path, arguments.size, arguments.channels, arguments.batch_size)))
        return
    with tempfile.TemporaryDirectory() as cache:
        print(f"{'reading':<8}{'rows':>9}{'read':>10}{'first batch':>13}{'peak':>10}", flush=True)
        for name in ("first", "second"):
            # this process stays small, for Linux counts a parent's peak as the least of its child's
            child = subprocess.run(
                [sys.executable, __file__, *sys.argv[1:], "--here"],
                env={**os.environ, "MIEN_CACHE": cache},
                stdout=subprocess.PIPE,
                check=False,
            )
            if child.returncode:
                sys.exit(child.returncode)
            took = json.loads(child.stdout)
            print(
                f"{name:<8}{took['rows']:>9,}{took['read']:>8.3f} s{took['first_batch']:>11.3f} s{took['peak']:>7.0f} MB",
                flush=True,
            )


if __name__ == "__main__":
    main()
