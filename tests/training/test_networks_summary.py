import torch

from mien.training.networks import build_network, layers, multiply_adds
from mien.training.recipe import Recipe
from mien.verbs.about import recipes


def test_the_layers_of_deepfaces_network_are_those_of_its_source():
    found = layers(build_network(Recipe(network="deepface_cnn"), 6), 1, 48)
    assert [shape for name, shape, _ in found if name.startswith(("Conv", "MaxPool", "AvgPool"))] == [
        (64, 44, 44), (64, 20, 20), (64, 18, 18), (64, 16, 16), (64, 7, 7), (128, 5, 5), (128, 3, 3), (128, 1, 1),
    ]  # fmt: skip
    assert sum(count for _, _, count in found) == 1_484_806
    assert found[0][2] == 5 * 5 * 64 + 64


def test_multiply_adds_are_those_counted_by_hand():
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.Flatten(), torch.nn.Linear(8 * 16 * 16, 5))
    assert multiply_adds(network, 1, 16) == 16 * 16 * 8 * 9 + 8 * 16 * 16 * 5


def test_the_table_has_a_line_a_layer_and_the_sums():
    header, first, *_, empty, sums = recipes("six-conv").partition("# layer")[2].splitlines()
    assert (header.split(), empty) == (["output", "parameters"], "#")
    assert first.split() == ["#", "Conv2d", "0", "16", "x", "48", "x", "48", "160"]
    assert sums.startswith("# 1,495,367 parameters, ")


def test_looking_at_a_network_leaves_it_as_it_was():
    network = build_network(Recipe(network="wide_cnn"), 7)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    layers(network, 1, 48)
    multiply_adds(network, 1, 48)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
