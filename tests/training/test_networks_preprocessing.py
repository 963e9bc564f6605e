import torch
from torch import nn

from mien.training.networks import FaceNetwork, pixels
from mien.training.recipe import Recipe, Votes


def test_bytes_become_planes_between_0_and_1():
    gray, colour = torch.full((2, 5, 5), 255, dtype=torch.uint8), torch.zeros(2, 5, 5, 3, dtype=torch.uint8)
    colour[..., 2] = 51
    assert torch.equal(pixels(gray), torch.ones(2, 1, 5, 5))
    assert pixels(colour).shape == (2, 3, 5, 5)
    torch.testing.assert_close(pixels(colour)[:, 2], torch.full((2, 5, 5), 0.2))


def test_the_network_sees_the_middle_normalised_and_enlarged():
    seen = []

    class Spy(nn.Module):
        def forward(self, faces):
            seen.append(faces)
            return torch.zeros(len(faces), 6)

    faces = torch.zeros(3, 8, 8, dtype=torch.uint8)
    faces[:, 2:6, 2:6] = 255
    recipe = Recipe(size=8, mean=0.5, std=0.25, votes=Votes(head=1), crop=4, enlarge_to=9)
    logits = FaceNetwork(recipe, Spy())(faces)
    assert logits.shape == (3, 2, 3)
    torch.testing.assert_close(seen[0], torch.full((3, 1, 9, 9), 2.0))
