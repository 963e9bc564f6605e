"""CPU time and memory of packing, the input of an epoch, prediction, audit and evaluation against the number of faces.

    python benchmarks/scaling.py --folder runs/packs --picture docs/images/scaling.png [--most 100000] [--model mien-s]

Faces are drawn ones in random light under two patterns, that of a person with 100 faces and that of the photo; one in 50 is a
copy. Each point is a process of its own, which may use one core or two; memory is its peak without mapped files. Sizes grow by
about 3 from 1,000 to --largest, for prediction, audit and evaluation to --most. A slope is that of a line through the larger
half of the points, both axes logarithmic. FOLDER keeps the packs and the points, which are not measured again.
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
from mien.files import write_whole
from shared import in_fresh_process, parse

CHUNK = 4096
SIZES = (1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
HEADER = ["stage", "cores", "faces", "CPU time", "a face", "time", "memory", "slope of CPU time", "slope of memory"]


def generate(count: int) -> Iterator[Row]:
    """Generate rows: a drawn face of one of seven labels, shifted, in random light, under two smooth patterns."""
    drawn = draw_faces(12)
    people = np.random.default_rng(7).normal(0, 60, (count // 100, 12, 12)).astype(np.float32)
    enlarge = np.maximum(0, 1 - np.abs(np.linspace(0, 11, 48)[:, None] - np.arange(12))).astype(np.float32)  # (48, 12)
    for start in range(0, count, CHUNK):
        random, here = np.random.default_rng([7, start]), min(CHUNK, count - start)
        chosen, shift = random.integers(0, len(drawn), here), random.integers(-3, 4, (here, 2))
        faces = np.stack([np.roll(drawn.images[row], by, (0, 1)) for row, by in zip(chosen, shift, strict=True)])
        pattern = random.normal(0, 30, (here, 12, 12)).astype(np.float32) + people[random.integers(0, len(people), here)]
        light = random.uniform(0.6, 1.2, (here, 1, 1)).astype(np.float32)
        images = np.clip(faces * light + enlarge @ pattern @ enlarge.T, 0, 255).astype(np.uint8)
        copies = np.flatnonzero(random.random(here) < 0.02)
        images[copies] = images[random.integers(0, here, len(copies))]
        splits = np.array(SPLITS)[1 + (random.random(here) < 0.2) + (random.random(here) < 0.1)]
        for row, label in enumerate(drawn.classes[chosen].tolist()):
            yield Row(f"{start + row:09}.png", str(splits[row]), label, partial(images.__getitem__, row))


def packing(pack: Path, _: str) -> None:
    """Generate and write the pack whose name is the number of faces."""
    write_pack(pack, Rows("generated", mien.FER2013, generate(int(pack.stem)), int(pack.stem)), 48, 1)


def epoch_input(pack: Path, _: str) -> None:
    """Go through all batches of an epoch, as training does, without a network."""
    import torch

    from mien.training.batches import DeviceFaces, TrainingBatches

    for batch in TrainingBatches(DeviceFaces(open_pack(pack), torch.device("cpu")), mien.Recipe(), 0):
        batch.faces.float()


def prediction(pack: Path, model: str) -> None:
    """Classify every face."""
    mien.Classifier(model).predict_proba(open_pack(pack).images)


def audit(pack: Path, _: str) -> None:
    """Audit all faces, and write the page."""
    with tempfile.TemporaryDirectory() as folder:
        mien.audit(pack, Path(folder) / "audit", quiet=True)


def evaluation(pack: Path, model: str) -> None:
    """Evaluate a model on all faces, and write the report."""
    with tempfile.TemporaryDirectory() as folder:
        mien.evaluate(model, pack, Path(folder) / "report", split="all", quiet=True)


FUNCTIONS: list[Callable[[Path, str], None]] = [packing, epoch_input, prediction, audit, evaluation]
STAGES = {each.__name__.replace("_", " "): each for each in FUNCTIONS}


def measure(stage: str, pack: Path, cores: int, model: str) -> dict[str, float]:
    """Run a stage on so many cores: seconds of CPU and of the clock, and the peak of anonymous memory in megabytes."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    peak, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            status = Path("/proc/self/status").read_text()
            peak[0] = max(peak[0], int(status.partition("RssAnon:")[2].split()[0]) / 1024)

    threading.Thread(target=watch, daemon=True).start()
    began, used = time.perf_counter(), time.process_time()
    STAGES[stage](pack, model)
    done.set()
    return {"cpu": time.process_time() - used, "seconds": time.perf_counter() - began, "megabytes": peak[0]}


