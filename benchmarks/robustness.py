"""What photos that are worse than the benchmark's cost a model: PublicTest's faces blurred, darkened, turned, covered ...

After Benchmarking neural network robustness to common corruptions (Hendrycks and Dietterich, 2019), with changes that faces
out of photos and videos have. With votes a model's crowd head is judged by what most people say of the unchanged face.

    python benchmarks/robustness.py mien-s runs/other --data fer2013.csv --votes fer2013new.csv
"""

import argparse
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

import mien
from judged import read_judged
from mien.evaluation.report import markdown_table
from mien.evaluation.statistics import proportion

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="+")
    parser.add_argument("--data", required=True)
    parser.add_argument("--votes", help="FER+ votes (fer2013new.csv)")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    models = [mien.Classifier(each, head=None if arguments.votes else "label") for each in arguments.model]
    faces = read_judged(arguments.data, arguments.votes, arguments.split)
    table = [["faces", *arguments.model]]
    means = []
    for name, change in CHANGES.items():
        random = np.random.default_rng(arguments.seed)
        images = np.stack([change(image, random) for image in faces.images])
        right = [int((model.predict_proba(images).argmax(1) == faces.classes).sum()) for model in models]
        shares = [proportion(count, len(faces)) for count in right]
        table.append([name, *(f"{share.value:.1%} ({share.low:.1%} to {share.high:.1%})" for share in shares)])
        means.append([share.value for share in shares])
    table.append(["mean of the changed", *(f"{mean:.1%}" for mean in np.mean(means[1:], axis=0))])
    print(f"{len(faces):,} faces\n\n{markdown_table(table)}")


def unchanged(face: np.ndarray, _: np.random.Generator) -> np.ndarray:
    """Give the face as it is."""
    return face


def smaller(face: np.ndarray, _: np.random.Generator, side: int) -> np.ndarray:
    """Show a face of fewer pixels, as of a person far away."""
    small = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, face.shape[::-1], interpolation=cv2.INTER_LINEAR)


def blurred(face: np.ndarray, _: np.random.Generator, sigma: float) -> np.ndarray:
    """Put a face out of focus."""
    return cv2.GaussianBlur(face, (0, 0), sigma)


def moving(face: np.ndarray, random: np.random.Generator, length: int) -> np.ndarray:
    """Smear a face along a line of any direction."""
    line = np.zeros((length, length), np.float32)
    line[length // 2] = 1
    turn = cv2.getRotationMatrix2D(((length - 1) / 2, (length - 1) / 2), random.uniform(0, 180), 1)
    line = cv2.warpAffine(line, turn, (length, length))
    return cv2.filter2D(face, -1, line / line.sum())


def noisy(face: np.ndarray, random: np.random.Generator, sigma: float) -> np.ndarray:
    """Add a sensor's noise, in gray values."""
    return np.clip(face + random.normal(0, sigma, face.shape), 0, 255).astype(np.uint8)


def packed(face: np.ndarray, _: np.random.Generator, quality: int) -> np.ndarray:
    """Save a face of its own size as JPEG."""
    return cv2.imdecode(cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE)


def lit(face: np.ndarray, _: np.random.Generator, gain: float, lift: float) -> np.ndarray:
    """Change exposure: gray values times gain, plus lift."""
    return np.clip(face * gain + lift, 0, 255).astype(np.uint8)


def side_lit(face: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Let one side of a face lie in the dark."""
    ramp = np.linspace(0.3, 1.3, face.shape[1])[:: random.choice((-1, 1))]
    return np.clip(face * ramp, 0, 255).astype(np.uint8)


def placed(face: np.ndarray, random: np.random.Generator, degrees: float = 0, zoom: float = 1, shift: float = 0) -> np.ndarray:
    """Turn a face either way, enlarge it, and shift it by a share of its side; what comes in repeats the border."""
    side = face.shape[0]
    middle = (side - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), degrees * random.choice((-1, 1)), zoom)
    matrix[:, 2] += shift * side * random.choice((-1, 1), 2)
    return cv2.warpAffine(face, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)


def covered(face: np.ndarray, _: np.random.Generator, top: float, bottom: float) -> np.ndarray:
    """Cover a band from one height to another, shares of the side, with the face's mean gray."""
    hidden = face.copy()
    hidden[round(top * len(face)) : round(bottom * len(face))] = round(float(face.mean()))
    return hidden


def patched(face: np.ndarray, random: np.random.Generator, share: float) -> np.ndarray:
    """Cover a square at random, whose side is that share of the face's, with any gray."""
    hidden, side = face.copy(), round(share * len(face))
    top, left = random.integers(0, len(face) - side + 1, 2)
    hidden[top : top + side, left : left + side] = random.integers(0, 256)
    return hidden


CHANGES: dict[str, Change] = {
    "as they are": unchanged,
    "of 24 pixels": partial(smaller, side=24),
    "of 16 pixels": partial(smaller, side=16),
    "out of focus (sigma 1.5 pixels)": partial(blurred, sigma=1.5),
    "moving (7 pixels)": partial(moving, length=7),
    "noise (sigma 15 of 255)": partial(noisy, sigma=15),
    "JPEG, quality 20": partial(packed, quality=20),
    "dark (a third)": partial(lit, gain=1 / 3, lift=0),
    "overexposed (1.5 times, + 40)": partial(lit, gain=1.5, lift=40),
    "flat (a third of the contrast)": partial(lit, gain=1 / 3, lift=85),
    "lit from the side": side_lit,
    "turned by 15 degrees": partial(placed, degrees=15),
    "turned by 30 degrees": partial(placed, degrees=30),
    "cropped 15% tighter": partial(placed, zoom=1.15),
    "cropped 15% looser": partial(placed, zoom=1 / 1.15),
    "shifted by 10%": partial(placed, shift=0.1),
    "eyes covered": partial(covered, top=0.22, bottom=0.45),
    "mouth covered": partial(covered, top=0.62, bottom=0.9),
    "a patch of a third of the side": partial(patched, share=1 / 3),
}


if __name__ == "__main__":
    main()
