import json
import os
import re
import subprocess
import sys
from contextlib import suppress

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from mien.cli import main
from mien.drawn import draw_photo
from mien.errors import MienError
from mien.inference import model_file as module
from mien.inference.classifier import Classifier, embedded_models
from mien.inference.detection import YUNET, YuNet
from mien.labels import FER2013


@pytest.fixture(autouse=True)
def unknown(monkeypatch):
    """Every file is checked anew."""
    monkeypatch.setattr(module, "_passed", set())


@pytest.fixture
def in_process(monkeypatch):
    """Files are checked in the process of the test, which is faster."""
    monkeypatch.setattr(sys, "frozen", True, raising=False)


def constant(name, value, kind=np.int64):
    return numpy_helper.from_array(np.array(value, kind), name)


def scalar(name, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, [])


def add_to_faces(graph, *nodes):
    """Let nodes whose last output is a number "more" change the faces, which become their sum with it."""
    cast = next(node for node in graph.node if node.op_type == "Cast")
    cast.output[0] = "plain"
    for node in reversed(nodes):
        graph.node.insert(0, node)
    graph.node.insert(len(nodes) + 1, helper.make_node("Add", ["plain", "more"], ["float"]))


def huge(graph, size=10**10):
    graph.initializer.extend([constant("many", [size]), constant("axis", [0])])
    nodes = (
        helper.make_node("ConstantOfShape", ["many"], ["big"]),
        helper.make_node("ReduceSum", ["big", "axis"], ["more"], keepdims=0),
    )
    add_to_faces(graph, *nodes)


def expanded(graph):
    graph.initializer.extend([constant("zero", 0, np.float32), constant("shape", [100_000, 100_000])])
    nodes = helper.make_node("Expand", ["zero", "shape"], ["big"]), helper.make_node("ReduceMax", ["big"], ["more"], keepdims=0)
    add_to_faces(graph, *nodes)


def loop(graph, count=10**12, grows=False):
    body = [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Add", ["x", "x"], ["x_next"])]
    inputs = [scalar("i", TensorProto.INT64), scalar("go", TensorProto.BOOL), scalar("x")]
    inner = helper.make_graph(body, "body", inputs, [scalar("go_on", TensorProto.BOOL), scalar("x_next")])
    graph.initializer.extend([constant("trips", count), constant("yes", True, bool), constant("start", 0, np.float32)])
    add_to_faces(graph, helper.make_node("Loop", ["" if count is None else "trips", "yes", "start"], ["more"], body=inner))


def endless(graph):
    loop(graph)
    next(node for node in graph.node if node.op_type == "Loop").input[0] = ""


def external(location):
    def change(graph):
        array = next(each for each in graph.initializer if each.name == "centres")
        array.ClearField("raw_data")
        array.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", "0"), ("length", "28")):
            entry = array.external_data.add()
            entry.key, entry.value = key, value

    return change


def constant_answer(*row):
    """Let the graph give the same row for every face."""

    def change(graph):
        del graph.node[:]
        graph.initializer.extend(
            [constant("row", [row], np.float32), constant("first", 0), constant("axis", [0]), constant("k", [7])]
        )
        graph.node.extend(
            [
                helper.make_node("Shape", ["faces"], ["shape"]),
                helper.make_node("Gather", ["shape", "first"], ["n"]),
                helper.make_node("Unsqueeze", ["n", "axis"], ["rows"]),
                helper.make_node("Concat", ["rows", "k"], ["answers"], axis=0),
                helper.make_node("Expand", ["row", "answers"], ["probabilities"]),
            ]
        )

    return change


def over_faces(graph):
    next(node for node in graph.node if node.op_type == "Softmax").attribute[0].i = 0


def foreign(graph):
    graph.node[0].domain, graph.node[0].op_type = "elsewhere", "Own"


def unknown_operation(graph):
    graph.node[0].op_type = "Guess"


def second_input(graph):
    graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, ["N"]))


def third_output(graph):
    graph.output.append(helper.make_tensor_value_info("scaled", TensorProto.FLOAT, ["N", 48, 48]))


def doubles(graph):
    graph.node[-1].output[0] = "single"
    graph.node.append(helper.make_node("Cast", ["single"], ["probabilities"], to=TensorProto.DOUBLE))
    graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE


