from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from PIL import Image

from mien.errors import MienError
from mien.images import prepare
from mien.inference import classifier as module
from mien.inference.classifier import Classifier, embedded_models
from mien.labels import FER2013


@pytest.fixture
def faces():
    random = np.random.default_rng(0)
    levels = random.integers(0, 200, size=(150, 1, 1))
    return (levels + random.integers(0, 56, size=(150, 48, 48))).astype(np.uint8)


def test_probabilities_are_what_the_graph_says(model, faces, expected):
    probabilities = Classifier(model).predict_proba(faces)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, expected(faces), atol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 7, 150, 1000])
def test_the_batch_size_changes_nothing(model, faces, expected, batch_size):
    np.testing.assert_allclose(Classifier(model).predict_proba(faces, batch_size), expected(faces), atol=1e-4)


def test_no_faces_give_no_rows(model):
    probabilities = Classifier(model).predict_proba(np.empty((0, 48, 48), np.uint8))
    assert probabilities.shape == (0, 7)
    assert probabilities.dtype == np.float32


def test_the_file_says_what_it_is(make_model):
    classifier = Classifier(make_model(labels=("calm", "cross"), size=64, channels=3, recipe="epochs: 3"))
    assert classifier.labels.names == ("calm", "cross")
    assert (classifier.size, classifier.channels, classifier.parameters) == (64, 3, 7)
    assert classifier.face_shape == (64, 64, 3)
    assert classifier.metadata["mien.recipe"] == "epochs: 3"
    assert classifier.path.name == "model.onnx"


@pytest.mark.parametrize(
    "faces",
    [
        np.zeros((2, 48, 48), np.float32),
        np.zeros((2, 64, 64), np.uint8),
        np.zeros((48, 48), np.uint8),
        np.zeros((2, 48, 48, 3), np.uint8),
        [[0]],
    ],
)
def test_other_types_and_shapes_are_refused_with_the_right_one(model, faces):
    with pytest.raises(MienError, match=r"takes uint8 faces \(N, 48, 48\), not "):
        Classifier(model).predict_proba(faces)


def test_a_batch_size_below_one_is_refused(model):
    with pytest.raises(MienError, match="at least 1"):
        Classifier(model).predict_proba(np.zeros((2, 48, 48), np.uint8), batch_size=0)


def test_a_run_folder_stands_for_its_model(model):
    assert Classifier(model.parent).path == model
    with pytest.raises(MienError, match=r"no model\.onnx in the folder"):
        Classifier(model.parent.parent)


def test_an_embedded_model_is_found_by_name_and_a_misspelt_one_named(tmp_path, make_model, monkeypatch):
    make_model("mien-s.onnx")
    make_model("other.onnx")
    monkeypatch.setattr(module, "MODELS", tmp_path)
    assert embedded_models() == ["mien-s", "other"]
    assert Classifier().path == tmp_path / "mien-s.onnx"
    with pytest.raises(MienError, match=r"there are mien-s, other\. Did you mean 'mien-s'\?"):
        Classifier("mein-s")


@pytest.mark.parametrize("name", ["gone.onnx", "runs/gone", "../gone/model.onnx"])
def test_a_missing_path_is_said_to_be_missing(name):
    with pytest.raises(MienError, match="no model file"):
        Classifier(name)


def test_a_file_that_is_not_onnx_is_refused(tmp_path):
    for content in (b"", b"I am not a model.", bytes(5000)):
        (tmp_path / "text.onnx").write_bytes(content)
        with pytest.raises(MienError, match=r"text\.onnx"):
            Classifier(tmp_path / "text.onnx")


def test_an_onnx_file_of_others_is_refused(make_model):
    path = make_model()
    foreign = onnx.load(path)
    del foreign.metadata_props[:]
    onnx.save(foreign, path)
    with pytest.raises(MienError, match="not one of mien's"):
        Classifier(path)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"format": "2"}, "format 2.*install a newer mien"),
        ({"labels_text": "sad"}, "damaged"),
        ({"labels_text": '["sad", "sad"]'}, "damaged"),
        ({"size": "large"}, "damaged"),
        ({"size": None}, "damaged"),
        ({"labels_text": '["sad", "glad"]'}, "names 2 labels but gives 7"),
        ({"input_type": onnx.TensorProto.FLOAT}, "uint8"),
        ({"channels_text": "3"}, "uint8"),
    ],
)
def test_a_spoiled_file_says_what_is_wrong(make_model, options, says):
    path = make_model(input_type=options.get("input_type", onnx.TensorProto.UINT8))
    spoiled = onnx.load(path)
    text = {entry.key: entry.value for entry in spoiled.metadata_props}
    for key, value in options.items():
        if key != "input_type":
            text[f"mien.{key.removesuffix('_text')}"] = value
    onnx.helper.set_model_props(spoiled, {key: value for key, value in text.items() if value is not None})
    onnx.save(spoiled, path)
    with pytest.raises(MienError, match=says):
        Classifier(path)


