import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from mien.cli import main
from mien.errors import MienError
from mien.inference.classifier import Classifier
from mien.training.loop import train
from mien.training.networks import build_network
from mien.training.recipe import Recipe
from mien.training.run_folder import RunFolder
from mien.training.task import MovingAverage, interpolate


def test_an_interpolated_network_lies_where_the_share_says():
    start, trained, network = (build_network(Recipe(network="compact_resnet"), 4) for _ in range(3))
    trained[1].num_batches_tracked.fill_(5)
    interpolate(network, start, trained, 0.25)
    for name, value in network.state_dict().items():
        before, after = start.state_dict()[name], trained.state_dict()[name]
        wanted = 0.25 * before + 0.75 * after if value.is_floating_point() else after
        torch.testing.assert_close(value, wanted)


def test_a_moving_average_forgets_its_start_and_counts_in_whole_numbers():
    layer = torch.nn.BatchNorm1d(2)
    average = MovingAverage(layer, 0.999)
    with torch.no_grad():
        layer.bias.fill_(1)
        layer.num_batches_tracked.fill_(7)
    for step in range(100):
        average.update(torch.tensor([step]))
    assert float(average.network.bias[0]) == pytest.approx(1, abs=0.01)
    assert int(average.network.num_batches_tracked) == 7


def test_a_moving_average_moves_by_its_decay_once_it_is_long_enough():
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(layer.weight)
    average = MovingAverage(layer, 0.9)
    torch.nn.init.ones_(layer.weight)
    for _ in range(2):
        average.update(torch.tensor([10_000]))
    assert float(average.network.weight) == pytest.approx(1 - 0.9**2)


@pytest.fixture(scope="module")
def first(drawn, tmp_path_factory):
    out = tmp_path_factory.mktemp("first") / "run"
    train(Recipe(epochs=1, batch_size=16), drawn, out, threads=1, quiet=True)
    return out


def test_what_is_exported_is_between_the_start_and_what_training_came_to(drawn, first, tmp_path):
    further = Recipe(epochs=1, batch_size=16, weights=str(first))
    train(further, drawn, tmp_path / "all", threads=1, quiet=True)
    train(replace(further, weights_share=0.75), drawn, tmp_path / "part", threads=1, quiet=True)
    start, came_to, part = (load_file(run / "weights.safetensors") for run in (first, tmp_path / "all", tmp_path / "part"))
    for name, value in part.items():
        wanted = 0.75 * start[name] + 0.25 * came_to[name] if value.is_floating_point() else came_to[name]
        torch.testing.assert_close(value, wanted, atol=1e-5, rtol=1e-4)
    assert "weights: run\n" in _recipe_in(tmp_path / "part")


def _recipe_in(run):
    return Classifier(run).metadata["mien.recipe"]


def test_a_stopped_run_knows_its_start_though_that_is_gone(drawn, first, tmp_path, monkeypatch):
    start = tmp_path / "start"
    shutil.copytree(first, start)
    recipe = Recipe(
        epochs=2, batch_size=16, weights=str(start), weights_share=0.5, precise_batch_norm=True, ema=0.9, select_by="loss"
    )
    train(recipe, drawn, tmp_path / "whole", threads=1, quiet=True)
    stop_after_one(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, drawn, tmp_path / "stopped", threads=1, quiet=True)
    monkeypatch.undo()
    shutil.rmtree(start)
    train(recipe, drawn, tmp_path / "stopped", resume=True, threads=1, quiet=True)
    whole, stopped = (load_file(tmp_path / run / "weights.safetensors") for run in ("whole", "stopped"))
    assert all(torch.equal(value, stopped[name]) for name, value in whole.items())


def stop_after_one(monkeypatch):
    real = RunFolder.add

    def stop(*arguments):
        real(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "add", stop)


def test_statistics_measured_anew_are_what_is_validated_and_exported(drawn, tmp_path):
    recipe = Recipe(epochs=1, batch_size=16)
    train(recipe, drawn, tmp_path / "moving", threads=1, quiet=True)
    train(replace(recipe, precise_batch_norm=True), drawn, tmp_path / "measured", threads=1, quiet=True)
    moving, measured = (load_file(tmp_path / run / "weights.safetensors") for run in ("moving", "measured"))
    statistics = {name for name in moving if "running_" in name}
    assert {name for name in moving if not torch.equal(moving[name], measured[name])} >= statistics
    assert all(torch.equal(moving[name], measured[name]) for name in moving if name.endswith(("weight", "bias")))
    logs = [(tmp_path / run / "log.csv").read_text().splitlines()[1].split(",")[3] for run in ("moving", "measured")]
    assert logs[0] != logs[1]


@pytest.mark.parametrize("weights", [None, "hub"])
def test_a_share_of_no_weights_or_of_ones_without_the_labels_is_refused(weights):
    with pytest.raises(MienError, match="weights_share needs weights for the same labels"):
        Recipe(weights=weights, network="timm:resnet18", weights_share=0.5)


def test_a_share_of_weights_for_other_labels_is_refused_before_anything_is_written(run, faces, tmp_path, quick, capsys):
    words = ["--recipe.weights", str(run), "--recipe.weights_share", "0.5", "--recipe.keep", '["happy", "sad"]']
    assert main(["train", "mien-s", "--data", str(faces), "--out", str(tmp_path / "run"), *words, *quick]) == 2
    assert "weights_share needs weights with the same head" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
