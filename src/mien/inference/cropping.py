"""Find the faces of an image and crop them as the training faces are framed."""

import numpy as np

from mien.errors import MienError, check_number
from mien.inference.detection import Detector, Framing, crop_face, open_detector
from mien.inference.prediction import Face
from mien.inputs import reason_of


class FaceCropper:
    """Finds and crops the faces of images; safe to call from several threads. The parameters are those of `mien.predict`."""

    def __init__(
        self,
        detector: str | Detector = "auto",
        margin: float = 0.0,
        min_size: float = 0.0,
        min_score: float | None = None,
        faces: bool = False,
    ) -> None:
        check_number("The margin, a share of the face's square,", margin, -0.4, 2, whole=False)
        check_number("The least size of a face in pixels", min_size, 0, whole=False)
        if faces and detector not in ("auto", "none"):
            raise MienError("Cropped faces need no detector; leave out the detector, or faces.")
        detector = "none" if faces else detector
        self._detector = open_detector(detector, min_score) if isinstance(detector, str) else detector
        framing, factor = self._detector.framing, 1 + 2 * margin
        if framing is None and (margin or min_score is not None):
            raise MienError("Without face detection there is no margin and no score; leave out margin and min_score.")
        self._framing = framing and Framing(framing.side * factor, framing.rise / factor)  # with the same centre
        self._min_size, self._min_score = min_size, min_score or 0.0

    def faces(self, image: np.ndarray) -> list[tuple[Face, np.ndarray]]:
        """Find the faces of an image, uint8 (H, W) or (H, W, 3), largest first, each with its crop."""
        found = self._detector.detect(image)
        numbers = [number for face in found for number in (*face.box, face.score or 0, face.angle, *face.centre)]
        if not np.isfinite(numbers).all():
            raise ValueError("a box, score or landmark is not a finite number")
        found = [face for face in found if min(face.size) >= self._min_size]
        faces = [face for face in found if face.score is None or face.score >= self._min_score]
        return [(face, crop_face(image, face, self._framing)) for face in faces]

    def largest(self, image: np.ndarray) -> np.ndarray | None:
        """Return the crop of the largest face; None if there is no face, MienError if the detector fails."""
        try:
            return next((crop for _, crop in self.faces(image)), None)
        except Exception as error:  # whatever a detector raises concerns this image only
            raise MienError(f"face detection failed ({reason_of(error)})") from error
