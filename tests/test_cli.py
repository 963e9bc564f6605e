"""The command line, end to end."""

import csv
import errno
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from mien.cli import VERBS, main
from mien.data.drawn import draw_photo, write_folder
from mien.inference.classifier import Classifier
from mien.training import run_folder

QUICK = ["--recipe.epochs", "1", "--recipe.batch_size", "16", "--threads", "1", "--quiet"]


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "faces"
    write_folder(8, folder, size=48, validation=0.25, test=0.25)
    return folder


@pytest.fixture(scope="module")
def run(faces, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", "mien-s", "--data", str(faces), "--out", str(out), *QUICK]) == 0
    return out


def complaint(capsys, words: list[str]) -> str:
    """Run a mistake: it must exit with 2, say one sentence and nothing else."""
    capsys.readouterr()
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if line.startswith("mien: ")]
    assert len(lines) == 1
    return lines[0]


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
    assert main([*words, "--detector", "haar"]) == 0
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
    assert (
        main(["predict", str(tmp_path / "letter.jpg"), str(tmp_path / "photo.png"), "--detector", "haar", "--format", "json"])
        == 1
    )
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
    assert "1,048,007 parameters" in out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_its_help(verb, capsys):
    with pytest.raises(SystemExit) as left:
        main([verb, "--help"])
    assert left.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: mien {verb}")


