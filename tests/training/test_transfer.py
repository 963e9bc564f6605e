from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mien.cli import main
from mien.errors import MienError
from mien.labels import LabelSet
from mien.training.loop import train
from mien.training.networks import NETWORKS, build_network, head_of
from mien.training.recipe import Recipe, Votes, load_recipe
from mien.training.transfer import TrainedRun, head_only, load_weights, starting_network


@dataclass(frozen=True)
class First:
    recipe: Recipe
    folder: Path


@pytest.fixture(scope="module")
def first(drawn, tmp_path_factory):
    folder = tmp_path_factory.mktemp("first") / "run"
    train(replace(load_recipe("mien-s"), epochs=1, batch_size=16), drawn, folder, threads=1, quiet=True)
    run = TrainedRun.open(folder, "run")
    assert (run.labels, run.weights) == (drawn.labels, folder / "weights.safetensors")
    return First(run.recipe, folder)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_head_is_the_last_dense_layer(name):
    head = head_of(build_network(Recipe(network=name), 5))
    assert isinstance(head, torch.nn.Linear)
    assert head.out_features == 5


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_of_the_same_network_are_taken_and_a_head_of_another_size_is_not(name, tmp_path):
    old, new = build_network(Recipe(network=name), 5), build_network(Recipe(network=name), 7)
    save_file(old.state_dict(), tmp_path / "weights.safetensors")
    fresh = head_of(new).weight.clone()
    load_weights(new, tmp_path / "weights.safetensors")
    assert torch.equal(head_of(new).weight, fresh)
    for (key, loaded), given in zip(new.state_dict().items(), old.state_dict().values(), strict=True):
        assert torch.equal(loaded, given) or loaded.shape[0] == 7, key


def test_a_head_of_the_same_size_is_taken_too_and_half_precision_becomes_single(tmp_path):
    old, new = build_network(Recipe(network="compact_resnet"), 3), build_network(Recipe(network="compact_resnet"), 3)
    save_file({key: value.half() for key, value in old.state_dict().items()}, tmp_path / "half.safetensors")
    load_weights(new, tmp_path / "half.safetensors")
    assert torch.equal(head_of(new).weight, head_of(old).weight.half().float())


@pytest.mark.parametrize(("given", "wanted"), [(3, 1), (1, 3)])
def test_weights_for_colour_and_for_gray_answer_alike_about_gray_faces(given, wanted, tmp_path):
    old = build_network(Recipe(network="compact_resnet", channels=given), 4).eval()
    new = build_network(Recipe(network="compact_resnet", channels=wanted), 4).eval()
    save_file(old.state_dict(), tmp_path / "weights.safetensors")
    load_weights(new, tmp_path / "weights.safetensors")
    gray = torch.rand(5, 1, 48, 48)
    with torch.inference_mode():
        torch.testing.assert_close(new(gray.expand(-1, wanted, -1, -1)), old(gray.expand(-1, given, -1, -1)))


def test_weights_of_another_shape_are_refused_by_the_names_of_their_layers(tmp_path):
    state = build_network(Recipe(network="six_conv"), 7).state_dict()
    cut, _, missing = list(state)[:3]
    state[cut] = state[cut][:8].contiguous()
    del state[missing]
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(MienError, match=rf"{cut} is \(8, 1, 3, 3\), not \(16, 1, 3, 3\), {missing} is missing"):
        load_weights(build_network(Recipe(network="six_conv"), 7), tmp_path / "other.safetensors")


def test_files_that_are_no_weights_are_refused(tmp_path):
    network = build_network(Recipe(network="compact_resnet"), 7)
    (tmp_path / "model.pth").write_bytes(b"anything")
    (tmp_path / "broken.safetensors").write_bytes(b"\x40\0\0\0\0\0\0\0not json")
    for name, sentence in {
        "model.pth": "must be a .safetensors file",
        "nowhere.safetensors": "There is no run folder and no file",
        "broken.safetensors": "is the file whole",
    }.items():
        with pytest.raises(MienError, match=sentence):
            load_weights(network, tmp_path / name)