def one_at_a_time(graph):
    graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def other_size(graph):
    for dimension in graph.input[0].type.tensor_type.shape.dim[1:]:
        dimension.dim_value = 64


def flat_output(graph):
    graph.node[-1].output[0] = "rows"
    graph.initializer.append(constant("all", [-1]))
    graph.node.append(helper.make_node("Reshape", ["rows", "all"], ["probabilities"]))
    del graph.output[0].type.tensor_type.shape.dim[1]


def six_of_seven(graph):
    """The graph declares a free number of columns, and gives six."""
    graph.node[-1].output[0] = "rows"
    graph.output[0].type.tensor_type.shape.dim[1].dim_param = "K"
    graph.initializer.extend([constant("start", [0]), constant("end", [6]), constant("column", [1])])
    graph.node.append(helper.make_node("Slice", ["rows", "start", "end", "column"], ["probabilities"]))


def first_only(graph):
    """The graph gives the first row for all faces."""
    graph.node[-1].output[0] = "rows"
    graph.initializer.extend([constant("start", [0]), constant("end", [1]), constant("column", [0])])
    graph.node.append(helper.make_node("Slice", ["rows", "start", "end", "column"], ["probabilities"]))


CRAFTED = {
    "huge": (huge, "too much memory"),
    "expanded": (expanded, "too much memory"),
    "external": (external("weights.bin"), "keeps weights in other files; make one file of it"),
    "above": (external("../../etc/passwd"), "keeps weights in other files"),
    "absolute": (external("/etc/passwd"), "keeps weights in other files"),
    "device": (external("/dev/zero"), "keeps weights in other files"),
    "nan": (constant_answer(*[np.nan] * 7), "not probabilities"),
    "infinite": (constant_answer(np.inf, *[0] * 6), "not probabilities"),
    "negative": (constant_answer(2, -1, *[0] * 5), "not probabilities"),
    "zeros": (constant_answer(*[0] * 7), "not probabilities"),
    "logits": (constant_answer(*range(7)), "not probabilities"),
    "over_faces": (over_faces, "not probabilities"),
    "foreign": (foreign, "uses the operation elsewhere:Own"),
    "unknown_operation": (unknown_operation, "uses the operation Guess"),
    "second_input": (second_input, "does not map uint8 faces"),
    "third_output": (third_output, "does not map uint8 faces"),
    "doubles": (doubles, "does not map uint8 faces"),
    "flat_output": (flat_output, "does not map uint8 faces"),
    "one_at_a_time": (one_at_a_time, r"takes faces \(1, 48, 48\), but its metadata say"),
    "other_size": (other_size, "64"),
    "six_of_seven": (six_of_seven, "names 7 labels but gives 6"),
    "first_only": (first_only, "not probabilities"),
}


def crafted(model, change):
    content = onnx.load(model)
    change(content.graph)
    content.opset_import.append(helper.make_opsetid("elsewhere", 1))
    model.write_bytes(content.SerializeToString())
    return model


@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_graph_gets_a_sentence_and_no_other_output(name, model, capfd, monkeypatch):
    change, says = CRAFTED[name]
    crafted(model, change)
    if name not in ("huge", "expanded", "nan", "foreign"):
        monkeypatch.setattr(sys, "frozen", True, raising=False)
    (model.parent / "weights.bin").write_bytes(np.linspace(0, 1, 7, dtype=np.float32).tobytes())
    Image.new("L", (48, 48)).save(model.parent / "face.png")
    monkeypatch.chdir(model.parent)
    assert main(["predict", "face.png", "--faces", "--model", "model.onnx", "--format", "json"]) == 2
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.startswith("mien: 'model.onnx' ")
    assert said.err.count("\n") == 1
    assert re.search(says, said.err)


@pytest.mark.parametrize("change", [loop, endless])
def test_a_graph_that_does_not_end_is_stopped(change, model, monkeypatch, capfd):
    crafted(model, change)
    monkeypatch.setattr(module._LIMITS, "seconds", 2)
    with pytest.raises(MienError, match="takes more than 2 seconds for a few faces"):
        Classifier(model)
    assert capfd.readouterr() == ("", "")


def test_a_short_loop_is_no_reason_to_refuse(model):
    assert Classifier(crafted(model, lambda graph: loop(graph, 10))).predict_proba(np.zeros((1, 48, 48), np.uint8)).shape == (
        1,
        7,
    )


