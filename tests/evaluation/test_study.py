import math
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import bootstrap
from sklearn.metrics import accuracy_score, f1_score, recall_score

from mien.errors import MienError
from mien.evaluation.comparison import Answers
from mien.training.recipe import load_recipe

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from study import FIGURES, STUDIES, compare_variants, compute_figures, varied

LABELS = ("happy", "sad", "neutral", "disgust")
ROWS = 600


@pytest.fixture(scope="module")
def answers():
    """Two variants of two seeds each on 600 rows, 5% of them disgust; the second variant is right more often."""
    random = np.random.default_rng(3)
    truth = random.choice(4, ROWS, p=[0.5, 0.25, 0.2, 0.05])
    ids = tuple(f"face {row}" for row in range(ROWS))

    def model(right):
        return Answers(ids, LABELS, truth, np.where(random.random(ROWS) < right, truth, random.integers(0, 4, ROWS)))

    return {"none": [model(0.5), model(0.54)], "more": [model(0.68), model(0.7)]}


def by_scikit_learn(answers, rows):
    truth, predicted = answers.truth[rows], answers.predicted[rows]
    recall = recall_score(truth, predicted, labels=[3], average=None, zero_division=np.nan)[0]
    macro_f1 = f1_score(truth, predicted, labels=np.unique(truth), average="macro", zero_division=0)
    return accuracy_score(truth, predicted), macro_f1, recall


def test_every_seed_has_the_figures_of_scikit_learn(answers):
    found = compare_variants(answers, "disgust", resamples=10)
    for variant, models in answers.items():
        for position, name in enumerate(FIGURES):
            expected = [by_scikit_learn(model, np.arange(ROWS))[position] for model in models]
            assert found[variant][name].by_seed == pytest.approx(expected, abs=1e-12)
            assert found[variant][name].mean.value == pytest.approx(np.mean(expected), abs=1e-12)


@pytest.mark.parametrize("rows", [600, 12])
def test_every_resample_has_the_figures_of_scikit_learn(answers, rows):
    models = [model for models in answers.values() for model in models]
    random = np.random.default_rng(0)
    drawn = random.multinomial(rows, np.full(rows, 1 / rows), size=20)
    truth, predicted = models[0].truth[:rows], np.stack([model.predicted[:rows] for model in models])
    found = compute_figures(drawn.astype(float), truth, predicted, LABELS.index("disgust"))
    expected = [[by_scikit_learn(model, np.repeat(np.arange(rows), weights)) for model in models] for weights in drawn]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_intervals_are_those_of_scipys_paired_bootstrap(answers):
    (one, two), (three, four) = ([(m.truth == m.predicted).astype(float) for m in models] for models in answers.values())

    def mean_difference(a, b, c, d, axis):
        return ((c + d - a - b) / 2).mean(axis=axis)

    theirs = bootstrap(
        (one, two, three, four),
        mean_difference,
        paired=True,
        vectorized=True,
        n_resamples=20_000,
        batch=1000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    ours = compare_variants(answers, "disgust", resamples=20_000)["more"]["accuracy"].difference
    # an end is itself drawn: its standard error is 0.005 of the width, and accuracies lie in steps of 0.011 of it
    tolerance = 0.03 * (theirs.high - theirs.low)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=tolerance)
    assert ours.value == pytest.approx(mean_difference(one, two, three, four, axis=0), abs=1e-12)


def test_a_recall_is_as_sure_as_its_few_rows_allow(answers):
    found = compare_variants({"none": answers["none"][:1]}, "disgust")["none"]["recall"].mean
    count = int((answers["none"][0].truth == 3).sum())
    standard_error = math.sqrt(found.value * (1 - found.value) / count)
    assert found.high - found.low == pytest.approx(2 * 1.96 * standard_error, rel=0.15)


def test_rows_are_paired_so_that_equal_answers_differ_by_nothing_at_all(answers):
    found = compare_variants({"none": answers["none"], "the same": answers["none"]}, "disgust")["the same"]
    for figure in found.values():
        assert (figure.difference.value, figure.difference.low, figure.difference.high) == (0, 0, 0)
        assert not figure.difference.excludes_zero
        assert figure.mean.low < figure.mean.value < figure.mean.high


def test_a_difference_counts_where_its_interval_excludes_zero(answers):
    better = compare_variants(answers, "disgust")["more"]["accuracy"].difference
    worse = compare_variants(dict(reversed(answers.items())), "disgust")["none"]["accuracy"].difference
    assert better.low > 0
    assert worse.high < 0
    assert better.excludes_zero
    assert worse.excludes_zero
    assert (worse.value, worse.low, worse.high) == pytest.approx((-better.value, -better.high, -better.low), abs=1e-12)


def test_the_same_seed_draws_the_same_rows(answers):
    assert compare_variants(answers, "sad", 50, seed=4) == compare_variants(answers, "sad", 50, seed=4)
    assert compare_variants(answers, "sad", 50, seed=4) != compare_variants(answers, "sad", 50, seed=5)


def test_models_on_other_rows_are_refused(answers):
    (first, second), more = answers["none"], answers["more"]
    other = Answers(("another", *second.ids[1:]), second.labels, second.truth, second.predicted)
    with pytest.raises(MienError, match="not all measured on the same rows"):
        compare_variants({"none": [first, other], "more": more}, "sad")
    with pytest.raises(MienError, match="needs the same seeds"):
        compare_variants({"none": [first], "more": more}, "sad")
    with pytest.raises(MienError, match="No row has the label 'fear'"):
        compare_variants(answers, "fear")


@pytest.mark.parametrize("name", STUDIES)
def test_every_variant_but_the_first_and_those_of_other_faces_changes_the_recipe(name):
    study = STUDIES[name]
    base = varied(load_recipe(study.recipe), study.base)
    recipes = [varied(base, changes) for changes in study.variants.values() if changes]
    assert len({recipe.to_yaml() for recipe in (base, *recipes)}) == len(recipes) + 1


def test_a_change_of_one_key_of_a_part_leaves_its_others():
    base = load_recipe("mien-s")
    changed = varied(base, {"augmentation": {"erasing": 0.0}, "network_options": None})
    assert (changed.augmentation.erasing, changed.network_options) == (0.0, None)
    assert changed.augmentation.rotation == base.augmentation.rotation > 0
