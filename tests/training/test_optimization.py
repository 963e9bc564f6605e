import math

import pytest
import torch

from mien.training.optimization import build_optimizer, build_schedule
from mien.training.recipe import Optimizer, Schedule


def one_layer(how: Optimizer) -> torch.optim.Optimizer:
    layer = torch.nn.Linear(2, 2)
    return build_optimizer(layer, layer, how)


def rates(schedule: Schedule, steps: int) -> list[float]:
    optimizer = one_layer(Optimizer("sgd", 1.0))
    built = build_schedule(optimizer, schedule, steps)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        built.step()
    return seen


@pytest.mark.parametrize(("name", "kind"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)])
def test_only_weights_of_layers_decay(name, kind):
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    optimizer = build_optimizer(network, network[0], Optimizer(name, 0.1, weight_decay=0.3))
    assert type(optimizer) is kind
    decays = {tuple(p.shape): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decays == {(2, 1, 3, 3): 0.3, (2,): 0.0}


def test_the_backbone_learns_at_its_share_of_the_rate_and_follows_the_schedule():
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Linear(2, 3))
    optimizer = build_optimizer(network, network[1], Optimizer("sgd", 0.5, backbone_rate=0.1))
    rate = {tuple(p.shape): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rate == {(3, 2): 0.5, (3,): 0.5, (2, 1, 3, 3): 0.05, (2,): 0.05}
    assert optimizer.param_groups[0]["lr"] == 0.5, "the rate that is logged is the head's"
    schedule = build_schedule(optimizer, Schedule("cosine"), 10)
    for _ in range(5):
        optimizer.step()
        schedule.step()
    assert {round(group["lr"], 9) for group in optimizer.param_groups} == {0.25, 0.025}


def test_one_cycle_rises_linearly_and_falls_along_a_cosine_to_nothing():
    seen = rates(Schedule("one_cycle", warmup=0.25), 100)
    assert seen[0] == pytest.approx(1 / 25)
    assert max(seen) == seen[25] == 1
    assert seen[62] == pytest.approx(0.5 * (1 + math.cos(math.pi * 37 / 75)))
    assert seen[-1] < 0.001


def test_cosine_starts_high_and_ends_at_nothing():
    seen = rates(Schedule("cosine"), 50)
    assert seen[0] == 1
    assert seen[25] == pytest.approx(0.5)
    assert seen[-1] < 0.01


def test_plateau_halves_the_rate_when_loss_stays():
    optimizer = one_layer(Optimizer("sgd", 1.0))
    schedule = build_schedule(optimizer, Schedule("plateau", factor=0.5, patience=2), 100)
    for loss in (1.0, 1.0, 1.0, 1.0):
        schedule.step(loss)
    assert optimizer.param_groups[0]["lr"] == 0.5


def test_a_constant_rate_needs_no_schedule():
    assert build_schedule(one_layer(Optimizer()), Schedule(), 10) is None
