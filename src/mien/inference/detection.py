"""Find the faces of an image by YuNet or OpenCV's cascade, and crop them as the training faces are framed."""

import functools
import logging
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Protocol

import cv2
import numpy as np

from mien.errors import MienError
from mien.files import fetch
from mien.inference.prediction import Face

DETECTORS = ("auto", "yunet", "haar", "none")

_logger = logging.getLogger("mien")


@dataclass(frozen=True)
class Framing:
    """The square of a training face relative to a detected face."""

    side: float  # in extents of the face (`Face.extent`)
    rise: float  # of the square's centre above the face's (`Face.centre`), in sides of the square

    def with_margin(self, margin: float) -> "Framing":
        """Return the framing with the same centre and more room on every side, as a share of the square's side."""
        factor = 1 + 2 * margin
        return Framing(self.side * factor, self.rise / factor)


YUNET_FRAMING = Framing(side=1.9, rise=0.07)
"""FER-2013's square around YuNet's landmarks.

Medians over 2,878 of 3,000 Training faces: side 1.883, rise 0.064, sideways 0.002 (benchmarks/framing.py). On 3,346 PublicTest
faces, half of them rotated by 12 degrees, the crowd head of an earlier mien-s agreed with the majority on 83.3% (83.7% on the
original faces; 82.1% without rotating them upright; 83.0, 83.4 and 79.8% with sides of 1.62, 1.8 and 2.3).
"""

HAAR_FRAMING = Framing(side=1.0, rise=0.0)
"""FER-2013's square around the cascade's box.

Medians over 859 of 1,000 Training faces: side 1.005, rise -0.003, sideways -0.003 (benchmarks/framing.py). On 2,875 PublicTest
faces as above 60.7% agree (original faces 62.1%), and any side between 0.85 and 1.05 gives the same.
"""


def crop_face(image: np.ndarray, face: Face, framing: Framing | None) -> np.ndarray:
    """Crop the square around a face as the training faces are framed, rotated upright, at the image's own resolution.

    The border of the image is replicated. Without a framing the box is cropped as it is, which need not be square.
    """
    if framing is None:
        x1, y1, x2, y2 = (round(edge) for edge in face.box)
        return image[max(0, y1) : y2, max(0, x1) : x2]
    length = framing.side * face.extent
    angle = np.radians(face.angle)
    x = face.centre[0] + np.sin(angle) * framing.rise * length
    y = face.centre[1] - np.cos(angle) * framing.rise * length
    side = max(1, round(length))
    # Only the surroundings of the square: OpenCV warps no image wider than 32,767 pixels.
    reach = length * 0.75 + 2  # half a diagonal is 0.71 sides
    left, top = (int(np.clip(edge - reach, 0, limit - 1)) for edge, limit in ((x, image.shape[1]), (y, image.shape[0])))
    near = image[top : max(top, int(y + reach)) + 1, left : max(left, int(x + reach)) + 1]
    # The axes of the square in the image, and the position of its first pixel that puts its centre at (x, y).
    axes = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * (length / side)
    origin = np.array([x - left, y - top]) - 0.5 - axes @ np.full(2, (side - 1) / 2)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    matrix = np.column_stack([axes, origin])
    return cv2.warpAffine(near, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE)


Search = Callable[[np.ndarray], list[Face]]
"""Finds the faces of an image, in its pixel coordinates."""


def search_resized(image: np.ndarray, longest: int, search: Search) -> list[Face]:
    """Search the image after resizing its longest side to this many pixels."""
    resized, scale = _resized(image, longest)
    return [_moved(face, np.eye(2) / scale, np.zeros(2)) for face in search(resized)]


def search_turned(image: np.ndarray, longest: int, degrees: Iterable[float], search: Search) -> list[Face]:
    """Search the image at that size after rotating it counterclockwise by each of these angles."""
    resized, scale = _resized(image, longest)
    faces = []
    for angle in degrees:
        turned, matrix = _turned(resized, angle)
        back = np.linalg.inv(matrix[:, :2])
        faces += [_moved(face, back / scale, -back @ matrix[:, 2] / scale, angle) for face in search(turned)]
    return faces


