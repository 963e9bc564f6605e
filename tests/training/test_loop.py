import csv
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from mien.data.faceset import FaceSet
from mien.drawn import draw_faces
from mien.errors import MienError
from mien.inference.classifier import Classifier
from mien.labels import LabelSet
from mien.training import batches, run_folder, task
from mien.training.loop import arrange, choose_device, train
from mien.training.recipe import Schedule, Votes

TRAIN = """
import sys
from dataclasses import replace
from pathlib import Path
from mien.drawn import draw_faces
from mien.training.recipe import load_recipe
from mien.training.loop import train
recipe = replace(load_recipe("mien-s"), epochs=4, batch_size=16)
train(recipe, draw_faces(12, validation=0.25), Path(sys.argv[1]), resume="--resume" in sys.argv, threads=1)
"""


def weights(folder):
    return load_file(folder / "weights.safetensors")


def same(first, second):
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


def log(folder):
    with (folder / "log.csv").open() as file:
        return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, drawn):
    """A run of three epochs, of which the others here are told to be copies."""
    from mien.training.recipe import load_recipe

    out = tmp_path_factory.mktemp("runs") / "unbroken"
    train(replace(load_recipe("mien-s"), epochs=3, batch_size=16), drawn, out, threads=1, quiet=True)
    return out


def test_a_run_folder_holds_all_that_was_made(unbroken):
    assert {"model.onnx", "weights.safetensors", "recipe.yaml", "log.csv", "last.ckpt", "tensorboard"} == {
        path.name for path in unbroken.iterdir()
    }
    assert [row["epoch"] for row in log(unbroken)] == ["1", "2", "3"]
    assert list((unbroken / "tensorboard").iterdir())


def test_the_kept_weights_are_those_of_the_best_epoch(unbroken, drawn, recipe):
    accuracies = [float(row["validation_accuracy"]) for row in log(unbroken)]
    import onnxruntime

    validation = drawn.split("validation")
    answers = onnxruntime.InferenceSession(unbroken / "model.onnx").run(None, {"faces": np.asarray(validation.images)})[0]
    assert (answers.argmax(1) == validation.classes).mean() == pytest.approx(max(accuracies), abs=1e-5)


def test_the_last_epoch_is_kept_where_the_recipe_says_so(drawn, recipe, tmp_path):
    # so slow that no epoch is better than the first, of which only BatchNorm's statistics are older
    slow = replace(recipe, epochs=2, ema=0.0, optimizer=replace(recipe.optimizer, learning_rate=1e-12))
    for select_by in ("accuracy", "last"):
        train(replace(slow, select_by=select_by), drawn, tmp_path / select_by, threads=1, quiet=True)
    state = torch.load(tmp_path / "last" / "last.ckpt", weights_only=True)["task"]["model"]
    kept = weights(tmp_path / "last")
    assert same(kept, {name: state[name].numpy() for name in kept})
    assert not same(kept, weights(tmp_path / "accuracy"))


def test_the_same_recipe_gives_the_same_weights_bit_by_bit(unbroken, drawn, recipe, tmp_path):
    train(recipe, drawn, tmp_path / "again", threads=1, quiet=True)
    assert same(weights(unbroken), weights(tmp_path / "again"))
    assert log(unbroken) == log(tmp_path / "again")


def test_another_seed_gives_other_weights(unbroken, drawn, recipe, tmp_path):
    train(replace(recipe, seed=1), drawn, tmp_path / "other", threads=1, quiet=True)
    assert not same(weights(unbroken), weights(tmp_path / "other"))


@pytest.mark.parametrize("schedule", ["one_cycle", "plateau"])
def test_a_run_stopped_between_any_two_writes_ends_as_an_unbroken_one(drawn, recipe, tmp_path, monkeypatch, schedule):
    recipe = replace(recipe, schedule=Schedule(schedule, patience=0), ema=0.9 if schedule == "one_cycle" else 0.0)
    train(recipe, drawn, tmp_path / "unbroken", threads=1, quiet=True)
    real, writes = run_folder.write_whole, []

    def stop_at_the_next(path, write):
        if path.parent == tmp_path / "broken":
            writes.append(path.name)
            if len(writes) in (3, 5, 8):
                raise RuntimeError("stopped")
        real(path, write)

    monkeypatch.setattr(run_folder, "write_whole", stop_at_the_next)
    for attempt in range(4):
        try:
            train(recipe, drawn, tmp_path / "broken", resume=attempt > 0, threads=1, quiet=True)
        except RuntimeError:
            continue
        break
    assert attempt == 3
    assert same(weights(tmp_path / "unbroken"), weights(tmp_path / "broken"))
    assert log(tmp_path / "unbroken") == log(tmp_path / "broken")


