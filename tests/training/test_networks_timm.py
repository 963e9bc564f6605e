"""On timm's own test networks, which are tiny; skipped where timm is not installed."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mien.cli import main
from mien.errors import MienError
from mien.inference.classifier import Classifier
from mien.labels import LabelSet
from mien.training.networks import build_network, fetch_from_hub, head_of, timm_backbone
from mien.training.recipe import Recipe
from mien.training.transfer import load_weights, starting_network

timm = pytest.importorskip("timm", reason="timm is not installed", exc_type=ImportError)
hub = pytest.importorskip("huggingface_hub", exc_type=ImportError)

NAME = "test_resnet.r160_in1k"
SEVEN = LabelSet("abcdefg")


@pytest.fixture
def pretrained(tmp_path) -> Path:
    """Weights as the hub holds them: for colour, with a head of 1,000 classes."""
    torch.manual_seed(1)
    save_file(timm.create_model(NAME).state_dict(), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@pytest.fixture
def hub_cache(pretrained, tmp_path, monkeypatch) -> Path:
    """The hub's cache, with these weights in it."""
    cache = tmp_path / "hub"
    repository = cache / f"models--timm--{NAME}"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    pretrained.rename(snapshot / "model.safetensors")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(cache))
    return snapshot / "model.safetensors"


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_vit", NAME])
@pytest.mark.parametrize("channels", [1, 3])
def test_timms_networks_are_built_for_our_faces(name, channels):
    options = {"img_size": 96} if "vit" in name else {}
    network = build_network(Recipe(network=f"timm:{name}", channels=channels, size=96, dropout=0.1, network_options=options), 5)
    assert network(torch.rand(2, channels, 96, 96)).shape == (2, 5)
    assert head_of(network).out_features == 5


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("test_resnett", {}, "no network 'test_resnett'; did you mean test_resnet"),
        ("test_resnet.nosuch", {}, r"no weights 'nosuch' for test_resnet; it has r160_in1k"),
        ("test_resnet", {"pad_tipe": "same"}, "cannot build test_resnet .*pad_tipe"),
        (
            "vit_tiny_patch16_224",
            {},
            r"vit_tiny_patch16_224 does not take faces of 48 pixels .*224.*recipe.enlarge_to.*'{\"img_size\": 48}'",
        ),
    ],
)
def test_a_name_or_option_that_timm_does_not_know_is_answered(name, options, sentence):
    with pytest.raises(MienError, match=sentence):
        build_network(Recipe(network=f"timm:{name}", network_options=options), 5)


def test_faces_that_grow_want_a_network_that_takes_any_size():
    fixed = Recipe(network="timm:vit_tiny_patch16_224", network_options={"img_size": 48}, crop_from=36)
    with pytest.raises(MienError, match="takes faces of one size, which cannot grow from 36 pixels"):
        starting_network(fixed, SEVEN)


def test_a_file_from_the_hub_gives_the_same_network_offline(pretrained):
    by_mien = build_network(Recipe(network=f"timm:{NAME}"), 7).eval()
    load_weights(by_mien, pretrained)
    by_timm = timm_backbone(Recipe(network=f"timm:{NAME}"), 7, pretrained).eval()
    for network in (by_mien, by_timm):
        network.reset_classifier(0)
    faces = torch.rand(4, 1, 96, 96)
    with torch.inference_mode():
        torch.testing.assert_close(by_mien(faces), by_timm(faces))


@pytest.mark.parametrize("name", ["mobilenetv2_035", "test_resnet", "test_vit"])
def test_a_fresh_head_starts_unsure(name):
    torch.manual_seed(0)
    network = build_network(
        Recipe(network=f"timm:{name}", size=160, network_options={"img_size": 160} if "vit" in name else {}), 7
    )
    features = network.forward_head(network.forward_features(torch.rand(8, 1, 160, 160)), pre_logits=True)
    assert head_of(network)(features / features.norm(dim=1, keepdim=True) * 35).std() < 1


def test_a_network_with_two_heads_of_its_own_is_built_too():
    network = build_network(Recipe(network="timm:levit_128s", channels=3, size=224), 7)
    assert isinstance(
        head_of(build_network(Recipe(network="timm:deit_tiny_distilled_patch16_224", channels=3, size=224), 7)),
        torch.nn.ModuleList,
    )
    assert network(torch.rand(2, 3, 224, 224)).shape == (2, 7)


def test_weights_in_the_hubs_cache_need_no_network(hub_cache, monkeypatch):
    def unreachable(*_, **__):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(hub, "get_hf_file_metadata", unreachable)
    assert fetch_from_hub(NAME).samefile(hub_cache)
    network = starting_network(Recipe(network=f"timm:{NAME}", weights="hub"), SEVEN)
    wanted = timm.create_model(
        NAME, pretrained=True, pretrained_cfg_overlay={"file": str(hub_cache)}, num_classes=7, in_chans=1
    )
    same = {key: torch.equal(value, wanted.state_dict()[key]) for key, value in network.state_dict().items()}
    assert {key for key, equal in same.items() if not equal} <= {"fc.weight", "fc.bias"}


def test_without_a_network_the_sentence_names_the_way_that_needs_none(tmp_path, monkeypatch, faces, capsys):
    def unreachable(*_, **__):
        raise OSError("Name or service not known")

    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr(hub, "get_hf_file_metadata", unreachable)
    words = ["--recipe.network", f"timm:{NAME}", "--out", str(tmp_path / "run")]
    assert main(["train", "resnet50-transfer", "--data", str(faces), *words]) == 2
    assert "--recipe.weights FILE" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_hub_weights_are_refused_for_our_own_networks():
    with pytest.raises(MienError, match="for timm's networks, not for six_conv"):
        Recipe(network="six_conv", weights="hub")


@pytest.mark.slow
def test_a_transfer_runs_from_weights_to_a_model_file_that_predicts(pretrained, faces, tmp_path, quick):
    words = ["--recipe.network", f"timm:{NAME}", "--recipe.weights", str(pretrained), "--recipe.enlarge_to", "64"]
    words += ["--recipe.network_options", '{"drop_path_rate": 0.1}', "--recipe.head_epochs", "1", *quick[2:]]
    words += ["--recipe.epochs", "2"]
    assert main(["train", "resnet50-transfer", "--data", str(faces), "--out", str(tmp_path / "run"), *words]) == 0
    model = Classifier(tmp_path / "run")
    assert (model.size, model.channels) == (48, 1), "faces are enlarged inside the model"
    probabilities = model.predict_proba(np.random.default_rng(0).integers(0, 256, (3, 48, 48), dtype=np.uint8))
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)


def test_the_recipe_of_the_issue_shows_its_layers(capsys):
    assert main(["recipes", "resnet50-transfer"]) == 0
    assert "Conv2d conv1" in capsys.readouterr().out
