from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mien.data.faceset import SPLITS, FaceSet
from mien.drawn import draw_face, draw_faces, draw_photo, write_folder
from mien.drawn.face import HAIR_STYLES, Person, express
from mien.errors import MienError
from mien.images import prepare
from mien.inference.detection import open_detector
from mien.labels import FER2013, FERPLUS, LabelSet


@pytest.fixture(scope="module")
def drawn() -> FaceSet:
    return draw_faces(60, size=48, seed=3, test=0.3)


@pytest.mark.parametrize("expression", FER2013)
def test_every_expression_is_drawn_in_colour_at_the_size_asked_for(expression: str) -> None:
    face = draw_face(expression, seed=1, size=64)
    assert face.shape == (64, 64, 3)
    assert face.dtype == np.uint8
    assert face.std() > 10


@pytest.mark.parametrize("size", [8, 33, 200])
def test_any_size_can_be_drawn(size: int) -> None:
    assert draw_face("happy", seed=0, size=size).shape == (size, size, 3)


def test_the_same_seed_draws_the_same_pixels() -> None:
    assert np.array_equal(draw_face("fear", 5, 96), draw_face("fear", 5, 96))


def test_another_seed_draws_another_picture() -> None:
    assert not np.array_equal(draw_face("fear", 5, 96), draw_face("fear", 6, 96))


def test_another_expression_of_the_same_seed_draws_another_picture() -> None:
    assert not np.array_equal(draw_face("fear", 5, 96), draw_face("happy", 5, 96))


def test_people_have_all_tones_of_skin_and_styles_of_hair() -> None:
    people = [Person(np.random.default_rng(seed)) for seed in range(300)]
    lightness = np.array([np.mean(person.skin) for person in people])
    assert lightness.min() < 65 < 205 < lightness.max()
    assert {person.hair_style for person in people} == set(HAIR_STYLES)
    assert {person.glasses for person in people} == {False, True}
    assert {person.beard for person in people} == {False, True}


def test_movements_tell_the_look_alikes_apart() -> None:
    def mean(expression: str, movement: str) -> float:
        return float(np.mean([getattr(express(expression, np.random.default_rng(seed)), movement) for seed in range(50)]))

    assert mean("disgust", "nose_wrinkle") > 0.5 > mean("angry", "nose_wrinkle")
    assert mean("angry", "brow_lower") > 1.5 * mean("disgust", "brow_lower")
    assert mean("fear", "lip_stretch") > 0.5 > mean("surprise", "lip_stretch")
    assert mean("fear", "brow_lower") > 0.3 > mean("surprise", "brow_lower")


def test_a_set_has_every_label_equally_often_and_the_shape_asked_for() -> None:
    faces = draw_faces(3, size=40, channels=3)
    assert faces.images.shape == (21, 40, 40, 3)
    assert faces.images.dtype == np.uint8
    assert faces.counts().tolist() == [3] * 7
    assert faces.split_names == ("none",)
    assert len({faces.id(row) for row in range(21)}) == 21


def test_a_gray_face_of_a_set_is_the_drawn_face_prepared() -> None:
    faces = draw_faces(2, size=48)
    assert faces.id(10) == "happy/0002"
    assert np.array_equal(faces.images[10], prepare(draw_face("happy", 1, 96), 48, 1))


def test_the_same_set_is_drawn_again_and_another_seed_draws_another_set() -> None:
    assert draw_faces(2).fingerprint() == draw_faces(2).fingerprint()
    assert draw_faces(2).fingerprint() != draw_faces(2, seed=1).fingerprint()


def test_a_set_can_have_fewer_labels_in_another_order() -> None:
    faces = draw_faces(2, labels=LabelSet(("sad", "happy")))
    assert faces.labels.names == ("sad", "happy")
    assert np.array_equal(faces.images[faces.classes == 1], draw_faces(2).images[draw_faces(2).classes == 3])


def test_shares_go_to_validation_and_test_with_other_people() -> None:
    faces = draw_faces(10, validation=0.2, test=0.3)
    counts = {name: faces.split(name).counts().tolist() for name in faces.split_names}
    assert counts == {"train": [5] * 7, "validation": [2] * 7, "test": [3] * 7}
    people = [{faces.split(n).id(r).split("/")[1] for r in range(len(faces.split(n)))} for n in faces.split_names]
    assert sum(len(group) for group in people) == len(set().union(*people)) == 10


def test_edges_tell_the_expressions_apart_and_bare_pixels_do_not(drawn: FaceSet) -> None:
    edges = cv2.HOGDescriptor((48, 48), (16, 16), (8, 8), (8, 8), 9)
    features = {
        "edges": np.stack([edges.compute(image) for image in drawn.images]),
        "pixels": drawn.images.reshape(len(drawn), -1)[:, ::4].astype(np.float32),
    }
    test = drawn.splits == SPLITS.index("test")
    accuracy = {}
    for name, values in features.items():
        model = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=200))
        model.fit(values[~test], drawn.classes[~test])
        accuracy[name] = model.score(values[test], drawn.classes[test])
    # Chance is 0.14. Faces that a weighted sum of pixels could name would not show whether a network learns.
    assert accuracy["edges"] > 0.6
    assert accuracy["pixels"] < accuracy["edges"] - 0.2


