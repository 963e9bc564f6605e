"""Detect the faces of an image by YuNet through ONNX Runtime, and crop them as the training faces are framed."""

import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple, Protocol

import numpy as np
import onnxruntime
from PIL import Image

from mien.errors import MienError, check_number, load_table
from mien.images import BAND
from mien.inference.model_file import check_file
from mien.inference.prediction import Face
from mien.inputs import reason_of

YUNET = Path(__file__).parents[1] / "models" / "detectors" / "yunet.onnx"
"""YuNet-n (Wu, Peng and Yu: YuNet, a tiny millisecond-level face detector, 2023), Apache-2.0: its authors' file with free
height and width in place of 640; the weights are the same (tests/inference/test_detection.py)."""
_SEARCH = SimpleNamespace(**load_table(__file__))
Search = Callable[[np.ndarray], list[Face]]  # finds faces in an image (H, W, 3), in pixels of that image


class Framing(NamedTuple):
    """The square of a training face relative to a detected face."""

    side: float  # in extents of the face (`Face.extent`)
    rise: float  # of the square's centre above the face's (`Face.centre`), in sides of the square


YUNET_FRAMING = Framing(**_SEARCH.framing)


def crop_face(image: np.ndarray, face: Face, framing: Framing | None) -> np.ndarray:
    """Crop the square around a face, rotated upright, at the image's own resolution; without a framing its box as it is."""
    if framing is None:
        x1, y1, x2, y2 = (round(edge) for edge in face.box)
        return image[max(0, y1) : y2, max(0, x1) : x2]
    length, turn = framing.side * face.extent, _rotation(-face.angle)
    x, y = face.centre + turn @ (0, -framing.rise * length)
    side = max(1, round(length))
    reach = math.ceil(length * np.abs(turn[0]).sum() / 2) + 2  # from the centre to what is resampled
    left, top = math.floor(x) - reach, math.floor(y) - reach
    bottom, right = top + 2 * reach + 1, left + 2 * reach + 1
    if min(top, left) >= 0 and bottom <= image.shape[0] and right <= image.shape[1]:
        near = image[top:bottom, left:right]
    else:  # replicate the border
        near = image.take(range(top, bottom), 0, mode="clip").take(range(left, right), 1, mode="clip")
    # The axes of the square in `near`, and the corner where they start.
    axes = turn * (length / side)
    corner = np.array([x - left, y - top]) - axes @ np.full(2, side / 2)
    data = tuple(np.column_stack([axes, corner]).ravel().tolist())
    return np.asarray(Image.fromarray(near).transform((side, side), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR))


class Detector(Protocol):
    """A face detector."""

    framing: Framing | None  # how its faces lie in the square of the training faces; None: their boxes are used as they are

    def detect(self, image: np.ndarray) -> list[Face]:
        """Find the faces of an image, uint8 (H, W) or (H, W, 3) RGB, largest first; safe to call from several threads."""


class WholeImage:
    """Takes each image as one face: for faces that are already cropped."""

    framing: Framing | None = None

    def detect(self, image: np.ndarray) -> list[Face]:
        """Return the whole image as a face."""
        height, width = image.shape[:2]
        return [Face(box=(0.0, 0.0, float(width), float(height)))]


