"""What `mien predict` costs beyond the work itself: ratios of one run.

    python benchmarks/prediction.py [--detector yunet] [--threads 2] [--photos 1000] [--rounds 5] [--parts folder memory]

1. Prepared faces through `Classifier.predict_proba` against the bare ONNX Runtime session, at batch 64 and 1, in turn.
2. A folder of photos through `mien.predict` against its stages alone (reading; finding and cropping; classifying in batches)
   by the same number of threads. The bound is the slowest stage where each has hardware of its own, and their sum on one CPU.
3. The peak of memory of a process over 10 times --photos, of 320 pixels, against one over a tenth of them.
"""

import argparse
import os
import tempfile
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from timeit import timeit

import numpy as np
import onnxruntime
from PIL import Image

import mien
from mien.drawn import draw_photo
from mien.images import prepare, read_image
from mien.inference.classifier import DEFAULT_MODEL, Classifier, find_model
from mien.inference.detection import crop_face, open_detector
from shared import in_fresh_process, parse, peak_megabytes

all_of = partial(deque, maxlen=0)  # runs through an iterator
seconds = partial(timeit, number=1)
KINDS = 20  # different photos; the rest are links to them


def classification(model: str, rounds: int) -> None:
    """Compare mien with the bare session on the same faces, in turn."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(find_model(model)), options, providers=["CPUExecutionProvider"])
    classifier = Classifier(model, providers=["cpu"], threads=1, head="label")
    faces = np.random.default_rng(0).integers(0, 256, (512, *classifier.face_shape)).astype(np.uint8)
    runs = (
        lambda part: session.run(["probabilities"], {"faces": part}),
        lambda part: classifier.predict_proba(part, len(part)),
    )
    for batch, total, goal in ((64, 512, 1.10), (1, 100, 1.25)):
        parts = [faces[start : start + batch] for start in range(0, total, batch)]
        spent = np.array([[seconds(partial(all_of, map(run, parts))) for run in runs] for _ in range(rounds + 1)])[1:]
        ratio, each = np.median(spent[:, 1] / spent[:, 0]), 1000 * np.median(spent[:, 0]) / total
        print(f"classification, batch {batch:<3} {ratio:6.3f} of the bare session (goal: at most {goal}; {each:.2f} ms a face)")


def draw(folder: Path, total: int, side: int) -> Path:
    """Draw photos of one to three people, and link them."""
    folder.mkdir()
    for seed in range(KINDS):
        photo = Image.fromarray(draw_photo(["happy", "sad", "angry"][: 1 + seed % 3], seed=seed)[0])
        size = [round(edge * side / max(photo.size)) for edge in photo.size]
        photo.resize(size, Image.Resampling.LANCZOS).save(folder / f"{seed}.jpg", quality=90)
    for number in range(KINDS, total):
        os.link(folder / f"{number % KINDS}.jpg", folder / f"{number}.jpg")
    return folder


def folder_run(photos: Path, arguments: argparse.Namespace) -> None:
    """Compare a folder's run with its stages alone."""
    detector, classifier = open_detector(arguments.detector), Classifier(arguments.model, threads=1)
    paths = sorted(photos.iterdir())
    images = ([read_image(path) for path in paths[:KINDS]] * (len(paths) // KINDS + 1))[: len(paths)]

    def find(image: np.ndarray) -> list[np.ndarray]:
        crops = [crop_face(image, face, detector.framing) for face in detector.detect(image)]
        return [prepare(crop, classifier.size, classifier.channels) for crop in crops]

    with ThreadPoolExecutor(arguments.threads) as pool:
        found = [face for faces in pool.map(find, images[: 2 * KINDS]) for face in faces]  # warm, and the faces to classify
        per_photo = len(found) / min(len(images), 2 * KINDS)
        batches = [np.stack((found * 64)[:64])] * round(per_photo * len(paths) / 64)
        stages = {"reading": (read_image, paths), "finding": (find, images), "classifying": (classifier.predict_proba, batches)}
        before = [seconds(lambda stage=stage: all_of(pool.map(*stage))) for stage in stages.values()]
        whole = seconds(lambda: all_of(mien.predict(photos, classifier, detector, threads=arguments.threads)))
        after = [seconds(lambda stage=stage: all_of(pool.map(*stage))) for stage in stages.values()]
    alone = [(first + second) / 2 for first, second in zip(before, after, strict=True)]  # other programs interfere
    print(f"a folder of {len(paths):,} photos, {per_photo:.1f} faces each, {arguments.threads} threads: {whole:.1f} s")
    print("  alone:", ", ".join(f"{name} {took:.1f} s" for name, took in zip(stages, alone, strict=True)))
    print(f"  {max(alone) / whole:6.1%} of what the slowest stage allows alone (goal: at least 85%)")
    print(f"  {sum(alone) / whole:6.1%} of what the stages allow that share these threads")


def peak_of_run(photos: Path, model: str, detector: str, threads: int) -> float:
    all_of(mien.predict(photos, model, detector, threads=threads))
    return peak_megabytes()


if __name__ == "__main__":
    options = {"model": DEFAULT_MODEL, "detector": "auto", "threads": 2, "photos": 1000, "side": 640, "rounds": 5}
    arguments = parse(__doc__, **options, parts=["classification", "folder", "memory"])
    if "classification" in arguments.parts:
        classification(arguments.model, arguments.rounds)
    with tempfile.TemporaryDirectory() as folder:
        if "folder" in arguments.parts:
            folder_run(draw(Path(folder) / "photos", arguments.photos, arguments.side), arguments)
        if "memory" in arguments.parts:
            counts = [max(KINDS, count) for count in (arguments.photos // 10, arguments.photos * 10)]
            photos = [draw(Path(folder) / str(count), count, 320) for count in counts]
            how = (arguments.model, arguments.detector, arguments.threads)
            small, large = (in_fresh_process(peak_of_run, each, *how) for each in photos)
            print(
                f"peak of memory, {counts[1]:,} photos: {large:.0f} MB, {large - small:+.0f} to {counts[0]:,} (goal: up to 50)"
            )