def test_without_a_verb_the_verbs_are_told(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(verb in out for verb in VERBS)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["trian"], "no verb 'trian'; did you mean train"),
        (["train"], "which recipe"),
        (["train", "mien-z", "--data", "x", "--out", "y"], "no recipe 'mien-z'; did you mean mien-s"),
        (["train", "mien-s", "--data", "x"], "missing: --out"),
        (["train", "mien-s", "--out", "y"], "missing: --data.path"),
        (["train", "mien-s", "--data", "/nowhere/faces", "--out", "y"], "/nowhere/faces"),
        (["train", "mien-s", "--data", "x", "--out", "y", "--recipe.epoch", "3"], "Did you mean --recipe.epochs"),
        (
            ["train", "mien-s", "--data", "x", "--out", "y", "--recipe.epochs", "few"],
            "--recipe.epochs: Expected a int. Got value: few",
        ),
        (["train", "mien-s", "--data", "x", "--out", "y", "--recipe.dropout", "2"], "dropout must be a share"),
        (["train", "mien-s", "--data", "{faces}", "--out", "y", "--recipe.network", "wide_cn"], "did you mean wide_cnn"),
        (["train", "mien-s", "--data", "{faces}", "--out", "y", "--recipe.keep", '["happy"]'], "two labels at least"),
        (["train", "mien-s", "--data", "{faces}", "--out", "y", "--recipe.keep", '["happy", "sat"]'], "Did you mean 'sad'"),
        (["train", "mien-s", "--data", "{faces}", "--out", "y", "--device", "warp"], "no device 'warp'"),
        (["train", "mien-s", "--data", "{faces}", "--out", "{run}"], "exists; choose another --out"),
        (["evaluate", "mien-q", "--data", "{faces}", "--out", "y"], "mien-q"),
        (["evaluate", "{run}", "--data", "{faces}", "--out", "y", "--split", "exam"], "exam"),
        (["evaluate", "{run}", "--data", "{faces}", "--out", "{faces}"], "faces"),
        (["predict"], "missing: SOURCE"),
        (["predict", "{run}/model.onx"], "Did you mean"),
        (["predict", "/nowhere/photo.jpg", "/nowhere/*.png"], "nothing at '/nowhere/photo.jpg'"),
        (["predict", "{faces}", "--model", "{run}/recipe.yaml"], "recipe.yaml"),
        (["predict", "{faces}", "--detector", "/nowhere/yunet.onnx"], "/nowhere/yunet.onnx"),
        (["recipes", "mien-z"], "mien-s"),
        (["compare"], "missing: RUN"),
        (["compare", "{faces}"], "not the folder of a finished run"),
        (["compare", "{run}", "--format", "xml"], "no format 'xml'"),
        (
            ["train", "mien-s", "--data", "{faces}", "--out", "y", "--recipe.own_validation", "false", "--recipe.carve", "9"],
            "carve",
        ),
    ],
)
def test_a_mistake_is_answered_with_one_sentence_and_leaves_nothing(words, sentence, faces, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert sentence in complaint(capsys, [word.format(faces=faces, run=run) for word in words])
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def three(faces, tmp_path_factory):
    """A run on three labels, validated on rows carved from training."""
    out = tmp_path_factory.mktemp("runs") / "three"
    assert main(["train", "three-emotions", "--data", str(faces), "--out", str(out), *QUICK, "--recipe.carve", "1"]) == 0
    return out


def test_a_recipe_of_three_labels_leaves_the_test_rows_alone(three):
    data = json.loads(Classifier(three).metadata["mien.data"])
    assert Classifier(three).labels.names == ("happy", "sad", "surprise")
    assert (data["train_count"], data["validation_count"]) == (9, 3)


def test_a_model_of_three_labels_is_measured_on_rows_of_these(three, faces, tmp_path, capsys):
    assert main(["evaluate", str(three), "--data", str(faces), "--out", str(tmp_path / "report")]) == 0
    assert "rows of other labels left out" in capsys.readouterr().err
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert metrics["all_rows"]["n"] == 6
    assert [each["label"] for each in metrics["all_rows"]["labels"]] == ["happy", "sad", "surprise"]


def test_runs_stand_side_by_side(run, three, tmp_path, capsys):
    assert main(["compare", str(run), str(three)]) == 0
    table = capsys.readouterr().out
    assert main(["compare", str(run), str(three), "--format", "json", "--out", str(tmp_path / "runs.json")]) == 0
    rows = {row["name"]: row for row in json.loads((tmp_path / "runs.json").read_text())}
    report = json.loads((run / "report" / "metrics.json").read_text())["all_rows"]
    assert rows["run"]["accuracy"] == report["accuracy"]["value"]
    assert rows["run"]["recall"]["sad"] == report["labels"][4]["recall"]["value"]
    assert rows["run"]["multiply_adds"] == 33_944_096
    assert rows["three"]["parameters"] == 1_494_851
    assert rows["three"]["recall"].keys() == {"happy", "sad", "surprise"}
    assert "not all measured on the same faces" in table
    assert f"{rows['run']['accuracy']:.1%}, {rows['run']['low']:.1%} to" in table
    assert "1 cpu threads" in table


def test_bad_images_are_named_and_can_be_skipped(faces, tmp_path, capsys):
    mine = tmp_path / "mine"
    shutil.copytree(faces, mine)
    bad = sorted((mine / "train" / "happy").iterdir())[0]
    bad.write_text("not an image")
    words = ["train", "mien-s", "--data", str(mine), "--out", str(tmp_path / "run"), *QUICK]
    assert bad.name in complaint(capsys, words)
    assert not (tmp_path / "run").exists()
    assert main([*words, "--data.skip_bad"]) == 0
    assert bad.name in (tmp_path / "run" / "skipped.txt").read_text()


def test_a_full_disk_is_said_and_the_run_goes_on_afterwards(faces, run, tmp_path, monkeypatch, capsys):
    real, writes = run_folder.write_whole, []

    def full_at_the_second(path, write):
        writes.append(path.name)
        if len(writes) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, write)

    words = ["train", "mien-s", "--data", str(faces), "--out", str(tmp_path / "run"), *QUICK]
    monkeypatch.setattr(run_folder, "write_whole", full_at_the_second)
    assert "disk is full" in complaint(capsys, words)
    assert not (tmp_path / "run" / "model.onnx").exists()
    assert main([*words, "--resume"]) == 0
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() == (run / "weights.safetensors").read_bytes()
