from dataclasses import replace

import cv2
import numpy as np
import onnx
import pytest
from PIL import Image

from mien.errors import MienError
from mien.images import prepare, read_image
from mien.inference.detection import YUNET, WholeImage, YuNet, crop_face, open_detector

FACE = (177, 123, 356, 336)
"""Where Grace Hopper's face lies in her photo: x1, y1, x2, y2, by eye and YuNet alike."""


def turned(image, degrees):
    """Turn an image clockwise on a larger gray canvas; also the matrix that did it."""
    height, width = image.shape[:2]
    side = int(np.hypot(height, width))
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1.0)
    matrix[:, 2] += (side - width) / 2, (side - height) / 2
    return cv2.warpAffine(image, matrix, (side, side), borderValue=(128, 128, 128)), matrix


def overlap(box, other):
    """Intersection over union."""
    width = max(0.0, min(box[2], other[2]) - max(box[0], other[0]))
    height = max(0.0, min(box[3], other[3]) - max(box[1], other[1]))
    areas = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (box, other))
    return width * height / (areas - width * height)


@pytest.fixture(params=["yunet"])
def detector(request):
    return open_detector(request.param)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    monkeypatch.delenv("MIEN_DETECTOR", raising=False)


def test_the_face_of_a_photo_is_found_in_colour_and_gray(detector, photo):
    image = read_image(photo)
    for picture in (image, image[:, :, 0], image[:, :, ::-1], np.asfortranarray(image)):
        (face,) = detector.detect(picture)
        assert overlap(face.box, FACE) > 0.5
        assert 0.6 < face.score <= 1
        assert abs(face.angle) < 6


@pytest.mark.parametrize("scale", [0.25, 0.5, 4])
def test_boxes_are_in_the_images_own_pixels_at_any_size(detector, photo, scale):
    image = cv2.resize(read_image(photo), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    (face,) = detector.detect(image)
    assert overlap([edge / scale for edge in face.box], FACE) > 0.5


@pytest.mark.parametrize("degrees", [30, -30])
def test_a_face_turned_by_thirty_degrees_is_found_and_cropped_upright(detector, photo, degrees):
    image = read_image(photo)
    upright = prepare(crop_face(image, detector.detect(image)[0], detector.framing), 48, 1)
    picture, matrix = turned(image, degrees)
    (face,) = detector.detect(picture)
    middle = matrix @ ((FACE[0] + FACE[2]) / 2, (FACE[1] + FACE[3]) / 2, 1)
    assert np.hypot(*(middle - face.centre)) < 40
    assert face.angle * np.sign(degrees) > 10

    def alike(crop):
        return np.corrcoef(prepare(crop, 48, 1).ravel(), upright.ravel())[0, 1]

    as_found = crop_face(picture, replace(face, angle=0.0), detector.framing)
    assert alike(crop_face(picture, face, detector.framing)) > max(0.6, alike(as_found) + 0.1)


def test_a_photo_on_its_side_is_searched_too(photo):
    (face,) = open_detector().detect(cv2.rotate(read_image(photo), cv2.ROTATE_90_CLOCKWISE))
    assert overlap(face.box, (600 - FACE[3], FACE[0], 600 - FACE[1], FACE[2])) > 0.5
    assert abs(face.angle - 90) < 10


@pytest.mark.parametrize(("turns", "angle"), [(0, 0), (1, -90), (3, 90)])
def test_a_turned_photo_shows_its_face_the_right_way_up(photo, turns, angle):
    (face,) = open_detector().detect(np.ascontiguousarray(np.rot90(read_image(photo), turns)))
    assert abs((face.angle - angle + 180) % 360 - 180) < 10
    left_eye, right_eye, nose, *_ = face.landmarks
    across, down = right_eye - left_eye, nose - (left_eye + right_eye) / 2
    assert across[0] * down[1] - across[1] * down[0] > 0  # the nose lies below the eyes of an upright face


def test_a_face_that_fills_a_tiny_image_is_found(photo, detector):
    x1, y1, x2, y2 = FACE
    tiny = prepare(read_image(photo)[y1 - 20 : y2 + 5, x1 - 30 : x2 + 30], 48, 1)
    (face,) = detector.detect(tiny)
    assert overlap(face.box, (6, 5, 42, 47)) > 0.5


def test_a_close_face_and_a_small_one_are_found_together(photo):
    image = read_image(photo)
    scene = np.full((2400, 3200, 3), 128, np.uint8)
    scene[0:2400, 0:2048] = cv2.resize(image, (2048, 2400))
    scene[1000:1300, 2700:2956] = cv2.resize(image, (256, 300))
    large, small = open_detector().detect(scene)
    assert overlap(large.box, [edge * 4 for edge in FACE]) > 0.5
    assert overlap(small.box, (2700 + 88, 1000 + 61, 2700 + 178, 1000 + 168)) > 0.5


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 1, 3), (31, 31), (3, 900), (900, 2, 3), (1, 9000, 3), (48, 48), (700, 500, 3), (3000, 4000)]
)
def test_where_there_is_no_face_none_is_found(detector, shape):
    assert detector.detect(np.full(shape, 90, np.uint8)) == []


def test_none_takes_the_whole_image():
    image = np.zeros((30, 50, 3), np.uint8)
    (face,) = WholeImage().detect(image)
    assert face.box == (0, 0, 50, 30)
    assert face.score is None
    assert crop_face(image, face, WholeImage.framing).shape == image.shape


