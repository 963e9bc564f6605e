import json
import random
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from math import inf
from pathlib import Path

import numpy as np
import pytest

import mien
from mien.cli import main as mien_main
from mien.errors import MienError
from mien.evaluation.comparison import RunSummary
from mien.training.recipe import Balance, Recipe

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import make_models
import reproduce
from shared import (
    FINISH,
    SPEEDS,
    START,
    VALIDATION,
    Step,
    Training,
    epoch_faces,
    next_step,
    pack_faces,
    plan,
    step_of,
    unpack_faces,
)

BENCHMARKS = Path(reproduce.__file__).parent


def test_a_plan_with_enough_time_finishes_every_step_in_the_order_given():
    steps = [Step("long", 10, 30.0), Step("short", 2, 10.0), Step("last", 1, 5.0)]
    ends = {name: end for name, (_, end) in plan(steps, [], 1, inf).items()}
    assert list(ends) == ["long", "short", "last"]
    assert ends["long"] == START + 300 + FINISH
    assert ends["short"] == ends["long"] + START + 20 + FINISH
    assert {name: epochs for name, (epochs, _) in plan(steps, [], 3, inf).items()} == {"long": 10, "short": 2, "last": 1}


def test_side_by_side_the_next_step_starts_where_the_first_one_ends():
    steps = [Step("long", 100, 10.0), Step("short", 1, 10.0), Step("next", 1, 10.0)]
    planned = plan(steps, [], 2, inf)
    assert planned["next"].end == 2 * planned["short"].end < planned["long"].end


def test_a_plan_is_cut_to_whole_epochs_and_what_does_not_start_is_missing():
    planned = plan([Step("long", 500, 3.0), Step("later", 10, 3.0)], [], 1, START + 100.0)
    assert planned["long"].epochs == 33
    assert planned["long"].end > START + 100
    assert "later" not in planned


def test_a_step_of_which_no_epoch_fits_makes_room_for_a_shorter_one():
    steps = [Step("long", 5, 400.0), Step("short", 5, 20.0)]
    assert next_step(steps, [], START + 399) == steps[1]
    assert list(plan(steps, [], 1, START + 399)) == ["short"]
    assert plan(steps, [], 1, START + 19) == {}


def test_a_run_that_is_trained_but_not_exported_needs_the_time_of_its_end():
    assert next_step([Step("trained", 0, 400.0)], [], START + FINISH - 1) is None
    assert next_step([Step("trained", 0, 400.0)], [], START + FINISH) is not None


def test_students_wait_for_their_teachers():
    steps = [Step("student", 1, 1.0, ("teacher", "other")), Step("teacher", 1, 50.0), Step("other", 1, 1.0)]
    planned = plan(steps, [], 2, inf)
    assert planned["student"].end == planned["teacher"].end + START + 1 + FINISH
    assert "student" not in plan(steps, [], 2, START + 50)
    assert "student" not in plan(steps[:2], [], 2, inf)
    assert "student" in plan(steps[:1], ["teacher", "other"], 2, inf)


def test_no_plan_trains_beyond_its_time():
    draw = random.Random(0)
    for _ in range(200):
        steps = [Step(str(number), draw.randint(0, 50), draw.uniform(0.1, 100)) for number in range(draw.randint(1, 9))]
        seconds, at_once = draw.uniform(1, 3000), draw.randint(1, 4)
        planned = plan(steps, [], at_once, seconds)
        busy = sum(START + planned[each.name].epochs * each.seconds for each in steps if each.name in planned)
        assert busy <= at_once * seconds
        assert all(planned[each.name].epochs <= each.epochs for each in steps if each.name in planned)


