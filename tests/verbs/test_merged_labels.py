"""`--labels` of `evaluate`, `predict`, `explain` and `audit`: labels of the model and of the data are changed alike."""

import csv
import json
import pickle

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, log_loss

import mien
from mien.cli import main
from mien.drawn import write_folder
from mien.errors import MienError
from mien.inference.classifier import Classifier
from mien.labels import FER2013

NEGATIVE = {"negative": ["angry", "disgust", "fear", "sad"]}
CHANGES = {  # --labels, the new labels, and of each its old ones
    json.dumps({"fear": "surprise", "contempt": None}): "angry disgust surprise=fear+surprise happy sad neutral",
    json.dumps({**NEGATIVE, "surprise": None}): "negative=angry+disgust+fear+sad happy neutral",
    json.dumps({"happiness": "glad"}): "angry disgust fear glad=happy sad surprise neutral",
}


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Four drawn faces of each label, and as contempt four more."""
    folder = tmp_path_factory.mktemp("data") / "faces"
    write_folder(4, folder, size=48, test=0)
    write_folder(4, folder.parent / "other", size=48, seed=1, test=0)
    (folder.parent / "other" / "happy").rename(folder / "contempt")
    return folder


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def numbers(rows, columns):
    return np.array([[float(row[name]) for name in columns] for row in rows])


@pytest.mark.parametrize("labels", CHANGES)
def test_predict_and_evaluate_agree_and_the_figures_are_those_by_hand(labels, faces, tmp_path, capsys):
    groups = dict((*word.split("="), word)[:2] for word in CHANGES[labels].split())
    words = ["--head", "crowd", "--labels", labels]
    report = tmp_path / "report"
    assert main(["evaluate", "mien-s", "--data", str(faces), "--out", str(report), *words]) == 0
    of_predict = json.dumps({name: new for name, new in json.loads(labels).items() if name != "contempt"})
    table = tmp_path / "predicted.csv"
    assert main(["predict", str(faces), "--faces", "--out", str(table), *words[:3], of_predict]) == 0
    capsys.readouterr()

    evaluated, predicted = rows_of(report / "predictions.csv"), rows_of(table)
    by_name = {row["source"].removeprefix(f"{faces}/"): row for row in predicted}
    same = [by_name[row["id"]] for row in evaluated]
    found = numbers(evaluated, [f"probability_{name}" for name in groups])
    np.testing.assert_allclose(found, numbers(same, groups), atol=1e-5)
    assert [row["predicted"] for row in evaluated] == [row["label"] for row in same]
    assert set(evaluated[0]) == {"id", "true", "predicted", *(f"probability_{name}" for name in groups), "copy_in_training"}

    plain = Classifier("mien-s", head="crowd").classify([faces / row["id"] for row in evaluated])
    sums = np.stack([plain[:, list(map(FER2013.index, old.split("+")))].sum(axis=1) for old in groups.values()], axis=1)
    expected = sums / sums.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    new = {old: name for name, olds in groups.items() for old in olds.split("+")}
    truth = [new[row["id"].partition("/")[0]] for row in evaluated]
    assert [row["true"] for row in evaluated] == truth
    record = json.loads((report / "metrics.json").read_text())
    chosen = [list(groups)[row] for row in expected.argmax(axis=1)]
    assert record["all_rows"]["accuracy"]["value"] == pytest.approx(accuracy_score(truth, chosen))
    assert record["all_rows"]["macro_f1"] == pytest.approx(f1_score(truth, chosen, average="macro", zero_division=0))
    indices = [list(groups).index(name) for name in truth]
    assert record["all_rows"]["log_loss"] == pytest.approx(log_loss(indices, expected, labels=range(len(groups))), abs=1e-4)
    assert record["model"]["labels"] == list(groups)
    # of merged labels the logits are unknown, so nothing is said of them before the temperature; renamed ones keep theirs
    assert (record["before_temperature"] is None) == (len(groups) < 7)


def test_a_report_with_merged_labels_is_compared_with_a_model_of_such_labels(faces, tmp_path, capsys):
    out = ["--data", str(faces), "--labels", json.dumps({**NEGATIVE, "contempt": None}), "--out"]
    for name, head in (("first", "label"), ("second", "crowd")):
        assert main(["evaluate", "mien-s", *out, str(tmp_path / name), "--head", head]) == 0
    assert main(["compare", str(tmp_path / "first"), str(tmp_path / "second")]) == 0
    said = capsys.readouterr().out
    assert "negative" in said
    assert "McNemar" in said


def test_a_classifier_with_changed_labels_keeps_them(tmp_path):
    plain = Classifier("mien-s", threads=1)
    faces = np.random.default_rng(0).integers(0, 256, (5, 48, 48), np.uint8)
    merged = plain.with_labels(NEGATIVE)
    assert (plain.labels, merged.labels.names) == (FER2013, ("negative", "happy", "surprise", "neutral"))
    assert (plain.has_merged_labels, merged.has_merged_labels) == (False, True)
    assert merged.predict_proba(faces[:0]).shape == (0, 4)
    np.testing.assert_allclose(merged.predict_proba(faces).sum(axis=1), 1, atol=1e-6)
    again = merged.with_labels({"calm": ["neutral", "surprise"], "negative": None})
    assert again.labels.names == ("happy", "calm")
    raw = plain.predict_proba(faces)
    expected = np.stack([raw[:, 3], raw[:, 5] + raw[:, 6]], axis=1)
    np.testing.assert_allclose(again.predict_proba(faces), expected / expected.sum(axis=1, keepdims=True), atol=1e-5)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(again)).predict_proba(faces), again.predict_proba(faces))
    # the head and the prior are those of the file's labels, whichever was chosen first
    prior = dict.fromkeys(FER2013, 1.0) | {"happy": 3.0}
    one = merged.with_prior(prior).with_head("label").predict_proba(faces)
    other = Classifier("mien-s", threads=1, head="label", prior=prior).with_labels(NEGATIVE).predict_proba(faces)
    np.testing.assert_array_equal(one, other)
    renamed = plain.with_labels({"happy": "glad"})
    np.testing.assert_array_equal(renamed.predict_proba(faces), raw)
    assert not renamed.has_merged_labels
    with pytest.raises(MienError, match="no label 'glad' among"):
        plain.with_labels({"glad": None})


def test_a_label_left_out_with_all_the_probability_leaves_the_others_equal():
    white = np.full((1, 48, 48), 255, np.uint8)
    certain = Classifier("mien-s", prior={name: float(name == "sad") for name in FER2013})
    assert certain.predict_proba(white)[0, FER2013.index("sad")] == 1
    np.testing.assert_allclose(certain.with_labels({"sad": None}).predict_proba(white), np.full((1, 6), 1 / 6), rtol=1e-5)


def test_explain_shows_merged_labels(faces, tmp_path, capsys):
    picture = tmp_path / "why.png"
    words = ["--faces", "--out", str(picture), "--labels", json.dumps(NEGATIVE), "--label", "negative"]
    assert main(["explain", str(faces / "angry" / "0001.png"), *words]) == 0
    assert "  negative " in capsys.readouterr().out
    (explained,) = mien.explain(faces / "angry" / "0001.png", faces=True, labels=NEGATIVE)
    (row,) = mien.predict(faces / "angry" / "0001.png", faces=True, labels=NEGATIVE)
    assert explained.label == row.label
    np.testing.assert_array_equal(explained.prediction.probabilities, row.probabilities)
    assert main(["explain", str(faces / "angry" / "0001.png"), *words[:-1], "angry"]) == 2
    assert "There is no label 'angry' among negative, happy, surprise, neutral" in capsys.readouterr().err


def test_merged_labels_are_no_conflict_to_audit(faces, tmp_path, capsys):
    folder = tmp_path / "faces"
    write_folder(2, folder, size=48, test=0)
    (folder / "fear" / "copy.png").write_bytes((folder / "sad" / "0001.png").read_bytes())
    words = ["audit", "--data", str(folder), "--quiet", "--out"]
    for name, more, conflicts in (("plain", [], ["2", "1"]), ("merged", ["--labels", json.dumps(NEGATIVE)], ["0"])):
        assert main([*words, str(tmp_path / name), *more]) == 0
        found = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}
        assert (found["exact-copy"], found["conflict"]) == (["2", "1"], conflicts)
    assert main([*words, str(tmp_path / "bad"), "--labels", '{"sat": null}']) == 2
    assert "--labels does not fit the data" in capsys.readouterr().err
    assert not (tmp_path / "bad").exists()