def test_it_finds_what_opencv_finds(photo, yunet_file):
    """OpenCV's FaceDetectorYN runs the file of YuNet's authors."""
    image = read_image(photo)
    for scale in (0.3, 0.55, 1.0):
        picture = np.array(Image.fromarray(image).resize((round(512 * scale), round(600 * scale))))
        picture = np.hstack([picture, picture[:, ::-1]])
        theirs = cv2.FaceDetectorYN.create(str(yunet_file), "", picture.shape[1::-1], 0.7, 0.3)
        _, rows = theirs.detect(np.ascontiguousarray(picture[:, :, ::-1]))
        ours = [face for face in YuNet()._search(picture) if face.score >= 0.7]
        assert len(ours) == len(rows) == 2
        for face, row in zip(ours, rows, strict=True):
            np.testing.assert_allclose([*face.box[:2], *face.size], row[:4], atol=0.01)
            np.testing.assert_allclose(face.landmarks.ravel(), row[4:14], atol=0.01)
            assert face.score == pytest.approx(row[14], abs=1e-4)


def test_a_file_of_fixed_size_finds_the_same_faces(photo, yunet_file):
    image = read_image(photo)
    (ours,), (theirs,) = open_detector().detect(image), open_detector(str(yunet_file)).detect(image)
    np.testing.assert_allclose(ours.box, theirs.box, atol=1)


def test_a_file_of_fixed_size_searches_large_photos_too(photo, yunet_file):
    detector = open_detector(str(yunet_file))
    assert detector.detect(np.full((900, 1400, 3), 90, np.uint8)) == []
    assert len(detector.detect(np.array(Image.open(photo).resize((1280, 1500))))) == 1


def test_small_faces_of_a_large_photo_are_found_by_a_finer_search(photo):
    face = np.array(Image.fromarray(read_image(photo)).resize((64, 75)))  # the face itself is 22 pixels wide
    crowd = np.full((1280, 1280, 3), 128, np.uint8)
    for row in range(4):
        for column in range(4):
            crowd[row * 320 + 50 : row * 320 + 125, column * 320 + 50 : column * 320 + 114] = face
    assert len(open_detector().detect(crowd)) == 16


@pytest.mark.parametrize("width", [18, 26, 40])  # of the small photo; its face is about a third as wide
def test_a_small_face_beside_large_ones_is_found_by_a_finer_search(photo, width):
    picture = Image.fromarray(read_image(photo))
    scene = Image.new("RGB", (640, 480), (120, 120, 120))
    scene.paste(picture.resize((300, 352)), (10, 20))
    small = (3 * width, round(3.5 * width))
    scene.paste(picture.resize(small), (400, 200))
    searched = []
    detector = YuNet()
    search = detector._search
    detector._search = lambda image: searched.append(max(image.shape)) or search(image)
    faces = detector.detect(np.asarray(scene))
    assert len(faces) == 2
    assert (
        overlap(faces[1].box, [edge * small[0] / 512 + corner for edge, corner in zip(FACE, (400, 200) * 2, strict=True)]) > 0.4
    )
    assert searched == [320, 640]


def test_an_image_with_large_faces_only_is_searched_once(photo):
    scene = Image.new("RGB", (640, 480), (120, 120, 120))
    for left in (5, 325):
        scene.paste(Image.fromarray(read_image(photo)).resize((300, 352)), (left, 20))
    detector, searched = YuNet(), []
    search = detector._search
    detector._search = lambda image: searched.append(max(image.shape)) or search(image)
    assert len(detector.detect(np.asarray(scene))) == 2
    assert searched == [320]


@pytest.mark.parametrize("shape", [(320, 320), (350, 601), (1280, 128), (97, 700)])
def test_it_finds_what_opencv_finds_at_any_size(photo, yunet_file, shape):
    """A picture tiled to the shape: the same boxes within a pixel."""
    face = np.array(Image.fromarray(read_image(photo)).crop((100, 50, 440, 390)).resize((120, 120)))
    picture = np.tile(face, (11, 6, 1))[: shape[0], : shape[1]]
    rows = cv2.FaceDetectorYN.create(str(yunet_file), "", shape[::-1], 0.7, 0.3).detect(
        np.ascontiguousarray(picture[:, :, ::-1])
    )[1]
    ours = [face for face in YuNet()._search(picture) if face.score >= 0.7]
    assert len(ours) == len(rows if rows is not None else ())
    for face, row in zip(ours, rows if rows is not None else (), strict=True):
        np.testing.assert_allclose([*face.box[:2], *face.size], row[:4], atol=1)


def test_the_environment_may_name_the_detector(monkeypatch, tmp_path):
    monkeypatch.setenv("MIEN_DETECTOR", "none")
    assert isinstance(open_detector("auto"), WholeImage)
    assert isinstance(open_detector("yunet"), YuNet)
    monkeypatch.setenv("MIEN_DETECTOR", str(tmp_path / "gone.onnx"))
    with pytest.raises(MienError, match="no detector file"):
        open_detector("auto")


def test_an_unknown_name_a_missing_file_and_a_wrong_file_are_told_apart(tmp_path, model, capfd):
    with pytest.raises(MienError, match="choose auto, yunet, none"):
        open_detector("retina")
    with pytest.raises(MienError, match="cascade is no longer part of mien; use yunet"):
        open_detector("haar")
    with pytest.raises(MienError, match="no detector file"):
        open_detector(str(tmp_path / "gone.onnx"))
    (tmp_path / "text.onnx").write_text("I am not a network.")
    for wrong in (tmp_path / "text.onnx", model):
        with pytest.raises(MienError, match="is not a YuNet model"):
            open_detector(str(wrong))
    assert capfd.readouterr().err == ""


def test_the_included_file_has_the_weights_of_its_authors(yunet_file):
    ours, theirs = (onnx.load(path).graph.initializer for path in (YUNET, yunet_file))
    assert [(each.name, each.raw_data, each.float_data, each.dims) for each in ours] == [
        (each.name, each.raw_data, each.float_data, each.dims) for each in theirs
    ]