class YuNet:
    """Searches an image at several sizes, and rotated if need be; `path` is a YuNet .onnx file, of free or fixed input size."""

    framing: Framing | None = YUNET_FRAMING

    def __init__(self, path: Path = YUNET, score: float = _SEARCH.min_score, most: float = math.inf) -> None:
        self._score, self._most = score, most
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # images run in parallel, not one image's operations
        options.log_severity_level = 4
        try:
            if path != YUNET:
                check_file(path, YuNet)
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            (entry,), outputs = self._session.get_inputs(), self._session.get_outputs()
            self._input, self._fixed = entry.name, next((side for side in entry.shape[2:] if isinstance(side, int)), None)
            names = [f"{name}_{stride}" for name in ("cls", "obj", "bbox", "kps") for stride in _SEARCH.strides]
            if [output.name for output in outputs] != names:
                raise ValueError(names)
            self._search(np.zeros((32, 32, 3), np.uint8))
        except Exception as error:  # ONNX Runtime's errors have no public base class
            reason = str(error) if isinstance(error, MienError) else f"{str(path)!r} is not a YuNet model"
            raise MienError(f"{reason.rstrip('.')}; leave out --detector to use the one that mien includes.") from None

    def detect(self, image: np.ndarray) -> list[Face]:
        """Find the faces of an image, largest first."""
        longest, faces = max(image.shape[:2]), list[Face]()
        most = min(longest, self._fixed or _SEARCH.sizes[-1])  # a file of fixed size takes no larger image
        for size in sorted({max(_SEARCH.smallest_size, min(size, most)) for size in _SEARCH.sizes}):
            found, scale = search_resized(image, size, self._search), size / longest
            certain = [face for face in found if _score(face) >= self._score]
            # the finer search places a face better, unless the face is too large for it
            better = [face for face in certain if max(face.size) * scale <= _SEARCH.large_face]
            faces = better + faces + [face for face in certain if face not in better]
            smallest = min((max(face.size) for face in faces), default=0.0) * scale
            in_doubt = size < _SEARCH.sizes[1] and len(found) > len(certain)
            if not in_doubt and smallest >= _SEARCH.small_face and 2 * size >= most:
                break
        if not faces:
            rotated = search_resized(image, _SEARCH.rotated_size, self._search, (90, -90, 180))
            rotated += search_resized(image, _SEARCH.rotated_size // 2, self._search, (45, -45, 135, -135))
            certain = [face for face in rotated if _score(face) >= max(_SEARCH.sure_score, self._score)]
            faces = sorted(certain, key=_score, reverse=True)
        faces = [faces[number] for number in distinct(np.array([face.box for face in faces]).reshape(-1, 4), _SEARCH.duplicate)]
        if len(faces) > self._most:
            raise MienError(f"it has {len(faces):,} faces, and the limit is {self._most:,}")
        faces.sort(key=lambda face: face.size[0] * face.size[1], reverse=True)
        return [self._refined(image, face) for face in faces]

    def _refined(self, image: np.ndarray, face: Face) -> Face:
        """Search again around a face that is tilted or scores low, upright: landmarks of tilted faces are inexact."""
        if abs(face.angle) < _SEARCH.tilted and _score(face) >= _SEARCH.sure_score:
            return face
        reach = _SEARCH.refined_radius * max(face.size)
        left, top = (max(0, round(centre - reach)) for centre in face.centre)
        near = image[top : round(face.centre[1] + reach) + 1, left : round(face.centre[0] + reach) + 1]

        def best_around(before: Face, *turns: int) -> Face:
            rotated = search_resized(near, _SEARCH.refined_size, self._search, [before.angle + turn for turn in turns])
            found = [_mapped_back(other, np.eye(2), np.array([left, top])) for other in rotated if _score(other) >= self._score]
            here = [other for other in found if math.dist(other.centre, face.centre) < max(face.size) / 2]  # no neighbour
            return max(here, key=_score, default=before)

        best = best_around(face, 0)
        if _score(best) < _SEARCH.sure_score:  # in a face that is rotated far, YuNet takes other parts for the eyes
            best = max(best, best_around(face, 60, 120, 180, 240, 300), key=_score)
        elif abs(best.angle) >= _SEARCH.far_tilted:
            best = max(best, best_around(best, 180), key=_score)
        return best_around(best, 0)

    def _search(self, image: np.ndarray) -> list[Face]:
        height, width = image.shape[:2]
        rows, columns = (self._fixed or -(-side // 32) * 32 for side in (height, width))
        pixels = np.zeros((1, 3, rows, columns), np.float32)
        for channel in range(3):  # BGR; faster than all at once
            pixels[0, 2 - channel, :height, :width] = image[:, :, channel]
        outputs = self._session.run(None, {self._input: pixels})
        found = []
        for level, stride in enumerate(_SEARCH.strides):
            class_score, object_score, boxes, points = (grid[0] for grid in outputs[level::3])  # (cells, 1 | 4 | 10)
            scores = np.sqrt(np.clip(class_score, 0, 1) * np.clip(object_score, 0, 1))[:, 0]
            cells = np.flatnonzero(scores >= min(self._score, _SEARCH.uncertain_score))
            corners = np.stack([cells % (columns // stride), cells // (columns // stride)], axis=1)
            centres, halves = (corners + boxes[cells, :2]) * stride, np.exp(boxes[cells, 2:]) * stride / 2
            landmarks = (points[cells] + np.tile(corners, 5)) * stride
            found.append(np.column_stack([scores[cells], centres - halves, centres + halves, landmarks]))
        table = np.concatenate(found)  # (faces, 15)
        table = table[np.argsort(-table[:, 0], kind="stable")]
        faces = []
        for score, *numbers in table[distinct(table[:, 1:5], _SEARCH.overlap)].tolist():
            landmarks = np.array(numbers[4:], np.float32).reshape(5, 2)
            across = landmarks[1] - landmarks[0]
            faces.append(Face(tuple(numbers[:4]), score, landmarks, float(np.degrees(np.arctan2(across[1], across[0])))))
        return faces


def open_detector(name: str = "auto", score: float | None = None, most: float = math.inf) -> Detector:
    """Open the face detector in `detector_file`, with the least score of a face and the most faces of an image."""
    if score is not None:
        check_number("The least score of a face", score, 1e-6, 1 - 1e-6, whole=False)
    path = detector_file(name)
    return WholeImage() if path is None else YuNet(path, score or _SEARCH.min_score, most)


def detector_file(name: str) -> Path | None:
    """Find a detector's file: of "yunet" or "auto" (yunet, unless MIEN_DETECTOR names another), or a path; "none" has none."""
    name = os.environ.get("MIEN_DETECTOR") or "yunet" if name == "auto" else name
    if name == "none":
        return None
    path = YUNET if name in ("auto", "yunet") else Path(name)
    if name == "haar":
        raise MienError("OpenCV's cascade is no longer part of mien; use yunet, which mien includes.")
    if path.suffix != ".onnx" and not path.is_file():
        raise MienError(f"There is no detector {name!r}; choose auto, yunet, none, or the path of a YuNet .onnx file.")
    if not path.is_file():
        raise MienError(f"There is no detector file {name!r}; check --detector and MIEN_DETECTOR.")
    return path


def search_resized(image: np.ndarray, longest: int, search: Search, degrees: Iterable[float] = (0.0,)) -> list[Face]:
    """Search an image with its longest side resized to `longest` pixels, rotated counterclockwise by each of these angles."""
    resized, scale = image, longest / max(image.shape[:2])
    if scale != 1 or image.ndim == 2:
        height, width = image.shape[:2]
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        filter = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
        # In steps as with Pillow's reducing_gap=2, and some rows at a time, since Pillow copies them.
        across, down = max(1, int(width / size[0] / 2)), max(1, int(height / size[1] / 2))
        reduced, rows = image, down * max(1, BAND // width // down)
        if max(across, down) > 1:
            bands = (Image.fromarray(image[top : top + rows]).reduce((across, down)) for top in range(0, height, rows))
            reduced = np.concatenate([np.asarray(band) for band in bands])
        box = (0.0, 0.0, width / across, height / down)
        resized = np.asarray(Image.fromarray(reduced).resize(size, filter, box).convert("RGB"))
    faces = []
    for angle in degrees:
        rotated, turn, shift = resized, np.eye(2), np.zeros(2)  # into the rotated image
        if angle:
            turn, extent = _rotation(angle), np.array(resized.shape[1::-1])
            # on a canvas that holds all of it, as in the page; that of Image.rotate can be a pixel larger
            canvas = np.ceil(np.abs(turn) @ extent - 1e-6).astype(int)
            shift = canvas / 2 - turn @ (extent / 2)
            data = tuple(np.column_stack([turn.T, -turn.T @ shift]).ravel().tolist())  # where each of its pixels comes from
            how, gray = (Image.Transform.AFFINE, data, Image.Resampling.BILINEAR), (128, 128, 128)
            rotated = np.asarray(Image.fromarray(resized).transform(tuple(canvas.tolist()), *how, fillcolor=gray))
        faces += [_mapped_back(face, turn.T / scale, -turn.T @ shift / scale, angle) for face in search(rotated)]
    return faces


def distinct(boxes: np.ndarray, overlap: float) -> list[int]:
    """Number the boxes (N, 4) that do not overlap an earlier one by more than this intersection over union."""
    kept, left = [], np.arange(len(boxes))
    while left.size:
        first, left = int(left[0]), left[1:]
        kept.append(first)
        left = left[overlaps(boxes[[first]], boxes[left])[0] <= overlap]
    return kept


def overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:  # (N, 4), (M, 4) -> (N, M)
    """Compute the intersection over union of every two boxes, 0 if both are empty."""
    starts = np.maximum(first[:, None, :2], second[None, :, :2])
    ends = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common = np.prod(np.clip(ends - starts, 0, None), axis=2)
    areas = [np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None] - common
    return np.asarray(np.divide(common, union, out=np.zeros(common.shape), where=union > 0))


def _rotation(degrees: float) -> np.ndarray:  # counterclockwise, y down
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[cosine, sine], [-sine, cosine]])


def _mapped_back(face: Face, matrix: np.ndarray, shift: np.ndarray, degrees: float = 0.0) -> Face:
    """Map a face back: points by the matrix, the box by its middle, its sides swapped where the image lay on its side."""
    scale = float(np.sqrt(abs(np.linalg.det(matrix))))
    middle = matrix @ np.reshape(face.box, (2, 2)).mean(axis=0) + shift
    half = np.array(face.size) * scale / 2
    half = half[::-1] if abs(np.sin(np.radians(degrees))) > np.sin(np.radians(45)) else half
    box = tuple(np.concatenate([middle - half, middle + half]).tolist())
    landmarks = None if face.landmarks is None else face.landmarks @ matrix.T + shift
    return Face(box, face.score, landmarks, face.angle + degrees)


def _score(face: Face) -> float:
    return 1.0 if face.score is None else face.score


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
        self._detector = open_detector("none" if faces else detector, min_score) if isinstance(detector, str) else detector
        framing, factor = self._detector.framing, 1 + 2 * margin
        if framing is None and (margin or min_score is not None):
            raise MienError("Without face detection there is no margin and no score; leave out margin and min_score.")
        self._framing = framing and Framing(framing.side * factor, framing.rise / factor)  # with the same centre
        self._min_size, self._min_score = min_size, min_score or 0.0

    def faces(self, image: np.ndarray) -> list[tuple[Face, np.ndarray]]:
        """Find the faces of an image, uint8 (H, W) or (H, W, 3), largest first, each with its crop."""
        found = self._detector.detect(image)
        if not np.isfinite([(*face.box, _score(face), face.angle, *face.centre) for face in found]).all():
            raise ValueError("a box, score or landmark is not a finite number")
        kept = [face for face in found if min(face.size) >= self._min_size and _score(face) >= self._min_score]
        return [(face, crop_face(image, face, self._framing)) for face in kept]

    def largest(self, image: np.ndarray) -> np.ndarray | None:
        """Return the crop of the largest face; None if there is no face, MienError if the detector fails."""
        try:
            return next((crop for _, crop in self.faces(image)), None)
        except Exception as error:  # whatever a detector raises concerns this image only
            raise MienError(f"face detection failed ({reason_of(error)})") from error
