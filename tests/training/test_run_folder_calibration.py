import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mien.training import run_folder
from mien.training.batches import DeviceFaces
from mien.training.run_folder import calibrate, fit_temperature


def sampled(temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that are too sure by a factor, with labels drawn from the right probabilities."""
    random = np.random.default_rng(0)
    logits = torch.from_numpy(random.normal(0, 2, (20_000, 4))).float()
    probabilities = logits.softmax(1).numpy()
    classes = (probabilities.cumsum(1) > random.random((20_000, 1))).argmax(1)
    return logits * temperature, F.one_hot(torch.from_numpy(classes), 4).float()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_was_put_in_is_found_again(temperature):
    assert fit_temperature(*sampled(temperature)) == pytest.approx(temperature, rel=0.04)


def test_no_other_temperature_has_a_lower_loss():
    logits, targets = sampled(1.7)
    found = fit_temperature(logits, targets)
    losses = {t: float(F.cross_entropy(logits / t, targets)) for t in (found, found * 0.9, found * 1.1, 1.0)}
    assert min(losses, key=losses.get) == found


class Answers:
    """A network that is sure of every face, wrong on each tenth as they are and on a share of worse copies."""

    heads = ("label",)

    def __init__(self, faces, wrong_on_worse):
        self.faces, self.wrong_on_worse = faces, wrong_on_worse

    def __call__(self, images):
        assert len(images) == len(self.faces)  # one batch, in the order of the rows
        rows = np.arange(len(images))
        is_worse = (images.numpy() != self.faces.images).any(axis=(1, 2)).mean() > 0.5
        is_wrong = rows % 10 < (10 * self.wrong_on_worse if is_worse else 1)
        said = (self.faces.classes + is_wrong) % len(self.faces.labels)
        return 4 * F.one_hot(torch.from_numpy(said), len(self.faces.labels)).float()[:, None]


def test_a_model_that_is_overconfident_on_worse_photos_gets_a_higher_temperature(drawn):
    rows = DeviceFaces(drawn, torch.device("cpu"))
    (same, counts), (worse, _) = (calibrate(Answers(drawn, share), rows, [1.0]) for share in (0.1, 0.5))
    logits = Answers(drawn, 0.1)(torch.from_numpy(np.array(drawn.images)))[:, 0]
    assert same == pytest.approx([fit_temperature(logits, torch.from_numpy(drawn.targets))], rel=1e-3)
    assert worse[0] > 1.5 * same[0]
    assert counts == {"as_they_are": len(drawn), "worse": 1000 // len(drawn) * len(drawn)}


def test_of_many_faces_each_is_made_worse_once(drawn, monkeypatch):
    monkeypatch.setattr("mien.training.run_folder.FEWEST_WORSE", 10)
    _, counts = calibrate(Answers(drawn, 0.5), DeviceFaces(drawn, torch.device("cpu")), [1.0])
    assert counts == {"as_they_are": len(drawn), "worse": len(drawn)}


def test_a_handful_of_rows_moves_the_temperature_little(monkeypatch):
    logits, targets = 3 * torch.eye(7), torch.eye(7)
    wrong = targets.roll(1, 1)
    assert 0.5 < fit_temperature(logits, targets, start=0.9) < 0.9
    assert 0.9 < fit_temperature(logits, wrong, start=0.9) < 2.5
    assert 0.75 < fit_temperature(logits[:1], targets[:1], start=0.9) < 0.9
    assert fit_temperature(logits, 0 * targets, start=0.9) == 0.9
    monkeypatch.setattr(run_folder, "SPREAD", math.inf)  # without the prior the temperature has no limit but that of the search
    assert fit_temperature(logits, targets, start=0.9) < 0.1
    assert fit_temperature(logits, wrong, start=0.9) > 19


@pytest.mark.parametrize("start", [0.5, 1.0, 8.0])
def test_many_rows_outweigh_the_initial_temperature(start, monkeypatch):
    logits, targets = sampled(2.0)
    counts = (10, 100, 1000, 20_000)
    found = [fit_temperature(logits[:rows], targets[:rows], start) for rows in counts]
    monkeypatch.setattr(run_folder, "SPREAD", math.inf)
    free = [fit_temperature(logits[:rows], targets[:rows]) for rows in counts]
    distances = [abs(math.log(one / other)) for one, other in zip(found, free, strict=True)]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.001
    for one, other in zip(found, free, strict=True):
        assert min(start, other) < one < max(start, other)


def test_repeated_rows_count_once():
    logits, targets = sampled(2.0)
    logits, targets = logits[:30], targets[:30]
    once = fit_temperature(logits, targets)
    assert fit_temperature(logits.repeat(9, 1), targets.repeat(9, 1), repeats=9) == pytest.approx(once, rel=1e-4)
    assert once < fit_temperature(logits.repeat(9, 1), targets.repeat(9, 1))
