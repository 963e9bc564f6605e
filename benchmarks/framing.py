"""Where FER-2013's faces are in their square, as a detector sees them, and what another framing costs in accuracy.

Each face is enlarged four times and gets a blurred border; what the detector finds is compared with the 48x48 frame. With a
model, the found faces are framed in several ways and classified; with votes, the crowd head is judged by what most people say.

    python benchmarks/framing.py --data fer2013.csv --split train --detector yunet
    python benchmarks/framing.py --data fer2013.csv --votes fer2013new.csv --detector yunet --model mien-s --count 3589
"""

import sys
from dataclasses import replace

import cv2
import numpy as np

from mien.images import prepare
from mien.inference.classifier import Classifier
from mien.inference.detection import Framing, crop_face, open_detector
from shared import parse, read_judged

SCALE, BORDER = 4, 104
TURNS = (0.0, 12.0, -12.0, 0.0)  # degrees, in turn, where accuracy is measured: photos have more roll than FER-2013


def scene(face: np.ndarray, degrees: float) -> np.ndarray:
    """Enlarge a face, continue its border blurred, and turn it clockwise."""
    large = cv2.resize(face, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC)
    bordered = cv2.copyMakeBorder(large, BORDER, BORDER, BORDER, BORDER, cv2.BORDER_REPLICATE)
    image = cv2.GaussianBlur(bordered, (0, 0), 12)
    image[BORDER:-BORDER, BORDER:-BORDER] = large
    middle = (image.shape[0] - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), -degrees, 1.0)
    return cv2.warpAffine(image, matrix, image.shape[::-1], borderMode=cv2.BORDER_REPLICATE) if degrees else image


if __name__ == "__main__":
    arguments = parse(__doc__, data=str, votes=None, split="validation", detector="auto", model=None, count=1000, seed=0)
    judged = read_judged(arguments.data, arguments.votes, arguments.split)
    faces = judged.take(np.random.default_rng(arguments.seed).permutation(len(judged))[: arguments.count])
    detector = open_detector(arguments.detector)
    turns = [TURNS[row % len(TURNS)] if arguments.model else 0.0 for row in range(len(faces))]
    scenes = [scene(face, turn) for face, turn in zip(faces.images, turns, strict=True)]
    found = {row: hits[0] for row, image in enumerate(scenes) if (hits := detector.detect(image))}
    print(f"{detector.name} finds {len(found)} of {len(faces)} faces ({len(found) / len(faces):.1%})")
    if not arguments.model:
        side = 48 * SCALE
        middle = BORDER + side / 2
        figures = {
            "side of the frame / extent of the face": [side / face.extent for face in found.values()],
            "rise of the frame's middle / its side": [(face.centre[1] - middle) / side for face in found.values()],
            "frame's middle right of the face's / side": [(middle - face.centre[0]) / side for face in found.values()],
            "angle in degrees": [face.angle for face in found.values()],
        }
        for name, values in figures.items():
            low, quarter, median, above, high = np.percentile(values, (5, 25, 50, 75, 95))
            print(f"{name:44s} median {median:6.3f}   half in {quarter:.3f} to {above:.3f}   90% in {low:.3f} to {high:.3f}")
        sys.exit()

    classifier = Classifier(arguments.model, head=None if arguments.votes else "label")
    classes = faces.classes[list(found)]

    def accuracy(crops: list[np.ndarray]) -> float:
        batch = np.stack([prepare(crop, classifier.size, classifier.channels) for crop in crops])
        return float((classifier.predict_proba(batch).argmax(axis=1) == classes).mean())

    print(f"untouched: {accuracy([faces.images[row] for row in found]):.4f}")
    framing = detector.framing or Framing(1.0, 0.0)
    sides = [replace(framing, side=framing.side * factor) for factor in (0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2)]
    rises = [replace(framing, rise=framing.rise + rise) for rise in (-0.04, -0.02, 0.02, 0.04)]
    for framed in (*sides, *rises):
        upright = accuracy([crop_face(scenes[row], face, framed) for row, face in found.items()])
        as_found = accuracy([crop_face(scenes[row], replace(face, angle=0.0), framed) for row, face in found.items()])
        print(f"side {framed.side:.3f} rise {framed.rise:.3f}: turned upright {upright:.4f}, as found {as_found:.4f}")
