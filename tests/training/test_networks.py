import pytest
import torch

from mien.errors import MienError
from mien.training.networks import NETWORKS, build_network

PARAMETERS = {"compact_resnet": 1_048_007, "wide_cnn": 1_819_015}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [44, 48, 64])
def test_every_network_gives_a_logit_per_class_and_its_gradients_flow(name, channels, size):
    network = build_network(name, 5, channels, size, 0.1)
    logits = network(torch.rand(2, channels, size, size))
    assert logits.shape == (2, 5)
    logits.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_has_the_parameters_that_are_claimed_for_it(name):
    assert sum(p.numel() for p in build_network(name, 7, 1, 48, 0.1).parameters()) == PARAMETERS[name]


def test_the_wide_cnn_has_the_shapes_of_its_source():
    shapes, faces = [], torch.rand(2, 1, 48, 48)
    for layer in build_network("wide_cnn", 7, 1, 48, 0.36):
        faces = layer(faces)
        if isinstance(layer, torch.nn.MaxPool2d | torch.nn.Flatten | torch.nn.Linear):
            shapes.append(tuple(faces.shape[1:]))
    assert shapes == [(64, 24, 24), (128, 12, 12), (256, 6, 6), (256, 3, 3), (2304,), (256,), (512,), (7,)]


@pytest.mark.parametrize("name", NETWORKS)
def test_faces_too_small_for_a_network_are_refused(name):
    with pytest.raises(MienError, match="at least"):
        build_network(name, 7, 1, 8, 0.1)


def test_a_misspelt_network_is_answered_with_the_nearest():
    with pytest.raises(MienError, match="did you mean wide_cnn"):
        build_network("wide_cn", 7, 1, 48, 0.1)
