import csv
import json

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss

from mien.data.copies import ALIKE, EXACT, UNKNOWN, TrainingRows, as_text, describe_training_rows
from mien.errors import MienError
from mien.evaluation.record import TRAINING_ROWS_KEY, measure_training_copies
from mien.evaluation.report import evaluate
from mien.labels import LabelSet

pytestmark = pytest.mark.usefixtures("blank_pictures")

LABELS = LabelSet(("happy", "sad", "neutral"))
NOTED = TrainingRows("signatures", 500, np.empty((0, 12), dtype=np.uint8))


@pytest.fixture
def answers():
    """Two hundred rows of three labels: copies are mostly right, the others often wrong."""
    random = np.random.default_rng(0)
    truth, kinds = random.integers(0, 3, 200), np.array([EXACT] * 20 + [ALIKE] * 40 + [UNKNOWN] * 140)
    probabilities = random.dirichlet((1, 1, 1), 200)
    hit = random.random(200) < np.where(kinds == UNKNOWN, 0.3, 0.9)
    probabilities[np.arange(200), truth] += 3 * hit
    return (probabilities / probabilities.sum(axis=1, keepdims=True)).astype(np.float32), truth, kinds


def measured(answers, noted=NOTED):
    probabilities, truth, kinds = answers
    return measure_training_copies(noted, kinds, probabilities, np.eye(3, dtype=np.float32)[truth], LABELS)


def test_figures_without_the_copies_are_those_of_the_other_rows(answers):
    probabilities, truth, kinds = answers
    found, others = measured(answers), kinds == ""
    own, predicted = probabilities[others], probabilities[others].argmax(axis=1)
    assert (found.exact, found.alike, found.count, found.without.n) == (20, 40, 60, 140)
    assert found.without.accuracy.value == (predicted == truth[others]).mean()
    assert found.without.balanced_accuracy == pytest.approx(balanced_accuracy_score(truth[others], predicted))
    assert found.without.macro_f1 == pytest.approx(f1_score(truth[others], predicted, average="macro"))
    assert found.without.log_loss == pytest.approx(log_loss(truth[others], own, labels=[0, 1, 2]), rel=1e-5)


def test_the_contribution_of_copies_is_the_difference_of_both_accuracies(answers):
    probabilities, truth, kinds = answers
    found, right = measured(answers), probabilities.argmax(axis=1) == truth
    assert found.on_copies.value == right[kinds != ""].mean()
    assert found.gap.value == pytest.approx(right[kinds != ""].mean() - right[kinds == ""].mean())
    assert found.worth.value == pytest.approx(right.mean() - right[kinds == ""].mean())
    assert found.worth.low == pytest.approx(found.gap.low * 60 / 200)


def test_the_interval_of_the_gap_is_what_drawing_anew_gives(answers):
    probabilities, truth, kinds = answers
    right, random = probabilities.argmax(axis=1) == truth, np.random.default_rng(1)
    copies, others = right[kinds != ""].mean(), right[kinds == ""].mean()
    drawn = random.binomial(60, copies, 20_000) / 60 - random.binomial(140, others, 20_000) / 140
    found = measured(answers).gap
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(drawn, (0.025, 0.975))), abs=0.03)


def test_without_copies_and_without_other_rows_there_is_no_gap(answers):
    probabilities, truth, _ = answers
    none = measured((probabilities, truth, np.full(200, UNKNOWN)))
    assert (none.count, none.on_copies, none.gap, none.worth, none.without.n) == (0, None, None, None, 200)
    every = measured((probabilities, truth, np.full(200, ALIKE)))
    assert (every.count, every.without, every.gap, every.worth, every.on_copies.of) == (200, None, None, None, 200)


def test_by_digests_faces_that_are_alike_are_not_known(answers):
    probabilities, truth, kinds = answers
    exact_only = np.where(kinds == ALIKE, UNKNOWN, kinds)
    found = measured((probabilities, truth, exact_only), TrainingRows("digests", 120_000, np.empty((0, 5), dtype=np.uint8)))
    assert (found.exact, found.alike, found.count) == (20, None, 20)


@pytest.fixture
def report(make_model, answered, tmp_path):
    """Evaluate the model on eight rows, some of which it notes as training rows."""

    def make(known, name="report"):
        random = np.random.default_rng(0)
        percents = [(80, 10, 10), (60, 30, 10), (20, 70, 10), (10, 80, 10), (30, 50, 20), (90, 5, 5), (10, 20, 70), (0, 40, 60)]
        faces = answered(percents, [0, 0, 0, 1, 1, 1, 1, 2], ids=[f"face {i}" for i in range(8)])
        faces.images[:, 1:] = random.integers(0, 256, (8, 7, 8))
        metadata = (
            {}
            if known is None
            else {TRAINING_ROWS_KEY: known if isinstance(known, str) else as_text(describe_training_rows(faces.images[known]))}
        )
        found = evaluate(make_model(f"{name}.onnx", metadata), faces, tmp_path / name)
        page = " ".join((tmp_path / name / "index.html").read_text().split())
        return found, json.loads((tmp_path / name / "metrics.json").read_text()), page, tmp_path / name / "predictions.csv"

    return make


def test_a_model_that_notes_its_training_rows_is_measured_with_and_without_them(report):
    found, written, page, predictions = report([2, 5, 5])  # both are wrong, of 3 mistakes in 8
    copies = written["training_copies"]
    assert (copies["noted"], copies["training_rows"], copies["exact"], copies["alike"]) == ("signatures", 3, 2, 0)
    assert (copies["on_copies"]["value"], copies["without"]["accuracy"]["value"]) == (0, 5 / 6)
    assert copies["worth"]["value"] == pytest.approx(5 / 8 - 5 / 6)
    rows = list(csv.DictReader(predictions.read_text().splitlines()))
    assert [row["copy_in_training"] for row in rows] == ["", "", "exact", "", "", "exact", "", ""]
    assert "2 of the 8 faces are copies of faces the model was trained on, and 0 others closely resemble one" in page
    assert (
        "2 of the 8 faces are copies of faces the model was trained on. Without them the accuracy is 83.3%, not 62.5%." in page
    )
    assert "<td>62.5%</td><td>83.3%</td>" in page
    assert "without 2 copies of training faces: accuracy 83.3%" in found.table()


def test_no_copies_all_copies_and_unknown_copies_are_reported(report):
    found, written, page, _ = report([], "none")
    assert "None of these faces is a copy of one of the 0 faces" in page
    assert "no face is a copy of a training face or resembles one closely" in found.table()
    found, written, page, _ = report(list(range(8)), "all")
    assert written["training_copies"]["without"] is None
    assert "Every face is a copy of one the model was trained on (8 copies)" in page
    assert "Every face is a copy of one the model was trained on" in found.table()
    assert "every face was in training or resembles a training face: 8 copies of training faces" in found.table()
    found, written, page, predictions = report(None, "unknown")
    assert written["training_copies"] is None
    assert "The model file stores no signatures of its training faces" in page
    assert "copy_in_training" not in predictions.read_text()
    assert "training face" not in found.table()


def test_damaged_notes_are_an_error_and_leave_no_report(report, tmp_path):
    with pytest.raises(MienError, match=r"train_rows in the metadata of .* are damaged"):
        report("{", "damaged")
    assert not (tmp_path / "damaged").exists()