def without_doubles(faces: list[Face]) -> list[Face]:
    """Keep the first of faces whose intersection over union exceeds 0.4, and order them by size, largest first."""
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
    """Rotate the image counterclockwise on a canvas that holds all of it; return the canvas and the matrix (2, 3) to it."""
    size = np.array([image.shape[1], image.shape[0]])
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[cosine, sine], [-sine, cosine]])
    canvas = np.ceil(np.abs(turn) @ size - 1e-6).astype(int)
    shift = canvas / 2 - turn @ (size / 2)
    # OpenCV's coordinates refer to pixel centres, those of boxes to pixel edges, half a pixel apart.
    between_centres = np.column_stack([turn, shift + turn @ (0.5, 0.5) - 0.5])
    width, height = canvas.tolist()
    turned = cv2.warpAffine(image, between_centres, (width, height), borderValue=(128, 128, 128))
    return turned, np.column_stack([turn, shift])


def _moved(face: Face, matrix: np.ndarray, shift: np.ndarray, degrees: float = 0.0) -> Face:
    """Map a face back: points by the matrix, the box by its centre, its sides swapped if the image lay on its side."""
    scale = float(np.sqrt(abs(np.linalg.det(matrix))))
    x1, y1, x2, y2 = face.box
    x, y = matrix @ ((x1 + x2) / 2, (y1 + y2) / 2) + shift
    half = np.array([x2 - x1, y2 - y1]) * scale / 2
    on_its_side = abs(np.sin(np.radians(degrees))) > np.sin(np.radians(45))
    width, height = half[::-1] if on_its_side else half
    box = (float(x - width), float(y - height), float(x + width), float(y + height))
    landmarks = None if face.landmarks is None else face.landmarks @ matrix.T + shift
    return Face(box, face.score, landmarks, face.angle + degrees)


HITS = 3
"""Number of overlapping boxes at which the score of a face is one half."""


class Haar:
    """The cascade haar_frontalface_alt2 (Viola and Jones, 2001; Lienhart and Maydt, 2002).

    It detects upright faces only; if it finds none, the image is rotated by 30 degrees either way.
    """

    LEAST_HITS, SURE_HITS = 5, 10
    """Overlapping boxes that make a face in an upright and in a rotated image. Of 17 sample photos without people
    (scikit-image's and scikit-learn's) three have something upright with 5 to 8, one of them a head on a coin."""

    name = "haar"
    framing: Framing | None = HAAR_FRAMING

    def __init__(self, score: float | None = None) -> None:
        path = Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_alt2.xml"
        if not path.is_file() or not hasattr(cv2, "CascadeClassifier"):
            raise MienError("This OpenCV has no cascades; install opencv-python-headless below 5, or use YuNet.")
        self._path = str(path)
        self._least_hits = self.LEAST_HITS if score is None else max(1, math.ceil(round(HITS * score / (1 - score), 6)))
        self._free: SimpleQueue[Any] = SimpleQueue()  # cascades are not thread-safe: each has one user at a time

    def detect(self, image: np.ndarray) -> list[Face]:
        """Find the faces, largest first; the score is hits / (hits + 3), since the cascade only counts overlapping boxes."""
        gray = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        longest = max(128, max(gray.shape))
        faces = search_resized(gray, min(640, longest), self._search)
        if not faces:
            faces = search_turned(gray, min(480, longest), (30, -30), self._search_surely)
        return without_doubles(sorted(faces, key=lambda face: face.score or 0.0, reverse=True))

    def _search_surely(self, gray: np.ndarray) -> list[Face]:
        return self._search(gray, max(self.SURE_HITS, self._least_hits))

    def _search(self, gray: np.ndarray, least_hits: int | None = None) -> list[Face]:
        # The cascade finds 65% of the faces that fill the frame, and 78% with some room around them.
        margin = max(gray.shape) // 8
        gray = cv2.copyMakeBorder(gray, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=(128,))
        try:
            cascade = self._free.get_nowait()
        except Empty:
            cascade = cv2.CascadeClassifier(self._path)
        boxes, hits = cascade.detectMultiScale2(gray, 1.1, least_hits or self._least_hits, minSize=(24, 24))
        self._free.put(cascade)
        return [
            Face((x - margin, y - margin, x - margin + width, y - margin + height), count / (count + HITS))
            for (x, y, width, height), count in zip(np.array(boxes).tolist(), np.array(hits).tolist(), strict=True)
        ]


