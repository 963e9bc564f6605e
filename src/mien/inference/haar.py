"""OpenCV's cascade for frontal faces: older than YuNet and blinder, but always there."""

import math
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import cv2
import numpy as np

from mien.errors import MienError
from mien.inference.framing import HAAR_FRAMING, Face, Framing
from mien.inference.views import search_resized, search_turned, without_doubles

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
