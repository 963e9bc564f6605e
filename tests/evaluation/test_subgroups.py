import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, recall_score

from mien.errors import MienError
from mien.evaluation.record import group_values, measure_subgroups
from mien.labels import LabelSet

LABELS = LabelSet(("happy", "sad", "neutral"))


def with_columns(faces, **columns):
    from dataclasses import replace

    return replace(faces, columns={name: np.array(values) for name, values in columns.items()})


@pytest.fixture
def measured():
    """Measure 300 rows in groups of 200, 70 and 30; the answers and what was found."""
    random = np.random.default_rng(3)
    truth = random.integers(0, 3, 300)
    probabilities = random.dirichlet((1, 1, 1), 300)
    probabilities[np.arange(300), truth] += random.random(300) < 0.6
    probabilities = (probabilities / probabilities.sum(axis=1, keepdims=True)).astype(np.float32)
    groups = np.array(["20-29"] * 200 + ["3-9"] * 70 + ["not said"] * 30)
    found = measure_subgroups({"age": groups}, probabilities, np.eye(3, dtype=np.float32)[truth], LABELS)
    return probabilities.argmax(axis=1), truth, groups, found["age"]


def test_every_figure_of_a_group_is_that_of_its_rows_alone(measured):
    predicted, truth, groups, found = measured
    for each in found:
        own, said = truth[groups == each.group], predicted[groups == each.group]
        assert each.n == len(own)
        assert each.accuracy.value == (own == said).mean()
        assert each.balanced_accuracy == pytest.approx(balanced_accuracy_score(own, said))
        assert each.macro_f1 == pytest.approx(f1_score(own, said, average="macro"))
        assert [label.recall.value for label in each.labels] == pytest.approx(recall_score(own, said, average=None).tolist())
        assert [label.support for label in each.labels] == np.bincount(own, minlength=3).tolist()


def test_the_gap_is_to_all_other_rows(measured):
    predicted, truth, groups, found = measured
    right, random = predicted == truth, np.random.default_rng(0)
    for each in found:
        own, others = right[groups == each.group], right[groups != each.group]
        assert each.gap.value == pytest.approx(own.mean() - others.mean())
        drawn = random.binomial(len(own), own.mean(), 20_000) / len(own) - random.binomial(
            len(others), others.mean(), 20_000
        ) / len(others)
        assert (each.gap.low, each.gap.high) == pytest.approx(tuple(np.quantile(drawn, (0.025, 0.975))), abs=0.03)


def test_groups_are_sorted_by_the_number_they_begin_with_and_empty_ones_last(measured):
    assert [each.group for each in measured[3]] == ["3-9", "20-29", "not said"]


@pytest.mark.parametrize(("rows", "right", "enough"), [(29, 29, False), (30, 30, True), (60, 30, False), (110, 55, True)])
def test_a_group_is_too_small_with_fewer_than_30_rows_or_an_interval_of_more_than_20_points(rows, right, enough):
    truth, groups = np.zeros(rows + 1, dtype=int), np.array(["a"] * rows + ["b"])
    answers = np.eye(3, dtype=np.float32)[[0] * right + [1] * (rows - right) + [0]]
    first, second = measure_subgroups({"x": groups}, answers, np.eye(3, dtype=np.float32)[truth], LABELS)["x"]
    assert (first.enough, second.enough) == (enough, False)


def test_a_group_of_all_rows_has_no_gap():
    rows = np.eye(3, dtype=np.float32)
    (only,) = measure_subgroups({"x": np.array(["a"] * 3)}, rows, rows, LABELS)["x"]
    assert (only.gap, only.accuracy.value) == (None, 1)


def test_labels_without_rows_in_a_group_have_no_recall(measured):
    rows = np.eye(3, dtype=np.float32)
    first = measure_subgroups({"x": np.array(["a", "b", "b"])}, rows, rows, LABELS)["x"][0]
    assert [label.recall and label.recall.value for label in first.labels] == [1, None, None]


def test_nothing_in_the_column_is_a_group_of_its_own(eight):
    values = group_values(with_columns(eight, age=["", " ", "3-9", "a", "a", "a ", "b", "b"]), ["age"])
    assert values["age"].tolist() == ["not said", "not said", "3-9", "a", "a", "a", "b", "b"]


def test_a_missing_column_is_an_error_that_lists_the_others(eight):
    with pytest.raises(MienError, match=r"no column 'sex' to group by; they have age\. In Python, .*columns=\['sex'\]"):
        group_values(with_columns(eight, age=["a"] * 8), ["sex"])
    with pytest.raises(MienError, match="no column 'sex' to group by; they have no columns"):
        group_values(eight, ["sex"])


def test_a_column_with_too_many_values_asks_for_a_coarser_one(answered):
    faces = with_columns(answered([(80, 10, 10)] * 51, [0] * 51), age=[str(i) for i in range(51)])
    with pytest.raises(MienError, match=r"'age' has 51 different values in 51 rows, .* coarser column"):
        group_values(faces, ["age"])
    assert len(np.unique(group_values(faces.take(np.arange(50)), ["age"])["age"])) == 50
