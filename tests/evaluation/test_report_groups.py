"""Intervals over groups in a report, and groups that training shares."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from mien.evaluation.metrics import measure_over_groups
from mien.evaluation.report import evaluate

NONE_KNOWN = np.empty(0, dtype=str)


def intervals(right, groups, known=NONE_KNOWN):
    """Intervals for rows of two labels in turn, of which some are right."""
    truth = np.arange(len(right)) % 2
    predicted = np.where(right, truth, 1 - truth)
    return measure_over_groups(np.array(groups, dtype=str), known, truth, np.eye(2, dtype=np.float32)[predicted])


def width(interval):
    return interval[1] - interval[0]


def test_the_interval_is_wider_where_rows_of_a_group_agree():
    right = np.random.default_rng(0).random(30) < 0.6
    groups = np.repeat(np.arange(30), 10)
    agreeing = intervals(np.repeat(right, 10), groups)
    alone = intervals(np.repeat(right, 10), np.arange(300))
    assert width(agreeing["accuracy"]) > 2 * width(alone["accuracy"])
    assert width(agreeing["macro_f1"]) > 2 * width(alone["macro_f1"])
    assert all(width(both[0]) > 1.5 * width(both[1]) for both in zip(agreeing["recall"], alone["recall"], strict=True))
    assert (agreeing["count"], agreeing["largest"], alone["count"]) == (30, 10, 300)


def test_the_interval_is_that_of_a_bootstrap_of_group_means():
    random = np.random.default_rng(1)
    means = random.random(25)
    right = random.random((25, 8)) < means[:, None]
    found = intervals(right.ravel(), np.repeat(np.arange(25), 8))["accuracy"]
    drawn = random.integers(0, 25, (20_000, 25))
    assert found == pytest.approx(np.percentile(right.mean(axis=1)[drawn].mean(axis=1), (2.5, 97.5)), abs=0.015)


def test_rows_of_groups_of_their_own_have_about_the_plain_interval():
    right = np.arange(400) % 4 > 0
    low, high = intervals(right, np.arange(400))["accuracy"]
    assert (low, high) == pytest.approx((0.7054, 0.7899), abs=0.006)  # Wilson


@pytest.mark.parametrize("value", [0, 1])
def test_groups_that_are_all_right_or_all_wrong_count_once_each(value):
    found = intervals(np.full(40, value), np.repeat(np.arange(4), 10))["accuracy"]
    assert found == pytest.approx((0.5101, 1) if value else (0, 0.4899), abs=1e-4)  # Wilson, 4 of 4


def test_equal_groups_do_not_make_an_interval_narrower_than_the_plain_one():
    found = intervals(np.arange(100) % 10 < 5, np.repeat(np.arange(10), 10))
    assert found["accuracy"] == pytest.approx((0.4038, 0.5962), abs=1e-4)  # Wilson
    assert found["balanced_accuracy"] is None


def test_one_group_has_no_interval_and_a_label_of_one_group_none_either():
    found = intervals([1, 0, 1, 1], ["a"] * 4)
    assert found["accuracy"] is None
    assert found["recall"] == [None, None]
    truth, groups = np.array([0, 0, 0, 1]), np.array(["a", "a", "b", "b"])
    found = measure_over_groups(groups, NONE_KNOWN, truth, np.eye(3, dtype=np.float32)[[0, 1, 0, 1]])
    assert found["recall"][0] is not None
    assert found["recall"][1:] == [None, None]


def test_a_report_gives_both_intervals_and_says_which_groups_training_has(model, eight, tmp_path):
    groups = np.array(["ann", "ann", "bob", "bob", "cem", "cem", "dan", "dan"])
    splits = np.array([3, 3, 3, 3, 3, 3, 3, 1], dtype=np.uint8)
    report = evaluate(model, replace(eight, groups=groups, splits=splits), tmp_path / "report")
    record = json.loads((tmp_path / "report" / "metrics.json").read_text())
    found, plain = record["over_groups"], record["all_rows"]["accuracy"]
    assert (found["count"], found["largest"], found["in_training"]) == (4, 2, 1)
    assert found["accuracy"][0] <= plain["low"]
    assert found["accuracy"][1] >= plain["high"]
    page = (tmp_path / "report" / "index.html").read_text()
    assert "<h2>Groups</h2>" in page
    assert "1 of the 4 groups (people, clips) has faces in training too" in page
    assert "There are only 4 groups" in page
    assert "over 4 groups   95% interval" in report.table()
    with (tmp_path / "report" / "predictions.csv").open(newline="") as file:
        assert [row["group"] for row in csv.DictReader(file)] == groups[:7].tolist()


def test_what_augmentation_and_training_changed_has_an_interval_over_groups_too(model, eight, tmp_path, blank_pictures):
    groups = np.array(["ann", "ann", "bob", "bob", "cem", "cem", "dan", "dan"])
    report = evaluate(model, replace(eight, groups=groups), tmp_path / "report", tta="flip", start=model)
    record = json.loads((tmp_path / "report" / "metrics.json").read_text())
    for part in ("before_training", "test_time_augmentation"):
        test = record[part]["test"]
        assert test["groups"] == 4
        assert test["over_groups"][0] <= test["low"] <= test["high"] <= test["over_groups"][1]
    assert report.table().count(", over 4 groups ") == 2
    page = (tmp_path / "report" / "index.html").read_text()
    assert page.count("(over the 4 groups, for new people or clips: ") == 2
    without = evaluate(model, eight, tmp_path / "without", tta="flip", start=model)
    assert without.record.before_training["test"].over_groups is None
    assert "groups" not in without.table()


def test_a_report_without_groups_says_nothing_of_them(model, eight, tmp_path, blank_pictures):
    report = evaluate(model, eight, tmp_path / "report")
    assert report.record.over_groups is None
    assert report.record.cross_validation is None
    assert "roups" not in report.table()
    assert "<h2>Groups</h2>" not in (tmp_path / "report" / "index.html").read_text()


def test_copies_in_other_folds_are_found_and_the_model_of_all_rows_predicts_nothing(model, eight, tmp_path, blank_pictures):
    faces = eight.take(np.repeat(np.arange(8), 2))
    fold, sure_and_wrong = np.tile([1, 2], 8), np.roll(faces.targets, 1, axis=1)
    report = evaluate(model, faces, tmp_path / "report", "all", folds=(fold, sure_and_wrong))
    assert report.metrics.accuracy.count == 0
    assert report.record.training_copies.exact == 16
    assert "Every face is a copy of one in another fold" in report.table()
    with (tmp_path / "report" / "predictions.csv").open(newline="") as file:
        assert [row["fold"] for row in csv.DictReader(file)] == ["1", "2"] * 8
    alone = evaluate(model, eight, tmp_path / "alone", "all", folds=(fold[:8], eight.targets))
    assert alone.record.training_copies.exact == 0
    assert alone.record.cross_validation["deviation"]["accuracy"] == 0
