"""How FER-2013's faces lie in their square, as a detector sees them, and what another framing costs in accuracy.

Each face is enlarged four times and given a blurred border, so that the detector has to find it, and the relation between
what it finds and the 48x48 frame is printed. With a model, the found faces are framed, classified, and compared with the
untouched ones: for several sides, and with and without turning them upright. With votes, the model's crowd head, which
answers about photos, is judged by what most people say of each face.

    python benchmarks/framing.py --data fer2013.csv --split train --detector yunet
    python benchmarks/framing.py --data fer2013.csv --votes fer2013new.csv --detector yunet --model mien-s --count 3589
"""

import argparse
from dataclasses import replace

import cv2
import numpy as np

from judged import read_judged
from mien.images import prepare
from mien.inference.classifier import Classifier
from mien.inference.detection import Framing, crop_face, open_detector
from mien.inference.prediction import Face

SCALE, BORDER = 4, 104
TURNS = (0.0, 12.0, -12.0, 0.0)
"""Degrees by which every face, second, third ... is turned where accuracy is measured: photos have more roll than FER-2013."""


def main() -> None:
    """Print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--votes", help="FER+ votes (fer2013new.csv)")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--detector", default="auto")
    parser.add_argument("--model", help="measure accuracy too, with this model")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    judged = read_judged(arguments.data, arguments.votes, arguments.split)
    taken = judged.take(np.random.default_rng(arguments.seed).permutation(len(judged))[: arguments.count])
    faces, classes = list(taken.images), taken.classes
    detector = open_detector(arguments.detector)

    turns = [TURNS[i % len(TURNS)] if arguments.model else 0.0 for i in range(len(faces))]
    scenes = [scene(face, turn) for face, turn in zip(faces, turns, strict=True)]
    found = {i: hits[0] for i, image in enumerate(scenes) if (hits := detector.detect(image))}
    print(f"{detector.name} finds {len(found)} of {len(faces)} faces ({len(found) / len(faces):.1%})")
    if arguments.model:
        classifier = Classifier(arguments.model, head=None if arguments.votes else "label")
        accuracy(classifier, detector.framing or Framing(1.0, 0.0), faces, scenes, found, classes)
    else:
        geometry(list(found.values()))


def scene(face: np.ndarray, degrees: float) -> np.ndarray:
    """Enlarge a face, continue its border blurred, and turn it clockwise."""
    large = cv2.resize(face, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC)
    bordered = cv2.copyMakeBorder(large, BORDER, BORDER, BORDER, BORDER, cv2.BORDER_REPLICATE)
    image = cv2.GaussianBlur(bordered, (0, 0), 12)
    image[BORDER:-BORDER, BORDER:-BORDER] = large
    middle = (image.shape[0] - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), -degrees, 1.0)
    return cv2.warpAffine(image, matrix, image.shape[::-1], borderMode=cv2.BORDER_REPLICATE) if degrees else image


def geometry(found: list[Face]) -> None:
    """Print where the frame lies, in the terms of `Framing`."""
    side = 48 * SCALE
    middle = BORDER + side / 2
    show("side of the frame / extent of the face", [side / face.extent for face in found])
    show("rise of the frame's middle / its side", [(face.centre[1] - middle) / side for face in found])
    show("frame's middle right of the face's / side", [(middle - face.centre[0]) / side for face in found])
    show("angle in degrees", [face.angle for face in found])


def show(name: str, values: list[float]) -> None:
    """Print the median and how far the values spread."""
    low, quarter, median, three_quarters, high = np.percentile(values, (5, 25, 50, 75, 95))
    print(f"{name:44s} median {median:6.3f}   half in {quarter:.3f} to {three_quarters:.3f}   90% in {low:.3f} to {high:.3f}")


def accuracy(
    classifier: Classifier,
    framing: Framing,
    faces: list[np.ndarray],
    scenes: list[np.ndarray],
    found: dict[int, Face],
    classes: np.ndarray,
) -> None:
    """Print the accuracy on the found faces, untouched and framed in several ways."""

    def measure(crops: list[np.ndarray]) -> float:
        batch = np.stack([prepare(crop, classifier.size, classifier.channels) for crop in crops])
        return float((classifier.predict_proba(batch).argmax(axis=1) == classes[list(found)]).mean())

    print(f"untouched: {measure([faces[i] for i in found]):.4f}")
    for factor in (0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2):
        framed = replace(framing, side=framing.side * factor)
        upright = measure([crop_face(scenes[i], face, framed) for i, face in found.items()])
        as_found = measure([crop_face(scenes[i], replace(face, angle=0.0), framed) for i, face in found.items()])
        print(f"side {framed.side:.3f} rise {framed.rise:.3f}: turned upright {upright:.4f}, as found {as_found:.4f}")
    for rise in (-0.04, -0.02, 0.02, 0.04):
        framed = replace(framing, rise=framing.rise + rise)
        upright = measure([crop_face(scenes[i], face, framed) for i, face in found.items()])
        print(f"side {framed.side:.3f} rise {framed.rise:.3f}: turned upright {upright:.4f}")


if __name__ == "__main__":
    main()