URL = "https://raw.githubusercontent.com/ShiqiYu/libfacedetection.train/master/onnx/yunet_n_640_640.onnx"
SHA256 = "25a606a145a5b6d7271ae138fbd00eba91dad8b83222ae3f2c7ecd0f4a7b0e31"
"""YuNet-n (Wu, Peng and Yu: YuNet, a tiny millisecond-level face detector, 2023), Apache-2.0, as its authors publish it."""


class YuNet:
    """OpenCV's FaceDetectorYN with a YuNet file: boxes, scores and five landmarks.

    It detects faces between about 10 and 470 pixels, rotated by up to about 60 degrees, so every image is searched at two
    sizes, and also rotated if no face is found.
    """

    FINE, COARSE, SIDEWAYS = 1280, 256, 640
    """Longest side in pixels at which the image is searched for small faces, for large ones, and rotated. At 1280 faces of 48
    to 470 pixels are found; at 256, 96% of FER-2013's faces, which fill the frame."""

    LARGEST = 400
    """Size up to which the fine search is trusted: from 470 pixels on it finds fewer faces (90%), with lower scores."""

    LEAST = 64
    """Smallest side in pixels: up to 32 OpenCV 4.14 returns faces at random positions, some of them infinite."""

    SCORE, SURE = 0.7, 0.85
    """Smallest score of a face, and of one in a rotated image. 96% of 1,000 FER-2013 faces reach 0.7; of 17 sample photos
    without people (scikit-image's and scikit-learn's) two do, and a third does rotated, below 0.85."""

    name = "yunet"
    framing: Framing | None = YUNET_FRAMING

    TURNED, AROUND = 45, 1.25
    """Degrees from which on a face is searched again upside down, and the region searched around it, in sizes of the face."""

    def __init__(self, path: Path, score: float | None = None) -> None:
        self._path, self._score = path, self.SCORE if score is None else score
        self._free: SimpleQueue[Any] = SimpleQueue()  # networks have a state: each has one user at a time
        level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # OpenCV would print an error
        try:
            network = self._network()
            # OpenCV opens any network; it checks the outputs only at the first image.
            network.detect(np.zeros((self.LEAST, self.LEAST, 3), np.uint8))
        except cv2.error:
            raise MienError(f"{str(path)!r} is not a YuNet file that OpenCV can read; there is one at {URL}.") from None
        finally:
            cv2.utils.logging.setLogLevel(level)
        self._free.put(network)

    def _network(self) -> Any:
        return cv2.FaceDetectorYN.create(str(self._path), "", (self.LEAST, self.LEAST), self._score, 0.3)

    def detect(self, image: np.ndarray) -> list[Face]:
        """Find the faces, largest first."""
        longest = max(image.shape[:2])
        faces = search_resized(image, self.COARSE, self._search)
        if longest > self.COARSE:
            fine = min(self.FINE, longest)
            found = search_resized(image, fine, self._search)
            # The finer search locates a face and its angle better, unless the face is too large for it.
            surer = [face for face in found if max(face.size) * fine / longest <= self.LARGEST]
            faces = surer + faces + [face for face in found if face not in surer]
        if not faces:
            turned = search_turned(image, self.SIDEWAYS, (90, -90, 180), self._search)
            faces = [face for face in turned if (face.score or 0.0) >= self.SURE]
        return [self._righted(image, face) for face in without_doubles(faces)]

    def _righted(self, image: np.ndarray, face: Face) -> Face:
        """Search again a face that may be upside down: YuNet takes the mouth for eyes then, with a lower score."""
        if abs(face.angle) < self.TURNED and (face.score or 0.0) >= self.SURE:
            return face
        reach = self.AROUND * max(face.size)
        left, top = (max(0, round(middle - reach)) for middle in face.centre)
        near = np.ascontiguousarray(image[top : round(face.centre[1] + reach) + 1, left : round(face.centre[0] + reach) + 1])
        both = [search_turned(near, self.COARSE, (face.angle + turn,), self._search) for turn in (0, 180)]
        upright, inverted = (max(found, key=_score, default=None) for found in both)
        if inverted is None or (upright is not None and _score(upright) >= _score(inverted)):
            return face
        return _moved(inverted, np.eye(2), np.array([left, top]))

    def _search(self, image: np.ndarray) -> list[Face]:
        pixels = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR if image.ndim == 2 else cv2.COLOR_RGB2BGR)
        down, right = (max(0, self.LEAST - side) for side in image.shape[:2])
        pixels = cv2.copyMakeBorder(pixels, 0, down, 0, right, cv2.BORDER_CONSTANT, value=(128, 128, 128))
        try:
            network = self._free.get_nowait()
        except Empty:  # one for each thread in use
            network = self._network()
        network.setInputSize((pixels.shape[1], pixels.shape[0]))
        _, rows = network.detect(pixels)
        self._free.put(network)
        return [_face(row) for row in (rows if rows is not None else ())]


