"""From a found face to the square the classifier was trained on: where it lies, how large, how turned."""

from dataclasses import dataclass, replace

import cv2
import numpy as np


@dataclass(frozen=True, eq=False)
class Face:
    """One face in an image.

    Attributes:
        box: x1, y1, x2, y2 in pixels; may reach over the border of the image.
        score: how sure the detector is, 0 to 1; None where nothing was detected (the whole image is taken).
        landmarks: (5, 2), float32, x and y in pixels: the eye at the left of an upright picture, the other eye, the tip of
            the nose, the corner of the mouth at the left, the other corner. None where the detector has none.
        angle: degrees by which the face is turned clockwise from upright, as seen.
    """

    box: tuple[float, float, float, float]
    score: float | None = None
    landmarks: np.ndarray | None = None
    angle: float = 0.0

    def shifted(self, right: float, down: float) -> "Face":
        """Give the face where it lies in an image of which this one is a part, so many pixels from its left and its top."""
        x1, y1, x2, y2 = self.box
        landmarks = None if self.landmarks is None else self.landmarks + np.array([right, down], self.landmarks.dtype)
        return replace(self, box=(x1 + right, y1 + down, x2 + right, y2 + down), landmarks=landmarks)

    @property
    def centre(self) -> tuple[float, float]:
        """The point halfway between eyes and mouth, or the middle of the box, in pixels."""
        if self.landmarks is not None:
            x, y = self.landmarks[[0, 1, 3, 4]].mean(axis=0)
            return float(x), float(y)
        x1, y1, x2, y2 = self.box
        return (x1 + x2) / 2, (y1 + y2) / 2

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the box in pixels."""
        x1, y1, x2, y2 = self.box
        return x2 - x1, y2 - y1

    @property
    def extent(self) -> float:
        """A length in pixels that grows with the face.

        With landmarks it is the hypotenuse over the distance between the eyes and that from eyes to mouth: a face that turns
        aside shortens the one, a nod the other. Without, it is the root of the box's area.
        """
        if self.landmarks is not None:
            left_eye, right_eye, _, left_mouth, right_mouth = self.landmarks
            downwards = (left_mouth + right_mouth - left_eye - right_eye) / 2
            return float(np.hypot(np.linalg.norm(right_eye - left_eye), np.linalg.norm(downwards)))
        width, height = self.size
        return float(np.sqrt(max(0.0, width) * max(0.0, height)))


@dataclass(frozen=True)
class Framing:
    """How a detector's faces lie in the square of the training faces.

    Attributes:
        side: length of the square's side, in extents of the face (`Face.extent`).
        rise: how far the square's middle lies above the face's centre (`Face.centre`), in sides of the square.
    """

    side: float
    rise: float

    def with_margin(self, margin: float) -> "Framing":
        """Give the framing whose square has the same middle and this much more room on every side, as a share of its side."""
        factor = 1 + 2 * margin
        return Framing(self.side * factor, self.rise / factor)


YUNET_FRAMING = Framing(side=1.9, rise=0.07)
"""FER-2013's square around YuNet's landmarks.

Medians over 2,878 of 3,000 Training faces: side 1.883, rise 0.064, sideways 0.002 (benchmarks/framing.py). On 3,346 PublicTest
faces, half of them turned by 12 degrees, the crowd head of an earlier mien-s said of 83.3% what most people say (of the
untouched faces of 83.7%; not turned upright 82.1%; with sides of 1.62, 1.8 and 2.3 83.0, 83.4 and 79.8%).
"""

HAAR_FRAMING = Framing(side=1.0, rise=0.0)
"""FER-2013's square around the cascade's box.

Medians over 859 of 1,000 Training faces: side 1.005, rise -0.003, sideways -0.003 (benchmarks/framing.py). On 2,875 PublicTest
faces as above 60.7% are right (untouched 62.1%), and any side between 0.85 and 1.05 gives the same.
"""


def crop_face(image: np.ndarray, face: Face, framing: Framing | None) -> np.ndarray:
    """Cut out the square around a face as the training faces are framed, turned upright.

    Pixels beyond the image repeat its border.

    Args:
        image: uint8, (H, W) or (H, W, 3).
        face: where the face is.
        framing: that of the detector; None takes the box as it is, which need not be square.

    Returns:
        uint8, (side, side) or (side, side, 3) at the image's own resolution: `prepare` makes it the network's.
    """
    if framing is None:
        x1, y1, x2, y2 = (round(edge) for edge in face.box)
        return image[max(0, y1) : y2, max(0, x1) : x2]
    length = framing.side * face.extent
    turn = np.radians(face.angle)
    x = face.centre[0] + np.sin(turn) * framing.rise * length
    y = face.centre[1] - np.cos(turn) * framing.rise * length
    side = max(1, round(length))
    # Only the square's surroundings: OpenCV turns no image wider than 32,767 pixels.
    reach = length * 0.75 + 2  # half a diagonal is 0.71 sides
    left, top = (int(np.clip(edge - reach, 0, limit - 1)) for edge, limit in ((x, image.shape[1]), (y, image.shape[0])))
    near = image[top : max(top, int(y + reach)) + 1, left : max(left, int(x + reach)) + 1]
    # The square's own axes in the image, and its first pixel placed so that its middle falls on (x, y).
    axes = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) * (length / side)
    origin = np.array([x - left, y - top]) - 0.5 - axes @ np.full(2, (side - 1) / 2)
    return cv2.warpAffine(
        near,
        np.column_stack([axes, origin]),
        (side, side),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
