import csv
import errno
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from mien.cli import main
from mien.inference.output import ResumeLog, log_path

COUNT = 60


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(COUNT):
        Image.fromarray(np.full((48, 48), 4 * number, np.uint8)).save(folder / f"{number} line\nbreak, 顔.png")
    (folder / "7 empty.png").write_bytes(b"")
    return folder


def words(photos, model, out, *more):
    own = [] if "--model" in more else ["--model", str(model)]
    return ["predict", str(photos), *own, "--faces", "--out", str(out), *more]


def rows_of(path):
    if path.suffix == ".parquet":
        import pyarrow.parquet

        return pyarrow.parquet.read_table(path).to_pylist()
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file)) if path.suffix == ".csv" else [json.loads(line) for line in file]


@pytest.fixture
def whole(photos, model, tmp_path):
    """The answers of an unbroken run, in each format."""
    outs = {form: tmp_path / "whole" / f"rows.{form}" for form in ("jsonl", "csv", "parquet")}
    assert [main(words(photos, model, out)) for out in outs.values()] == [1, 1, 1]
    assert len(rows_of(outs["jsonl"])) == COUNT + 1
    return {form: rows_of(out) for form, out in outs.items()}


@pytest.fixture
def stopped(photos, model, tmp_path, monkeypatch):
    """Leaves a run in the state in which a kill at a byte of its journal leaves it; returns the file for its answers."""

    journal = tmp_path / "kept.part"

    def killed(self, form):
        self.path.replace(journal)
        raise ZeroDivisionError

    def stop(out, keep):
        if not journal.exists():
            with monkeypatch.context() as patch:
                patch.setattr(ResumeLog, "finish", killed)
                assert main(words(photos, model, tmp_path / "broken" / "rows.jsonl")) == 70
        content = journal.read_bytes()
        out.parent.mkdir(exist_ok=True)
        log_path(out).write_bytes(content[: int(len(content) * keep) if isinstance(keep, float) else keep])
        return out

    return stop


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_a_run_that_was_stopped_goes_on_to_the_same_answers(form, whole, stopped, photos, model, tmp_path, capsys):
    out = stopped(tmp_path / "again" / f"rows.{form}", 0.5)
    capsys.readouterr()
    assert main(words(photos, model, out, "--resume")) == 1
    assert rows_of(out) == whole[form]
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    assert "61 images: 60 faces" in capsys.readouterr().err


def test_wherever_it_was_stopped_nothing_is_lost_or_doubled(whole, stopped, photos, model, tmp_path):
    for keep in (0, 5, 400, *np.linspace(0.1, 1.0, 12).tolist()):
        out = stopped(tmp_path / "again" / "rows.jsonl", keep)
        assert main(words(photos, model, out, "--resume")) == 1
        assert rows_of(out) == whole["jsonl"]


def test_what_was_answered_is_not_read_again(stopped, photos, model, tmp_path):
    out = stopped(tmp_path / "again" / "rows.jsonl", 0.9)
    for path in list(photos.iterdir())[:]:
        if path.name.startswith("3 "):
            path.write_text("no image any more")
    assert main(words(photos, model, out, "--resume")) == 1
    assert [bool(row.get("error")) for row in rows_of(out)].count(True) == 1


