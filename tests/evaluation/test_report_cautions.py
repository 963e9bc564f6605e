from dataclasses import replace

import pytest

from mien.evaluation.metrics import Difference, proportion
from mien.evaluation.record import TrainingCopies
from mien.evaluation.report import Report, cautions


def part_of(gap, share):
    """What copies are worth: the gap times their share of the rows."""
    return Difference(share * gap.value, share * gap.low, share * gap.high)


def cautions_of_training(record):
    return cautions(record, "training_cautions.txt")


def test_labels_without_or_with_few_rows_are_a_caution(record):
    assert cautions(record) == [
        "No rows: neutral. They have no metrics; averages are over the other labels (2).",
        "Few rows: happy (3), sad (2). Their metrics are imprecise; see the intervals.",
    ]


def test_figures_on_the_training_rows_are_a_caution(record):
    assert "it has memorised" in cautions(replace(record, data=record.data | {"same_as_training": True}))[0]
    assert not any("memorised" in each for each in cautions(replace(record, data=record.data | {"same_as_training": False})))


def test_figures_on_rows_the_model_was_selected_on_are_a_caution(record):
    trained = record.model | {"trained_on": {"path": "faces"}}
    on_validation, elsewhere = record.data | {"split": "validation"}, record.data | {"split": "validation", "path": "others"}
    assert (
        "its epoch chosen by them unless select_by is last" in cautions(replace(record, model=trained, data=on_validation))[0]
    )
    assert len(cautions(replace(record, model=trained, data=elsewhere))) == len(cautions(record))


def test_many_rows_of_every_label_need_no_caution(record_of):
    assert cautions(record_of([(80, 10, 10), (10, 80, 10), (10, 10, 80)] * 30, [0, 1, 2] * 30)) == []


def test_a_model_that_is_no_better_than_a_constant_answer_is_a_caution(record_of):
    always = [(80, 10, 10)] * 120
    said = cautions_of_training(record_of(always, [0] * 60 + [1, 2] * 30))
    assert said[0].startswith("The accuracy is not above 50.0%, which always answering happy reaches")
    assert cautions_of_training(record_of([*always[:-1], (10, 80, 10)], [0] * 60 + [2, 1] * 30)) == []
    assert cautions_of_training(record_of(always[:60], [0] * 30 + [1, 2] * 15)) == []  # too few rows to say so


def test_skipped_images_are_a_caution(record_of):
    said = cautions(record_of([(80, 10, 10), (10, 80, 10), (10, 10, 80)] * 30, [0, 1, 2] * 30, skipped=1204))
    assert said == ["1,204 images could not be read and were left out."]


@pytest.mark.parametrize(
    ("split", "path", "is_said"),
    [
        ("all", "faces", True),
        ("none", "faces", True),
        ("train", "faces", True),
        ("test", "faces", False),
        ("all", "others", False),
        ("all", "", False),
    ],
)
def test_rows_among_which_training_rows_may_be_are_a_caution(split, path, is_said, record):
    trained = record.model | {"trained_on": {"path": path and "faces"}}
    found = cautions_of_training(replace(record, model=trained, data=record.data | {"split": split, "path": path}))
    assert ["probably include rows the model was trained on" in each for each in found] == [True] * is_said


def test_training_rows_give_a_single_caution(record):
    trained = record.model | {"trained_on": {"path": "faces"}}
    data = record.data | {"split": "all", "same_as_training": True}
    assert len(cautions_of_training(replace(record, model=trained, data=data))) == 1


