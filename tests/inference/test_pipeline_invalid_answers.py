"""What a model gives that passed its check, and still fails on some faces."""

import csv
import json

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from PIL import Image

import mien
from mien.cli import main
from mien.errors import MienError
from mien.inference.classifier import Classifier
from mien.inference.prediction import Face, Prediction
from mien.labels import FER2013

LEVEL = 77  # brightness of the faces on which the models fail


@pytest.fixture
def failing(model, monkeypatch, request):
    """A model that gives a value such as NaN instead of the logits for faces of one brightness."""
    monkeypatch.setattr("sys.frozen", True, raising=False)
    content = onnx.load(model)
    graph = content.graph
    softmax = graph.node.pop()
    constants = {
        "level": np.float32(LEVEL / 255),
        "close": np.float32(1e-4),
        "bad": np.float32(getattr(request, "param", np.nan)),
    }
    graph.initializer.extend(numpy_helper.from_array(np.array(value), name) for name, value in constants.items())
    softmax.output[0] = "sound"
    graph.node.extend(
        [
            softmax,
            helper.make_node("Sub", ["brightness", "level"], ["from_level"]),
            helper.make_node("Abs", ["from_level"], ["distance_from_level"]),
            helper.make_node("Less", ["distance_from_level", "close"], ["is_bad"]),
            helper.make_node("Where", ["is_bad", "bad", "sound"], ["probabilities"]),
        ]
    )
    onnx.save(content, model)
    return model


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, level in enumerate((10, LEVEL, 200, 250)):
        Image.fromarray(np.full((48, 48), level, np.uint8)).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize("failing", [np.nan, np.inf, -np.inf, 5.0, -1.0], indirect=True)
def test_an_invalid_answer_is_the_error_of_its_face_alone(failing, photos, capfd):
    assert main(["predict", str(photos), "--faces", "--model", str(failing), "--format", "jsonl"]) == 1
    said = capfd.readouterr()
    rows = [json.loads(line, parse_constant=pytest.fail) for line in said.out.splitlines()]
    assert [row.get("label") for row in rows] == ["angry", None, "surprise", "neutral"]
    assert "gives values for faces that are not probabilities" in rows[1]["error"]
    assert said.err == "mien: 4 images: 3 faces, 1 failed\n"


@pytest.mark.parametrize("form", ["json", "csv", "parquet", "table"])
def test_every_format_has_the_error_and_no_number(form, failing, photos, tmp_path):
    out = tmp_path / f"rows.{form}"
    assert main(["predict", str(photos), "--faces", "--model", str(failing), "--format", form, "--out", str(out)]) == 1
    if form == "json":
        assert [bool(row.get("error")) for row in json.loads(out.read_text(), parse_constant=pytest.fail)] == [
            False,
            True,
            False,
            False,
        ]
    elif form == "csv":
        rows = list(csv.DictReader(out.read_text(encoding="utf-8").splitlines()))
        assert (rows[1]["label"], rows[1]["happy"]) == ("", "")
        assert "not probabilities" in rows[1]["error"]
    elif form == "table":
        assert "nan" not in out.read_text().lower()


def test_in_python_it_is_an_error(failing, faces, tmp_path, capsys):
    bad = np.full((3, 48, 48), LEVEL, np.uint8)
    with pytest.raises(MienError, match="values for faces that are not probabilities"):
        Classifier(failing).predict_proba(bad)
    with pytest.raises(MienError, match="not probabilities"):
        Classifier(failing).classify(bad[0])
    images = [np.full((48, 48), level, np.uint8) for level in (0, LEVEL)]
    rows = list(mien.predict(images, failing, faces=True, labels={"happy": ["happy", "surprise"]}))
    assert [bool(row.error) for row in rows] == [False, True]
    assert [each.heat is None for each in mien.explain(images, model=failing, faces=True)] == [False, True]


