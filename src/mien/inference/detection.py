"""Which detector finds the faces: YuNet where it can be had, OpenCV's cascade where not, or none."""

import functools
import logging
import os
from pathlib import Path
from typing import Protocol

import numpy as np

from mien.cache import fetch
from mien.errors import MienError
from mien.inference import yunet
from mien.inference.framing import Face, Framing
from mien.inference.haar import Haar
from mien.inference.yunet import YuNet

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
    return "that file" if yunet.URL in str(error) else yunet.URL


def _published_yunet(score: float | None) -> Detector:
    return _yunet(fetch(yunet.URL, "yunet_n_640_640.onnx", yunet.SHA256), score)


def _yunet(path: Path, score: float | None) -> Detector:
    return YuNet(path) if score is None else YuNet(path, score)


@functools.cache
def _say_once(line: str) -> None:
    _logger.warning(line)  # where logging is not set up, Python prints the bare line to stderr
