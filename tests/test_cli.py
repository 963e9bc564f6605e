"""The command line, end to end."""

import csv
import inspect
import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from PIL import Image

import mien
from mien.cli import VERBS, main, read_command_line
from mien.data.source import DataSource
from mien.drawn import draw_photo
from mien.inference.classifier import Classifier
from mien.training.recipe import load_recipe, recipe_names


def arguments_of(words):
    """What a verb is called with."""
    verb, *rest = words
    return read_command_line(verb, getattr(import_module(VERBS[verb][0]), verb), rest)


def test_training_leaves_a_whole_run_folder_and_its_report(run):
    assert {p.name for p in run.iterdir()} == {
        "model.onnx", "weights.safetensors", "recipe.yaml", "log.csv", "last.ckpt", "tensorboard", "report",
    }  # fmt: skip
    metrics = json.loads((run / "report" / "metrics.json").read_text())
    assert metrics["data"]["split"] == "validation"
    assert metrics["command"].startswith("mien train mien-s --data ")
    assert "epochs: 1" in (run / "recipe.yaml").read_text()


def test_the_model_says_what_it_was_trained_on(run, faces):
    metadata = Classifier(run).metadata
    data = json.loads(metadata["mien.data"])
    assert (data["path"], data["train_count"], data["validation_count"]) == ("faces", 28, 14)
    assert str(faces.parent) not in json.dumps(metadata)


def test_evaluating_prints_the_table_and_writes_the_page(run, faces, tmp_path, capsys):
    assert main(["evaluate", str(run), "--data", str(faces), "--out", str(tmp_path / "report")]) == 0
    out, err = capsys.readouterr()
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert metrics["data"]["split"] == "test"
    assert metrics["data"]["rows"] == 14
    assert "surprise" in out
    assert "report  " in err
    with (tmp_path / "report" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    right = sum(row["true"] == row["predicted"] for row in rows)
    assert metrics["all_rows"]["accuracy"]["value"] == pytest.approx(right / len(rows))
    assert (tmp_path / "report" / "index.html").read_text().startswith("<!")


def test_predicting_gives_clean_json_with_a_row_for_every_photo(run, tmp_path, capsys):
    photo, boxes = draw_photo(["happy", "sad"], seed=3)
    Image.fromarray(photo).save(tmp_path / "two people.png")
    Image.new("RGB", (300, 200), "green").save(tmp_path / "meadow.png")
    words = ["predict", str(tmp_path / "two people.png"), str(tmp_path / "meadow.png"), "--model", str(run), "--format", "json"]
    assert main([*words]) == 0
    rows = json.loads(capsys.readouterr().out)
    found = [row for row in rows if row.get("box")]
    assert len(found) == len(boxes)
    assert {Path(row["source"]).name for row in rows} == {"two people.png", "meadow.png"}
    for row in found:
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-4)
        assert row["label"] == max(row["probabilities"], key=row["probabilities"].get)


def test_predicting_goes_on_after_a_bad_file_and_exits_with_1(run, tmp_path, capsys):
    (tmp_path / "letter.jpg").write_text("Dear me")
    photo, _ = draw_photo(["happy"], seed=3)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    assert main(["predict", str(tmp_path / "letter.jpg"), str(tmp_path / "photo.png"), "--format", "json"]) == 1
    rows = json.loads(capsys.readouterr().out)
    assert "letter.jpg" in rows[0]["error"]
    assert rows[1]["label"]


def test_recipes_and_models_are_listed(capsys):
    assert main(["recipes"]) == 0
    assert main(["recipes", "wide-cnn"]) == 0
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert "mien-s" in out
    assert "network: wide_cnn" in out
    assert "1,059,018 parameters" in out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_its_help(verb, capsys):
    with pytest.raises(SystemExit) as left:
        main([verb, "--help"])
    assert left.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: mien {verb}")


def test_without_a_verb_the_verbs_are_listed(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(verb in out for verb in VERBS)


@pytest.fixture(scope="module")
def three(faces, tmp_path_factory, quick):
    """A run on three labels, validated on rows carved from training."""
    out = tmp_path_factory.mktemp("runs") / "three"
    assert main(["train", "three-emotions", "--data", str(faces), "--out", str(out), *quick, "--recipe.carve", "1"]) == 0
    return out


def test_a_recipe_of_three_labels_leaves_the_test_rows_alone(three):
    data = json.loads(Classifier(three).metadata["mien.data"])
    assert Classifier(three).labels.names == ("happy", "sad", "surprise")
    assert (data["train_count"], data["validation_count"]) == (9, 3)


def test_a_model_of_three_labels_is_measured_on_rows_of_these(three, faces, tmp_path, capsys):
    assert main(["evaluate", str(three), "--data", str(faces), "--out", str(tmp_path / "report")]) == 0
    assert "rows of other labels left out" in capsys.readouterr().err
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert metrics["all_rows"]["n"] == 12, "validation rows are test rows to a model that carved its own"
    assert [each["label"] for each in metrics["all_rows"]["labels"]] == ["happy", "sad", "surprise"]


def test_flags_may_be_written_with_hyphens(faces, tmp_path, capsys):
    out = tmp_path / "answers.csv"
    words = ["predict", str(faces), "--detector", "none", "--batch-size=4", "--min-size", "2", "--out", str(out)]
    assert main(words) == 0
    assert out.stat().st_size
    assert main([*words, "--no-such-flag"]) == 2
    assert "--no-such-flag" in capsys.readouterr().err


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_passes_the_command_line_unchanged(name):
    words = ["train", name, "--data", "faces", "--out", "run"]
    assert arguments_of(words)["recipe"] == load_recipe(name)


def test_only_the_settings_that_are_named_change_a_recipe():
    words = ["train", "mien-s", "--data", "faces", "--out", "run", "--recipe.precise-batch-norm", "false"]
    found = arguments_of([*words, "--recipe.balance.sampler", "--recipe.keep", "[happy, sad]"])["recipe"]
    before = load_recipe("mien-s")
    assert found.description == "mien-s with keep [happy, sad], balance.sampler true, precise_batch_norm false"
    changed = {"precise_batch_norm": False, "keep": ["happy", "sad"], "balance": replace(before.balance, sampler=True)}
    assert found == replace(before, description=found.description, **changed)


def test_a_switch_stands_alone_and_a_list_is_a_flag_repeated():
    words = ["evaluate", "--quiet", "--by", "age", "--data=faces", "--data.skip-bad", "mien-s", "--by=sex", "--out", "report"]
    found = arguments_of(words)
    assert (found["model"], found["quiet"], found["by"]) == ("mien-s", True, ["age", "sex"])
    assert found["data"] == DataSource(Path("faces"), skip_bad=True)
    assert found["command"] == f"mien {' '.join(words)}"


def test_options_of_the_pipeline_are_options_of_predict():
    found = arguments_of(["predict", "a.png", "b.png", "--every", "3", "--track", "false", "--faces"])
    assert (found["source"], found["every"], found["track"], found["faces"]) == (["a.png", "b.png"], 3, False, True)
    assert found["threshold"] == inspect.signature(mien.predict).parameters["threshold"].default
