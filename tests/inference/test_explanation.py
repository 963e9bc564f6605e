"""Which part of a face carried the answer: on models that look at one part alone, that part is found."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import mien
from mien.errors import MienError
from mien.inference.classifier import Classifier
from mien.inference.explanation import Explanation, explain, occlusion_map
from mien.inference.prediction import Prediction
from mien.labels import LabelSet


def write_model(path, sensitive, channels=1):
    """A model that knows "bright" from "dark" by the mean of the pixels where `sensitive`, (size, size), is above 0."""
    size = len(sensitive)
    weights = np.asarray(sensitive, np.float32) / max(1.0, float(np.sum(sensitive))) / 255 / channels
    shape = ["N", size, size] if channels == 1 else ["N", size, size, 3]
    constants = {
        "weights": weights if channels == 1 else weights[:, :, None],
        "axes": np.arange(1, len(shape)),
        "last": np.array([1]),
        "half": np.array(0.5, np.float32),
        "slopes": np.array([[20, -20]], np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["faces"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "weights"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "axes"], ["sum"], keepdims=0),
        helper.make_node("Unsqueeze", ["sum", "last"], ["brightness"]),
        helper.make_node("Sub", ["brightness", "half"], ["off"]),
        helper.make_node("Mul", ["off", "slopes"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "part",
        [helper.make_tensor_value_info("faces", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    notes = {"format": "1", "labels": json.dumps(["bright", "dark"]), "size": str(size), "channels": str(channels)}
    helper.set_model_props(model, {f"mien.{key}": value for key, value in notes.items()})
    onnx.save(model, path)
    return Classifier(path, threads=1)


QUADRANTS = {
    "upper left": (slice(0, 24), slice(0, 24)),
    "upper right": (slice(0, 24), slice(24, 48)),
    "lower left": (slice(24, 48), slice(0, 24)),
    "lower right": (slice(24, 48), slice(24, 48)),
}


def quadrant_model(path, name, channels=1):
    sensitive = np.zeros((48, 48))
    sensitive[QUADRANTS[name]] = 1
    return write_model(path, sensitive, channels)


def bright_quadrant(name, shape=(48, 48)):
    face = np.full(shape, 40, np.uint8)
    face[QUADRANTS[name]] = 180
    return face


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", QUADRANTS)
def test_the_quadrant_that_the_answer_depends_on_is_found(name, channels, tmp_path):
    model = quadrant_model(tmp_path / "m.onnx", name, channels)
    heat, hidden = occlusion_map(model, bright_quadrant(name, model.face_shape), "bright")
    assert heat.shape == (48, 48)
    assert heat.dtype == np.float32
    assert heat[QUADRANTS[name]].sum() > 0.75 * np.abs(heat).sum()
    assert heat.min() >= 0, "hiding never helps here"
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert (row < 24, column < 24) == ("upper" in name, "left" in name)
    assert hidden < model.predict_proba(bright_quadrant(name, model.face_shape)[None])[0, 0]


def test_what_lies_far_from_that_quadrant_is_left_without_heat(tmp_path):
    model = quadrant_model(tmp_path / "m.onnx", "upper left")
    heat, _ = occlusion_map(model, bright_quadrant("upper left"), "bright")
    assert heat[24 + 14 :, 24 + 14 :] == pytest.approx(0, abs=1e-6)


def test_what_speaks_for_one_of_two_labels_speaks_as_much_against_the_other(tmp_path):
    model = quadrant_model(tmp_path / "m.onnx", "lower right")
    face = bright_quadrant("lower right")
    assert occlusion_map(model, face, "dark")[0] == pytest.approx(-occlusion_map(model, face, "bright")[0], abs=1e-5)


def test_a_model_that_looks_at_nothing_gives_no_heat_and_no_region(tmp_path):
    model = write_model(tmp_path / "m.onnx", np.zeros((48, 48)))
    [found] = explain(np.random.default_rng(0).integers(0, 255, (48, 48), np.uint8), model=model, faces=True)
    assert found.heat.max() == found.heat.min() == 0
    assert (found.normalised == 0).all()
    assert found.region is None


def test_next_to_nothing_is_shown_pale_and_a_strong_answer_in_full_colour():
    prediction = Prediction("face.png", LabelSet(("bright", "dark")))
    faint, strong = (Explanation(prediction, heat=np.full((4, 4), size, np.float32)) for size in (0.01, 3))
    assert faint.normalised.max() == pytest.approx(0.1)
    assert strong.normalised.max() == 1


@pytest.mark.parametrize("size", [8, 50, 96])
def test_faces_of_any_size_are_explained(size, tmp_path):
    half = np.zeros((size, size))
    half[: size // 2] = 1
    model = write_model(tmp_path / "m.onnx", half)
    face = np.full((size, size), 40, np.uint8)
    face[: size // 2] = 180
    heat, _ = occlusion_map(model, face, "bright")
    assert heat.shape == (size, size)
    assert heat[: size // 2].sum() > 3 * heat[size // 2 :].sum()


def test_a_photo_is_explained_and_drawn(model, photo, tmp_path):
    out = tmp_path / "why.png"
    [found] = mien.explain(photo, model=model, out=out)
    assert found.label == found.prediction.label
    assert found.face.shape[2] == 3
    assert found.region is not None
    with Image.open(out) as picture:
        assert picture.format == "PNG"


def test_another_label_can_be_explained_and_a_wrong_one_is_told(model):
    [found] = explain(np.full((48, 48), 0, np.uint8), label="sad", model=model, faces=True)
    assert (found.label, found.prediction.label) == ("sad", "angry")
    with pytest.raises(MienError, match="Did you mean 'sad'"):
        explain(np.zeros((48, 48), np.uint8), label="sadd", model=model, faces=True)


def test_the_chosen_head_is_explained(two_heads):
    dark = np.zeros((48, 48), np.uint8)
    assert [explain(dark, model=two_heads, head=head, faces=True)[0].label for head in ("label", "crowd")] == [
        "angry",
        "neutral",
    ]


def test_where_there_is_no_face_nothing_is_drawn_and_every_input_has_its_row(model, tmp_path):
    (tmp_path / "letter.jpg").write_text("Dear me")
    meadow, out = np.full((200, 300, 3), (40, 160, 60), np.uint8), tmp_path / "why.png"
    nothing, broken = explain([meadow, str(tmp_path / "letter.jpg")], model=model, out=out)
    assert nothing.heat is None
    assert nothing.prediction.no_face
    assert "letter.jpg" in broken.prediction.error
    assert not out.exists()


def test_a_bad_image_between_two_good_ones_is_an_error_row_and_ends_nothing(model, photo, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(photo.read_bytes()[:5000])
    first, error, second = explain([str(photo), str(broken), str(photo)], model=model)
    assert first.heat is not None
    assert np.array_equal(first.heat, second.heat)
    assert (error.heat, error.label) == (None, None)
    assert "broken.jpg" in error.prediction.error


def test_a_detector_that_fails_on_an_image_ends_nothing(model, large, corners):
    blue = np.full((80, 80, 3), (0, 0, 250), np.uint8)
    found = explain([large, blue, large], model=model, detector=corners)
    assert [each.heat is not None for each in found] == [True] * 4 + [False] + [True] * 4
    assert "too blue" in found[4].prediction.error


def test_the_explained_prediction_is_that_of_predict(model, large, corners):
    predicted = [row.to_dict() for row in mien.predict(large, model, corners)]
    assert [each.prediction.to_dict() for each in explain(large, model=model, detector=corners)] == predicted


def test_a_long_list_ends_at_the_32nd_face(model):
    assert len(explain(np.zeros((40, 48, 48), np.uint8), model=model, faces=True)) == 32


def test_mistakes_are_told_before_the_work(model, tmp_path):
    with pytest.raises(MienError, match=r"must end in \.png"):
        explain("photo.jpg", model=model, out=tmp_path / "why.txt")
    with pytest.raises(MienError, match="leave out the detector"):
        explain("photo.jpg", model=model, detector="yunet", faces=True)