def test_while_the_head_learns_alone_nothing_else_changes():
    network = build_network(Recipe(network="compact_resnet"), 4)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    for alone in (True, False):
        head_only(network, alone)
        optimizer = torch.optim.SGD(network.parameters(), 0.1)
        optimizer.zero_grad()
        network(torch.rand(8, 1, 48, 48)).square().sum().backward()
        optimizer.step()
        changed = {key for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
        head = {key for key in before if before[key].shape[:1] == (4,)}
        assert changed == (head if alone else set(before))


def test_a_run_with_a_head_epoch_keeps_the_backbone_it_started_from(drawn, recipe, tmp_path):
    started = build_network(Recipe(network="compact_resnet", network_options=recipe.network_options), 9)
    save_file(started.state_dict(), tmp_path / "start.safetensors")
    told = replace(recipe, weights=str(tmp_path / "start.safetensors"), ema=0, epochs=1, head_epochs=1)
    assert told.precise_batch_norm
    train(told, drawn, tmp_path / "run", threads=1, quiet=True)
    trained = load_file(tmp_path / "run" / "weights.safetensors")
    backbone = {key: value for key, value in started.state_dict().items() if value.shape[:1] != (9,)}
    assert "1.running_mean" in backbone  # its statistics too, though the recipe measures them anew otherwise
    assert all(torch.equal(trained[f"network.{key}"], value) for key, value in backbone.items())


def test_a_resumed_run_does_not_need_the_weights_again_and_says_nothing_of_their_folder(drawn, recipe, tmp_path):
    start = tmp_path / "start.safetensors"
    started = build_network(Recipe(network="compact_resnet", network_options=recipe.network_options), 9)
    save_file(started.state_dict(), start)
    told = replace(recipe, weights=str(start), epochs=2, head_epochs=1)
    train(told, drawn, tmp_path / "run", threads=1, quiet=True)
    (tmp_path / "run" / "model.onnx").unlink()
    start.unlink()
    model = train(told, drawn, tmp_path / "run", resume=True, threads=1, quiet=True)
    assert str(tmp_path).encode() not in model.read_bytes()
    with pytest.raises(MienError, match="There is no run folder and no file"):
        train(told, drawn, tmp_path / "other", threads=1, quiet=True)
    assert not (tmp_path / "other").exists()


def test_own_runs_weights_start_a_training_for_other_labels(run, faces, tmp_path, quick):
    words = ["--recipe.weights", str(run / "weights.safetensors"), "--recipe.keep", '["happy", "sad", "surprise"]']
    assert main(["train", "mien-s", "--data", str(faces), "--out", str(tmp_path / "run"), *words, *quick]) == 0
    old, new = load_file(run / "weights.safetensors"), load_file(tmp_path / "run" / "weights.safetensors")
    distance = np.mean([float((old[key] - new[key]).abs().mean()) for key in old if old[key].ndim == 4])
    size = np.mean([float(old[key].abs().mean()) for key in old if old[key].ndim == 4])
    assert distance < 0.5 * size


def test_the_head_of_a_run_for_other_labels_starts_afresh_and_a_line_says_so(first, drawn, capsys):
    renamed = replace(drawn, labels=LabelSet(reversed(tuple(drawn.labels))))
    recipe = replace(first.recipe, weights=str(first.folder))
    taken, fresh = starting_network(recipe, drawn.labels), starting_network(recipe, renamed.labels)
    assert f"the head starts with random weights: the labels of {first.folder} are" in capsys.readouterr().err
    weights = load_file(first.folder / "weights.safetensors")
    head = next(name for name, value in taken.state_dict().items() if value.shape == head_of(taken).weight.shape)
    for name, value in taken.state_dict().items():
        assert torch.equal(value, weights[f"network.{name}"]), name
    assert torch.equal(fresh[0].weight, taken[0].weight)
    assert not torch.equal(fresh.state_dict()[head], taken.state_dict()[head])
    with pytest.raises(MienError, match=r"weights_share needs weights with the same head, but the labels of .* are"):
        starting_network(replace(recipe, weights_share=0.5), renamed.labels)


def test_a_second_head_is_told_too(first, drawn):
    recipe = replace(first.recipe, weights=str(first.folder), weights_share=0.5, votes=Votes(head=0.5))
    with pytest.raises(MienError, match=r"the heads of .* are label; remove weights_share"):
        starting_network(recipe, drawn.labels)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"network_options": None},
            "network_options {'squeeze_excitation': True}, not None; set the same",
        ),
        ({"activation": "mish"}, "activation relu, not mish"),
        ({"mean": 0.4, "std": 0.3}, "mean 0.5, not 0.4, std 0.5, not 0.3"),
    ],
)
@pytest.mark.parametrize("given", ["", "weights.safetensors"])
def test_weights_of_a_run_are_for_its_own_network(first, drawn, changes, sentence, given):
    with pytest.raises(MienError, match=sentence):
        starting_network(replace(first.recipe, weights=str(first.folder / given), **changes), drawn.labels)


def test_an_unfinished_run_gives_no_weights(first, drawn, tmp_path):
    for name in ("recipe.yaml", "weights.safetensors"):
        (tmp_path / name).write_bytes((first.folder / name).read_bytes())
    with pytest.raises(MienError, match="is not the folder of a finished run"):
        starting_network(replace(first.recipe, weights=str(tmp_path)), drawn.labels)
