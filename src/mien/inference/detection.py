"""Which detector finds the faces: YuNet where it can be had, OpenCV's cascade where not, or none."""

import functools
import logging
import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Protocol

import cv2
import numpy as np

from mien.errors import MienError
from mien.files import fetch
from mien.inference.framing import HAAR_FRAMING, YUNET_FRAMING, Face, Framing

# An image at another size or turned, and the faces found there brought back to its own pixels.

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


# OpenCV's cascade for frontal faces: older than YuNet and blinder, but always there.

HITS = 3
"""Overlapping boxes at which a face's score is one half."""


class Haar:
    """The cascade haar_frontalface_alt2 (Viola and Jones, 2001; Lienhart and Maydt, 2002).

    It knows upright faces only; where it finds none, the image is turned by 30 degrees either way.

    Args:
        score: least score of a face, above 0 and below 1.

    Raises:
        MienError: if this OpenCV comes without cascades, as version 5 does.
    """

    LEAST_HITS, SURE_HITS = 5, 10
    """A face is where so many boxes overlap, upright and in a turned image. Of 17 sample photos without people (scikit-image's
    and scikit-learn's) three have something upright with 5 to 8, one of them a head on a coin."""

    name = "haar"
    framing: Framing | None = HAAR_FRAMING

    def __init__(self, score: float | None = None) -> None:
        path = Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_alt2.xml"
        if not path.is_file() or not hasattr(cv2, "CascadeClassifier"):
            raise MienError("This OpenCV has no cascades: install opencv-python-headless below 5, or use YuNet.")
        self._path = str(path)
        self._least_hits = self.LEAST_HITS if score is None else max(1, math.ceil(round(HITS * score / (1 - score), 6)))
        self._free: SimpleQueue[Any] = SimpleQueue()  # cascades: they are not meant for several threads, so each has one user

    def detect(self, image: np.ndarray) -> list[Face]:
        """Find the faces of an image, largest first.

        The score is hits / (hits + 3), since the cascade only counts how many boxes overlap.

        Args:
            image: uint8, (H, W) gray or (H, W, 3) RGB.
        """
        gray = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        longest = max(128, max(gray.shape))
        faces = search_resized(gray, min(640, longest), self._search)
        if not faces:
            faces = search_turned(gray, min(480, longest), (30, -30), self._search_surely)
        return without_doubles(sorted(faces, key=lambda face: face.score or 0.0, reverse=True))

    def _search_surely(self, gray: np.ndarray) -> list[Face]:
        return self._search(gray, max(self.SURE_HITS, self._least_hits))

    def _search(self, gray: np.ndarray, least_hits: int | None = None) -> list[Face]:
        # Of faces that fill the frame the cascade finds 65%, with some room around them 78%.
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


# YuNet, a small and fast face detector, through OpenCV.

URL = "https://raw.githubusercontent.com/ShiqiYu/libfacedetection.train/master/onnx/yunet_n_640_640.onnx"
SHA256 = "25a606a145a5b6d7271ae138fbd00eba91dad8b83222ae3f2c7ecd0f4a7b0e31"
"""YuNet-n (Wu, Peng and Yu: YuNet, a tiny millisecond-level face detector, 2023), Apache-2.0, as its authors publish it."""