def test_any_image_can_be_classified_alone_and_in_a_row(model, expected, tmp_path):
    photo = np.full((90, 70, 3), 130, np.uint8)
    photo[:45] = 255
    Image.fromarray(photo).save(tmp_path / "face.png")
    classifier = Classifier(model)
    wanted = expected(prepare(photo, 48, 1)[None])[0]
    for source in (photo, tmp_path / "face.png", str(tmp_path / "face.png"), Image.fromarray(photo)):
        np.testing.assert_allclose(classifier.classify(source), wanted, atol=1e-4)
    several = classifier.classify([photo, tmp_path / "face.png", (tmp_path / "face.png").read_bytes()] * 3, batch_size=2)
    assert several.shape == (9, 7)
    np.testing.assert_allclose(several, np.tile(wanted, (9, 1)), atol=1e-4)
    assert classifier.classify([]).shape == (0, 7)


def test_an_array_with_a_further_axis_is_several_faces(model):
    classifier = Classifier(model)
    assert classifier.classify(np.zeros((5, 48, 48), np.uint8)).shape == (5, 7)
    assert classifier.classify(np.zeros((5, 30, 30, 3), np.uint8)).shape == (5, 7)
    assert classifier.classify(np.zeros((48, 48), np.uint8)).shape == (7,)


def test_one_classifier_serves_many_threads(model, faces, expected):
    classifier = Classifier(model, threads=1)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda start: classifier.predict_proba(faces[start : start + 30]), [0, 30, 60, 90, 120] * 8))
    for start, result in zip([0, 30, 60, 90, 120] * 8, results, strict=True):
        np.testing.assert_allclose(result, expected(faces[start : start + 30]), atol=1e-4)


def test_providers_go_by_short_and_long_names(model):
    for name in ("cpu", "CPU", "CPUExecutionProvider"):
        assert Classifier(model, providers=[name]).providers == ["CPUExecutionProvider"]
    with pytest.raises(MienError, match=r"no provider 'abacus' here; it has .*cpu"):
        Classifier(model, providers=["abacus"])
    with pytest.raises(MienError, match="threads"):
        Classifier(model, threads=0)


def test_labels_are_the_data_sets_in_its_order(model):
    assert Classifier(model).labels == FER2013


def test_a_file_that_is_no_model_is_answered_with_what_to_give(tmp_path, model):
    whole = model.read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "other").mkdir()
    Image.new("L", (48, 48)).save(tmp_path / "other" / "photo.jpg")
    (tmp_path / "last.ckpt").write_bytes(b"PK")
    (tmp_path / "started").mkdir()
    (tmp_path / "started" / "recipe.yaml").write_text("network: wide_cnn")
    (tmp_path / "started" / "weights.safetensors").write_bytes(bytes(90))
    advice = {
        "cut.onnx": r"damaged or no ONNX file.*give a run folder or its model\.onnx",
        "other/photo.jpg": r"no model file; give a run folder, its model\.onnx",
        "last.ckpt": "not the model of its run; give the run folder",
        "started/weights.safetensors": "not finished; finish it with its `mien train .*--resume",
        "started": "not finished; finish it with its `mien train .*--resume",
    }
    for name, says in advice.items():
        with pytest.raises(MienError, match=says) as caught:
            Classifier(tmp_path / name)
        assert "ONNXRuntimeError" not in str(caught.value)


def test_a_model_of_a_later_onnx_is_not_called_damaged(model):
    later = onnx.load(model)
    later.ir_version = 99
    onnx.save(later, model)
    with pytest.raises(MienError, match="newer ONNX Runtime"):
        Classifier(model)
