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

class Logger:
    def log_hyperparams(self, settings):
        Path("settings.json").write_text(json.dumps(settings))

    def log_metrics(self, figures, step):
        with Path("logged.jsonl").open("a") as file:
            file.write(json.dumps([step, figures]) + "\\n")

    def finalize(self, status):
        Path("status.txt").write_text(status)

class NoLogger:
    pass
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
    watching = ["--callback", "watching:note", "--callback", "watching:Logger", "--callback", "watching:Logger"]
    assert main([*words, "--out", "plain"]) == 0
    assert main([*words, "--out", "watched", *watching]) == 0
    rows = read(module / "notes.jsonl")
    with (module / "watched" / "log.csv").open() as file:
        written = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == [1, 2]
    assert list(rows[0]) == list(written[0])
    np.testing.assert_allclose([row["train_loss"] for row in rows], [float(row["train_loss"]) for row in written], atol=1e-6)
    assert read(module / "logged.jsonl") == [[row["epoch"], row] for row in rows for _ in range(2)]
    assert read(module / "settings.json")[0]["epochs"] == 2
    assert (module / "plain/weights.safetensors").read_bytes() == (module / "watched/weights.safetensors").read_bytes()


def test_python_takes_functions_and_open_loggers(module, recipe, tmp_path):
    class Logger:
        def __init__(self):
            self.steps = []

        def log_hyperparams(self, settings):
            self.network = settings["network"]

        def log_metrics(self, figures, step):
            self.steps.append(step)

        def finalize(self, status):
            self.status = status

    seen, logger = [], Logger()
    options = {"quiet": True, "threads": 1, "device": "cpu"}
    mien.train(recipe, mien.draw_faces(12), tmp_path / "run", callback=[seen.append, logger], **options)
    assert ([row["epoch"] for row in seen], logger.steps, logger.network) == ([1, 2, 3], [1, 2, 3], "compact_resnet")
    assert logger.status == "success"


def test_fabrics_own_logger_writes_its_file(recipe, tmp_path):
    from lightning_fabric.loggers import CSVLogger

    logger = CSVLogger(tmp_path, flush_logs_every_n_steps=1)
    mien.train(recipe, mien.draw_faces(12), tmp_path / "run", callback=logger, quiet=True, threads=1, device="cpu")
    (written,) = tmp_path.rglob("metrics.csv")
    assert len(written.read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("flag", "name", "sentence"),
    [
        ("--callback", "watching:nothing", "(AttributeError: module 'watching' has no attribute 'nothing')"),
        ("--callback", "watchin:note", "(ModuleNotFoundError: No module named 'watchin')"),
    ],
)
def test_one_that_cannot_be_loaded_is_named_before_anything_is_written(flag, name, sentence, module, faces, quick, capsys):
    assert main(["train", "mien-s", "--data", str(faces), "--out", "wrong", *quick, flag, name]) == 2
    said = capsys.readouterr().err
    assert f"{name} cannot be used" in said
    assert sentence in said
    assert "pkgutil" not in said
    assert not (module / "wrong").exists()


def test_a_class_that_is_no_logger_is_named(module, faces, quick, capsys):
    assert main(["train", "mien-s", "--data", str(faces), "--out", "run", *quick, "--callback", "watching:NoLogger"]) == 2
    assert "watching:NoLogger cannot be used (TypeError: 'NoLogger' object is not callable" in capsys.readouterr().err


def test_a_callback_that_fails_is_named_and_the_run_can_be_resumed_without_it(module, faces, quick, capsys):
    words = ["train", "mien-s", "--data", str(faces), "--out", "run", *quick]
    assert main([*words, "--callback", "watching:fail"]) == 2
    assert "watching:fail cannot be used (RuntimeError: no server, in line" in capsys.readouterr().err
    assert main([*words, "--resume"]) == 0


def test_tensorboard_shows_the_faces_as_the_network_sees_them(run):
    (event,) = (run / "tensorboard").glob("events*")
    shown = EventAccumulator(str(event), size_guidance={"images": 0}).Reload()
    (picture,) = shown.Images("training faces")
    assert (picture.width, picture.height) >= (8 * 48, 2 * 48)
    assert {"learning_rate", "validation_accuracy"} <= set(shown.Tags()["scalars"])
