import csv
import sys

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import mien
from mien.cli import main

MODULE = """
import json
from pathlib import Path

def note(row):
    with Path("notes.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\\n")

def fail(row):
    raise RuntimeError("no server")
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "watching.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("watching", None)
    sys.path.remove(str(tmp_path))


def read(path):
    import json

    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_callbacks_and_loggers_get_the_figures_of_every_epoch_and_change_nothing(module, faces, run, quick):
    words = ["train", "mien-s", "--data", str(faces), *quick, "--recipe.epochs", "2"]
    words.remove("1")
    words.remove("--recipe.epochs")
    watching = ["--callback", "watching:note", "--callback", "watching:note"]
    assert main([*words, "--out", "plain"]) == 0
    assert main([*words, "--out", "watched", *watching]) == 0
    rows = read(module / "notes.jsonl")
    with (module / "watched" / "log.csv").open() as file:
        written = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == [1, 1, 2, 2]
    rows = rows[::2]
    assert list(rows[0]) == list(written[0])
    np.testing.assert_allclose([row["train_loss"] for row in rows], [float(row["train_loss"]) for row in written], atol=1e-6)
    assert (module / "plain/weights.safetensors").read_bytes() == (module / "watched/weights.safetensors").read_bytes()


def test_python_takes_functions_and_lightnings_loggers_work_in_them(recipe, tmp_path):
    from lightning_fabric.loggers import CSVLogger

    seen, logger = [], CSVLogger(tmp_path, flush_logs_every_n_steps=1)
    callbacks = [seen.append, lambda row: logger.log_metrics(row, row["epoch"])]
    mien.train(recipe, mien.draw_faces(12), tmp_path / "run", callback=callbacks, quiet=True, threads=1, device="cpu")
    assert [row["epoch"] for row in seen] == [1, 2, 3]
    (written,) = tmp_path.rglob("metrics.csv")
    assert len(written.read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("watching:nothing", "(AttributeError: module 'watching' has no attribute 'nothing')"),
        ("watchin:note", "(ModuleNotFoundError: No module named 'watchin')"),
        ("note", "(ModuleNotFoundError: No module named 'note')"),
    ],
)
def test_one_that_cannot_be_loaded_is_named_before_anything_is_written(name, sentence, module, faces, quick, capsys):
    assert main(["train", "mien-s", "--data", str(faces), "--out", "wrong", *quick, "--callback", name]) == 2
    said = capsys.readouterr().err
    assert f"{name} cannot be imported" in said
    assert sentence in said
    assert "pkgutil" not in said
    assert not (module / "wrong").exists()


def test_an_epoch_whose_callback_fails_is_told_again_by_the_resumed_run(module, faces, quick, capsys):
    words = ["train", "mien-s", "--data", str(faces), "--out", "run", *quick]
    assert main([*words, "--callback", "watching:fail"]) == 2
    said = capsys.readouterr().err
    assert "watching:fail failed (RuntimeError: no server, in line" in said
    assert "goes on with --resume" in said
    assert main([*words, "--callback", "watching:note", "--resume"]) == 0
    assert [row["epoch"] for row in read(module / "notes.jsonl")] == [1]


def test_tensorboard_shows_the_faces_as_the_network_sees_them(run):
    (event,) = (run / "tensorboard").glob("events*")
    shown = EventAccumulator(str(event), size_guidance={"images": 0}).Reload()
    (picture,) = shown.Images("training faces")
    assert (picture.width, picture.height) >= (8 * 48, 2 * 48)
    assert {"learning_rate", "validation_accuracy"} <= set(shown.Tags()["scalars"])
