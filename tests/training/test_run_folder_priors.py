from dataclasses import replace

import numpy as np
import pytest

from mien.data.faceset import FaceSet
from mien.inference.classifier import Classifier
from mien.labels import LabelSet
from mien.training.loop import train
from mien.training.recipe import Balance, Votes, load_recipe
from mien.training.run_folder import training_priors

LABELS = LabelSet(("calm", "cross", "gay"))
TARGETS = np.array([[1, 0, 0]] * 6 + [[0.2, 0.8, 0]] * 3 + [[0, 0, 1]], dtype=np.float32)
VOTES = np.array([[0.5, 0.5, 0]] * 4 + [[0, 0, 0]] * 5 + [[0, 0, 1]], dtype=np.float32)


@pytest.fixture
def rows():
    images = np.zeros((10, 8, 8), np.uint8)
    return replace(FaceSet.from_arrays(images, TARGETS.argmax(1), LABELS), targets=TARGETS, votes=VOTES)


def priors(rows, votes=Votes(), balance=Balance()):  # noqa: B008
    found = training_priors(replace(load_recipe("mien-s"), votes=votes, balance=balance), rows)
    return {head: list(shares.values()) for head, shares in found.items()}


def test_shares_are_those_of_the_targets_and_of_the_votes_of_rows_that_have_some(rows):
    assert training_priors(load_recipe("mien-s"), rows) == {"label": {"calm": 0.66, "cross": 0.24, "gay": 0.1}}
    assert priors(rows, Votes(head=0.5)) == {"label": [0.66, 0.24, 0.1], "crowd": [0.4, 0.4, 0.2]}
    mixed = TARGETS.copy()
    mixed[VOTES.any(1)] = (0.75 * TARGETS + 0.25 * VOTES)[VOTES.any(1)]
    assert priors(rows, Votes(mix=0.25))["label"] == pytest.approx(mixed.mean(axis=0).tolist(), abs=1e-5)
    without = replace(rows, votes=np.zeros_like(VOTES))
    assert priors(without, Votes(head=0.5))["crowd"] == pytest.approx([1 / 3] * 3, abs=1e-5)


@pytest.mark.parametrize("balance", [Balance(sampler=True), Balance(augment_minorities=True)])
def test_a_recipe_that_shows_every_label_equally_often_learns_other_shares(rows, balance):
    found = priors(rows, Votes(head=0.5), balance)
    assert found["label"] == pytest.approx([(1 + 0.2) / 3, 0.8 / 3, 1 / 3], abs=1e-5)
    weights = np.repeat([1 / 6, 1 / 3, 1], [6, 3, 1])
    assert found["crowd"] == pytest.approx((weights @ VOTES / (weights @ VOTES).sum()).tolist(), abs=1e-5)


def test_class_weights_change_the_shares_of_the_label_head_alone(rows):
    found = priors(rows, Votes(head=0.5), Balance(class_weights=True))
    weighted = TARGETS.sum(axis=0) / [6, 3, 1]
    assert found["label"] == pytest.approx((weighted / weighted.sum()).tolist(), abs=1e-5)
    assert found["crowd"] == [0.4, 0.4, 0.2]


def test_a_trained_model_states_the_shares_of_its_training_rows(drawn, recipe, tmp_path):
    keep = np.concatenate([np.flatnonzero(drawn.classes != 2), np.flatnonzero(drawn.classes == 2)[::2]])
    faces = drawn.take(np.sort(keep))
    model = Classifier(train(replace(recipe, epochs=1), faces, tmp_path / "run", threads=1, quiet=True))
    counts = faces.split("train").counts()
    assert counts[2] < counts[0]
    assert model.training_priors["label"] == pytest.approx(counts / counts.sum(), abs=1e-5)
    plain, balanced = (model.with_prior(prior).predict_proba(faces.images) for prior in (None, "balanced"))
    factors = counts.sum() / counts
    np.testing.assert_allclose(balanced, plain * factors / (plain * factors).sum(1, keepdims=True), atol=1e-4)
