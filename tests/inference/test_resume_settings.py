"""A run is resumed exactly as it began, or not at all."""

import inspect
import os
import shutil

import numpy as np
import pytest
from PIL import Image

import mien
from mien.cli import main
from mien.inference.detection import YUNET
from mien.inference.output import ResumeLog, log_path
from mien.scaling import NOT_LOGGED
from mien.verbs import predict as module

COUNT = 5


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(COUNT):
        Image.fromarray(np.full((48, 48), 30 * number, np.uint8)).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def stop(monkeypatch):
    """Run a command and stop it before its output is written."""

    def stopped(words):
        with monkeypatch.context() as patch:
            patch.setattr(ResumeLog, "finish", lambda self, form: 1 / 0)
            assert main(words) == 70

    return stopped


def words(photos, model, out, *more):
    own = [] if "--model" in more else ["--model", str(model)]
    return ["predict", str(photos), *own, "--out", str(out), *more]


OTHERS = {
    "model": ("--model", "mien-s-int8"),
    "detector": ("--detector", "none"),
    "head": ("--head", "label"),
    "prior": ("--prior", "balanced"),
    "labels": ("--labels", '{"disgust": null}'),
    "faces": ("--faces",),
    "margin": ("--margin", "0.5"),
    "min_size": ("--min_size", "20"),
    "min_score": ("--min_score", "0.8"),
    "threshold": ("--threshold", "0.9"),
    "every": ("--every", "2"),
    "track": ("--track", "false"),
    "smoothing": ("--smoothing", "0.5"),
    "fetch": ("--fetch",),
}
"""Options that change rows, each with another value than the default."""


def test_every_option_is_recorded_or_known_not_to_change_rows(photos, model, tmp_path, stop):
    options = {*inspect.signature(module.predict).parameters, *inspect.signature(mien.predict).parameters} - {"options"}
    assert options == {*OTHERS, *NOT_LOGGED}
    stop(words(photos, model, tmp_path / "rows.csv"))
    header = log_path(tmp_path / "rows.csv").read_text().partition("\n")[0]
    for name in (*OTHERS, "model_sha256", "detector_sha256", "mien"):
        assert f'"{name}": ' in header


@pytest.mark.parametrize("name", OTHERS)
def test_another_value_is_refused_with_both(name, photos, model, tmp_path, stop, capsys):
    out = tmp_path / "rows.csv"
    if name == "prior":  # which this model does not state
        model = "mien-s"
    stop(words(photos, model, out))
    before = log_path(out).read_bytes()
    capsys.readouterr()
    assert main(words(photos, model, out, "--resume", *OTHERS[name])) == 2
    said = capsys.readouterr().err
    assert f" has {name} " in said
    assert ", not " in said
    assert log_path(out).read_bytes() == before
    assert main(words(photos, model, out, "--resume")) == 0


@pytest.mark.parametrize("more", [("--threads", "1"), ("--batch_size", "3"), ("--format", "json")])
def test_options_that_change_no_rows_may_differ(more, photos, model, tmp_path, stop):
    stop(words(photos, model, tmp_path / "rows.csv"))
    assert main(words(photos, model, tmp_path / "rows.csv", "--resume", *more)) == 0


def test_another_file_of_the_same_name_is_another_model(photos, make_model, tmp_path, stop, capsys):
    out, model = tmp_path / "rows.csv", make_model()
    stop(words(photos, model, out))
    make_model(recipe="epochs: 3")
    assert main(words(photos, model, out, "--resume")) == 2
    assert " has model_sha256 " in capsys.readouterr().err


def test_the_detector_is_the_one_that_auto_finds(photos, model, tmp_path, stop, capsys, monkeypatch):
    out, own = tmp_path / "rows.csv", tmp_path / "own.onnx"
    stop(words(photos, model, out))
    shutil.copy(YUNET, own)
    monkeypatch.setenv("MIEN_DETECTOR", str(own))
    assert main(words(photos, model, out, "--resume")) == 2
    assert " has detector yunet.onnx, not own.onnx" in capsys.readouterr().err
    monkeypatch.setenv("MIEN_DETECTOR", "yunet")
    assert main(words(photos, model, out, "--resume", "--detector", "yunet")) == 0


