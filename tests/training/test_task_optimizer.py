import math

import pytest
import torch

from mien.training.recipe import Optimizer, Schedule
from mien.training.task import build_optimizer, rate_factors


def one_layer(how: Optimizer) -> torch.optim.Optimizer:
    layer = torch.nn.Linear(2, 2)
    return build_optimizer(layer, layer, how)


def rates(schedule: Schedule, steps: int) -> list[float]:
    return rate_factors(schedule, steps).tolist()


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
    rate = {tuple(p.shape): float(group["lr"]) for group in optimizer.param_groups for p in group["params"]}
    assert rate == pytest.approx({(3, 2): 0.5, (3,): 0.5, (2, 1, 3, 3): 0.05, (2,): 0.05})
    assert optimizer.param_groups[0]["lr"] == 0.5, "the rate that is logged is the head's"
    assert rates(Schedule("cosine"), 10)[5] == pytest.approx(0.5)


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


@pytest.mark.parametrize("name", ["constant", "plateau"])
def test_a_constant_rate_needs_no_schedule_of_steps(name):
    assert rate_factors(Schedule(name), 10) is None
