"""An image at another size or turned, and the faces found there brought back to its own pixels."""

from collections.abc import Callable, Iterable

import cv2
import numpy as np

from mien.inference.framing import Face

Search = Callable[[np.ndarray], list[Face]]
"""Finds faces in an image, in that image's pixels."""


def search_resized(image: np.ndarray, longest: int, search: Search) -> list[Face]:
    """Search the image after its longest side was made so many pixels long."""
    resized, scale = _resized(image, longest)
    return [_moved(face, np.eye(2) / scale, np.zeros(2)) for face in search(resized)]


def search_turned(image: np.ndarray, longest: int, degrees: Iterable[float], search: Search) -> list[Face]:
    """Search the image at that size after turning it counterclockwise by each of these angles.

    A face that is upright in the turned image is turned clockwise by that angle in the image.
    """
    resized, scale = _resized(image, longest)
    faces = []
    for angle in degrees:
        turned, matrix = _turned(resized, angle)
        back = np.linalg.inv(matrix[:, :2])
        faces += [_moved(face, back / scale, -back @ matrix[:, 2] / scale, angle) for face in search(turned)]
    return faces


def without_doubles(faces: list[Face]) -> list[Face]:
    """Keep the first of the faces whose boxes overlap by more than 0.4 of their union; the kept ones come largest first."""
    boxes = [(*face.box[:2], *face.size) for face in faces]
    ranks = [float(rank) for rank in range(len(faces), 0, -1)]
    kept = cv2.dnn.NMSBoxes(boxes, ranks, 0.0, 0.4) if faces else ()
    return sorted((faces[index] for index in kept), key=lambda face: face.size[0] * face.size[1], reverse=True)


def _resized(image: np.ndarray, longest: int) -> tuple[np.ndarray, float]:
    scale = longest / max(image.shape[:2])
    if scale == 1:
        return image, 1.0
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, (width, height), interpolation=how), scale


def _turned(image: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Turn the image counterclockwise on a canvas that holds all of it: the canvas, and the matrix (2, 3) into it."""
    size = np.array([image.shape[1], image.shape[0]])
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[cosine, sine], [-sine, cosine]])
    canvas = np.ceil(np.abs(turn) @ size - 1e-6).astype(int)
    shift = canvas / 2 - turn @ (size / 2)
    # A pixel's middle lies half a pixel from its edge; OpenCV counts from middles, boxes from edges.
    between_middles = np.column_stack([turn, shift + turn @ (0.5, 0.5) - 0.5])
    width, height = canvas.tolist()
    turned = cv2.warpAffine(image, between_middles, (width, height), borderValue=(128, 128, 128))
    return turned, np.column_stack([turn, shift])


def _moved(face: Face, matrix: np.ndarray, shift: np.ndarray, degrees: float = 0.0) -> Face:
    """Bring a face back: points by the matrix, the box by its middle, its sides swapped where the image lay on its side."""
    scale = float(np.sqrt(abs(np.linalg.det(matrix))))
    x1, y1, x2, y2 = face.box
    x, y = matrix @ ((x1 + x2) / 2, (y1 + y2) / 2) + shift
    half = np.array([x2 - x1, y2 - y1]) * scale / 2
    on_its_side = abs(np.sin(np.radians(degrees))) > np.sin(np.radians(45))
    width, height = half[::-1] if on_its_side else half
    box = (float(x - width), float(y - height), float(x + width), float(y + height))
    landmarks = None if face.landmarks is None else face.landmarks @ matrix.T + shift
    return Face(box, face.score, landmarks, face.angle + degrees)
