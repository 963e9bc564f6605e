import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from mien.cli import main
from mien.errors import MienError
from mien.inference.classifier import MODELS, Classifier
from mien.labels import FER2013, LabelSet
from mien.training.batches import DeviceFaces
from mien.training.loop import train
from mien.training.networks import NETWORKS, FaceNetwork, build_network, head_of
from mien.training.recipe import Recipe, Votes, load_recipe
from mien.training.run_folder import export
from mien.training.task import ClassificationTask, spread_batch_norm
from mien.training.transfer import load_weights, read_model_weights, start_of, starting_network
from mien.verbs import read_faces


def worn(network: nn.Module) -> nn.Module:
    """Give BatchNorm layers the uneven statistics and weights that training leaves."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            for values, low, high in ((module.running_var, 0.2, 3), (module.weight.data, 0.3, 2)):
                values.copy_(torch.rand(values.shape, generator=generator) * (high - low) + low)
            for values in (module.running_mean, module.bias.data):
                values.copy_(torch.randn(values.shape, generator=generator) * 0.3)
    return network.eval()


def as_trained(model: FaceNetwork, faces: torch.Tensor) -> torch.Tensor:
    """Answer as in training, but for dropout."""
    model.eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train()
            module.momentum = 0.0
    with torch.no_grad():
        return model(faces)[:, 0].softmax(1)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_out_of_its_model_file_answers_the_same(name, drawn, tmp_path):
    recipe = Recipe(network=name, std=0.25)
    one, other = (FaceNetwork(recipe, build_network(recipe, 7)).eval() for _ in range(2))
    worn(one.network)
    faces = torch.from_numpy(np.array(drawn.images[:20]))
    export(one, [1.0], drawn.images[:20], {}, tmp_path / "model.onnx")
    assert load_weights(other.network, tmp_path / "model.onnx")
    with torch.no_grad():
        assert torch.allclose(one(faces), other.eval()(faces), atol=1e-4)


def test_in_training_it_answers_nearly_so_too_once_the_spread_is_measured(drawn):
    recipe = load_recipe("fine-tune")
    model = FaceNetwork(recipe, starting_network(recipe, FER2013))
    faces = torch.from_numpy(np.array(drawn.images))
    model.eval()
    with torch.no_grad():
        before = model(faces)[:, 0].softmax(1)
    folded = (as_trained(model, faces) - before).abs().mean()
    spread_batch_norm(model, DeviceFaces(drawn, torch.device("cpu")))
    with torch.no_grad():
        assert torch.allclose(model(faces)[:, 0].softmax(1), before, atol=1e-5)
    assert (as_trained(model, faces) - before).abs().mean() < 0.1 * folded


def test_the_embedded_model_gives_the_weights_of_the_head_that_is_wanted(drawn):
    recipe = replace(load_recipe("fine-tune"), votes=Votes(head=0.5))
    both = starting_network(recipe, FER2013)
    label = starting_network(replace(recipe, votes=Votes()), FER2013)
    assert torch.equal(head_of(both).weight[:7], head_of(label).weight)
    model = FaceNetwork(recipe, both).eval()
    for number, head in enumerate(("label", "crowd")):
        classifier = Classifier("mien-s", head=head, prior="training")
        key = "mien.temperature" if head == "label" else "mien.crowd_temperature"
        with torch.no_grad():
            logits = model(torch.from_numpy(np.array(drawn.images)))[:, number] / float(classifier.metadata[key])
        assert np.abs(logits.softmax(1).numpy() - classifier.predict_proba(drawn.images)).max() < 1e-5


def test_for_other_labels_its_head_starts_afresh(drawn, capsys):
    starting_network(load_recipe("fine-tune"), LabelSet(("awake", "asleep")))
    assert "the head starts with random weights: the labels of mien-s are angry" in capsys.readouterr().err


def test_in_its_head_epochs_the_backbone_stays_that_of_the_embedded_model(faces, tmp_path, capsys):
    words = ["train", "fine-tune", "--data", str(faces), "--out", str(tmp_path / "run"), "--threads", "1"]
    assert main([*words, "--recipe.epochs", "1"]) == 0  # of which the recipe has two
    out, err = capsys.readouterr()
    assert "fewer than 20 validation rows of angry (2), disgust (2)" in err
    assert "no basis to choose an epoch" not in err  # the recipe takes the last one

    record = json.loads((tmp_path / "run" / "report" / "metrics.json").read_text())
    before, after = record["before_training"], record["all_rows"]["accuracy"]
    validation = read_faces(faces).split("validation")
    start = Classifier("mien-s", head="label").predict_proba(validation.images).argmax(1) == validation.classes
    assert (before["model"], before["accuracy"]["count"], before["accuracy"]["of"]) == ("mien-s", start.sum(), 14)
    assert before["test"]["difference"] == pytest.approx(after["value"] - before["accuracy"]["value"])
    first, last = out.strip().splitlines()[-2:]
    assert first.startswith(f"before training, mien-s on the same 14 faces: accuracy {start.mean():.1%}   95% interval ")
    assert last.startswith(
        f"after it: accuracy {after['value']:.1%}   95% interval {after['low']:.1%} to {after['high']:.1%}; "
    )
    assert "Before and after training" in (tmp_path / "run" / "report" / "index.html").read_text()

    trained = load_file(tmp_path / "run" / "weights.safetensors")
    recipe = load_recipe("fine-tune")
    held = read_model_weights(MODELS / "mien-s.onnx", build_network(recipe, 7))
    of_convolutions = [name for name, value in held.items() if value.ndim == 4]
    assert len(of_convolutions) == 20
    for name in of_convolutions:
        assert torch.equal(trained[f"network.{name}"], held[name]), name


def test_the_model_that_training_started_from_is_measured_with_its_labels():
    trained, recipe = Classifier("mien-s", head="label"), load_recipe("fine-tune")
    assert start_of(recipe, trained).labels == FER2013
    fewer = trained.with_labels({"fear": None})
    assert start_of(recipe, fewer).labels == fewer.labels
    merge = {"negative": ["angry", "sad"], "disgust": None, "Unknown": None}
    merged = trained.with_labels({"negative": ["angry", "sad"], "disgust": None})
    assert start_of(replace(recipe, merge=merge), merged).labels == merged.labels
    assert start_of(recipe, trained.with_labels({"fear": "bored"})) is None  # it does not know this label
    assert start_of(replace(recipe, weights=None), trained) is None
    assert start_of(replace(recipe, weights="nowhere.onnx"), trained) is None


@pytest.mark.slow
def test_a_fine_tuning_that_was_stopped_goes_on_to_the_same_weights(drawn, tmp_path):
    recipe = replace(load_recipe("fine-tune"), epochs=3, head_epochs=1, weights_share=0.5)
    train(recipe, drawn, tmp_path / "whole", threads=1, quiet=True)

    start_epoch = ClassificationTask.start_epoch

    def stop(self, epoch):
        if epoch == 1:
            raise KeyboardInterrupt
        return start_epoch(self, epoch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClassificationTask, "start_epoch", stop)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, drawn, tmp_path / "broken", threads=1, quiet=True)
    assert not (tmp_path / "broken" / "model.onnx").exists()
    train(recipe, drawn, tmp_path / "broken", resume=True, threads=1, quiet=True)
    one, other = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "broken"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        ("mien-s-int8", "is in int8, which cannot be trained further"),
        ("nowhere.onnx", "no model file 'nowhere.onnx'"),
        ("mien-t", "There is no run folder and no file 'mien-t'"),
    ],
)
def test_a_model_that_gives_no_weights_is_told(weights, sentence):
    with pytest.raises(MienError, match=sentence):
        starting_network(replace(load_recipe("fine-tune"), weights=weights), FER2013)


def test_a_model_is_for_its_own_network(drawn):
    with pytest.raises(MienError, match="mien-s was trained with network_options"):
        starting_network(replace(load_recipe("few-faces"), weights="mien-s"), FER2013)


@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [(None, "does not contain its recipe"), ("network: timm:resnet18", "use the run folder of")],
)
def test_a_model_without_a_recipe_or_of_timm_gives_no_weights(run, tmp_path, recipe, sentence):
    model = onnx.load(run / "model.onnx")
    kept = {each.key: each.value for each in model.metadata_props if each.key != "mien.recipe"}
    onnx.helper.set_model_props(model, kept | ({"mien.recipe": recipe} if recipe else {}))
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(MienError, match=sentence):
        starting_network(replace(load_recipe("fine-tune"), weights=str(tmp_path / "model.onnx")), FER2013)


def test_what_a_file_does_not_hold_is_missing(run):
    assert "head.weight" not in read_model_weights(run / "model.onnx", build_network(Recipe(network="wide_cnn"), 7))
