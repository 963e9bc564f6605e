"""Time and memory of packing, an epoch's input, prediction, audit and evaluation against the number of faces, 1,000 to 1,000,000.

    python benchmarks/scaling.py --folder packs --out scaling.json --picture docs/images/scaling.png [--largest 100000]

Faces are drawn ones under random light and clutter, one in 50 a copy. Every point is a process of its own that may use one core
or two; time is that of the CPU, since other programs share the machine, and memory the peak of what is not file-backed. Slopes
are of a line on the log-log plot through the larger half of the points. Sizes up to --audit are audited. Points that OUT holds
are not measured again, and packs stay in --folder.
"""

import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

import mien
from mien.data.faceset import SPLITS
from mien.data.pack import open_pack, write_pack
from mien.data.rows import Row, Rows
from mien.drawn import draw_faces
from mien.evaluation.plots import ACCENT, FAINT, as_png, new_figure, style_axes
from shared import in_fresh_process, parse

CHUNK, MODEL = 4096, "mien-s"
STAGES = ("packing", "an epoch's input", "prediction", "audit", "evaluation")


def generate(count: int) -> Iterator[Row]:
    """Generate rows: a drawn face of one of seven labels, shifted, in random light, under a random smooth pattern."""
    drawn = draw_faces(12)
    step = np.abs(np.linspace(0, 11, 48)[:, None] - np.arange(12))
    enlarge = np.maximum(0, 1 - step).astype(np.float32)  # (48, 12): linear interpolation
    for start in range(0, count, CHUNK):
        random, here = np.random.default_rng([7, start]), min(CHUNK, count - start)
        chosen, shift = random.integers(0, len(drawn), here), random.integers(-3, 4, (here, 2))
        faces = np.stack([np.roll(drawn.images[row], by, (0, 1)) for row, by in zip(chosen, shift, strict=True)])
        clutter = enlarge @ random.normal(0, 45, (here, 12, 12)).astype(np.float32) @ enlarge.T
        light = random.uniform(0.6, 1.2, (here, 1, 1)).astype(np.float32)
        images = np.clip(faces * light + clutter, 0, 255).astype(np.uint8)
        copies = np.flatnonzero(random.random(here) < 0.02)
        images[copies] = images[random.integers(0, here, len(copies))]
        splits = np.array(SPLITS)[1 + (random.random(here) < 0.2) + (random.random(here) < 0.1)]
        for row in range(here):
            target = int(drawn.classes[chosen[row]])
            yield Row(f"{start + row:09}.png", str(splits[row]), target, partial(images.__getitem__, row))


def packing(pack: Path) -> None:
    """Write the pack whose name is the number of faces."""
    count = int(pack.stem)
    write_pack(pack, Rows("generated", mien.FER2013, generate(count), count), 48, 1)


def epoch_input(pack: Path) -> None:
    """Go through all batches of an epoch, as training does, without a network."""
    import torch

    from mien.training.batches import DeviceFaces, TrainingBatches

    faces = DeviceFaces(open_pack(pack), torch.device("cpu"))
    for batch in TrainingBatches(faces, 128, 0, 0):
        batch.faces.float()


def prediction(pack: Path) -> None:
    """Classify every face."""
    mien.Classifier(MODEL).predict_proba(open_pack(pack).images)


def audit(pack: Path) -> None:
    """Audit all faces, and write the page."""
    with tempfile.TemporaryDirectory() as folder:
        mien.audit(pack, Path(folder) / "audit", quiet=True)


def evaluation(pack: Path) -> None:
    """Evaluate the model on all faces, and write the report."""
    with tempfile.TemporaryDirectory() as folder:
        mien.evaluate(MODEL, pack, Path(folder) / "report", split="all", quiet=True)


FUNCTIONS: dict[str, Callable[[Path], None]] = dict(
    zip(STAGES, (packing, epoch_input, prediction, audit, evaluation), strict=True)
)


def measure(stage: str, pack: Path, workers: int) -> dict[str, float]:
    """Run a stage on so many cores: CPU and wall seconds, and the peak of anonymous memory in megabytes."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:workers])
    peak, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            status = Path("/proc/self/status").read_text()
            peak[0] = max(peak[0], int(status.partition("RssAnon:")[2].split()[0]) / 1024)

    watcher = threading.Thread(target=watch)
    watcher.start()
    began, used = time.perf_counter(), time.process_time()
    FUNCTIONS[stage](pack)
    found = {"cpu": time.process_time() - used, "seconds": time.perf_counter() - began}
    done.set()
    watcher.join()
    return found | {"megabytes": peak[0]}
