from dataclasses import replace

import pytest
import torch
from lightning_fabric import Fabric

from mien.training.batches import DeviceFaces, mixed
from mien.training.networks import FaceNetwork, build_network
from mien.training.recipe import Balance, Distillation, Optimizer, Recipe, Schedule, Votes, load_recipe
from mien.training.task import CapturedStep, ClassificationTask, crop_side, distilled, rate_factors
from mien.training.transfer import Teachers


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
    recipe = replace(load_recipe(name), batch_size=8, votes=Votes(head=0.5), ema=0.99)
    worse = {"degradation": 0.5, "blur": 0.5, "noise": 0.1, "erasing": 0.5}
    recipe = replace(recipe, augmentation=replace(recipe.augmentation, **worse))
    nowhere = torch.device("meta")

    def network():
        return FaceNetwork(recipe, build_network(recipe, 14))

    faces = DeviceFaces(drawn, nowhere)
    task = ClassificationTask(
        Fabric(accelerator="cpu", devices=1), network(), faces, faces, Teachers([network(), network()], 1.0).to(nowhere)
    )
    loss = task.loss(next(iter(task.start_epoch(0))))
    loss.backward()
    task.average.update(task.done)
    mixed(0.2, torch.empty(8, 1, 48, 48, device=nowhere), torch.empty(8, 7, device=nowhere))
    assert loss.is_meta
    assert all(weight.grad is not None for weight in task.model.parameters())
    with pytest.raises(RuntimeError, match="meta"):
        bool(loss > 0)


def make_task(faces, device="cpu", **changes):
    """A task with everything in a step that is random or optional, and its weights' random start."""
    recipe = replace(load_recipe("mien-s"), batch_size=16, epochs=2, votes=Votes(head=0.5), mixup=0.2, **changes)
    worse = {"degradation": 0.5, "blur": 0.5, "noise": 0.1, "erasing": 0.5}
    recipe = replace(recipe, augmentation=replace(recipe.augmentation, **worse), balance=Balance(augment_minorities=True))
    torch.manual_seed(0)
    model = FaceNetwork(recipe, build_network(recipe, 14))
    rows = DeviceFaces(replace(faces, votes=faces.targets), torch.device(device))
    return ClassificationTask(Fabric(accelerator=device, devices=1), model, rows, rows, None)


def trained(task, captured):
    """Train two epochs, and return all that a step changes."""
    for epoch in range(2):
        batches = task.start_epoch(epoch)
        if captured and not isinstance(task.step, CapturedStep):
            task.step = CapturedStep(task.update)
        for batch in batches:
            task.step(batch)
    return [*task.model.state_dict().values(), *task.average.network.state_dict().values(), task.totals, task.done]


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_step_on_fixed_inputs_computes_what_a_plain_one_does(name, drawn):
    optimizer = Optimizer(name, 0.01)
    plain, captured = (trained(make_task(drawn, optimizer=optimizer), way) for way in (False, True))
    assert all(torch.equal(one, other) for one, other in zip(plain, captured, strict=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: graphs are compared with plain steps only on one")
def test_a_graph_computes_what_a_plain_step_does(drawn):
    task = make_task(drawn, "cuda", optimizer=Optimizer("sgd", 0.01))
    task.start_epoch(0)
    task.step = task.update  # which the second epoch keeps, as its kind is the same
    plain, captured = trained(task, False), trained(make_task(drawn, "cuda", optimizer=Optimizer("sgd", 0.01)), True)
    for one, other in zip(plain, captured, strict=True):
        torch.testing.assert_close(one, other, atol=1e-2, rtol=1e-2)  # bfloat16, and sums in another order


def test_the_learning_rate_follows_the_schedule_from_step_to_step(drawn):
    task = make_task(drawn, schedule=Schedule("one_cycle", warmup=0.25))
    seen = []
    for epoch in range(2):
        for batch in task.start_epoch(epoch):
            task.step(batch)
            seen.append(float(task.optimizer.param_groups[0]["lr"]))
    assert seen == pytest.approx((0.1 * rate_factors(task.recipe.schedule, 2 * task.steps)).tolist())


def test_a_plateau_lowers_the_rate_in_place_as_a_captured_step_needs(drawn):
    task = make_task(drawn, schedule=Schedule("plateau", factor=0.5, patience=0), optimizer=Optimizer("sgd", 0.1))
    rate = task.optimizer.param_groups[0]["lr"]
    task.start_epoch(0)
    for loss in (1.0, 1.0):
        task.schedule.step(loss)
    assert task.optimizer.param_groups[0]["lr"] is rate
    assert float(rate) == pytest.approx(0.05)
