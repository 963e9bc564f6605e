from dataclasses import replace

import pytest
import torch
from lightning_fabric import Fabric

from mien.training.batches import DeviceFaces
from mien.training.distillation import Teachers
from mien.training.face_network import FaceNetwork
from mien.training.networks import build_network
from mien.training.networks.blocks import NetworkSpec
from mien.training.recipe import Distillation, Recipe, Votes, load_recipe
from mien.training.task import ClassificationTask, crop_side, distilled


@pytest.mark.parametrize(
    ("recipe", "sides"),
    [
        (Recipe(epochs=3), [None, None, None]),
        (Recipe(epochs=3, crop=44), [44, 44, 44]),
        (Recipe(epochs=5, crop=44, crop_from=36), [36, 38, 40, 42, 44]),
        (Recipe(epochs=2, crop_from=40), [40, 48]),
        (Recipe(epochs=1, crop=44, crop_from=36), [36]),
    ],
)
def test_the_crop_grows_from_the_first_epoch_to_the_last(recipe, sides):
    assert [crop_side(recipe, epoch) for epoch in range(recipe.epochs)] == sides


def test_teachers_share_the_loss_of_the_heads_they_have():
    recipe = Recipe(votes=Votes(head=0.5), distillation=Distillation(weight=0.25))
    logits = torch.zeros(3, 2, 4)  # cross-entropy with anything is ln 4
    taught = torch.full((3, 2, 4), 0.25)
    losses = [torch.tensor(2.0), torch.tensor(1.0)]
    nothing = torch.log(torch.tensor(4.0))
    label, crowd = distilled(losses, logits, taught, recipe)
    torch.testing.assert_close(label, 0.75 * 2 + 0.25 * nothing)
    torch.testing.assert_close(crowd, 0.75 * 1 + 0.25 * 0.5 * nothing)
    assert distilled(losses, logits, taught[:, :1], recipe)[1] == 1.0
    one_head = replace(recipe, votes=Votes())
    assert len(distilled(losses[:1], logits[:, :1], taught, one_head)) == 1


@pytest.mark.parametrize("name", ["mien-s", "mien-l"])
def test_a_step_never_waits_for_the_device(name, drawn):
    """A meta tensor has no values: what would ask the device for one, and so hold up a GPU's queue, fails."""
    recipe = replace(load_recipe(name), batch_size=8, votes=Votes(head=0.5))
    worse = {"degradation": 0.5, "blur": 0.5, "noise": 0.1, "erasing": 0.5}
    recipe = replace(recipe, augmentation=replace(recipe.augmentation, **worse))
    nowhere = torch.device("meta")

    def network():
        return FaceNetwork.of(recipe, build_network(recipe.network, NetworkSpec.of(recipe, 14)))

    faces = DeviceFaces(drawn, nowhere)
    task = ClassificationTask(
        Fabric(accelerator="cpu", devices=1), network(), recipe, faces, faces, Teachers([network(), network()], 1.0).to(nowhere)
    )
    loss = task.loss(next(iter(task.start_epoch(0))))
    loss.backward()
    assert loss.is_meta
    assert all(weight.grad is not None for weight in task.model.parameters())
    with pytest.raises(RuntimeError, match="meta"):
        bool(loss > 0)
