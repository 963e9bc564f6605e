"""YuNet, a small and fast face detector, through OpenCV."""

from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import cv2
import numpy as np

from mien.errors import MienError
from mien.inference.framing import YUNET_FRAMING, Face, Framing
from mien.inference.views import search_resized, search_turned, without_doubles

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
