import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from mien.errors import MienError
from mien.training import run_folder
from mien.training.networks import NETWORKS, FaceNetwork, build_network
from mien.training.recipe import Recipe, Votes
from mien.training.run_folder import export

METADATA = {"mien.format": "1", "mien.labels": json.dumps(list("abcd")), "mien.version": "0"}


def trained(name: str, channels: int = 1) -> FaceNetwork:
    """A network whose BatchNorms have seen something."""
    torch.manual_seed(0)
    recipe = Recipe(network=name, channels=channels, dropout=0.3, std=0.25)
    model = FaceNetwork(recipe, build_network(recipe, 4))
    model.train()
    shape = (32, 48, 48) if channels == 1 else (32, 48, 48, 3)
    for _ in range(3):
        model(torch.randint(0, 256, shape, dtype=torch.uint8))
    return model.eval()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "channels"), [*((name, 1) for name in NETWORKS), ("compact_resnet", 3)])
def test_the_model_file_answers_as_pytorch_does_for_any_number_of_faces(tmp_path, name, channels):
    model, shape = trained(name, channels), (48, 48) if channels == 1 else (48, 48, 3)
    sample = np.random.default_rng(0).integers(0, 256, (40, *shape), dtype=np.uint8)
    difference = export(model, [1.7], sample, METADATA, tmp_path / "model.onnx")
    assert difference <= 1e-4
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for count in (1, 3, 40):
        with torch.inference_mode():
            expected = torch.softmax(model(torch.from_numpy(sample[:count]))[:, 0] / 1.7, 1).numpy()
        found = session.run(["probabilities"], {"faces": sample[:count]})[0]
        assert found.shape == (count, 4)
        np.testing.assert_allclose(found, expected, atol=1e-4)
        np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)


def test_a_file_of_two_heads_answers_by_each_with_its_own_temperature_and_sees_the_middle(tmp_path):
    torch.manual_seed(0)
    network = build_network(Recipe(network="compact_resnet", size=40), 8).eval()
    model = FaceNetwork(Recipe(std=0.25, votes=Votes(head=1), crop=40, enlarge_to=44), network)
    sample = np.random.default_rng(0).integers(0, 256, (6, 48, 48), dtype=np.uint8)
    export(model, [1.5, 0.8], sample, METADATA, tmp_path / "model.onnx")
    middle = torch.from_numpy(sample[:, 4:44, 4:44]).unsqueeze(1).float() / 255
    with torch.inference_mode():
        seen = torch.nn.functional.interpolate((middle - 0.5) / 0.25, (44, 44), mode="bilinear", align_corners=False)
        logits = network(seen)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    label, crowd = session.run(["probabilities", "crowd_probabilities"], {"faces": sample})
    np.testing.assert_allclose(label, torch.softmax(logits[:, :4] / 1.5, 1), atol=1e-4)
    np.testing.assert_allclose(crowd, torch.softmax(logits[:, 4:] / 0.8, 1), atol=1e-4)


def test_the_model_file_says_what_it_is_and_nothing_of_the_machine(tmp_path):
    export(trained("compact_resnet"), [1.0], np.zeros((2, 48, 48), np.uint8), METADATA, tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    assert {p.key: p.value for p in model.metadata_props} == METADATA
    assert model.graph.input[0].name == "faces"
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    content = (tmp_path / "model.onnx").read_bytes()
    assert b".py" not in content
    assert b"site-packages" not in content


def test_a_file_that_would_answer_otherwise_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "LARGEST_DIFFERENCE", -1.0)
    with pytest.raises(MienError, match="no file was written"):
        export(trained("compact_resnet"), [1.0], np.zeros((2, 48, 48), np.uint8), METADATA, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