def slope(by_size: dict[int, dict[str, float]], figure: str) -> float:
    """Return the slope of a line through the larger half of the points, both axes logarithmic."""
    return float(np.polyfit(*np.log([(size, by_size[size][figure]) for size in sorted(by_size)[len(by_size) // 2 :]]).T, 1)[0])


def draw(lines: dict[tuple[str, int], dict[int, dict[str, float]]], picture: Path) -> None:
    """Draw CPU time and memory of every stage, solid for one core and dotted for two."""
    from mien.evaluation.plots import SERIES, add_legend, as_png, new_figure, style_axes

    figure = new_figure(9.5, 4.2)
    panels = {"cpu": "seconds of CPU time", "megabytes": "MB of memory, without mapped files"}
    for axes, (key, title) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        style_axes(axes, grid="both").set(xscale="log", yscale="log", xlabel="faces", title=title)
        for (stage, cores), by_size in lines.items():
            style = {
                "color": SERIES[list(STAGES).index(stage)],
                "linestyle": "-" if cores == 1 else ":",
                "label": stage if cores == 1 else "",
            }
            axes.plot(
                *zip(*((size, each[key]) for size, each in by_size.items()), strict=True), marker="o", markersize=3, **style
            )
    add_legend(figure, figure.axes[1])
    write_whole(picture, lambda part: part.write_bytes(as_png(figure, 110)))


if __name__ == "__main__":
    from mien.evaluation.plots import markdown_table  # not above, where each process would load matplotlib

    arguments = parse(__doc__, folder=Path, stages=list(STAGES), largest=1_000_000, most=100_000, picture=None, model="mien-s")
    file = arguments.folder / f"points of {Path(arguments.model).name}.json"
    points = json.loads(file.read_text()) if file.is_file() else {}
    lines: dict[tuple[str, int], dict[int, dict[str, float]]] = {}
    for size in SIZES:
        pack = arguments.folder / f"{size}.safetensors"
        for stage in arguments.stages:
            limit = arguments.largest if stage in ("packing", "epoch input") else min(arguments.largest, arguments.most)
            for cores in (1, 2):
                key = f"{stage}, {cores}, {size}"
                if size <= limit and key not in points:
                    os.environ["OMP_NUM_THREADS"] = str(cores)  # of the process
                    points[key] = in_fresh_process(measure, stage, pack, cores, arguments.model)
                    print(key, points[key], flush=True)
                    write_whole(file, lambda part: part.write_text(json.dumps(points, indent=1)))
                if key in points:
                    lines.setdefault((stage, cores), {})[size] = points[key]
    rows = [HEADER]
    for (stage, cores), by_size in sorted(lines.items(), key=lambda line: list(STAGES).index(line[0][0])):
        size, last = max(by_size), by_size[max(by_size)]
        texts = [f"{last['cpu']:.1f} s", f"{1e6 * last['cpu'] / size:,.0f} µs", f"{last['seconds']:.1f} s"]
        slopes = [f"{slope(by_size, name):.2f}" for name in ("cpu", "megabytes")] if len(by_size) > 2 else ["", ""]
        rows.append([stage, str(cores), f"{size:,}", *texts, f"{last['megabytes']:,.0f} MB", *slopes])
    print(markdown_table(rows))
    if arguments.picture:
        draw(lines, Path(arguments.picture))