def test_a_file_that_is_no_model_says_what_it_is(tmp_path, model):
    text = onnx.printer.to_text(onnx.load(model)).encode()
    contents = {
        b"": "is empty",
        b"<!DOCTYPE html>\n<html><body>Not found</body></html>": "a web page",
        b"\n <html>": "a web page",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n": "git lfs pull",
        b"PK\x03\x04" + bytes(500): "PyTorch",
        text: "text, not an ONNX model",
        model.read_bytes()[:400]: "damaged",
        bytes(5000): "damaged",
        b"\xff" * 5000: "damaged",
    }
    for number, (content, says) in enumerate(contents.items()):
        path = tmp_path / f"{number}.onnx"
        path.write_bytes(content)
        with pytest.raises(MienError, match=says):
            Classifier(path)
    with (tmp_path / "large.onnx").open("wb") as file:
        file.truncate(3 * 10**9)
    with pytest.raises(MienError, match=r"has 3\.0 GB, more than a model file can have"):
        Classifier(tmp_path / "large.onnx")
    (tmp_path / "folder.onnx").mkdir()
    for name in ("folder.onnx", "gone.onnx", os.devnull):
        with pytest.raises(MienError, match="There is no"):
            Classifier(tmp_path / name)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("size", "0", "size is '0'"),
        ("size", "-48", "size"),
        ("size", "48.5", "size"),
        ("size", "true", "size"),
        ("size", "100000000", "size"),
        ("size", "9" * 5000, "size"),
        ("size", "64", "but its metadata say"),
        ("channels", "2", "channels"),
        ("channels", "4", "channels"),
        ("parameters", "-1", "parameters"),
        ("parameters", "many", "parameters"),
        ("temperature", "NaN", "temperature"),
        ("temperature", "0", "temperature"),
        ("temperature", "-1", "temperature"),
        ("temperature", "1e999", "temperature"),
        ("temperature", '"1"', "temperature"),
        ("multiply_adds", "1.5", "multiply_adds"),
        ("labels", '"abcdefg"', "labels"),
        ("labels", '{"a": 1, "b": 2}', "labels"),
        ("labels", "[1, 2, 3, 4, 5, 6, 7]", "text"),
        ("labels", '["a", "b", "c", "d", "e", "f", ""]', "empty"),
        ("labels", '["a", "b", "c", "d", "e", "f", "f"]', "Duplicate"),
        ("labels", "[" * 100_000, "labels"),
        ("labels", json.dumps(["x" * 100_000, *"abcdef"]), "labels"),
        ("heads", '{"label": 1}', "heads"),
        ("heads", "3", "heads"),
        ("prior", "[1]", "prior"),
        ("prior", '{"label": 3}', "damaged"),
        ("prior", '{"label": {"angry": 1}}', "no share"),
        (
            "prior",
            '{"label": {"angry": NaN, "disgust": 1, "fear": 1, "happy": 1, "sad": 1, "surprise": 1, "neutral": 1}}',
            "damaged",
        ),
        ("prior", '{"crowd": {}}', "damaged"),
        ("prior", json.dumps({"label": dict.fromkeys(FER2013.names, 1e308)}), "numbers of 0 or more"),
        ("prior", json.dumps({"label": dict.fromkeys(FER2013.names, 10**400)}), "numbers of 0 or more"),
        ("prior", json.dumps({"label": dict.fromkeys(FER2013.names, 0)}), "numbers of 0 or more"),
        ("data", "[]", "data"),
        ("data", "{", "data"),
        ("recipe", "network: [", "recipe"),
        ("recipe", "just text", "recipe"),
        ("recipe", "merge: 5", "recipe"),
        ("recipe", "keep: happy", "recipe"),
        ("recipe", "[" * 5000, "recipe"),
        ("train_rows", "nonsense", "train_rows"),
        ("train_rows", '["signatures"]', "train_rows"),
    ],
)
def test_metadata_that_do_not_fit_are_damaged(key, value, says, make_model, in_process):
    with pytest.raises(MienError, match=says) as caught:
        Classifier(
            make_model(**{f"{key}": value}) if key not in ("labels", "size", "channels") else renamed(make_model(), key, value)
        )
    assert len(str(caught.value)) < 500