def test_copies_counted_take_the_place_of_a_likelihood(record, record_of):
    trained = replace(record, model=record.model | {"trained_on": {"path": "faces"}}, data=record.data | {"split": "all"})
    without = record_of([(80, 10, 10), (20, 70, 10)], [0, 0]).all_rows
    gap = Difference(0.5, -0.1, 0.9)
    copies = TrainingCopies("signatures", 900, 2, 1, proportion(3, 3), without, gap, part_of(gap, 0.6))
    counted = replace(trained, training_copies=copies)
    assert cautions_of_training(counted) == []
    assert cautions(counted)[0] == (
        "2 of the 5 faces are copies of faces the model was trained on, and 1 resembles one closely. "
        "Without them the accuracy is 50.0%, not 80.0%."
    )
    by_heart = replace(trained, training_copies=replace(copies, exact=5, alike=0, without=None, gap=None, worth=None))
    assert "Every face is a copy of one the model was trained on" in cautions_of_training(by_heart)[0]


def test_many_faces_that_resemble_training_faces_are_a_caution_of_its_own(record, record_of):
    without = record_of([(80, 10, 10)], [0]).all_rows
    gap = Difference(0.5, -0.1, 0.9)
    copies = TrainingCopies("signatures", 900, 0, 4, proportion(4, 4), without, gap, part_of(gap, 0.8))
    found = cautions_of_training(replace(record, training_copies=copies))
    assert found[0].startswith("4 of the 5 faces resemble training faces closely: most likely the same people, studio or clips")
    assert "--data.group" in found[0]
    few = replace(copies, alike=1)
    assert cautions_of_training(replace(record, training_copies=few)) == []
    said = "1 of the 5 faces resembles faces the model was trained on closely. Without it the accuracy is"
    assert cautions(replace(record, training_copies=few))[0].startswith(said)


def with_copies(record, record_of, exact, alike, **fields):
    gap = Difference(0.5, -0.1, 0.9)
    without = record_of([(80, 10, 10)], [0]).all_rows
    copies = TrainingCopies("signatures", 900, exact, alike, proportion(4, 4), without, gap, part_of(gap, 0.8))
    return replace(record, training_copies=copies, **fields)


@pytest.mark.parametrize(
    ("exact", "alike", "words"),
    [
        (1, 0, "without 1 copy of training faces: accuracy 100.0%, 95% interval 20.7% to 100.0%; it contributes"),
        (0, 1, "without 1 face that resembles a training face: accuracy"),
        (0, 2, "without 2 faces that resemble a training face: accuracy"),
        (2, 1, "without 2 copies of training faces and 1 face that resembles one: accuracy"),
    ],
)
def test_the_terminal_names_the_copies_that_there_are(exact, alike, words, record, record_of, tmp_path):
    table = Report(with_copies(record, record_of, exact, alike), tmp_path).table()
    assert words in table
    assert ("they contribute" in table) == (exact + alike > 1)


def test_data_with_groups_are_advised_otherwise(record, record_of):
    alone = {"count": 10, "in_training": 0}
    assert (
        "; if no group is on both sides, different people may look alike at 48 pixels"
        in (cautions_of_training(with_copies(record, record_of, 0, 4, over_groups=alone))[0])
    )
    known = {"model": record.model | {"trained_on": {"path": "faces"}}, "data": record.data | {"split": "validation"}}
    found = cautions_of_training(with_copies(record, record_of, 0, 4, over_groups=alone, **known))[1]
    assert "although no group is on both sides" in found
    assert "Keep each person" not in found
    shared = cautions_of_training(with_copies(record, record_of, 0, 4, over_groups={"count": 10, "in_training": 2}, **known))
    assert shared[1].endswith("on one side of every split.")


def test_rows_most_of_which_were_in_training_are_a_note(record, record_of):
    (found,) = cautions_of_training(with_copies(record, record_of, 4, 0))
    assert found.startswith("4 of the 5 faces are faces the model was trained on: the metrics show what it has memorised")


def test_the_terminal_says_that_one_group_says_nothing_about_others(record, tmp_path):
    one = {"count": 1, "in_training": 0, "accuracy": None}
    table = Report(replace(record, over_groups=one), tmp_path).table()
    assert "all faces are of 1 group: figures on one group say nothing about others; use --folds 5" in table