@pytest.mark.slow
def test_a_run_killed_at_any_moment_ends_as_an_unbroken_one(tmp_path):
    def run(folder, *more):
        subprocess.run([sys.executable, "-c", TRAIN, str(folder), *more], check=True, capture_output=True)

    run(tmp_path / "unbroken")
    command = [sys.executable, "-c", TRAIN, str(tmp_path / "killed")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        next(line for line in process.stderr if line.startswith("epoch   2"))
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "killed" / "model.onnx").exists()
    run(tmp_path / "killed", "--resume")
    assert same(weights(tmp_path / "unbroken"), weights(tmp_path / "killed"))
    assert not list((tmp_path / "killed").glob(".*"))


def test_a_run_that_is_done_is_not_done_again(unbroken, drawn, recipe):
    before = (unbroken / "model.onnx").stat().st_mtime_ns
    assert train(recipe, drawn, unbroken, resume=True, quiet=True) == unbroken / "model.onnx"
    assert (unbroken / "model.onnx").stat().st_mtime_ns == before


def test_another_description_is_no_other_run(unbroken, drawn, recipe):
    again = train(replace(recipe, description="the same in other words"), drawn, unbroken, resume=True, quiet=True)
    assert again == unbroken / "model.onnx"


def test_a_run_of_an_older_mien_had_the_defaults_of_keys_that_are_new(unbroken, drawn, recipe, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(unbroken, old)
    told = old / "recipe.yaml"
    lines = told.read_text(encoding="utf-8").splitlines(keepends=True)
    told.write_text("".join(line for line in lines if not line.startswith(("weights_share", "focal_gamma"))), encoding="utf-8")
    assert train(recipe, drawn, old, resume=True, quiet=True) == old / "model.onnx"
    with pytest.raises(MienError, match=r"its focal_gamma is 0\.0, not 2\.0"):
        train(replace(recipe, focal_gamma=2.0), drawn, old, resume=True, quiet=True)


def test_a_folder_that_exists_is_left_alone(unbroken, drawn, recipe, tmp_path):
    with pytest.raises(MienError, match="exists; choose another --out, or add --resume"):
        train(recipe, drawn, unbroken, quiet=True)
    with pytest.raises(MienError, match="cannot be resumed: its epochs is 3, not 9"):
        train(replace(recipe, epochs=9), drawn, unbroken, resume=True, quiet=True)
    first = np.flatnonzero(drawn.splits == 1)[0]
    with pytest.raises(MienError, match="trained on other data"):
        train(recipe, drawn.take(np.delete(np.arange(len(drawn)), first)), unbroken, resume=True, quiet=True)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.jpg").write_bytes(b"")
    with pytest.raises(MienError, match="not a run folder"):
        train(recipe, drawn, tmp_path / "photos", resume=True, quiet=True)


def test_training_stops_early_when_nothing_gets_better(drawn, recipe, tmp_path):
    frozen = replace(recipe, epochs=9, early_stopping=2, ema=0.0, optimizer=replace(recipe.optimizer, learning_rate=1e-12))
    train(frozen, drawn, tmp_path / "run", threads=1, quiet=True)
    assert 3 <= len(log(tmp_path / "run")) < 9


def test_training_that_diverges_ends_at_once_says_so_and_leaves_no_model(drawn, recipe, tmp_path):
    wild = replace(recipe, optimizer=replace(recipe.optimizer, learning_rate=1e9), epochs=9)
    with pytest.raises(MienError, match="diverged"):
        train(wild, drawn, tmp_path / "run", threads=1, quiet=True)
    assert len(log(tmp_path / "run")) < 9
    assert not (tmp_path / "run" / "model.onnx").exists()


def test_a_loss_that_is_not_a_number_ends_training_with_the_best_epoch_before(drawn, recipe, tmp_path, monkeypatch, capsys):
    validate, calls = task.ClassificationTask.validate, []

    def broken(self):
        calls.append(self)
        return validate(self) | ({"validation_loss": np.nan, "validation_accuracy": 0.0} if len(calls) == 2 else {})

    monkeypatch.setattr(task.ClassificationTask, "validate", broken)
    train(replace(recipe, epochs=9), drawn, tmp_path / "run", threads=1, quiet=True)
    assert len(log(tmp_path / "run")) == 2
    assert (tmp_path / "run" / "model.onnx").exists()
    assert "the validation loss of epoch 2 is not a number; epoch 1, the best before, is kept" in capsys.readouterr().err


def test_colour_faces_of_another_size_are_trained_on_as_they_are(recipe, tmp_path):
    faces = draw_faces(4, size=32, channels=3, validation=0.25)
    train(replace(recipe, size=32, channels=3, epochs=1), faces, tmp_path / "run", quiet=True)
    assert (tmp_path / "run" / "model.onnx").is_file()


def test_data_without_splits_are_all_for_training_and_a_tenth_is_carved(drawn, recipe, capsys):
    arranged = arrange(recipe, replace(drawn, splits=np.zeros(len(drawn), np.uint8)))
    assert arranged.split_names == ("train", "validation")
    assert arranged.split("validation").counts().tolist() == [1] * 7
    assert "carved 10%" in capsys.readouterr().err


def test_carved_groups_are_named_with_their_real_share(drawn, recipe, capsys):
    whole = replace(drawn, splits=np.zeros(len(drawn), np.uint8))
    rank = np.zeros(len(drawn), dtype=int)
    for label in range(7):
        rows = np.flatnonzero(drawn.classes == label)
        rank[rows] = np.arange(len(rows))
    arranged = arrange(recipe, replace(whole, groups=np.char.add("p", rank.astype(str))))
    (name,) = set(arranged.split("validation").groups)
    count, share = rank.max() + 1, 1 / (rank.max() + 1)
    line = f"carved 7 of {len(drawn)} rows ({share:.0%}) for validation, of 1 of {count} groups ({name})"
    assert f"{line}: figures on one group say nothing about others; use --folds 5" in capsys.readouterr().err
    arranged = arrange(replace(recipe, carve=2), replace(whole, groups=np.char.add("p", rank.astype(str))))
    names = ", ".join(sorted(set(arranged.split("validation").groups)))
    line = f"carved 14 of {len(drawn)} rows ({2 * share:.0%}) for validation, of 2 of {count} groups ({names})\n"
    assert line in capsys.readouterr().err


def test_labels_are_merged_and_kept_as_the_recipe_says(drawn, recipe):
    arranged = arrange(replace(recipe, merge={"negative": ["angry", "sad"]}, keep=["happy", "negative"]), drawn)
    assert arranged.labels == LabelSet(("happy", "negative"))
    assert arranged.counts().tolist() == [12, 24]


def test_faces_that_do_not_fit_the_recipe_are_refused(drawn, recipe):
    with pytest.raises(MienError, match="needs 32 pixels"):
        arrange(replace(recipe, size=32), drawn)
    with pytest.raises(MienError, match="at least two labels"):
        arrange(replace(recipe, keep=["happy"]), drawn)
    with pytest.raises(MienError, match="no label 'hapy'"):
        arrange(replace(recipe, keep=["hapy", "sad"]), drawn)
    empty = FaceSet.from_arrays(np.zeros((4, 48, 48), np.uint8), [0, 0, 1, 1], LabelSet("abc"), ["train"] * 4)
    with pytest.raises(MienError, match=r"No training rows for c; .*keep '\[\"a\", \"b\"\]'"):
        arrange(recipe, empty)


def test_a_device_that_is_not_there_is_named():
    assert choose_device("cpu") == torch.device("cpu")
    with pytest.raises(MienError, match="no device 'tpu9'"):
        choose_device("tpu9")


def test_a_run_with_two_heads_writes_a_model_that_answers_as_both(drawn, recipe, tmp_path):
    votes = np.roll(drawn.targets, 1, axis=1)
    votes[::3] = 0
    told = replace(recipe, epochs=1, votes=Votes(head=0.5, mix=0.2), mixup=0.2, crop=44, crop_from=36)
    model = train(told, replace(drawn, votes=votes), tmp_path / "run", threads=1, quiet=True)
    label, crowd = Classifier(model, head="label"), Classifier(model)
    assert (crowd.heads, crowd.head) == (("label", "crowd"), "crowd")
    probabilities = [each.predict_proba(drawn.images[:5]) for each in (label, crowd)]
    for each in probabilities:
        np.testing.assert_allclose(each.sum(1), 1, atol=1e-5)
    assert not np.allclose(*probabilities)


def test_votes_that_the_data_do_not_have_are_asked_for(drawn, recipe):
    with pytest.raises(MienError, match=r"--data\.votes_as beside"):
        arrange(replace(recipe, votes=Votes(head=1.0)), drawn)


def test_a_network_for_one_size_cannot_see_growing_faces(drawn, recipe, tmp_path):
    with pytest.raises(MienError, match="six_conv takes faces of one size"):
        train(replace(recipe, network="six_conv", network_options=None, crop_from=36), drawn, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_on_faces_that_do_not_fit_into_memory_is_whole_and_has_another_order(unbroken, tmp_path, recipe, monkeypatch):
    monkeypatch.setenv("MIEN_MEMORY", "0")
    monkeypatch.setattr(batches, "BLOCK", 4)
    monkeypatch.setattr(batches, "WINDOW", 4)
    without_splits = draw_faces(12)
    train(recipe, arrange(recipe, without_splits), tmp_path / "run", threads=1, quiet=True)
    assert len(log(tmp_path / "run")) == 3
    assert Classifier(tmp_path / "run").predict_proba(without_splits.images).shape == (84, 7)
    assert not same(weights(tmp_path / "run"), weights(unbroken))
