"""What `mien predict` costs beyond the work itself: three ratios of one run.

    python benchmarks/prediction.py [--detector yunet] [--threads 2] [--photos 1000] [--rounds 5]

1. Prepared faces through `Classifier.predict_proba` against the bare ONNX Runtime session, at batch 64 and 1, in turn.
2. A folder of photos through `mien.predict` against what its stages allow: each stage alone (reading; finding and cutting out;
   classifying in batches) by the same number of threads on the same photos. The bound is the slowest of them where each has
   hardware of its own; on one CPU they share the threads, and the bound is the sum of their times.
3. The peak of memory of a process over 10 times --photos, of 320 pixels, against one over a tenth of them.

Photos are drawn once and linked. Ratios can be compared between machines, times cannot; say whether the machine was busy.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from PIL import Image

import mien
from mien.drawn import draw_photo
from mien.images import prepare, read_image
from mien.inference.classifier import DEFAULT_MODEL, Classifier, find_model
from mien.inference.detection import crop_face, open_detector

KINDS = 20
"""Different photos; the rest are links to them."""

PARTS = ("classification", "folder", "memory")


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--detector", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--photos", type=int, default=1000)
    parser.add_argument("--side", type=int, default=640, help="longest side of the photos in pixels (default 640)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--memory-of", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        for _ in mien.predict(arguments.memory_of, arguments.model, arguments.detector, threads=arguments.threads):
            pass
        print(peak_megabytes())
        return
    if "classification" in arguments.parts:
        classification(arguments.model, arguments.rounds)
    with tempfile.TemporaryDirectory() as folder:
        if "folder" in arguments.parts:
            folder_run(draw(Path(folder) / "photos", arguments.photos, arguments.side), arguments)
        if "memory" in arguments.parts:
            memory(Path(folder), arguments)


def classification(model: str, rounds: int) -> None:
    """Compare mien with the bare session on the same faces, in turn."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(find_model(model)), options, providers=["CPUExecutionProvider"])
    classifier = Classifier(model, providers=["cpu"], threads=1, head="label")
    faces = np.random.default_rng(0).integers(0, 256, (512, *classifier.face_shape)).astype(np.uint8)
    for batch, count, goal in ((64, 512, 1.10), (1, 100, 1.25)):
        bare, through = [], []
        for _ in range(rounds + 1):
            parts = [faces[start : start + batch] for start in range(0, count, batch)]
            bare.append(seconds(lambda: [session.run(["probabilities"], {"faces": part}) for part in parts]))  # noqa: B023
            through.append(seconds(lambda: [classifier.predict_proba(part, batch) for part in parts]))  # noqa: B023
        ratio = statistics.median(b / a for a, b in zip(bare[1:], through[1:], strict=True))
        each = statistics.median(bare[1:]) / count * 1000
        print(f"classification, batch {batch:<3} {ratio:6.3f} of the bare session (goal: at most {goal}; {each:.2f} ms a face)")


def draw(folder: Path, count: int, side: int) -> Path:
    """Draw photos of one to three people, and link them."""
    folder.mkdir()
    kinds = []
    for seed in range(KINDS):
        photo = Image.fromarray(draw_photo(["happy", "sad", "angry"][: 1 + seed % 3], seed=seed)[0])
        photo = photo.resize([round(edge * side / max(photo.size)) for edge in photo.size], Image.Resampling.LANCZOS)
        kinds.append(folder / f"{seed}.jpg")
        photo.save(kinds[-1], quality=90)
    for number in range(KINDS, count):
        os.link(kinds[number % KINDS], folder / f"{number}.jpg")
    return folder


def folder_run(photos: Path, arguments: argparse.Namespace) -> None:
    """Compare a folder's run with its stages alone."""
    cv2.setNumThreads(1)
    detector = open_detector(arguments.detector)
    classifier = Classifier(arguments.model, threads=1)
    paths = sorted(photos.iterdir())
    images = [read_image(path) for path in paths[:KINDS]]
    images = [images[number % KINDS] for number in range(len(paths))]

    def find(image: np.ndarray) -> list[np.ndarray]:
        crops = [crop_face(image, face, detector.framing) for face in detector.detect(image)]
        return [prepare(crop, classifier.size, classifier.channels) for crop in crops]

    with ThreadPoolExecutor(arguments.threads) as pool:
        found = [face for faces in pool.map(find, images[: 2 * KINDS]) for face in faces]  # warm, and the faces to classify
        per_photo = len(found) / min(len(images), 2 * KINDS)
        batches = [np.stack((found * 64)[:64])] * round(per_photo * len(paths) / 64)
        stages: dict[str, Callable[[], object]] = {
            "reading": lambda: count(pool.map(read_image, paths)),
            "finding": lambda: count(pool.map(find, images)),
            "classifying": lambda: count(pool.map(classifier.predict_proba, batches)),
        }
        before = [seconds(stage) for stage in stages.values()]
        whole, whole_work = seconds_and_work(
            lambda: count(mien.predict(photos, classifier, detector, threads=arguments.threads))
        )
        after = [seconds_and_work(stage) for stage in stages.values()]
    alone = [(first + second) / 2 for first, (second, _) in zip(before, after, strict=True)]  # other programs come and go
    told = ", ".join(f"{name} {took:.1f} s" for name, took in zip(stages, alone, strict=True))
    print(f"a folder of {len(paths):,} photos, {per_photo:.1f} faces each, {arguments.threads} threads: {whole:.1f} s")
    print(f"  alone: {told}")
    print(f"  {max(alone) / whole:6.1%} of what the slowest stage allows alone (goal: at least 85%)")
    print(f"  {sum(alone) / whole:6.1%} of what the stages allow that share these threads")
    work = sum(each for _, each in after)
    print(f"  {whole_work / work:6.1%} of their processor time, which other programs disturb less ({work:.1f} s)")


def memory(folder: Path, arguments: argparse.Namespace) -> None:
    """Compare the peaks of memory of a short and a long run."""
    peaks = {}
    for name, count_of in (("short", arguments.photos // 10), ("long", arguments.photos * 10)):
        photos = draw(folder / name, max(KINDS, count_of), 320)
        command = [sys.executable, __file__, "--memory-of", str(photos), "--model", arguments.model]
        command += ["--detector", arguments.detector, "--threads", str(arguments.threads)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        peaks[max(KINDS, count_of)] = float(done.stdout)
    (few, small), (many, large) = peaks.items()
    print(
        f"peak of memory: {few:,} photos {small:.0f} MB, {many:,} photos {large:.0f} MB: {large - small:+.0f} (goal: up to 50)"
    )


def peak_megabytes() -> float:
    """Give the peak of this process's memory; getrusage would count its parent's, from before it was a process of its own."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1024)


def count(rows: object) -> int:
    """Run through an iterator."""
    return sum(1 for _ in rows)  # type: ignore[attr-defined]


def seconds(work: Callable[[], object]) -> float:
    """Time a call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def seconds_and_work(work: Callable[[], object]) -> tuple[float, float]:
    """Time a call, on the clock and in time that processors worked for it."""
    start = time.process_time()
    took = seconds(work)
    return took, time.process_time() - start


if __name__ == "__main__":
    main()
