"""Which heat map shows best what an answer rests on: deletion and insertion on faces of PublicTest.

    python benchmarks/explanation.py --data fer2013.csv [--model mien-s] [--faces 40] [--skip 56]

The pixels of a face are removed in the order of its map, hottest first, and inserted into an empty face in the same order; what
counts is the mean probability of the answer over the steps (Petsiuk, Das and Saenko: RISE, 2018): low for deletion, high for
insertion. An empty face is the face's mean, or its blurred content. --skip leaves out the faces on which patches were chosen.
"""

import time
from collections.abc import Callable

import cv2
import numpy as np
from scipy.special import logit

import mien
from mien.inference.explanation import occlusion_map
from shared import parse

STEPS = 24
PASSES = 448  # masks of RISE: about as many as `occlusion_map` evaluates
EMPTY: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean": lambda face: np.full(face.shape, face.mean(), np.float32),
    "blur": lambda face: cv2.GaussianBlur(face.astype(np.float32), (0, 0), 6, borderType=cv2.BORDER_REPLICATE),
}


def log_odds(classifier: mien.Classifier, faces: np.ndarray, index: int) -> np.ndarray:
    """Compute log(p / (1 - p)) of one label, (N,)."""
    return logit(np.clip(classifier.predict_proba(faces)[:, index].astype(np.float64), 1e-6, 1 - 1e-6))


def hard_edged(classifier: mien.Classifier, face: np.ndarray, index: int, empty: np.ndarray) -> np.ndarray:
    """Occlude by patches with hard edges, 8, 12 and 16 pixels wide, every 4 pixels."""
    size = len(face)
    whole, heat = log_odds(classifier, face[None], index)[0], np.zeros((size, size))
    for side in (8, 12, 16):
        starts = np.arange(-side // 2, size - side // 2 + 1, 4)[:, None]
        bands = (np.arange(size) >= starts) & (np.arange(size) < starts + side)
        masks = np.einsum("ri,cj->rcij", bands, bands).reshape(-1, size, size)
        images = np.where(masks, np.rint(empty), face).astype(np.uint8)
        falls = whole - log_odds(classifier, images, index)
        heat += np.tensordot(falls, masks, 1) / masks.sum(axis=0) / 3
    return heat


def rise(classifier: mien.Classifier, face: np.ndarray, index: int, random: np.random.Generator) -> np.ndarray:
    """Average random smooth masks of 7 cells, half of them open, weighted by the answer to what each lets through (RISE)."""
    size, cells = len(face), 7
    cell = -(-size // cells)
    masks = np.empty((PASSES, size, size), np.float32)
    for mask in masks:
        grid = (random.random((cells, cells)) < 0.5).astype(np.float32)
        large = cv2.resize(grid, ((cells + 1) * cell,) * 2, interpolation=cv2.INTER_LINEAR)
        top, left = random.integers(0, cell, 2)
        mask[:] = large[top : top + size, left : left + size]
    images = np.rint(face * masks + face.mean() * (1 - masks)).astype(np.uint8)
    answers = classifier.predict_proba(images)[:, index]
    return np.tensordot(answers - answers.mean(), masks - masks.mean(axis=0), 1)


def judge(classifier: mien.Classifier, face: np.ndarray, index: int, heat: np.ndarray, empty: np.ndarray) -> np.ndarray:
    """Compute a map's deletion and insertion, mean probabilities of the label: (2,)."""
    order = np.argsort(-heat.ravel(), kind="stable")
    images = np.empty((2, STEPS + 1, face.size))
    for step in range(STEPS + 1):
        hottest = order[: round(step / STEPS * face.size)]
        images[0, step], images[1, step] = face.ravel(), empty.ravel()
        images[0, step, hottest], images[1, step, hottest] = empty.ravel()[hottest], face.ravel()[hottest]
    faces = np.rint(images).astype(np.uint8).reshape(-1, *face.shape)
    return classifier.predict_proba(faces)[:, index].reshape(2, -1).mean(axis=1)


if __name__ == "__main__":
    arguments = parse(__doc__, data=str, model="mien-s", faces=40, skip=56)
    classifier = mien.Classifier(arguments.model, threads=1, prior="training")
    rows = mien.read_faces(arguments.data).split("validation").images[35::36]
    faces = rows[arguments.skip : arguments.skip + arguments.faces]
    random = np.random.default_rng(0)
    kinds: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
        "mien: soft patches of the mean": lambda face, k: occlusion_map(classifier, face, classifier.labels[k])[0],
        "hard patches of the mean": lambda face, k: hard_edged(classifier, face, k, EMPTY["mean"](face)),
        "hard patches, blurred": lambda face, k: hard_edged(classifier, face, k, EMPTY["blur"](face)),
        "RISE": lambda face, k: rise(classifier, face, k, random),
        "the middle": lambda face, _: -np.hypot(*(np.indices(face.shape) - np.reshape(face.shape, (2, 1, 1)) / 2)),
    }
    print(f"{len(faces)} faces; deletion and insertion by mean, and by blur; insertion - deletion +- standard error; ms a map")
    for name, kind in kinds.items():
        figures, spent = np.empty((len(faces), 2, 2)), 0.0  # faces; mean, blur; deletion, insertion
        for row, face in enumerate(faces):
            index, start = int(classifier.predict_proba(face[None]).argmax()), time.process_time()
            heat = kind(face, index)
            spent += time.process_time() - start
            figures[row] = [judge(classifier, face, index, heat, empty(face)) for empty in EMPTY.values()]
        gains = figures[..., 1] - figures[..., 0]
        errors = gains.std(axis=0) / len(faces) ** 0.5
        means = " ".join(f"{value:.3f}" for value in figures.mean(axis=0).ravel())
        both = "   ".join(f"{gain:.3f} +- {error:.3f}" for gain, error in zip(gains.mean(axis=0), errors, strict=True))
        print(f"{name:<32} {means}   {both}   {1000 * spent / len(faces):.0f}")
