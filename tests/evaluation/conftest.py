import json

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from mien.data.faceset import FaceSet
from mien.evaluation.metrics import measure
from mien.evaluation.plots import new_figure
from mien.evaluation.record import Record
from mien.inference.classifier import Classifier
from mien.labels import LabelSet

LABELS = LabelSet(("happy", "sad", "neutral"))
HEADS = ("probabilities", "crowd_probabilities")


def write_model(path, metadata, heads=1, labels=LABELS, size=8):
    """Write a model file that reads its answer, in percent, off a face's first pixels; its second head off the second row.

    Of any other face, such as those that a model file is checked with, all labels are equally likely.
    """
    count = len(labels)
    constants = {"axes": [1, 2], "row": [1]}
    nodes = []
    for number, output in enumerate(HEADS[:heads]):
        constants |= {f"starts{number}": [number, 0], f"ends{number}": [number + 1, count]}
        nodes += [
            helper.make_node("Slice", ["faces", f"starts{number}", f"ends{number}", "axes"], [f"corner{number}"]),
            helper.make_node("Squeeze", [f"corner{number}", "row"], [f"percent{number}"]),
            helper.make_node("Cast", [f"percent{number}"], [f"numbers{number}"], to=TensorProto.FLOAT),
            helper.make_node("Div", [f"numbers{number}", "hundred"], [f"shares{number}"]),
            helper.make_node("ReduceSum", [f"shares{number}", "row"], [f"sum{number}"]),
            helper.make_node("Sub", [f"sum{number}", "one"], [f"rest{number}"]),
            helper.make_node("Abs", [f"rest{number}"], [f"distance{number}"]),
            helper.make_node("Less", [f"distance{number}", "tolerance"], [f"is_answer{number}"]),
            helper.make_node("Where", [f"is_answer{number}", f"shares{number}", "uniform"], [output]),
        ]
    known = [numpy_helper.from_array(np.array(value, dtype=np.int64), name) for name, value in constants.items()]
    numbers = {"hundred": 100, "one": 1, "tolerance": 1e-3, "uniform": np.full((1, count), 1 / count)}
    known += [numpy_helper.from_array(np.array(value, dtype=np.float32), name) for name, value in numbers.items()]
    faces = helper.make_tensor_value_info("faces", TensorProto.UINT8, ["n", size, size])
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", count]) for name in HEADS[:heads]]
    graph = helper.make_graph(nodes, "drawn", [faces], outputs, known)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    common = {"mien.labels": json.dumps(labels.names), "mien.size": str(size), "mien.channels": "1", "mien.format": str(heads)}
    common |= {"mien.heads": '["label", "crowd"]'} if heads == 2 else {}
    helper.set_model_props(model, common | metadata)
    path.write_bytes(model.SerializeToString())
    return Classifier(path, threads=1)


@pytest.fixture
def blank_pictures(monkeypatch):
    """Draw empty figures, which is faster; the figures have their own tests."""
    names = ("confusion", "labels", "reliability", "coverage", "precision_recall", "roc", "random")
    monkeypatch.setattr("mien.evaluation.report.draw", lambda *_: {name: new_figure(1, 1) for name in names})


@pytest.fixture
def make_model(tmp_path):
    return lambda name="model.onnx", metadata=None, **options: write_model(tmp_path / name, metadata or {}, **options)


@pytest.fixture
def model(make_model):
    return make_model()


@pytest.fixture
def answered():
    """Make faces whose answers are given in percent: (percents, true classes, ...) to FaceSet."""

    def make(percents, classes, labels=LABELS, **options):
        images = np.full((len(percents), 8, 8), 128, dtype=np.uint8)
        for image, row in zip(images, percents, strict=True):
            image[0, : len(row)] = row
        return FaceSet.from_arrays(images, classes, labels, **options)

    return make


@pytest.fixture
def eight(answered):
    """Eight faces: 3 happy (2 found), 4 sad (2 found), 1 neutral (found)."""
    percents = [
        (80, 10, 10), (60, 30, 10), (20, 70, 10),
        (10, 80, 10), (30, 50, 20), (90, 5, 5), (10, 20, 70),
        (0, 40, 60),
    ]  # fmt: skip
    return answered(percents, [0, 0, 0, 1, 1, 1, 1, 2], ids=[f"face {i}" for i in range(8)])


@pytest.fixture
def model_trained_on(tmp_path):
    def make(fingerprint, path="faces"):
        note = {"kind": "folder", "path": path, "train_fingerprint": fingerprint, "train_count": 8, "validation_count": 2}
        metadata = {
            "mien.parameters": "1234",
            "mien.version": "0.0.9",
            "mien.temperature": "1.25",
            "mien.data": json.dumps(note),
            "mien.recipe": "epochs: 3",
        }
        return write_model(tmp_path / "noted.onnx", metadata)

    return make


@pytest.fixture
def record_of():
    """Record what a report says of answers given in percent: (percents, true classes, fields of the data that differ)."""

    def make(percents, classes, **data):
        probabilities = np.array(percents, dtype=np.float32) / 100
        described = {
            "kind": "folder", "path": "faces", "split": "test", "rows": len(classes), "labels": LABELS.names, "skipped": 0,
            "fingerprint": "f" * 64, "same_as_training": None, "merged": None,
        }  # fmt: skip
        return Record(
            model={
                "file": "model.onnx",
                "sha256": "a" * 64,
                "labels": LABELS.names,
                "size": 48,
                "channels": 1,
                "parameters": 12345,
                "mien_version": "0.1.0",
                "temperature": 1.5,
                "trained_on": None,
                "name": "first",
                "head": "label",
                "heads": ("label",),
                "prior": "training",
            },
            data=described | data,
            all_rows=measure(probabilities, np.eye(3, dtype=np.float32)[classes], LABELS),
            date="2026-01-31T12:30:00+00:00",
            mien_version="0.1.0",
            command="mien evaluate <model> & more",
            files=("index.html",),
        )

    return make


@pytest.fixture
def record(record_of):
    """Four of five right: happy 2 of 3, sad 2 of 2, neutral without rows."""
    return record_of([(80, 10, 10), (60, 30, 10), (20, 70, 10), (30, 70, 0), (5, 90, 5)], [0, 0, 0, 1, 1])
