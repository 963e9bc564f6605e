import pytest
import torch

from mien.errors import MienError
from mien.training.networks import ACTIVATIONS, NETWORKS, build_network
from mien.training.recipe import Recipe

PARAMETERS = {
    "compact_resnet": {7: 1_048_007},
    "deepface_cnn": {6: 1_484_806},
    "mish_cnn": {7: 980_199},
    "se_resnet": {7: 11_260_351},
    "six_conv": {3: 1_494_851},
    "wide_cnn": {7: 1_819_015},
}


SIZES = {"deepface_cnn": [48]}
"""What a network takes, where it does not take faces of any size from 16 pixels."""


@pytest.mark.parametrize(("name", "size"), [(name, size) for name in NETWORKS for size in SIZES.get(name, [44, 48, 64])])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_network_gives_a_logit_per_class_and_its_gradients_flow(name, channels, size):
    network = build_network(Recipe(network=name, channels=channels, size=size, dropout=0.1), 5)
    logits = network(torch.rand(2, channels, size, size))
    assert logits.shape == (2, 5)
    logits.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_has_the_parameters_that_are_claimed_for_it(name):
    for classes, count in PARAMETERS[name].items():
        assert sum(p.numel() for p in build_network(Recipe(network=name), classes).parameters()) == count


def test_the_wide_cnn_has_the_shapes_of_its_source():
    shapes, faces = [], torch.rand(2, 1, 48, 48)
    for layer in build_network(Recipe(network="wide_cnn", dropout=0.36), 7):
        faces = layer(faces)
        if isinstance(layer, torch.nn.MaxPool2d | torch.nn.Flatten | torch.nn.Linear):
            shapes.append(tuple(faces.shape[1:]))
    assert shapes == [(64, 24, 24), (128, 12, 12), (256, 6, 6), (256, 3, 3), (2304,), (256,), (512,), (7,)]


def test_deepfaces_network_has_the_feature_maps_of_its_source():
    sides, faces = [], torch.rand(1, 1, 48, 48)
    for layer in build_network(Recipe(network="deepface_cnn"), 6):
        faces = layer(faces)
        if isinstance(layer, torch.nn.Conv2d | torch.nn.MaxPool2d | torch.nn.AvgPool2d):
            sides.append(faces.shape[-1])
    assert sides == [44, 20, 18, 16, 7, 5, 3, 1]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_takes_every_activation(name, activation):
    network = build_network(Recipe(network=name, activation=activation), 3)
    assert any(isinstance(module, ACTIVATIONS[activation]) for module in network.modules())


@pytest.mark.parametrize("name", NETWORKS)
def test_faces_too_small_for_a_network_are_refused(name):
    with pytest.raises(MienError, match="needs faces of"):
        build_network(Recipe(network=name, size=4), 7)


def test_a_misspelt_network_is_answered_with_the_nearest():
    with pytest.raises(MienError, match="did you mean wide_cnn"):
        build_network(Recipe(network="wide_cn", dropout=0.1), 7)


def test_squeeze_and_excitation_is_an_option_of_the_compact_network():
    plain, weighed = (
        build_network(Recipe(network="compact_resnet", network_options=o), 7) for o in ({}, {"squeeze_excitation": True})
    )
    more = sum(p.numel() for p in weighed.parameters()) - sum(p.numel() for p in plain.parameters())
    assert more == sum(2 * c * (c // 16) + c // 16 + c for c in (32, 64, 128, 224))
    with pytest.raises(MienError, match="six_conv has no option squeeze_excitation; its options are: none"):
        build_network(Recipe(network="six_conv", network_options={"squeeze_excitation": True}), 7)


def test_the_compact_network_can_be_wider_and_keep_all_pixels_at_first():
    base, fine, wide = (
        build_network(Recipe(network="compact_resnet", network_options=o), 7) for o in ({}, {"stride": 1}, {"width": 2})
    )
    faces = torch.zeros(2, 1, 48, 48)
    assert (base[:3](faces).shape, fine[:3](faces).shape, wide[:3](faces).shape) == (
        (2, 32, 24, 24),
        (2, 32, 48, 48),
        (2, 64, 24, 24),
    )
    assert sum(p.numel() for p in fine.parameters()) == sum(p.numel() for p in base.parameters())
    assert wide(faces).shape == (2, 7)


@pytest.mark.parametrize("options", [{"stride": 3}, {"width": 0}, {"width": "2"}, {"width": True}])
def test_options_of_the_compact_network_out_of_range_are_refused(options):
    with pytest.raises(MienError, match="are stride, 1 or 2, and width"):
        build_network(Recipe(network="compact_resnet", network_options=options), 7)