class YuNet:
    """OpenCV's FaceDetectorYN with a YuNet file: boxes, scores and five landmarks.

    It sees faces between about 10 and 470 pixels, so every image is searched at two sizes. Upright it finds faces turned by
    up to about 60 degrees; where it finds none, the image may lie on its side, and is turned.

    Args:
        path: a YuNet .onnx file.
        score: least score of a face, 0 to 1.

    Raises:
        MienError: if OpenCV cannot read the file.
    """

    FINE, COARSE, SIDEWAYS = 1280, 256, 640
    """Longest side of the image in pixels when it is searched: for small faces, for large ones, and when it is turned. At 1280
    faces of 48 to 470 pixels are found; of FER-2013's faces, which fill the frame, 96% are found at 256."""

    LARGEST = 400
    """Pixels up to which the fine search does well: from 470 on it finds fewer (90%), and less surely."""

    LEAST = 64
    """Pixels of the shorter side: up to 32 OpenCV 4.14 answers with faces at random places, some of them infinite."""

    SCORE, SURE = 0.7, 0.85
    """Least score of a face, and of one in a turned image. Of 1,000 FER-2013 faces 96% score 0.7; of 17 sample photos without
    people (scikit-image's and scikit-learn's) two have something that does, and turned a third has, below 0.85."""

    name = "yunet"
    framing: Framing | None = YUNET_FRAMING

    TURNED, AROUND = 45, 1.25
    """Degrees from which on a face is looked at again, turned about, and sizes of the face that are looked at around it."""

    def __init__(self, path: Path, score: float = SCORE) -> None:
        self._path, self._score = path, score
        self._free: SimpleQueue[Any] = SimpleQueue()  # networks, each with one user at a time: it has a state
        level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # OpenCV would tell stderr of a wrong file
        try:
            network = self._network()
            # It opens any network, and finds out at the first image whether it understands the answer.
            network.detect(np.zeros((self.LEAST, self.LEAST, 3), np.uint8))
        except cv2.error:
            raise MienError(f"{str(path)!r} is not a YuNet file that OpenCV can read; there is one at {URL}.") from None
        finally:
            cv2.utils.logging.setLogLevel(level)
        self._free.put(network)

    def _network(self) -> Any:
        return cv2.FaceDetectorYN.create(str(self._path), "", (self.LEAST, self.LEAST), self._score, 0.3)

    def detect(self, image: np.ndarray) -> list[Face]:
        """Find the faces of an image, largest first.

        Args:
            image: uint8, (H, W) gray or (H, W, 3) RGB.
        """
        longest = max(image.shape[:2])
        faces = search_resized(image, self.COARSE, self._search)
        if longest > self.COARSE:
            fine = min(self.FINE, longest)
            found = search_resized(image, fine, self._search)
            # The finer search places a face better and sees its turn, unless the face is too large for it.
            surer = [face for face in found if max(face.size) * fine / longest <= self.LARGEST]
            faces = surer + faces + [face for face in found if face not in surer]
        if not faces:
            turned = search_turned(image, self.SIDEWAYS, (90, -90, 180), self._search)
            faces = [face for face in turned if (face.score or 0.0) >= self.SURE]
        return [self._righted(image, face) for face in without_doubles(faces)]

    def _righted(self, image: np.ndarray, face: Face) -> Face:
        """Look again at a face that may stand on its head: YuNet takes the mouth for eyes there, and scores it less."""
        if abs(face.angle) < self.TURNED and (face.score or 0.0) >= self.SURE:
            return face
        reach = self.AROUND * max(face.size)
        left, top = (max(0, round(middle - reach)) for middle in face.centre)
        near = np.ascontiguousarray(image[top : round(face.centre[1] + reach) + 1, left : round(face.centre[0] + reach) + 1])
        both = [search_turned(near, self.COARSE, (face.angle + turn,), self._search) for turn in (0, 180)]
        upright, headlong = (max(found, key=_score, default=None) for found in both)
        if headlong is None or (upright is not None and _score(upright) >= _score(headlong)):
            return face
        return headlong.shifted(left, top)

    def _search(self, image: np.ndarray) -> list[Face]:
        pixels = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR if image.ndim == 2 else cv2.COLOR_RGB2BGR)
        down, right = (max(0, self.LEAST - side) for side in image.shape[:2])
        pixels = cv2.copyMakeBorder(pixels, 0, down, 0, right, cv2.BORDER_CONSTANT, value=(128, 128, 128))
        try:
            network = self._free.get_nowait()
        except Empty:  # as many as there are threads at work
            network = self._network()
        network.setInputSize((pixels.shape[1], pixels.shape[0]))
        _, rows = network.detect(pixels)
        self._free.put(network)
        return [_face(row) for row in (rows if rows is not None else ())]