def test_no_two_faces_of_a_set_are_alike(drawn: FaceSet) -> None:
    pixels = drawn.images.reshape(len(drawn), -1).astype(np.float32)
    pixels -= pixels.mean(axis=1, keepdims=True)
    pixels /= np.linalg.norm(pixels, axis=1, keepdims=True)
    alike = pixels @ pixels.T - 2 * np.eye(len(drawn))
    assert alike.max() < 0.99


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"per_class": 3, "validation": 0.5, "test": 0.5}, "leave none for training"),
        ({"per_class": 3, "test": -0.1}, "at least 0"),
        ({"per_class": 0}, "at least 1"),
        ({"per_class": 1, "labels": FERPLUS}, "contempt"),
        ({"per_class": 1, "seed": -1}, "seed"),
    ],
)
def test_a_set_that_cannot_be_drawn_is_refused(arguments: dict, sentence: str) -> None:
    with pytest.raises(MienError, match=sentence):
        draw_faces(**arguments)


def test_an_unknown_expression_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(MienError, match="'happy'"):
        draw_face("hapy", 0)


def test_too_small_a_face_is_refused() -> None:
    with pytest.raises(MienError, match="at least 8, not 4"):
        draw_face("happy", 0, size=4)


def test_a_folder_holds_the_drawn_faces_by_split_and_label(tmp_path: Path) -> None:
    write_folder(4, tmp_path / "faces", size=32, validation=0.25, test=0.25)
    files = sorted(str(path.relative_to(tmp_path / "faces")) for path in (tmp_path / "faces").rglob("*.png"))
    expected = {"train": ("0001", "0002"), "validation": ("0003",), "test": ("0004",)}
    assert files == sorted(f"{s}/{label}/{n}.png" for s, numbers in expected.items() for label in FER2013 for n in numbers)
    with Image.open(tmp_path / "faces/test/sad/0004.png") as picture:
        assert np.array_equal(np.asarray(picture), draw_face("sad", 3, 32))
    assert [path.name for path in tmp_path.iterdir()] == ["faces"]


def test_a_folder_without_shares_has_no_splits(tmp_path: Path) -> None:
    write_folder(1, tmp_path / "faces", size=16, test=0.0)
    assert sorted(path.name for path in (tmp_path / "faces").iterdir()) == sorted(FER2013)


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "faces").mkdir()
    write_folder(2, tmp_path / "faces", size=16, test=0.5)
    assert len(list((tmp_path / "faces").rglob("*.png"))) == 14


def test_a_full_folder_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(MienError, match="not an empty folder"):
        write_folder(2, tmp_path, test=0.5)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(MienError, match="Cannot write"):
        write_folder(2, tmp_path / "file" / "faces", size=16, test=0.5)


@pytest.mark.parametrize("people", [0, 1, 4, 9])
def test_a_photo_has_a_box_inside_the_picture_for_every_face(people: int) -> None:
    photo, boxes = draw_photo([FER2013[i % 7] for i in range(people)], seed=people, width=320, height=240)
    assert photo.shape == (240, 320, 3)
    assert photo.dtype == np.uint8
    assert len(boxes) == people
    for x1, y1, x2, y2 in boxes:
        assert 0 <= x1 < x2 <= 320
        assert 0 <= y1 < y2 <= 240
        assert 0.6 < (x2 - x1) / (y2 - y1) < 1.2


def test_faces_of_a_photo_do_not_overlap() -> None:
    _, boxes = draw_photo(list(FER2013), seed=2)
    for i, (x1, y1, x2, y2) in enumerate(boxes):
        for left, top, right, bottom in boxes[:i]:
            assert min(x2, right) <= max(x1, left) or min(y2, bottom) <= max(y1, top)


def test_the_same_photo_is_drawn_again() -> None:
    first, second = draw_photo(["happy", "sad"], 4), draw_photo(["happy", "sad"], 4)
    assert np.array_equal(first[0], second[0])
    assert first[1] == second[1]


def test_more_people_than_fit_are_refused() -> None:
    with pytest.raises(MienError, match="do not fit"):
        draw_photo(["happy"] * 50, 0, width=160, height=120)


def test_the_detector_finds_nearly_all_drawn_faces() -> None:
    detector = open_detector()
    found = drawn = 0
    for seed in range(6):
        photo, boxes = draw_photo(["happy", "neutral", "angry"], seed)
        drawn += len(boxes)
        centres = [face.centre for face in detector.detect(photo)]
        found += sum(any(x1 < x < x2 and y1 < y < y2 for x, y in centres) for x1, y1, x2, y2 in boxes)
    assert found / drawn > 0.9