def test_another_mien_is_refused(photos, model, tmp_path, stop, capsys, monkeypatch):
    stop(words(photos, model, tmp_path / "rows.csv"))
    monkeypatch.setattr("mien.scaling.__version__", "99.0")
    assert main(words(photos, model, tmp_path / "rows.csv", "--resume")) == 2
    assert f" has mien {mien.__version__}, not 99.0" in capsys.readouterr().err


def test_a_damaged_log_is_refused_wherever_the_damage_is(photos, model, tmp_path, stop, capsys):
    out = tmp_path / "rows.csv"
    stop(words(photos, model, out, "--faces"))
    whole = log_path(out).read_bytes()
    lines = whole.splitlines(keepends=True)
    assert len(lines) == COUNT + 1
    random = np.random.default_rng(0)
    spoiled = [
        b"".join(lines[:3] + lines[4:]),
        b"".join([*lines[:3], lines[4], lines[3], *lines[5:]]),
        b"".join([lines[0], *lines]),
    ]
    spoiled += [whole.replace(b"0.9", b"0.8"), b"nonsense\n", b"\x00" * 400 + b"\n", b"[]\n", b"00000000 []\n", b"\n"]
    for place in random.integers(len(whole) - len(lines[-1]), size=30):
        spoiled.append(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    for content in spoiled:
        log_path(out).write_bytes(content)
        assert main(words(photos, model, out, "--faces", "--resume")) == 2
        assert "is not the log of an unfinished run, or damaged; remove it" in capsys.readouterr().err
        assert log_path(out).read_bytes() == content
        assert not out.exists()


def test_a_truncated_log_gives_the_same_rows(photos, model, tmp_path, stop):
    out = tmp_path / "rows.jsonl"
    assert main(words(photos, model, out, "--faces")) == 0
    wanted = out.read_bytes()
    stop(words(photos, model, out, "--faces"))
    whole = log_path(out).read_bytes()
    for length in np.linspace(0, len(whole), 15).astype(int):
        log_path(out).write_bytes(whole[:length])
        assert main(words(photos, model, out, "--faces", "--resume")) == 0
        assert out.read_bytes() == wanted
        assert not log_path(out).exists()


def test_an_output_that_was_changed_since_is_not_replaced(photos, model, tmp_path, stop, capsys):
    out = tmp_path / "rows.csv"
    assert main(words(photos, model, out, "--faces")) == 0
    stop(words(photos, model, out, "--faces"))
    out.write_text(out.read_text() + "my own remark\n")
    assert main(words(photos, model, out, "--faces", "--resume")) == 2
    assert f"{str(out)!r} has changed since that run began" in capsys.readouterr().err
    assert out.read_text().endswith("my own remark\n")


@pytest.fixture
def give(tmp_path):
    """Give names on standard input."""
    before = os.dup(0)

    def given(names):
        (tmp_path / "names.txt").write_text("\n".join(names))
        file = os.open(tmp_path / "names.txt", os.O_RDONLY)
        os.dup2(file, 0)
        os.close(file)

    yield given
    os.dup2(before, 0)
    os.close(before)


def test_paths_from_standard_input_are_all_named_again(photos, model, tmp_path, stop, capsys, give):
    out = tmp_path / "rows.csv"
    paths = [str(path) for path in sorted(photos.iterdir())]
    from_input = ["predict", "-", "--faces", "--model", str(model), "--out", str(out)]

    give(paths)
    stop(from_input)
    give(paths[2:])
    assert main([*from_input, "--resume"]) == 2
    assert f"also has the input {paths[0]!r}" in capsys.readouterr().err
    assert not out.exists()
    give(paths)
    assert main([*from_input, "--resume"]) == 0
    assert len(out.read_text().splitlines()) == COUNT + 1
