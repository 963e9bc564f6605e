"""`mien evaluate` from the command line: groups, labels that differ, copies, and data that are hardly any."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from mien.cli import main
from mien.inference.classifier import Classifier


@pytest.fixture
def manifest(tmp_path):
    """Write a manifest of faces that the model answers rightly or not: (label, right, split, age, sex) each."""

    def write(rows, answers=("happy", "sad", "neutral"), name="labels.csv"):
        random = np.random.default_rng(0)
        with (tmp_path / name).open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["path", "label", "split", "age", "sex"])
            for number, (label, right, *others) in enumerate(rows):
                image = random.integers(0, 256, (8, 8)).astype(np.uint8)
                place = answers.index(label)
                image[0, :3] = np.roll((80, 15, 5), place if right else place + 1)
                Image.fromarray(image).save(tmp_path / f"{number}.png")
                table.writerow([f"{number}.png", label, *others])
        return tmp_path / name

    return write


@pytest.fixture
def evaluated(model, tmp_path, capsys, blank_pictures):
    """Run `mien evaluate`; give the status, metrics.json, the page as words, and what was printed."""

    def run(data, *more, model_file=model.path):
        status = main(["evaluate", str(model_file), "--data", str(data), "--out", str(tmp_path / "report"), *more])
        printed = capsys.readouterr()
        if status:
            assert not (tmp_path / "report").exists()
            return status, None, "", printed
        page = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", (tmp_path / "report" / "index.html").read_text()))
        return status, json.loads((tmp_path / "report" / "metrics.json").read_text()), page, printed

    return run


LABELS = ("happy", "sad", "neutral")


@pytest.fixture
def grouped(manifest):
    """Eighty faces: of the young 36 of 40 are right, of the old 20 of 35, of those who do not say 3 of 5."""
    ages = [("young", 36, 40), ("old", 20, 35), ("", 3, 5)]
    rows = [(LABELS[i % 3], i < right, "test", age, "fm"[i % 2]) for age, right, count in ages for i in range(count)]
    return manifest(rows)


def test_groups_are_measured_one_by_one(grouped, evaluated):
    _, found, page, printed = evaluated(grouped, "--by", "age")
    (by_age,) = found["subgroups"]
    assert by_age["column"] == "age"
    figures = {each["group"]: (each["n"], each["accuracy"]["count"], each["enough"]) for each in by_age["groups"]}
    # the interval of 20 of 35 is 31 points wide
    assert figures == {"old": (35, 20, False), "young": (40, 36, True), "not said": (5, 3, False)}
    gap = by_age["groups"][1]["gap"]
    assert gap["value"] == pytest.approx(36 / 40 - 23 / 40)
    assert f"+{100 * gap['value']:.1f} +{100 * gap['low']:.1f} to +{100 * gap['high']:.1f}" in page
    assert "By age" in page
    assert "too few faces" in page
    lines = [line.split("  ")[0] for line in printed.out.splitlines()]
    assert lines[-4:] == ["by age", "old", "young", "not said"]


@pytest.mark.parametrize("words", [("--by", "age", "--by=sex"), ("--by", "[age, sex]"), ('--by=["age","sex"]',)])
def test_several_columns_are_grouped_by(words, grouped, evaluated):
    _, found, page, _ = evaluated(grouped, *words)
    assert [each["column"] for each in found["subgroups"]] == ["age", "sex"]
    assert sum(each["n"] for each in found["subgroups"][1]["groups"]) == 80
    assert "By age" in page
    assert "By sex" in page


def test_groups_and_copies_have_their_names_documented(grouped, evaluated):
    def names_in(value):
        if isinstance(value, dict):
            return {*value, *(name for inner in value.values() for name in names_in(inner))}
        return {name for inner in value for name in names_in(inner)} if isinstance(value, list) else set()

    names = names_in(evaluated(grouped, "--by", "age")[1])
    documented = (Path(__file__).parents[2] / "docs" / "evaluate.md").read_text(encoding="utf-8")
    assert {"enough", "gap", "group", "merged", "training_copies"} < names
    assert [name for name in sorted(names) if f"`{name}`" not in documented] == []


def test_a_missing_column_is_an_error_that_lists_the_others(grouped, evaluated):
    status, _, _, printed = evaluated(grouped, "--by", "ages")
    assert (status, printed.out) == (2, "")
    assert "has no column 'ages'; besides the images it has label, split, age, sex. Did you mean 'age'?" in printed.err


@pytest.mark.parametrize("words", [("--by",), ("--by", "--split", "test"), ("--split", "test", "--by")])
def test_a_flag_without_a_column_is_an_error(words, grouped, evaluated):
    status, _, _, printed = evaluated(grouped, *words)
    assert (status, "--by" in printed.err, "needs a value" in printed.err) == (2, True, True)


def test_a_column_with_too_many_values_is_rejected(manifest, evaluated):
    rows = [(LABELS[i % 3], True, "test", i, "f") for i in range(51)]
    status, _, _, printed = evaluated(manifest(rows), "--by", "age")
    assert (status, "'age' has 51 different values in 51 rows" in printed.err) == (2, True)


def test_data_without_columns_say_that_a_manifest_is_needed(run, faces, tmp_path, capsys):
    assert main(["evaluate", str(run), "--data", str(faces), "--out", str(tmp_path / "report"), "--by", "age"]) == 2
    assert "into a manifest, a table (CSV or Parquet)" in capsys.readouterr().err


def test_labels_are_renamed_and_merged_before_they_are_matched(manifest, evaluated):
    rows = [("joy", True, "test", "", ""), ("grief", True, "test", "", ""), ("gloom", False, "test", "", "")] * 2
    path = manifest(rows, answers=("joy", "grief", "neutral", "gloom"))
    status, _, _, printed = evaluated(path)
    assert status == 2
    assert (
        "the data have gloom, grief, joy, which the model does not know, and lack happy, sad, neutral of the model's labels"
        in printed.err
    )
    assert """--labels '{"happy": ["joy"], "sad": ["grief"], "neutral": ["gloom"]}'""" in printed.err
    status, found, page, _ = evaluated(path, "--labels", '{"happy": ["joy"], "sad": ["grief", "gloom"]}')
    assert found["data"]["merged"] == {"happy": ["joy"], "sad": ["grief", "gloom"]}
    assert [each["support"] for each in found["all_rows"]["labels"]] == [2, 4, 0]
    assert "joy of the data as happy; grief and gloom of the data as sad" in page


def test_a_class_without_rows_has_no_figures(manifest, evaluated):
    _, found, page, printed = evaluated(manifest([("happy", True, "test", "", ""), ("sad", False, "test", "", "")] * 3))
    neutral = found["all_rows"]["labels"][2]
    assert (neutral["support"], neutral["recall"], neutral["f1"], neutral["roc_auc"]) == (0, None, None, None)
    assert "No rows: neutral. They have no metrics; averages are over the other labels (2)." in page
    assert "over 2 of 3 labels" in printed.out


def test_three_rows_are_measured_with_wide_intervals(manifest, evaluated):
    _, found, page, _ = evaluated(manifest([(label, True, "test", "", "") for label in LABELS]), "--by", "age")
    accuracy = found["all_rows"]["accuracy"]
    assert (accuracy["count"], accuracy["of"], round(accuracy["low"], 3)) == (3, 3, 0.439)  # n / (n + z squared)
    assert "Few rows: happy (1), sad (1), neutral (1)" in page
    (only,) = found["subgroups"][0]["groups"]
    assert (only["group"], only["gap"], only["enough"]) == ("not said", None, False)


def test_a_split_that_is_not_there_names_those_that_are(grouped, evaluated):
    status, _, _, printed = evaluated(grouped, "--split", "validation")
    assert (status, "no split 'validation'; they have test" in printed.err) == (2, True)


def test_answers_of_nan_are_an_error(grouped, evaluated, model, tmp_path):
    broken = onnx.load(model.path)
    uniform = next(each for each in broken.graph.initializer if each.name == "uniform")
    uniform.CopyFrom(numpy_helper.from_array(np.full_like(numpy_helper.to_array(uniform), np.nan), "uniform"))
    onnx.save(broken, tmp_path / "broken.onnx")
    status, _, _, printed = evaluated(grouped, model_file=tmp_path / "broken.onnx")
    assert (status, "not probabilities" in printed.err) == (2, True)


def test_the_report_of_a_run_is_not_replaced_by_one_on_another_model(run, faces, model, capsys):
    before = (run / "report" / "metrics.json").read_bytes()
    assert main(["evaluate", str(model.path), "--data", str(faces), "--out", str(run / "report")]) == 2
    assert "is the report of the run in" in capsys.readouterr().err
    assert (run / "report" / "metrics.json").read_bytes() == before


@pytest.mark.slow
def test_a_trained_model_knows_its_training_faces_again(run, faces, tmp_path, capsys):
    assert json.loads(Classifier(run).metadata["mien.train_rows"])["rows"] == 28
    for split, exact, sentence in (
        ("train", 28, "exactly the rows the model was trained on"),
        ("all", 28, "copies of training"),
    ):
        out = tmp_path / split
        assert main(["evaluate", str(run), "--data", str(faces), "--out", str(out), "--split", split]) == 0
        found = json.loads((out / "metrics.json").read_text())
        assert found["training_copies"]["exact"] == exact
        assert sentence in capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "all" / "predictions.csv").read_text().splitlines()))
    assert {row["copy_in_training"] for row in rows if "/train/" in f"/{row['id']}"} == {"exact"}
    assert sum(row["copy_in_training"] == "exact" for row in rows) == 28
    assert "probably include" not in (tmp_path / "all" / "index.html").read_text()