def test_a_model_that_breaks_on_one_face_does_not_lose_the_others(model, photos, monkeypatch):
    classifier = Classifier(model)
    run = classifier._session.run

    class Breaking:
        def run(self, outputs, inputs):
            if (inputs["faces"] == LEVEL).all(axis=(1, 2)).any():
                raise RuntimeError("[ONNXRuntimeError] : 1 : FAIL : Status Message: bfc_arena.cc:360 Failed to allocate memory")
            return run(outputs, inputs)

    classifier._session = Breaking()
    rows = list(mien.predict(photos, classifier, faces=True))
    assert [row.error for row in rows] == [
        "",
        f"{str(model)!r} fails on faces (it needs too much memory); give another model.",
        "",
        "",
    ]


class Faces:
    """A detector that gives the halves of an image."""

    name, framing = "halves", None

    def __init__(self, **changes):
        self.changes = changes

    def detect(self, image):
        height, width = image.shape[:2]
        first = {"box": (0.0, 0.0, width / 2, float(height)), "score": 0.9} | self.changes
        return [Face(**first), Face((width / 2, 0.0, float(width), float(height)), 0.8)]


def test_the_other_faces_of_the_photo_keep_their_rows(failing, tmp_path):
    photo = np.zeros((60, 120), np.uint8)
    photo[:, :60], photo[:, 60:] = LEVEL, 250
    first, second = mien.predict(photo, failing, Faces(), draw=tmp_path / "drawn")
    assert (first.face, first.label, bool(first.error)) == (0, None, True)
    assert (second.face, second.label) == (1, "neutral")
    assert first.to_dict() == {"source": first.source, "face": 0, "error": first.error}


def test_in_a_video_the_others_are_tracked(failing, tmp_path, write_video):
    halves = list(mien.predict(write_video(tmp_path / "clip.avi", count=5), failing, Faces()))
    assert len(halves) == 10
    frame = np.zeros((60, 120), np.uint8)
    frame[:, :60], frame[:, 60:] = LEVEL, 250
    from mien.inference.pipeline import TrackSmoother

    rows = [
        Prediction("clip", FER2013, 0, (0, 0, 9, 9), error="no", frame=3, time=0.3),
        Prediction("clip", FER2013, 1, (20, 0, 29, 9), probabilities=np.full(7, 1 / 7, np.float32), frame=3, time=0.3),
    ]
    tracked = TrackSmoother(0.1).update(rows)
    assert [(row.face, row.track, row.error) for row in tracked] == [(0, 0, ""), (1, None, "no")]


@pytest.mark.parametrize(
    "changes",
    [
        {"score": np.nan},
        {"score": np.inf},
        {"box": (0.0, np.nan, 60.0, 60.0)},
        {"box": (0.0, 0.0, np.inf, 60.0)},
        {"angle": np.nan},
        {"landmarks": np.full((5, 2), np.nan, np.float32)},
    ],
)
def test_numbers_of_a_detector_are_finite_or_an_error(changes, model):
    (row,) = mien.predict(np.zeros((60, 120), np.uint8), model, Faces(**changes))
    assert "not a finite number" in row.error
    json.dumps(row.to_dict(), allow_nan=False)


@pytest.mark.parametrize("size", [float("nan"), float("inf"), -1.0])
def test_a_smallest_size_that_is_no_size_is_refused(size, model):
    with pytest.raises(MienError, match="size of a face in pixels"):
        mien.predict(np.zeros((60, 120), np.uint8), model, min_size=size)


def test_reprs_fit_on_a_line(two_heads, model):
    assert repr(Classifier("mien-s")) == "Classifier('mien-s', head=crowd, prior=0.25, 7 labels, 48 px gray)"
    shares = dict.fromkeys(FER2013.names, 1)
    assert repr(Classifier("mien-s", prior=shares)) == "Classifier('mien-s', head=crowd, prior=shares, 7 labels, 48 px gray)"
    assert repr(Classifier(model)) == f"Classifier({str(model)!r}, head=label, prior=training, 7 labels, 48 px gray)"
    values = np.array([0.93, *[0.01] * 6], np.float32)
    found = Prediction("a\nb.png", FER2013, 0, (0, 0, 1, 1), probabilities=values)
    assert repr(found) == r"Prediction('a\nb.png', face 0: angry 93%)"
    assert repr(Prediction("clip.mp4", FER2013, time=2.5)) == "Prediction('clip.mp4 at 2.50 s', no face)"
    assert repr(Prediction("a.png", FER2013, error="It is empty.")) == "Prediction('a.png', error: It is empty.)"
