"""Temporary files of killed processes, the order of writing, and crashes."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import mien
from mien.cli import main
from mien.files import sweep, temporary_path, write_whole, written_folder

WRITE = "import os, pathlib, sys, time\nfrom mien.files import *\nout = pathlib.Path(sys.argv[1])\n"


def start(code, out, **options):
    return subprocess.Popen([sys.executable, "-c", WRITE + code, str(out)], stdout=subprocess.PIPE, text=True, **options)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


HALF = """
def write(part):
    part.write_text("half")
    print("written", flush=True)
    time.sleep(600)
write_whole(out, write)
"""
HALF_FOLDER = """
with written_folder(out, "the report") as folder:
    (folder / "half.txt").write_text("half")
    print("written", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("code", [HALF, HALF_FOLDER])
def test_what_a_killed_process_left_is_swept_and_what_a_living_one_writes_stays(code, tmp_path):
    (tmp_path / ".mine.part").write_text("mine")
    (tmp_path / "mine.mien-1-2.part").write_text("mine")
    process = start(code, tmp_path / "out")
    assert process.stdout.readline() == "written\n"
    left = set(names(tmp_path)) - {".mine.part", "mine.mien-1-2.part"}
    assert len(left) == 1
    sweep(tmp_path)
    assert left < set(names(tmp_path))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with written_folder(tmp_path / "another", "the report") as folder:
        (folder / "a.txt").write_text("whole")
    assert names(tmp_path) == [".mine.part", "another", "mine.mien-1-2.part"]


def test_a_temporary_file_of_another_machine_is_swept_after_a_day(tmp_path):
    other = tmp_path / ".out.mien-00000000-1-1.part"
    other.write_text("half")
    sweep(tmp_path)
    assert other.exists()
    os.utime(other, (time.time() - 90_000,) * 2)
    sweep(tmp_path)
    assert not other.exists()


def test_the_earlier_folder_comes_back_after_a_crash_between_the_two_steps(tmp_path):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "page.html").write_text("old")
    crash = """
rename = os.rename
def crashing(source, target):
    if str(source).endswith("new"):
        os._exit(9)
    rename(source, target)
os.rename = crashing
with written_folder(out, "the report", lambda out: None) as folder:
    (folder / "page.html").write_text("new")
"""
    process = start(crash, tmp_path / "report")
    process.communicate()
    assert process.returncode == 9
    assert len(names(tmp_path)) == 1
    sweep(tmp_path)
    assert names(tmp_path) == ["report"]
    assert (tmp_path / "report" / "page.html").read_text() == "old"


def test_a_file_is_on_the_disk_before_its_name_is_and_then_its_folder(tmp_path, monkeypatch):
    steps = []
    fsync, replace = os.fsync, os.replace

    def recorded(real, name):
        def step(first, *others):
            steps.append((name, Path(f"/proc/self/fd/{first}").readlink().name if isinstance(first, int) else Path(first).name))
            return real(first, *others)

        return step

    monkeypatch.setattr(os, "fsync", recorded(fsync, "flush"))
    monkeypatch.setattr(os, "replace", recorded(replace, "rename"))
    path = tmp_path / "a.txt"
    temporary = temporary_path(path).name
    write_whole(path, lambda part: part.write_text("new"))
    assert steps == [("flush", temporary), ("rename", temporary), ("flush", tmp_path.name)]


def test_the_longest_name_that_the_disk_takes_can_be_written(tmp_path):
    path = tmp_path / ("ü" * 125 + ".text")
    write_whole(path, lambda part: part.write_text("new"))
    assert path.read_text() == "new"


def test_a_full_disk_at_the_last_moment_is_not_ignored(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("old")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(tmp_path / "a.txt", lambda part: part.write_text("new"))
    assert names(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [1, 100])
def test_after_a_full_disk_the_advice_works(kilobytes, run, faces, tmp_path, capsys, quick):
    """A limit on the size of files stops the run at its first or a later file; then its own advice continues it."""
    mien.read_faces(faces)  # packs them, without a limit
    words = ["train", "mien-s", "--data", str(faces), "--out", str(tmp_path / "run"), *quick]
    limited = f"ulimit -f {kilobytes} && exec {sys.executable} -m mien.cli {' '.join(words)}"
    done = subprocess.run(["bash", "-c", limited], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "The disk is full" in done.stderr
    assert "then the same command with --resume continues" in done.stderr
    assert main([*words, "--resume"]) == 0
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() == (run / "weights.safetensors").read_bytes()
    assert not [path for path in (tmp_path / "run").rglob("*") if path.name.endswith(".part")]


def test_an_unexpected_exception_is_reported_as_a_bug(monkeypatch, capsys):
    def broken():
        raise ZeroDivisionError("division by\nzero")

    monkeypatch.setattr("mien.verbs.about.recipes", broken)
    for debug in (False, True):
        if debug:
            monkeypatch.setenv("MIEN_DEBUG", "1")
        assert main(["recipes"]) == 70
        said = capsys.readouterr().err
        assert "This is a bug in mien (ZeroDivisionError: division by); please report it" in said
        assert ("Traceback" in said) is debug
        assert debug or said.count("\n") == 1
