"""What photos that are worse than the benchmark's cost a model: PublicTest's faces blurred, darkened, turned, covered ...

After Hendrycks and Dietterich, 2019. With votes a model's crowd head is judged by what most people say of the unchanged face.

    python benchmarks/robustness.py mien-s runs/other --data fer2013.csv --votes fer2013new.csv
"""

from collections.abc import Callable

import cv2
import numpy as np

import mien
from mien.evaluation.metrics import proportion
from mien.evaluation.templates import markdown_table
from shared import parse, read_judged


def smaller(face: np.ndarray, side: int) -> np.ndarray:
    small = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, face.shape[::-1], interpolation=cv2.INTER_LINEAR)


def moving(face: np.ndarray, random: np.random.Generator, length: int) -> np.ndarray:
    """Blur a face along a line of random direction."""
    line = np.zeros((length, length), np.float32)
    line[length // 2] = 1
    turn = cv2.getRotationMatrix2D(((length - 1) / 2, (length - 1) / 2), random.uniform(0, 180), 1)
    line = cv2.warpAffine(line, turn, (length, length))
    return cv2.filter2D(face, -1, line / line.sum())


def gray(values: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, 255).astype(np.uint8)


def placed(face: np.ndarray, random: np.random.Generator, degrees: float = 0, zoom: float = 1, shift: float = 0) -> np.ndarray:
    """Turn a face either way, enlarge it, and shift it by a share of its side; the border is repeated."""
    side = face.shape[0]
    middle = (side - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), degrees * random.choice((-1, 1)), zoom)
    matrix[:, 2] += shift * side * random.choice((-1, 1), 2)
    return cv2.warpAffine(face, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)


def covered(face: np.ndarray, top: float, bottom: float) -> np.ndarray:
    """Cover a band from one height to another, shares of the side, with the face's mean gray."""
    hidden = face.copy()
    hidden[round(top * len(face)) : round(bottom * len(face))] = round(float(face.mean()))
    return hidden


def patched(face: np.ndarray, random: np.random.Generator, share: float) -> np.ndarray:
    """Cover a random square, whose side is that share of the face's, with a random gray."""
    hidden, side = face.copy(), round(share * len(face))
    top, left = random.integers(0, len(face) - side + 1, 2)
    hidden[top : top + side, left : left + side] = random.integers(0, 256)
    return hidden


CHANGES: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "as they are": lambda face, _: face,
    "of 24 pixels": lambda face, _: smaller(face, 24),
    "of 16 pixels": lambda face, _: smaller(face, 16),
    "out of focus (sigma 1.5 pixels)": lambda face, _: cv2.GaussianBlur(face, (0, 0), 1.5),
    "moving (7 pixels)": lambda face, random: moving(face, random, 7),
    "noise (sigma 15 of 255)": lambda face, random: gray(face + random.normal(0, 15, face.shape)),
    "JPEG, quality 20": lambda face, _: cv2.imdecode(cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, 20])[1], 0),
    "dark (a third)": lambda face, _: gray(face / 3),
    "overexposed (1.5 times, + 40)": lambda face, _: gray(face * 1.5 + 40),
    "flat (a third of the contrast)": lambda face, _: gray(face / 3 + 85),
    "lit from the side": lambda face, random: gray(face * np.linspace(0.3, 1.3, 48)[:: random.choice((-1, 1))]),
    "turned by 15 degrees": lambda face, random: placed(face, random, degrees=15),
    "turned by 30 degrees": lambda face, random: placed(face, random, degrees=30),
    "cropped 15% tighter": lambda face, random: placed(face, random, zoom=1.15),
    "cropped 15% looser": lambda face, random: placed(face, random, zoom=1 / 1.15),
    "shifted by 10%": lambda face, random: placed(face, random, shift=0.1),
    "eyes covered": lambda face, _: covered(face, 0.22, 0.45),
    "mouth covered": lambda face, _: covered(face, 0.62, 0.9),
    "a patch of a third of the side": lambda face, random: patched(face, random, 1 / 3),
}


if __name__ == "__main__":
    arguments = parse(__doc__, "model +", data=str, votes=None, split="validation", seed=0)
    models = [mien.Classifier(each, head=None if arguments.votes else "label", prior="training") for each in arguments.model]
    faces = read_judged(arguments.data, arguments.votes, arguments.split)
    table, means = [["faces", *arguments.model]], []
    for name, change in CHANGES.items():
        random = np.random.default_rng(arguments.seed)
        images = np.stack([change(image, random) for image in faces.images])
        right = [int((model.predict_proba(images).argmax(1) == faces.classes).sum()) for model in models]
        shares = [proportion(count, len(faces)) for count in right]
        table.append([name, *(f"{share} ({share.interval})" for share in shares)])
        means.append([share.value for share in shares])
    table.append(["mean of the changed", *(f"{mean:.1%}" for mean in np.mean(means[1:], axis=0))])
    print(f"{len(faces):,} faces\n\n{markdown_table(table)}")
