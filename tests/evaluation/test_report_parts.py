"""What a report says beside the figures on all rows: temperature, crowd, likely wrong labels, test-time augmentation."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import log_loss

from mien.cli import main
from mien.errors import MienError
from mien.evaluation.metrics import likely_mislabelled
from mien.evaluation.record import read_report
from mien.evaluation.report import evaluate
from mien.inference.classifier import UNSURE
from mien.labels import LabelSet

pytestmark = pytest.mark.usefixtures("blank_pictures")


def written(folder):
    return json.loads((folder / "metrics.json").read_text())


def answers_of(faces):
    return faces.images[:, 0, :3] / 100


def test_the_temperature_of_the_measured_head_is_undone(make_model, eight, tmp_path):
    model = make_model(metadata={"mien.temperature": "1.5"})
    evaluate(model, eight, tmp_path / "report")
    powers = answers_of(eight) ** 1.5
    before = written(tmp_path / "report")["before_temperature"]
    expected = log_loss(eight.classes, powers / powers.sum(axis=1, keepdims=True))
    assert (before["temperature"], before["log_loss"]) == (1.5, pytest.approx(expected, rel=1e-5))
    assert len(before["reliability"]) == 15


def names_in(value):
    if isinstance(value, dict):
        return {*value, *(name for inner in value.values() for name in names_in(inner))}
    return {name for inner in value for name in names_in(inner)} if isinstance(value, list) else set()


def test_every_name_in_metrics_json_is_documented(make_model, eight, tmp_path):
    model = make_model(metadata={"mien.temperature": "1.5"})
    eight.images[:, 0, -3:] = eight.images[:, 0, :3]
    evaluate(model, replace(eight, votes=eight.targets), tmp_path / "report", tta="flip")
    names = names_in(written(tmp_path / "report"))
    assert {"seconds_ratio", "mistakes_shared", "perfect_area", "threshold"} < names
    documented = (Path(__file__).parents[2] / "docs" / "evaluate.md").read_text(encoding="utf-8")
    assert [name for name in sorted(names) if f"`{name}`" not in documented] == []


def test_sure_answers_are_measured_on_the_faces_as_they_are_and_on_worse_copies(model, eight, tmp_path, monkeypatch):
    monkeypatch.setattr("mien.evaluation.report.MOST_WORSE", 6)
    evaluate(model, eight, tmp_path / "report")
    record = written(tmp_path / "report")
    plain, worse = record["all_rows"], record["worse_copies"]
    # confidences of 80, 60, 70, 80, 50, 90, 70 and 60 percent, the third, sixth and seventh wrong
    assert (UNSURE, plain["sure"]["count"], plain["sure"]["of"]) == (0.6, 7, 8)
    assert (plain["sure_and_right"]["count"], plain["sure_and_right"]["of"]) == (4, 7)
    assert (worse["n"], worse["sure"]["of"]) == (6, 6)
    assert worse["reliability"] != plain["reliability"]


@pytest.mark.parametrize("part", ["all_rows", "worse_copies"])
def test_a_damaged_field_is_named_in_a_short_sentence(part, model, eight, tmp_path):
    evaluate(model, eight, tmp_path / "report")
    file = tmp_path / "report" / "metrics.json"
    record = written(tmp_path / "report")
    record[part]["accurac9"] = record[part].pop("accuracy")
    file.write_text(json.dumps(record))
    with pytest.raises(MienError, match=f"{part}.*accurac") as caught:
        read_report(file)
    assert len(str(caught.value)) - len(str(file)) < 200


def test_what_is_not_known_is_null(model, eight, tmp_path):
    evaluate(model, eight, tmp_path / "report")
    found = written(tmp_path / "report")
    assert (found["before_temperature"], found["crowd"], found["test_time_augmentation"]) == (None, None, None)
    assert found["likely_mislabelled"] == 3


def test_labels_of_training_rows_are_not_checked(model_trained_on, eight, tmp_path):
    assert evaluate(model_trained_on(eight.fingerprint()), eight, tmp_path / "a").record.likely_mislabelled is None
    doubted = evaluate(model_trained_on("0" * 64), eight, tmp_path / "b").record.likely_mislabelled
    assert doubted == len(likely_mislabelled(answers_of(eight).astype(np.float32), eight.targets))


def test_votes_beside_the_labels_are_set_against_the_mistakes(model, eight, tmp_path):
    votes = np.zeros((8, 3), dtype=np.float32)
    votes[0] = (1, 0, 0)  # right
    votes[2] = (0.2, 0.8, 0)  # happy taken for sad: the crowd sees sad too
    votes[5] = (0, 0.6, 0.4)  # sad taken for happy: the crowd sees sad
    turned = replace(eight, votes=votes).keep(["neutral", "happy", "sad"])  # in another order than the model's
    crowd = evaluate(model, turned, tmp_path / "report").record.crowd
    assert (crowd["rows"], crowd["right"]["value"], crowd["wrong"]["value"]) == (3, 1, pytest.approx(0.7))
    assert (crowd["mistakes_shared"].count, crowd["mistakes_opposed"].count, crowd["mistakes_shared"].of) == (1, 1, 2)


def test_votes_that_are_the_targets_are_their_own_judge(model, eight, tmp_path):
    targets = np.full((8, 3), 0.1, dtype=np.float32)
    targets[np.arange(8), eight.classes] = 0.8
    crowd = evaluate(model, replace(eight, targets=targets), tmp_path / "report").record.crowd
    assert (crowd["rows"], crowd["wrong"]["value"], crowd["mistakes_shared"]) == (8, pytest.approx(0.8, abs=1e-6), None)


def test_with_test_time_augmentation_all_figures_are_of_the_mean(model, eight, tmp_path):
    eight.images[:, 0, -3:] = eight.images[:, 0, :3]  # of the mirror image the answer is turned round: sad stays
    evaluate(model, eight, tmp_path / "report", tta="flip")
    found, given = written(tmp_path / "report"), answers_of(eight)
    mean = (given + given[:, ::-1]) / 2
    right, without = mean.argmax(axis=1) == eight.classes, given.argmax(axis=1) == eight.classes
    assert found["all_rows"]["accuracy"]["count"] == right.sum()
    assert found["all_rows"]["log_loss"] == pytest.approx(log_loss(eight.classes, mean), rel=1e-5)
    gain = found["test_time_augmentation"]
    assert (gain["kind"], gain["views"], gain["accuracy_without"]["count"]) == ("flip", 2, 5)
    assert gain["test"]["only_second"] == (right & ~without).sum()
    assert gain["test"]["only_first"] == (without & ~right).sum()
    assert gain["seconds"] > gain["seconds_without"]
    row = (tmp_path / "report" / "predictions.csv").read_text().splitlines()[1]
    assert row == "face 0,happy,happy,0.450000,0.100000,0.450000"


def test_an_unknown_augmentation_is_rejected_before_anything_is_written(model, eight, tmp_path):
    with pytest.raises(MienError, match="no test-time augmentation 'rotate'; choose none, flip, ten-crops"):
        evaluate(model, eight, tmp_path / "report", tta="rotate")
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("tta", ["flip", "ten-crops"])
def test_the_command_line_prints_gain_and_cost(run, faces, tmp_path, capsys, tta):
    words = ["evaluate", str(run), "--data", str(faces), "--out", str(tmp_path / "report"), "--tta", tta]
    assert main(words) == 0
    assert f"test-time augmentation {tta}: accuracy " in capsys.readouterr().out
    assert written(tmp_path / "report")["test_time_augmentation"]["kind"] == tta


def test_the_command_line_names_the_augmentations_there_are(run, faces, tmp_path, capsys):
    words = ["evaluate", str(run), "--data", str(faces), "--out", str(tmp_path / "report"), "--tta", "flop"]
    assert main(words) == 2
    assert "expected one of none, flip, ten-crops, not flop; did you mean flip?" in capsys.readouterr().err


def test_three_rows_and_a_label_without_rows_are_no_trouble(make_model, eight, tmp_path):
    model = make_model(metadata={"mien.temperature": "2"}, labels=LabelSet(("happy", "sad", "neutral")))
    three = eight.take(np.arange(3))
    votes = np.array([(1, 0, 0), (0, 0, 0), (0.5, 0.5, 0)], dtype=np.float32)
    record = evaluate(model, replace(three, votes=votes), tmp_path / "report").record
    assert [point.accuracy.of for point in record.all_rows.selective.points] == [3, 3, 3, 2]
    assert record.all_rows.confusion_shares[2] == (None, None, None)
    assert (record.crowd["rows"], record.crowd["right"]["low"]) == (2, None)
    assert record.before_temperature["log_loss"] > 0