def _score(face: Face) -> float:
    return face.score or 0.0


def _face(row: np.ndarray) -> Face:
    """Read FaceDetectorYN's 15 numbers: x, y, width, height, five points (eyes, nose, corners of the mouth), score."""
    x, y, width, height = (float(value) for value in row[:4])
    points = row[4:14].reshape(5, 2)
    across = points[1] - points[0]
    return Face((x, y, x + width, y + height), float(row[14]), points, float(np.degrees(np.arctan2(across[1], across[0]))))


DETECTORS = ("auto", "yunet", "haar", "none")

_logger = logging.getLogger("mien")


class Detector(Protocol):
    """What finds faces.

    Attributes:
        name: what `open_detector` calls it.
        framing: how its faces lie in the square of the training faces; None where their boxes are taken as they are.
    """

    name: str
    framing: Framing | None

    def detect(self, image: np.ndarray) -> list[Face]:
        """Find the faces of an image, largest first; safe to call from several threads.

        Args:
            image: uint8, (H, W) gray or (H, W, 3) RGB.
        """
        ...


class WholeImage:
    """Each image is one face: for faces that were cut out before."""

    name = "none"
    framing: Framing | None = None

    def detect(self, image: np.ndarray) -> list[Face]:
        """Give the whole image as a face."""
        height, width = image.shape[:2]
        return [Face(box=(0.0, 0.0, float(width), float(height)))]


def open_detector(name: str = "auto", score: float | None = None) -> Detector:
    """Open a face detector.

    Args:
        name: "yunet", fetched once into the cache; "haar", which comes with OpenCV; "auto" for YuNet, or the cascade with a
            line that says so where YuNet cannot be fetched; "none", which takes each whole image as one face; or the path
            of a YuNet .onnx file. Where it is "auto", the variable MIEN_DETECTOR may name any of these, and where it is
            "yunet", such a file.
        score: least score of a face, above 0 and below 1; the detector's own, if not given.

    Raises:
        MienError: if the name is unknown, the score no such number, or the detector's file cannot be had or read.
    """
    if score is not None and not 0 < score < 1:
        raise MienError(f"The least score of a face must lie between 0 and 1, not at {score:g}.")
    named = os.environ.get("MIEN_DETECTOR") or "auto"
    if name == "auto" or (name == "yunet" and named.endswith(".onnx")):
        name = named
    if name == "none":
        return WholeImage()
    if name == "haar":
        return Haar(score)
    if name == "yunet":
        try:
            return _published_yunet(score)
        except MienError as error:
            raise MienError(f"{error} Else save {_which(error)} yourself and name it with --detector, or take haar.") from None
    if name == "auto":
        try:
            return _published_yunet(score)
        except MienError as error:
            _say_once(
                f"mien: {error} OpenCV's older cascade finds the faces instead, and misses more: to have YuNet, save "
                f"{_which(error)} and name it with --detector or MIEN_DETECTOR; `--detector haar` leaves out this line."
            )
            return Haar(score)
    if Path(name).is_file():
        return _yunet(Path(name), score)
    if name.endswith(".onnx"):
        raise MienError(f"There is no detector file {name!r}; check --detector and MIEN_DETECTOR.")
    raise MienError(f"There is no detector {name!r}; choose {', '.join(DETECTORS)}, or the path of a YuNet .onnx file.")


def _which(error: MienError) -> str:
    """Name YuNet's file in a sentence that follows the error's."""
    return "that file" if URL in str(error) else URL


def _published_yunet(score: float | None) -> Detector:
    return _yunet(fetch(URL, "yunet_n_640_640.onnx", SHA256), score)


def _yunet(path: Path, score: float | None) -> Detector:
    return YuNet(path) if score is None else YuNet(path, score)


@functools.cache
def _say_once(line: str) -> None:
    _logger.warning(line)  # where logging is not set up, Python prints the bare line to stderr