def renamed(path, key, value):
    content = onnx.load(path)
    text = {entry.key: entry.value for entry in content.metadata_props} | {f"mien.{key}": value}
    onnx.helper.set_model_props(content, text)
    onnx.save(content, path)
    return path


@pytest.mark.parametrize(
    ("old", "new"), [(b"mien.recipe", b"mien.\xff\xfecipe"), (b"happy", b"hap\xff\xfe"), (b"faces", b"fa\xff\xfes")]
)
def test_text_that_is_not_utf8_is_a_damage(old, new, model, in_process):
    content = model.read_bytes()
    assert len(old) == len(new)
    assert old in content
    model.write_bytes(content.replace(old, new))
    with pytest.raises(MienError, match=r"damaged|does not map|cannot be used"):
        Classifier(model)


def test_every_byte_of_a_model_may_be_wrong(model):
    """Mutated models open and give probabilities, or get a sentence."""
    random, whole = np.random.default_rng(0), np.frombuffer(model.read_bytes(), np.uint8)
    for _ in range(8):
        content = whole.copy()
        content[random.integers(len(content), size=3)] = random.integers(256, size=3)
        model.write_bytes(content.tobytes())
        with suppress(MienError):
            answer = Classifier(model).predict_proba(np.zeros((2, 48, 48), np.uint8))
            np.testing.assert_allclose(answer.sum(axis=1), 1, atol=1e-3)


def test_a_file_is_checked_once_for_its_content(model, cache, monkeypatch):
    started = []
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *words, **options: started.append(1) or run(*words, **options))
    Classifier(model)
    Classifier(model)
    assert len(started) == 1
    monkeypatch.setattr(module, "_passed", set())
    Classifier(model)
    assert len(started) == 1, "the cache folder remembers it"
    renamed(model, "recipe", "epochs: 3")
    Classifier(model)
    assert len(started) == 2
    for name in embedded_models():
        Classifier(name)
    YuNet()
    assert len(started) == 2, "files of mien's own are known"
    assert [path.stat().st_size for path in (cache / "models").iterdir()] == [0, 0]


def test_without_a_cache_folder_models_open_all_the_same(model, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "file" / "cache"))
    assert Classifier(model).size == 48


def test_in_a_program_without_python_the_check_runs_in_its_own_process(model, monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(subprocess, "run", None)
    assert Classifier(model).size == 48
    with pytest.raises(MienError, match="not probabilities"):
        Classifier(crafted(model, constant_answer(*[0] * 7)))


def test_a_detector_is_checked_too(model, tmp_path, monkeypatch):
    monkeypatch.setattr(module._LIMITS, "seconds", 3)
    with pytest.raises(MienError, match=r"is not a YuNet model; leave out --detector"):
        YuNet(model)
    (tmp_path / "copy.onnx").write_bytes(YUNET.read_bytes())
    photo = draw_photo(["happy"], seed=1)[0]
    assert len(YuNet(tmp_path / "copy.onnx").detect(photo)) == 1
    content = onnx.load(YUNET)
    external("/etc/passwd")(onnx.GraphProto(initializer=[constant("centres", 0)]))
    array = content.graph.initializer[0]
    array.ClearField("raw_data")
    array.data_location = TensorProto.EXTERNAL
    entry = array.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    (tmp_path / "copy.onnx").write_bytes(content.SerializeToString())
    with pytest.raises(MienError, match="keeps weights in other files"):
        YuNet(tmp_path / "copy.onnx")


def test_every_verb_refuses_a_crafted_model(model, tmp_path, capsys, faces):
    crafted(model, constant_answer(*[np.nan] * 7))
    Image.new("L", (48, 48)).save(tmp_path / "face.png")
    out, data = str(tmp_path / "out"), ("--data", str(faces))
    for words in (
        ["predict", str(tmp_path / "face.png"), "--model", str(model)],
        ["explain", str(tmp_path / "face.png"), "--model", str(model), "--out", f"{out}.png"],
        ["evaluate", str(model), *data, "--out", out],
        ["quantize", str(model), *data, "--out", f"{out}.onnx"],
        ["train", "fine-tune", *data, "--recipe.weights", str(model), "--out", out],
    ):
        assert main(words) == 2
        assert "not probabilities" in capsys.readouterr().err
    assert not list(tmp_path.glob("out*"))
