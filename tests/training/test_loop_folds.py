"""Folds, end to end by the command line: every face is measured by a model that did not see it."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

import mien
from mien.cli import main
from mien.drawn import draw_face
from mien.inference.classifier import Classifier

LABELS = ("happy", "sad", "surprise")
QUICK = ("--recipe.epochs", "1", "--recipe.batch_size", "16", "--threads", "1", "--quiet")


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Six people with three expressions each, of whom the last is the whole test split."""
    folder = tmp_path_factory.mktemp("people") / "faces"
    for person in range(6):
        for label in LABELS:
            path = folder / ("test" if person == 5 else "train") / label / f"p{person}_1.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw_face(label, 200 + person, 96)).save(path)
            if person < 5:
                Image.fromarray(draw_face(label, 200 + person, 96)[3:-3, 3:-3]).save(path.with_name(f"p{person}_2.png"))
    return folder


def words(people, out, *more):
    pattern = ("--data.group", "re:^(p.)_")
    return ["train", "few-faces", "--data", str(people), "--out", str(out), *pattern, "--folds", "2", *QUICK, *more]


@pytest.fixture(scope="module")
def run(people, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main(words(people, out)) == 0
    return out


def rows_of(run):
    with (run / "report" / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_face_but_those_of_test_is_predicted_by_the_model_of_its_fold(run, people):
    rows = rows_of(run)
    assert sorted(row["id"] for row in rows) == sorted(str(path.relative_to(people)) for path in people.glob("train/*/*.png"))
    for number in ("1", "2"):
        model = Classifier(run / f"fold-{number}", threads=1)
        held = [row for row in rows if row["fold"] == number]
        faces = mien.read_faces(people)
        place = {faces.id(row): row for row in range(len(faces))}
        probabilities = model.predict_proba(np.stack([faces.images[place[row["id"]]] for row in held]))
        assert [row["predicted"] for row in held] == [model.labels[each] for each in probabilities.argmax(axis=1)]
        assert json.loads(model.metadata["mien.data"])["train_count"] == 30 - len(held)


def test_no_person_is_in_two_folds(run):
    folds = {}
    for row in rows_of(run):
        folds.setdefault(row["group"], set()).add(row["fold"])
    assert len(folds) == 5
    assert all(len(each) == 1 for each in folds.values())


def test_the_model_file_is_that_of_all_rows_with_the_mean_temperature_of_the_folds(run):
    final, *folds = (Classifier(each).metadata for each in (run, run / "fold-1", run / "fold-2"))
    noted = json.loads(final["mien.data"])
    assert (noted["train_count"], noted["validation_count"]) == (30, 0)
    temperatures = [float(each["mien.temperature"]) for each in folds]
    assert float(final["mien.temperature"]) == pytest.approx(np.sqrt(np.prod(temperatures)))
    assert "select_by: last" in final["mien.recipe"]


def test_the_report_has_pooled_figures_and_their_spread(run):
    record = json.loads((run / "report" / "metrics.json").read_text())
    rows, crossed = rows_of(run), record["cross_validation"]
    right = [row["true"] == row["predicted"] for row in rows]
    assert record["all_rows"]["accuracy"]["count"] == sum(right)
    assert record["data"]["split"] == "2 folds"
    assert record["data"]["same_as_training"] is None
    values = [np.mean([hit for row, hit in zip(rows, right, strict=True) if row["fold"] == n]) for n in ("1", "2")]
    assert [each["accuracy"]["value"] for each in crossed["folds"]] == pytest.approx(values)
    assert crossed["deviation"]["accuracy"] == pytest.approx(np.std(values, ddof=1))
    assert record["over_groups"]["count"] == 5
    assert record["model"]["sha256"]
    page = (run / "report" / "index.html").read_text()
    assert "<h2>Folds</h2>" in page
    assert "memorised" not in page


def test_the_log_is_the_mean_of_the_folds(run):
    logs = [np.loadtxt(each / "log.csv", delimiter=",", skiprows=1) for each in (run, run / "fold-1", run / "fold-2")]
    assert logs[0] == pytest.approx((logs[1] + logs[2]) / 2, rel=1e-5)


def test_compare_takes_a_run_of_folds(run, people, tmp_path, capsys):
    assert main(["compare", str(run)]) == 0
    table = capsys.readouterr().out
    assert "30 faces, 2 folds: happy, sad, surprise" in table


def test_resuming_finishes_the_unfinished_fold_and_changes_nothing(run, people, capsys):
    before = rows_of(run), (run / "fold-1" / "model.onnx").read_bytes(), Classifier(run).metadata["mien.temperature"]
    for name in ("model.onnx", "fold-2/model.onnx"):
        (run / name).unlink()
    assert main(words(people, run)) == 2
    assert "add --resume to continue that run" in capsys.readouterr().err
    assert main(words(people, run, "--resume")) == 0
    assert (rows_of(run), (run / "fold-1" / "model.onnx").read_bytes(), Classifier(run).metadata["mien.temperature"]) == before


def test_resuming_with_other_folds_is_an_error(run, people, capsys):
    assert main([*words(people, run, "--resume"), "--recipe.seed", "1"]) == 2
    assert "its seed is 0, not 1" in capsys.readouterr().err
    shown = words(people, run, "--resume")
    shown[shown.index("--folds") + 1] = "3"
    assert main(shown) == 2
    assert "it was trained on other data" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--folds", "6"), "6 folds need as many groups, and as many rows of one label; there are only 5 groups."),
        (("--folds", "1"), "The number of folds must be at least 2, not 1."),
        (("--folds", "2", "--devices", "2"), "several devices or processes; leave --devices"),
        (("--folds", "2", "--recipe.early_stopping", "3", "--recipe.select_by", "loss"), "recipes that stop early"),
        (("--folds", "2", "--recipe.schedule.name", "plateau"), "the schedule plateau"),
        (("--folds", "2", "--recipe.distillation.teachers", '["a"]'), "may have seen the faces"),
    ],
)
def test_what_cannot_be_is_a_sentence(people, tmp_path, more, sentence, capsys):
    shown = ["train", "few-faces", "--data", str(people), "--data.group", "re:^(p.)_", "--out", str(tmp_path / "run"), *more]
    assert main(shown) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
