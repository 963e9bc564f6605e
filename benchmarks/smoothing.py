"""How long a video's answers should be averaged: what smoothing does to right answers and to flicker.

Some FER-2013 faces are filmed for four seconds each: enlarged, drifting, swaying, with noise and compression artefacts. Chains
of them stand for people with changing expressions. A frame is right where its answer is what most people said (FER+).

    python benchmarks/smoothing.py --data fer2013.csv --votes fer2013new.csv --detector yunet --faces 150
"""

from collections.abc import Iterator

import cv2
import numpy as np

import mien
from framing import scene
from mien.evaluation.report import markdown_table
from mien.inference.detection import Detector, open_detector
from mien.inference.prediction import Frame
from mien.inference.tracking import smooth
from shared import parse, read_judged

RATE, SECONDS = 12.5, 4  # frames a second, and seconds of each face
CONSTANTS = (0.0, 0.1, 0.2, 0.3, 0.5, 1.0)
LASTING = (0.5, 1.0, 2.0, 4.0)  # seconds a face stays: expressions last 0.5 to 4 (Ekman, Emotions Revealed, 2003)
CHAINS, LINKS = 400, 4  # chains of faces, and faces in each; the first has nothing before it and is not counted


def film(face: np.ndarray, model: str, detector: Detector, random: np.random.Generator) -> np.ndarray | None:
    """Classify a face frame by frame: (frames, K); None where it is not found in each of them."""
    rows = mien.predict(frames(face, random), model, detector, smoothing=0.0)
    found = {row.frame: row.probabilities for row in rows if not row.face}
    answers = [found[number] for number in sorted(found)]
    return None if any(answer is None for answer in answers) else np.stack(answers)


def frames(face: np.ndarray, random: np.random.Generator) -> Iterator[Frame]:
    """Film a face: it drifts by up to 8 pixels, sways by up to 6 degrees, and every frame has noise and JPEG artefacts."""
    phases = random.uniform(0, 2 * np.pi, 3)
    for number in range(round(RATE * SECONDS)):
        across, down, sway = np.sin(2 * np.pi * number / RATE / SECONDS * np.array([1.0, 1.5, 2.0]) + phases)
        image = scene(face, 6 * sway)
        shift = np.array([[1, 0, 8 * across], [0, 1, 8 * down]])
        image = cv2.warpAffine(image, shift, image.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
        noisy = np.clip(image + random.normal(0, 8, image.shape), 0, 255).astype(np.uint8)
        _, packed = cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(30, 70))])
        yield Frame("film", cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE), frame=number, time=number / RATE)


def measure(
    chains: list[np.ndarray], answers: list[np.ndarray | None], classes: np.ndarray, lasting: float, constant: float
) -> tuple[float, float]:
    """Compute the share of right frames, and how often a second the label changes within one face."""
    right, changes = [], []
    for chain in chains:
        average = None
        for place, face in enumerate(chain):
            labels = []
            for answer in answers[face][: round(lasting * RATE)]:
                average = answer if average is None else smooth(average, answer, 1 / RATE, constant)
                labels.append(int(average.argmax()))
            if place:
                right += [label == classes[face] for label in labels]
                changes.append(np.count_nonzero(np.diff(labels)) / lasting)
    return float(np.mean(right)), float(np.mean(changes))


if __name__ == "__main__":
    arguments = parse(__doc__, data=str, votes=str, model="mien-s", detector="auto", faces=150, seed=0)
    judged = read_judged(arguments.data, arguments.votes, "validation")
    clear = judged.take(judged.targets.max(axis=1) > 0.5)
    random = np.random.default_rng(arguments.seed)
    faces = clear.take(random.permutation(len(clear))[: arguments.faces])
    answers = [film(face, arguments.model, open_detector(arguments.detector), random) for face in faces.images]
    usable = [row for row, answer in enumerate(answers) if answer is not None]
    print(f"{len(usable)} of {len(faces)} faces are found in every frame")

    chains = [random.choice(usable, LINKS, replace=False) for _ in range(CHAINS)]
    table = [["time constant", *(f"{lasting:g} s" for lasting in LASTING), "changes a second"]]
    for constant in CONSTANTS:
        right, flicker = zip(*(measure(chains, answers, faces.classes, lasting, constant) for lasting in LASTING), strict=True)
        table.append([f"{constant:g} s", *(f"{share:.1%}" for share in right), f"{flicker[-1]:.2f}"])
    print(markdown_table(table))
