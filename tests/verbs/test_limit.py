"""`--limit` of train, evaluate and audit: the same sentence, and a report that says that only a part was used."""

import json
import re

import pytest

from mien.cli import main

SENTENCE = "using a part of the data: 28 of 56 faces, stratified by label and split (--limit {})"
NOTE = "Only a part of the data was used: 28 of 56 faces (--limit)."


@pytest.fixture
def words(faces, tmp_path):
    return ["--data", str(faces), "--out", str(tmp_path / "out")]


def page(folder):
    return re.sub(r"\s+", " ", (folder / "index.html").read_text())


@pytest.mark.parametrize("limit", ["28", "0.5"])
def test_an_evaluation_of_a_part_says_so(run, words, tmp_path, capsys, limit):
    assert main(["evaluate", str(run), *words, "--limit", limit]) == 0
    out, err = capsys.readouterr()
    assert SENTENCE.format(limit) in err
    assert out.startswith("test split of faces: 7 faces of a part of the data (28 of 56 faces, --limit)\n")
    record = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (record["data"]["rows"], record["data"]["limit"]) == (7, "28 of 56 faces")
    assert [each["support"] for each in record["all_rows"]["labels"]] == [1] * 7
    assert NOTE in page(tmp_path / "out")


def test_an_audit_of_a_part_says_so(words, tmp_path, capsys):
    assert main(["audit", *words, "--limit", "0.5"]) == 0
    out, err = capsys.readouterr()
    assert SENTENCE.format(0.5) in err
    assert NOTE in out
    record = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert (record["data"]["rows"], record["data"]["limit"]) == (28, "28 of 56 faces")
    assert record["counts"]["train"] == dict.fromkeys(record["counts"]["train"], 2)
    assert NOTE in page(tmp_path / "out")


@pytest.mark.slow
def test_a_training_on_a_part_says_so_and_is_resumed_on_the_same(words, tmp_path, capsys, quick):
    training = ["train", "mien-s", *words, *quick]
    assert main([*training, "--limit", "28"]) == 0
    out, err = capsys.readouterr()
    assert SENTENCE.format(28) in err
    assert "fewer than 20 validation rows of angry (1)" in err
    assert "no basis to choose an epoch (--recipe.select_by last)" in err
    assert out.startswith("validation split of faces: 7 faces of a part of the data (28 of 56 faces, --limit)\n")
    trained_on = json.loads((tmp_path / "out" / "report" / "metrics.json").read_text())["model"]["trained_on"]
    assert (trained_on["train_count"], trained_on["validation_count"]) == (14, 7)
    assert main([*training, "--resume"]) == 2
    assert "it was trained on other data" in capsys.readouterr().err
    assert main([*training, "--resume", "--limit", "28"]) == 0


@pytest.mark.slow
def test_without_a_limit_nothing_is_said(run, words, tmp_path, capsys):
    assert main(["evaluate", str(run), *words]) == 0
    assert "part of the data" not in "".join(capsys.readouterr())
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["data"]["limit"] is None
    assert "part of the data" not in page(tmp_path / "out")