def test_a_making_is_shortened_until_it_ends_in_time():
    steps = [Step("teacher", 300, 2.0), Step("student", 100, 1.0, ("teacher",))]
    share = make_models.fitting_share(steps, 1, 400.0)
    ends = [
        plan([each._replace(epochs=-(-percent * each.epochs // 100)) for each in steps], [], 1, inf)["student"].end
        for percent in (round(100 * share), round(100 * share) + 1)
    ]
    assert ends[0] <= 400 < ends[1]
    assert make_models.fitting_share(steps, 1, inf) == 1


def test_a_making_changes_nested_settings_one_by_one():
    recipe = make_models.changed(network_options={"stride": 1}, augmentation={"erasing": 0.3}, seed=3)
    assert recipe.network_options == {"squeeze_excitation": True, "stride": 1}
    assert (recipe.augmentation.erasing, recipe.augmentation.flip, recipe.seed, recipe.heads) == (
        0.3,
        0.5,
        3,
        ("label", "crowd"),
    )


def test_an_epoch_has_the_faces_that_training_goes_through(faces):
    data = mien.read_faces(faces)
    recipe = Recipe()
    counts = data.split("train").counts()
    assert epoch_faces(recipe, data)[0] == sum(counts) == 28
    copies = replace(recipe, balance=Balance(augment_minorities=True), keep=["happy", "sad"])
    assert epoch_faces(copies, data)[0] == 2 * max(counts)
    count, measured = epoch_faces(replace(recipe, own_validation=False, carve=1), data)
    assert count == 28 - 7
    assert measured.split_names == ("test",)
    assert len(measured) == 28  # the data's validation rows are test rows then


def log(folder, rates):
    folder.mkdir()
    rows = [f"{epoch},0.5,{rate}" for epoch, rate in enumerate(rates, start=1)]
    (folder / "log.csv").write_text("\n".join(["epoch,validation_accuracy,images_per_second", *rows, ""]))


def test_the_time_of_an_epoch_is_its_own_then_that_of_its_network_then_of_the_table(tmp_path):
    runs = [Training(tmp_path / name, Recipe(network="six_conv"), mien.DataSource("x"), 1000) for name in ("one", "two")]
    on_cpu, on_gpu = SPEEDS["six_conv"]

    def estimate(kind):
        step = step_of(runs[0], runs, kind, 2)
        return step.epochs, step.seconds, step.source

    assert estimate("cpu") == (30, VALIDATION * 1000 / (2 * on_cpu), "by a table")
    assert estimate("cuda") == (30, VALIDATION * 1000 / on_gpu, "by a table")
    log(tmp_path / "two", [10, 100, 100, 100, 100, 100])
    assert estimate("cpu") == (30, pytest.approx(VALIDATION * 10), "as in two")
    log(tmp_path / "one", [50])
    assert estimate("cpu") == (29, pytest.approx(VALIDATION * 20), "as in one")
    assert runs[1].progress == "two: 6 of 30 epochs, 100 images/s, accuracy 50.0%"


def test_a_finished_run_of_another_recipe_is_not_taken_for_this_one(run):
    recipe = mien.load_recipe(run / "recipe.yaml")
    finished = Training(run, recipe, mien.DataSource("x"), 28)
    assert finished.is_finished()
    assert replace(finished, recipe=replace(recipe, description="other words")).is_finished()
    assert not replace(finished, reports={"report-test": (mien.DataSource("x"), "test")}).is_finished()
    with pytest.raises(MienError, match="was trained with epochs 1, not 2"):
        replace(finished, recipe=replace(recipe, epochs=2)).is_finished()


def test_packed_faces_are_the_same_faces_without_the_test_split(faces, tmp_path):
    pack_faces(faces, tmp_path / "packed")
    path = unpack_faces(tmp_path / "packed", tmp_path / "out")
    data, again = mien.read_faces(faces), mien.read_faces(path)
    assert again.split_names == ("train", "validation")
    for split in again.split_names:
        one, other = data.split(split), again.split(split)
        assert np.array_equal(one.images, other.images)
        assert [one.labels.names[each] for each in one.classes] == [other.labels.names[each] for each in other.classes]
    assert unpack_faces(faces, tmp_path / "out") == faces


def test_faces_are_not_packed_into_the_repository(faces):
    with pytest.raises(MienError, match="git does not ignore"):
        pack_faces(faces, BENCHMARKS / "packed")


def summary(name, accuracy, epochs, best):
    of_labels = {"happy": 0.5, "sad": 0.5}
    interval = {"accuracy": accuracy, "low": accuracy - 0.016, "high": accuracy + 0.016, "macro_f1": 0.5, "recall": of_labels}
    run = RunSummary(
        name=name, rows=3589, data="0" * 64, split="validation", support={"happy": 2, "sad": 2}, parameters=5, **interval
    )
    run = replace(run, epochs=epochs, best_epoch=best)
    return replace(run, hardware="1 cpu threads")


def test_every_system_has_a_row_and_one_below_its_source_says_why(tmp_path):
    rows = [
        summary("wide-cnn-0", 0.25, 1, 1),
        summary("wide-cnn-1", 0.67, 400, 195),
        summary("wide-cnn-2", 0.60, 500, 499),
        summary("six-conv-0", 0.598, 30, 24),
    ]
    (tmp_path / "results.json").write_text(json.dumps([asdict(row) for row in rows]))
    text = reproduce.write_up(rows, tmp_path / "results.json", "the command")
    lines = {cells[1].strip(): cells for line in text.splitlines() if len(cells := line.split("|")) == 9}
    assert "only 1 of 500 epochs" in lines["wide-cnn-0"][7]
    assert "1 of 500 (best 1)" in lines["wide-cnn-0"][5]
    assert "includes the source's figure" in lines["wide-cnn-1"][7]
    assert "of" not in lines["wide-cnn-1"][5]  # stopped early by its recipe
    assert "not explained" in lines["wide-cnn-2"][7]
    assert "59.8%, 58.2% to 61.4%" in lines["six-conv-0"][3]
    assert not lines["six-conv-0"][7].strip()
    assert "not trained yet" in lines["deepface-6"][3]
    assert "`the command`" in text


def test_the_committed_results_are_the_documented_ones():
    rows = reproduce.read_summaries(reproduce.RESULTS)
    page = (BENCHMARKS.parent / "docs" / "results.md").read_text(encoding="utf-8")
    assert page.endswith(reproduce.write_up(rows, reproduce.RESULTS, "").partition("## All figures")[2])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--only", "six-cov"], "did you mean six-conv"),
        (["--seeds", "0"], "--seeds of 1 or more"),
        (["--weights", "nowhere.safetensors"], "There is nothing at"),
        (["--device", "gpu9"], "There is no device"),
        (["--only", "six-conv", "--minutes", "-1"], "--minutes"),
        (["--only", "six-conv", "--minutes", "0.01"], "No epoch fits"),
        (["--only", "six-conv", "--publish"], "other faces"),
    ],
)
def test_a_mistake_is_answered_by_a_sentence_before_anything_is_trained(words, sentence, faces, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(sys, "argv", ["reproduce.py", "--data", str(faces), "--out", str(tmp_path / "out"), *words])
    with pytest.raises(MienError, match=sentence):
        reproduce.main()
    assert not (tmp_path / "out" / "six-conv-0").exists()


@pytest.mark.slow
def test_an_unfinished_run_is_reported_as_it_stands_and_then_finished(faces, tmp_path):
    def call(*words):
        command = [sys.executable, str(BENCHMARKS / "reproduce.py"), "--data", str(faces), "--out", str(tmp_path), *words]
        done = subprocess.run(
            [*command, "--only", "deepface-6", "--seeds", "1", "--epochs", "2"], capture_output=True, text=True
        )
        return done.returncode, done.stdout + done.stderr

    recipe = ["--recipe.epochs", "2", "--data", str(faces), "--out", str(tmp_path / "deepface-6-0"), "--threads", "1"]
    assert mien_main(["train", "deepface-6", *recipe]) == 0
    run = tmp_path / "deepface-6-0"
    shutil.rmtree(run / "report")
    (run / "model.onnx").unlink()
    status, told = call("--report")
    assert status == 0, told
    [row] = json.loads((tmp_path / "results.json").read_text())
    assert (row["name"], row["epochs"]) == ("deepface-6-0", 2)
    status, told = call("--minutes", "5")
    assert status == 0, told
    assert "deepface-6-0 is finished" in told
    assert "1 of 1 runs are finished" in call()[1]
