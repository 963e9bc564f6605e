import json

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from mien.data.faceset import FaceSet
from mien.inference.classifier import Classifier
from mien.labels import LabelSet

LABELS = LabelSet(("happy", "sad", "neutral"))
CUT = {"starts": [0, 0], "ends": [1, 3], "axes": [1, 2], "row": [1]}


def write_model(path, metadata):
    """Write a model file that reads its answer, in percent, off a face's first three pixels."""
    cut = [numpy_helper.from_array(np.array(value, dtype=np.int64), name) for name, value in CUT.items()]
    hundred = numpy_helper.from_array(np.array(100, dtype=np.float32), "hundred")
    nodes = [
        helper.make_node("Slice", ["faces", "starts", "ends", "axes"], ["corner"]),
        helper.make_node("Squeeze", ["corner", "row"], ["percent"]),
        helper.make_node("Cast", ["percent"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["numbers", "hundred"], ["probabilities"]),
    ]
    faces = helper.make_tensor_value_info("faces", TensorProto.UINT8, ["n", 8, 8])
    probabilities = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph(nodes, "drawn", [faces], [probabilities], [*cut, hundred])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    common = {"mien.format": "1", "mien.labels": json.dumps(LABELS.names), "mien.size": "8", "mien.channels": "1"}
    helper.set_model_props(model, common | metadata)
    path.write_bytes(model.SerializeToString())
    return Classifier(path, threads=1)


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "model.onnx", {})


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
