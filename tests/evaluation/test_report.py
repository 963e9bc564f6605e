import csv
import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

from mien.data.faceset import FaceSet, Origin
from mien.errors import MienError
from mien.evaluation.report import choose_split, evaluate

pytestmark = pytest.mark.usefixtures("blank_pictures")


def rows_of(path):
    return list(csv.reader(path.read_text(encoding="utf-8").splitlines()))


def test_metrics_json_holds_the_figures_counted_by_hand(model, eight, tmp_path):
    evaluate(model, eight, tmp_path / "report", command="mien evaluate it")
    found = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert list(found)[:3] == ["made_by", "format", "mien_version"]
    assert found["command"] == "mien evaluate it"
    figures = found["all_rows"]
    assert figures["n"] == 8
    assert figures["accuracy"]["value"] == 5 / 8  # happy 2 of 3, sad 2 of 4, neutral 1 of 1
    assert figures["confusion"] == [[2, 1, 0], [1, 2, 1], [0, 0, 1]]
    assert figures["balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert figures["macro_f1"] == pytest.approx((4 / 6 + 4 / 7 + 2 / 3) / 3)
    assert figures["log_loss"] == pytest.approx(-np.log([0.8, 0.6, 0.2, 0.8, 0.5, 0.05, 0.2, 0.6]).mean(), rel=1e-5)
    assert figures["cross_entropy"] is None
    assert [each["label"] for each in figures["labels"]] == ["happy", "sad", "neutral"]


def test_the_record_names_the_model_and_the_data(model_trained_on, eight, tmp_path):
    faces = replace(eight, origin=Origin("folder", "/home/someone/private/faces", ("a.jpg", "b.jpg")))
    evaluate(model_trained_on("0" * 64), faces, tmp_path / "report")
    found = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert found["model"]["file"] == "noted.onnx"
    assert found["model"]["sha256"] == hashlib.sha256((tmp_path / "noted.onnx").read_bytes()).hexdigest()
    assert (found["model"]["temperature"], found["model"]["mien_version"], found["model"]["parameters"]) == (
        1.25,
        "0.0.9",
        1234,
    )
    assert found["model"]["trained_on"]["train_count"] == 8
    data = found["data"]
    assert (data["kind"], data["path"], data["split"], data["rows"], data["skipped"]) == ("folder", "faces", "all", 8, 2)
    assert data["fingerprint"] == eight.fingerprint()
    assert data["same_as_training"] is False
    assert "/home/someone" not in (tmp_path / "report" / "index.html").read_text()


def test_rows_the_model_was_trained_on_are_known(model_trained_on, eight, tmp_path):
    report = evaluate(model_trained_on(eight.fingerprint()), eight, tmp_path / "report")
    assert report.record.data["same_as_training"] is True
    assert "it has memorised" in (tmp_path / "report" / "index.html").read_text()


def test_a_model_without_notes_leaves_them_open(model, eight, tmp_path):
    record = evaluate(model, eight, tmp_path / "report").record
    assert (record.model["trained_on"], record.model["temperature"], record.data["same_as_training"]) == (None, None, None)


def test_the_predictions_have_every_row(model, eight, tmp_path):
    evaluate(model, eight, tmp_path / "report")
    header, *rows = rows_of(tmp_path / "report" / "predictions.csv")
    assert header == ["id", "true", "predicted", "probability_happy", "probability_sad", "probability_neutral"]
    assert rows[0] == ["face 0", "happy", "happy", "0.800000", "0.100000", "0.100000"]
    assert rows[5] == ["face 5", "sad", "happy", "0.900000", "0.050000", "0.050000"]
    assert sum(row[1] == row[2] for row in rows) == 5
    assert len(rows) == 8


def test_labels_are_matched_by_name_in_any_order(model, eight, tmp_path):
    turned = eight.keep(["neutral", "happy", "sad"])
    straight = evaluate(model, eight, tmp_path / "a").metrics
    assert evaluate(model, turned, tmp_path / "b").metrics == straight


def test_data_with_some_of_the_labels_leave_the_others_without_rows(model, eight, tmp_path):
    metrics = evaluate(model, eight.keep(["sad"]), tmp_path / "report").metrics
    assert [each.support for each in metrics.labels] == [0, 4, 0]
    assert (metrics.accuracy.value, metrics.labels_with_rows) == (0.5, 1)
    happy = json.loads((tmp_path / "report" / "metrics.json").read_text())["all_rows"]["labels"][0]
    absent = dict.fromkeys(("precision", "recall", "f1", "average_precision", "roc_auc"))
    assert happy == {"label": "happy", "support": 0, "predicted": 1} | absent


@pytest.mark.parametrize(
    ("splits", "asked", "chosen", "count"),
    [
        (["train", "validation", "test"], None, "test", 1),
        (["train", "validation", "validation"], None, "validation", 2),
        (["train", "train", "none"], None, "all", 3),
        (["none", "none", "none"], None, "all", 3),
        (["train", "validation", "test"], "train", "train", 1),
        (["train", "validation", "test"], "all", "all", 3),
    ],
)
def test_the_split_is_the_one_asked_for_else_test_else_validation_else_all(answered, splits, asked, chosen, count):
    rows, name = choose_split(answered([(80, 10, 10)] * 3, [0, 1, 2], splits=splits), asked)
    assert (name, len(rows)) == (chosen, count)


def test_a_split_that_is_not_there_names_those_that_are(model, answered, tmp_path):
    faces = answered([(80, 10, 10)] * 2, [0, 1], splits=["train", "test"])
    with pytest.raises(MienError, match="no split 'validation'; they have train, test"):
        evaluate(model, faces, tmp_path / "report", split="validation")


def test_faces_of_another_size_or_colour_are_rejected(model, tmp_path):
    for shape, sentence in (((2, 9, 9), "9x9 pixels in gray"), ((2, 8, 8, 3), "8x8 pixels in colour")):
        faces = FaceSet.from_arrays(np.zeros(shape, dtype=np.uint8), [0, 1], model.labels)
        with pytest.raises(MienError, match=f"takes faces of 8x8 pixels in gray, these are {sentence}"):
            evaluate(model, faces, tmp_path / "report")


def test_an_answer_of_nan_is_an_error_and_leaves_no_report(model, eight, tmp_path):
    model.predict_proba = lambda faces, _: np.full((len(faces), 3), np.nan, dtype=np.float32)
    with pytest.raises(MienError, match="8 of 8 rows are not numbers"):
        evaluate(model, eight, tmp_path / "report")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_no_rows_are_an_error(model, eight, tmp_path):
    with pytest.raises(MienError, match="no rows"):
        evaluate(model, eight.take(np.arange(0)), tmp_path / "report")


def test_a_later_report_takes_the_place_of_an_earlier_one(model, eight, tmp_path):
    evaluate(model, eight, tmp_path / "report")
    evaluate(model, eight.take(np.arange(3)), tmp_path / "report")
    assert json.loads((tmp_path / "report" / "metrics.json").read_text())["all_rows"]["n"] == 3


def test_a_folder_with_something_else_is_rejected_before_the_model_runs(model, eight, tmp_path):
    model.predict_proba = None
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(MienError, match="is no report of mien"):
        evaluate(model, eight, tmp_path)


def test_a_batch_of_any_size_gives_the_same_figures(model, eight, tmp_path):
    whole = evaluate(model, eight, tmp_path / "report").metrics
    assert evaluate(model, eight, tmp_path / "report", batch_size=3).metrics == whole
    with pytest.raises(MienError, match="at least 1"):
        evaluate(model, eight, tmp_path / "report", batch_size=0)


def test_votes_are_measured_against_their_distribution(model, eight, tmp_path):
    votes = np.full((8, 3), 0.2, dtype=np.float32)
    votes[np.arange(8), eight.classes] = 0.6
    metrics = evaluate(model, replace(eight, targets=votes), tmp_path / "report").metrics
    shares = np.clip(eight.images[:, 0, :3] / 100, 2**-23, None)
    assert metrics.cross_entropy == pytest.approx(-(votes * np.log(shares)).sum(axis=1).mean(), rel=1e-5)
    assert metrics.accuracy.count == 5
    assert "cross-entropy, votes" in (tmp_path / "report" / "index.html").read_text()


def test_what_could_not_be_read_is_listed_and_the_report_can_be_written_again(model, eight, tmp_path):
    faces = replace(eight, origin=Origin("folder", "faces", ("a.jpg", "b.jpg")))
    for _ in range(2):
        evaluate(model, faces, tmp_path / "report")
    assert (tmp_path / "report" / "skipped.txt").read_text() == "a.jpg\nb.jpg\n"


def test_the_table_begins_with_what_was_evaluated(model, eight, tmp_path):
    faces = replace(eight, splits=np.array([3] * 7 + [1], dtype=np.uint8), origin=Origin("folder", "/home/someone/faces"))
    first = [evaluate(model, faces, tmp_path / "report", split).table().splitlines()[:2] for split in ("test", "train", "all")]
    assert [lines[0] for lines in first] == [
        "test split of faces: 7 faces",
        "train split of faces: 1 face",
        "all rows of faces: 8 faces",
    ]
    assert all(lines[1].startswith("accuracy ") for lines in first)
    in_memory = evaluate(model, eight, tmp_path / "report").table()
    assert in_memory.startswith("all rows of data from memory: 8 faces\n")
    assert "Note:" not in in_memory


def test_the_table_ends_with_the_cautions_about_training_rows(model_trained_on, eight, tmp_path):
    faces = replace(eight, origin=Origin("folder", "/home/someone/faces"))
    for fingerprint, sentence in ((eight.fingerprint(), "exactly the rows"), ("0" * 64, "probably include rows")):
        report = evaluate(model_trained_on(fingerprint), faces, tmp_path / "report")
        last = report.table().splitlines()[-1]
        assert last.startswith("Note: These ")
        assert sentence in last
        assert sentence in (tmp_path / "report" / "index.html").read_text()


def test_a_file_called_model_is_named_after_its_run_folder(model, model_trained_on, eight, tmp_path):
    assert evaluate(model, eight, tmp_path / "report").record.model["name"] == tmp_path.name
    assert evaluate(model_trained_on("0" * 64), eight, tmp_path / "report").record.model["name"] == "noted.onnx"
