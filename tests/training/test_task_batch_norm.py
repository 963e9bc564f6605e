import numpy as np
import pytest
import torch
from torch import nn

from mien.data.faceset import FaceSet
from mien.drawn import draw_faces
from mien.training.batches import DeviceFaces
from mien.training.networks import FaceNetwork, build_network
from mien.training.recipe import Recipe
from mien.training.task import BATCH, MOST_FACES, measure_batch_norm


def device_faces(faces):
    return DeviceFaces(faces, torch.device("cpu"))


class FirstLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.dropout, self.norm = nn.Dropout(0.9), nn.BatchNorm2d(1, momentum=0.3)

    def forward(self, faces):
        return self.norm(self.dropout(faces.unsqueeze(1).float()))


def test_the_statistics_are_those_of_the_faces_whatever_they_were_and_nothing_is_dropped(drawn):
    model = FirstLayer()
    model.norm.running_mean.fill_(-7)
    measure_batch_norm(model.train(), device_faces(drawn))
    pixels = drawn.images.astype(np.float64)
    assert model.norm.running_mean.item() == pytest.approx(pixels.mean(), rel=1e-4)
    assert model.norm.running_var.item() == pytest.approx(pixels.var(), rel=0.01)
    assert model.norm.momentum == 0.3
    assert not any(module.training for module in model.modules())


def test_rows_that_lie_sorted_do_not_make_faces_look_alike():
    faces = draw_faces(150, size=8)  # more than a batch, of nine labels
    order = np.argsort(faces.images.mean((1, 2)))
    dark_first = faces.take(order)
    assert len(dark_first) > BATCH
    model = FirstLayer()
    measure_batch_norm(model, device_faces(dark_first))
    assert model.norm.running_var.item() == pytest.approx(faces.images.astype(np.float64).var(), rel=0.03)


def test_it_answers_the_same_when_measured_again(drawn):
    model = FaceNetwork(Recipe(), build_network(Recipe(), 9))
    faces = device_faces(drawn)
    measure_batch_norm(model, faces)
    first = {name: value.clone() for name, value in model.state_dict().items()}
    measure_batch_norm(model, faces)
    assert all(torch.equal(value, first[name]) for name, value in model.state_dict().items())


def test_only_so_many_faces_are_looked_at():
    class Counting(FirstLayer):
        seen = 0

        def forward(self, faces):
            self.seen += len(faces)
            return super().forward(faces)

    model = Counting()
    count = MOST_FACES + 10
    small = FaceSet.from_arrays(np.zeros((count, 4, 4), np.uint8), np.arange(count) % 2, ["happy", "sad"])
    measure_batch_norm(model, device_faces(small))
    assert model.seen == MOST_FACES


def test_a_network_without_batch_norm_stays_as_it_is(drawn):
    model = nn.Dropout()
    measure_batch_norm(model, device_faces(drawn))
    assert not model.training
