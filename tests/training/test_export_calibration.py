import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mien.training.export import fit_temperature


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
