from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from PIL import Image

from mien.cli import main
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
        ({"format": "3"}, "format 3, and this mien reads 1 and 2; install a newer mien"),
        ({"format": "2"}, r"damaged \(heads \['label'\] in format 2\)"),
        ({"heads": '["label", "crowd"]'}, r"damaged \(heads \['label', 'crowd'\] in format 1\)"),
        ({"heads": "label"}, "damaged"),
        ({"format": "2", "heads": '["label", "crowd"]'}, "does not map uint8 faces to float probabilities"),
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


def test_labels_are_the_data_sets_in_its_order(model):
    assert Classifier(model).labels == FER2013


class Noting:
    """A session that notes which outputs it is asked for."""

    def __init__(self, session):
        self.session, self.asked = session, []

    def run(self, outputs, inputs):
        self.asked.append(outputs)
        return self.session.run(outputs, inputs)


def test_of_two_heads_each_answers_as_its_output_says(two_heads, faces, expected):
    label, crowd = (Classifier(two_heads, head=head) for head in ("label", "crowd"))
    assert label.heads == crowd.heads == ("label", "crowd")
    np.testing.assert_allclose(label.predict_proba(faces), expected(faces), atol=1e-4)
    np.testing.assert_allclose(crowd.predict_proba(faces), expected(faces)[:, ::-1], atol=1e-4)
    np.testing.assert_allclose(crowd.classify(faces[0]), expected(faces[:1])[0, ::-1], atol=1e-4)


def test_the_crowd_answers_where_no_head_is_named_and_the_model_has_it(model, two_heads):
    one, two = Classifier(model), Classifier(two_heads)
    assert (one.heads, one.head) == (("label",), "label")
    assert (two.heads, two.head) == (("label", "crowd"), "crowd")
    assert Classifier(model, head="label").head == "label"


@pytest.mark.parametrize(("head", "output"), [("label", "probabilities"), ("crowd", "crowd_probabilities")])
def test_only_the_chosen_output_is_asked_for(two_heads, faces, head, output):
    classifier = Classifier(two_heads, head=head)
    classifier._session = session = Noting(classifier._session)
    classifier.predict_proba(faces, batch_size=100)
    classifier.classify(faces[0])
    assert session.asked == [[output]] * 3


def test_another_head_shares_the_opened_file_and_leaves_the_first_as_it_was(two_heads, faces, expected):
    crowd = Classifier(two_heads)
    label = crowd.with_head("label")
    assert label._session is crowd._session
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda classifier: classifier.predict_proba(faces), [crowd, label] * 8))
    for number, answer in enumerate(answers):
        np.testing.assert_allclose(answer, expected(faces)[:, :: 1 if number % 2 else -1], atol=1e-4)


def test_a_head_that_the_model_lacks_is_answered_with_those_it_has(model, two_heads):
    with pytest.raises(MienError, match=r"two\.onnx' has no head 'votes'; choose label or crowd\."):
        Classifier(two_heads, head="votes")
    with pytest.raises(MienError, match=r"model\.onnx' has no head 'crowd'; choose label\."):
        Classifier(model, head="crowd")
    with pytest.raises(MienError, match="no head ''"):
        Classifier(two_heads).with_head("")


@pytest.mark.parametrize("spoil", ["swapped", "renamed", "missing", "third", "narrow"])
def test_two_heads_in_other_outputs_are_refused(two_heads, spoil):
    spoiled = onnx.load(two_heads)
    outputs = spoiled.graph.output
    if spoil == "swapped":
        outputs.append(outputs.pop(0))
    elif spoil == "renamed":
        outputs[1].name = spoiled.graph.node[-1].output[0] = "votes"
    elif spoil == "missing":
        outputs.pop()
    elif spoil == "third":
        outputs.append(onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["N", 7]))
    else:
        reversed_ = next(value for value in spoiled.graph.initializer if value.name == "reversed")
        reversed_.CopyFrom(onnx.numpy_helper.from_array(np.arange(6), "reversed"))
        outputs[1].type.tensor_type.shape.dim[1].dim_value = 6
    onnx.save(spoiled, two_heads)
    with pytest.raises(MienError, match="names 7 labels but gives 6" if spoil == "narrow" else "does not map uint8 faces"):
        Classifier(two_heads)


def test_models_are_listed_with_their_heads_where_there_are_two(tmp_path, make_model, monkeypatch, capsys):
    make_model("one.onnx")
    make_model("two.onnx", crowd=True)
    make_model("a-long-name.onnx")
    monkeypatch.setattr(module, "MODELS", tmp_path)
    assert main(["models"]) == 0
    long, _, one, _, two, heads, _ = capsys.readouterr().out.splitlines()
    assert long.startswith("a-long-name  ")
    assert one.startswith("one ")
    assert two.startswith("two ")
    assert heads.strip() == "heads: label, crowd (--head; crowd is the default)"