def test_a_killed_run_goes_on(whole, photos, model, tmp_path):
    out = tmp_path / "killed" / "rows.csv"
    code = """
import sys, time
from mien.cli import main
from mien.inference import pipeline as predicting, prefetch
find, prefetch.LONGEST_WAIT = predicting.FacePipeline.find, 0.05
predicting.FacePipeline.find = lambda self, item: (time.sleep(0.02), find(self, item))[1]
main(sys.argv[1:])
"""
    with subprocess.Popen([sys.executable, "-c", code, *words(photos, model, out)], stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + 60
        while time.monotonic() < end and not (log_path(out).is_file() and log_path(out).read_bytes().count(b"\n") > 5):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not out.exists()
    assert main(words(photos, model, out, "--resume")) == 1
    assert rows_of(out) == whole["csv"]


def test_a_full_disk_says_how_to_go_on(photos, model, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ResumeLog, "finish", full)
    assert main(words(photos, model, tmp_path / "rows.csv")) == 2
    assert "free some space, then the same command with --resume continues" in capsys.readouterr().err
    monkeypatch.undo()
    assert main(words(photos, model, tmp_path / "rows.csv", "--resume")) == 1
    assert len(rows_of(tmp_path / "rows.csv")) == COUNT + 1


def test_an_interrupt_says_how_to_go_on(photos, model, tmp_path, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("mien.inference.pipeline.FacePipeline.classify", interrupted)
    assert main(words(photos, model, tmp_path / "rows.csv")) == 130
    assert capsys.readouterr().err == "mien: stopped (the same command with --resume continues)\n"
    assert not log_path(tmp_path / "rows.csv").exists(), "nothing was answered yet"


def test_a_source_with_several_rows_is_answered_anew_unless_all_of_them_are_there(tmp_path, model, write_video, monkeypatch):
    clips = [str(write_video(tmp_path / name, count=5)) for name in ("a.avi", "b.avi")]
    arguments = ["predict", *clips, clips[0], "--model", str(model), "--faces", "--out", str(tmp_path / "rows.jsonl")]
    assert main(arguments) == 0
    wanted = (tmp_path / "rows.jsonl").read_text()
    assert [json.loads(line)["frame"] for line in wanted.splitlines()] == [*range(5), *range(5), *range(5)]
    with monkeypatch.context() as patch:
        patch.setattr(ResumeLog, "finish", lambda self, form: 1 / 0)
        assert main(arguments) == 70
    lines = log_path(tmp_path / "rows.jsonl").read_bytes().splitlines(keepends=True)
    for count in range(1, len(lines) + 1):
        log_path(tmp_path / "rows.jsonl").write_bytes(b"".join(lines[:count]))
        assert main([*arguments, "--resume"]) == 0
        assert (tmp_path / "rows.jsonl").read_text() == wanted


def test_other_options_and_other_models_do_not_go_on(stopped, photos, model, make_model, tmp_path, capsys):
    out = stopped(tmp_path / "again" / "rows.jsonl", 0.5)
    capsys.readouterr()
    assert main(words(photos, model, out)) == 2
    assert "add --resume, or remove that file" in capsys.readouterr().err
    for more, says in (
        (["--threshold", "0.9"], "has threshold 0.6, not 0.9"),
        (["--model", str(make_model("other.onnx"))], "has model "),
    ):
        assert main(words(photos, model, out, "--resume", *more)) == 2
        assert says in capsys.readouterr().err
    log_path(out).write_text('{"labels": ["a", "b"]}\nnonsense\n')
    assert main(words(photos, model, out, "--resume")) == 2
    assert "not the log of an unfinished run, or damaged" in capsys.readouterr().err


def test_resume_needs_a_file_and_draws_nothing_and_leaves_a_whole_one(photos, model, tmp_path, capsys):
    out = tmp_path / "rows.csv"
    assert main(["predict", str(photos), "--resume"]) == 2
    assert "name it with --out" in capsys.readouterr().err
    assert main(words(photos, model, out, "--resume", "--draw", str(tmp_path / "drawn"))) == 2
    assert "leave out --draw, or --resume" in capsys.readouterr().err
    assert main(words(photos, model, out, "--resume")) == 1
    before = out.read_bytes()
    assert main(words(photos, model, out, "--resume")) == 0
    assert "is whole" in capsys.readouterr().err
    assert out.read_bytes() == before


def test_answers_to_something_else_are_not_mixed_in(stopped, photos, model, tmp_path, capsys):
    out = stopped(tmp_path / "again" / "rows.jsonl", 0.5)
    before = log_path(out).read_bytes()
    Image.fromarray(np.zeros((48, 48), np.uint8)).save(tmp_path / "other.png")
    capsys.readouterr()
    assert main(words(tmp_path / "other.png", model, out, "--resume")) == 2
    assert f"also has the input {str(photos)!r}; name it too" in capsys.readouterr().err
    assert log_path(out).read_bytes() == before
    both = ["predict", str(photos), str(tmp_path / "other.png"), *words(photos, model, out, "--resume")[2:]]
    assert main(both) == 1
    assert len(rows_of(out)) == COUNT + 2
