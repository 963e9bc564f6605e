import json
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest

import mien
from mien.cli import main
from mien.training.networks import FaceNetwork, build_network
from mien.training.recipe import Recipe, Votes
from mien.training.run_folder import export, quantize


def complaint(capsys, *words: object) -> str:
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    return capsys.readouterr().err


@pytest.fixture(scope="module")
def small(run, faces, tmp_path_factory):
    """The run's model in int8."""
    out = tmp_path_factory.mktemp("int8") / "new folder" / "small.onnx"
    assert main(["quantize", str(run), "--data", str(faces), "--out", str(out), "--faces", "16"]) == 0
    return out


def test_an_int8_model_answers_nearly_as_the_one_it_was_made_from(run, small, faces):
    rows = mien.read_faces(faces).split("validation")
    before, after = mien.Classifier(run), mien.Classifier(small)
    assert small.stat().st_size < 0.4 * (run / "model.onnx").stat().st_size
    assert np.abs(before.predict_proba(rows.images) - after.predict_proba(rows.images)).max() < 0.05
    assert {node.op_type for node in onnx.load(small).graph.node} >= {"QuantizeLinear", "DequantizeLinear"}


def test_it_says_of_itself_what_the_original_says_and_that_it_is_int8(run, small):
    before, after = mien.Classifier(run).metadata, mien.Classifier(small).metadata
    assert after == {**before, "mien.quantized": "int8"}
    assert json.loads(after["mien.labels"]) == list(mien.FER2013)


def test_both_are_measured_on_the_validation_rows(run, faces, tmp_path, capsys):
    made = mien.quantize(run, faces, tmp_path / "small.onnx", faces=16, quiet=True)
    rows = mien.read_faces(faces).split("validation")
    counts = [
        int((mien.Classifier(each).predict_proba(rows.images).argmax(1) == rows.classes).sum()) for each in (run, made.out)
    ]
    assert [each.count for each in made.accuracies] == counts
    assert made.paired.rows == made.accuracies[0].of == len(rows) == 14
    assert made.paired.difference == pytest.approx((counts[1] - counts[0]) / 14)
    text = made.table()
    assert "14 faces, validation split" in text
    assert f"{made.sizes[1] / 1e6:.2f} MB" in text
    assert made.speed > 0
    assert "groups" not in text
    faces = mien.read_faces(faces)
    faces = replace(faces, groups=[f"p{row % 5}" for row in range(len(faces))])
    grouped = mien.quantize(run, faces, tmp_path / "again.onnx", faces=16, quiet=True)
    assert grouped.paired.groups == 5
    assert f"over 5 groups   {100 * grouped.paired.difference:+.2f} points (" in grouped.table()


def test_a_model_with_two_heads_keeps_both(run, faces, tmp_path):
    rows = mien.read_faces(faces).split("validation")
    network = build_network(Recipe(network="compact_resnet"), 14).eval()
    metadata = mien.Classifier(run).metadata
    prior = json.loads(metadata["mien.prior"])["label"]
    metadata |= {
        "mien.format": "2",
        "mien.heads": '["label", "crowd"]',
        "mien.prior": json.dumps({"label": prior, "crowd": prior}),
        "mien.crowd_temperature": "1.0",
    }
    export(
        FaceNetwork(Recipe(std=0.25, votes=Votes(head=1)), network), [1.0, 1.0], rows.images, metadata, tmp_path / "two.onnx"
    )
    made = mien.quantize(tmp_path / "two.onnx", faces, tmp_path / "small.onnx", faces=16, quiet=True)
    for head in ("label", "crowd"):
        before, after = (
            mien.Classifier(each, head=head).predict_proba(rows.images) for each in (tmp_path / "two.onnx", made.out)
        )
        assert np.abs(before - after).max() < 0.05


def test_an_int8_model_is_not_made_int8_again(small, faces, tmp_path, capsys):
    assert "is in int8 already" in complaint(capsys, "quantize", small, "--data", faces, "--out", tmp_path / "again.onnx")
    assert not (tmp_path / "again.onnx").exists()


def test_the_model_itself_is_not_overwritten(run, faces, tmp_path, capsys):
    model = shutil.copy(run / "model.onnx", tmp_path / "model.onnx")
    content = model.read_bytes()
    assert "is the model itself" in complaint(capsys, "quantize", model, "--data", faces, "--out", model)
    assert model.read_bytes() == content
    assert "at least 1, not 0" in complaint(capsys, "quantize", model, "--data", faces, "--out", "x.onnx", "--faces", "0")


@pytest.mark.parametrize("count", [1, 63, 100])
def test_any_number_of_faces_will_do_to_learn_the_ranges(run, faces, tmp_path, count):
    rows = mien.read_faces(faces).images
    many = np.concatenate([rows] * (count // len(rows) + 1))[:count]
    quantize(run / "model.onnx", many, mien.Classifier(run).metadata, tmp_path / "small.onnx")
    before, after = mien.Classifier(run), mien.Classifier(tmp_path / "small.onnx")
    assert np.abs(before.predict_proba(rows) - after.predict_proba(rows)).max() < 0.1


def test_labels_of_the_data_are_renamed_as_for_evaluate(run, faces, tmp_path):
    data = mien.read_faces(faces)
    others = replace(data, labels=mien.LabelSet(tuple("glad" if name == "happy" else name for name in data.labels)))
    with pytest.raises(mien.MienError, match="--labels"):
        mien.quantize(run, others, tmp_path / "small.onnx", faces=16, quiet=True)
    made = mien.quantize(run, others, tmp_path / "small.onnx", faces=16, labels={"happy": ["glad"]}, quiet=True)
    same = mien.quantize(run, data, tmp_path / "same.onnx", faces=16, quiet=True)
    assert made.accuracies == same.accuracies