def _score(face: Face) -> float:
    return face.score or 0.0


def _face(row: np.ndarray) -> Face:
    """Convert FaceDetectorYN's 15 numbers: x, y, width, height, five points (eyes, nose, corners of the mouth), score."""
    x, y, width, height = (float(value) for value in row[:4])
    points = row[4:14].reshape(5, 2)
    across = points[1] - points[0]
    return Face((x, y, x + width, y + height), float(row[14]), points, float(np.degrees(np.arctan2(across[1], across[0]))))


class Detector(Protocol):
    """A face detector."""

    name: str
    framing: Framing | None
    """The square of a training face relative to its faces; None if their boxes are cropped as they are."""

    def detect(self, image: np.ndarray) -> list[Face]:
        """Find the faces of an image, uint8 (H, W) or (H, W, 3) RGB, largest first; thread-safe."""
        ...


class WholeImage:
    """Each image is one face: for faces that are cropped already."""

    name = "none"
    framing: Framing | None = None

    def detect(self, image: np.ndarray) -> list[Face]:
        """Return the whole image as a face."""
        height, width = image.shape[:2]
        return [Face(box=(0.0, 0.0, float(width), float(height)))]


def open_detector(name: str = "auto", score: float | None = None) -> Detector:
    """Open a face detector.

    Args:
        name: "yunet", downloaded once into the cache; "haar", which comes with OpenCV; "auto" for YuNet, or the cascade with
            a warning if YuNet cannot be downloaded; "none", which takes each whole image as one face; or the path of a YuNet
            .onnx file. The variable MIEN_DETECTOR replaces "auto" by any of these, and "yunet" by such a file.
        score: smallest score of a face, above 0 and below 1; the detector's own by default.

    Raises:
        MienError: if the name is unknown, the score out of range, or the detector's file cannot be downloaded or read.
    """
    if score is not None and not 0 < score < 1:
        raise MienError(f"The smallest score of a face must lie between 0 and 1, not at {score:g}.")
    named = os.environ.get("MIEN_DETECTOR") or "auto"
    if name == "auto" or (name == "yunet" and named.endswith(".onnx")):
        name = named
    if name == "none":
        return WholeImage()
    if name == "haar":
        return Haar(score)
    if name in ("auto", "yunet"):
        try:
            return YuNet(fetch(URL, "yunet_n_640_640.onnx", SHA256), score)
        except MienError as error:
            file = "that file" if URL in str(error) else URL
            if name == "yunet":
                advice = f"Or save {file} yourself and name it with --detector, or use haar."
                raise MienError(f"{error} {advice}") from None
            _warn_once(
                f"mien: {error} OpenCV's older cascade is used instead, which misses more faces: to use YuNet, save "
                f"{file} and name it with --detector or MIEN_DETECTOR; `--detector haar` hides this warning."
            )
            return Haar(score)
    if Path(name).is_file():
        return YuNet(Path(name), score)
    if name.endswith(".onnx"):
        raise MienError(f"There is no detector file {name!r}; check --detector and MIEN_DETECTOR.")
    raise MienError(f"There is no detector {name!r}; choose {', '.join(DETECTORS)}, or the path of a YuNet .onnx file.")


@functools.cache
def _warn_once(line: str) -> None:
    _logger.warning(line)  # without a logging configuration Python prints the bare line to stderr
