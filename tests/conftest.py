import os
import signal
from pathlib import Path

import pytest

from mien.cli import main
from mien.drawn import write_folder


@pytest.fixture(scope="session", autouse=True)
def interrupts():
    """Shells start background jobs with SIGINT ignored, and the tests that send it would wait for ever."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def session_cache(tmp_path_factory):
    """What fixtures of the whole session read is cached here, and never in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIEN_CACHE", str(tmp_path_factory.mktemp("session-cache")))
        yield


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """Every test has a cache of its own, and never the user's."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("MIEN_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def real_fer2013():
    """The folder with the real FER-2013 (training.parquet, public_test.parquet, fer2013new.csv)."""
    if not (folder := os.environ.get("MIEN_FER2013")):
        pytest.skip("MIEN_FER2013 does not name the folder with the real FER-2013")
    return Path(folder)


QUICK = ("--recipe.epochs", "1", "--recipe.batch_size", "16", "--threads", "1", "--quiet")


@pytest.fixture(scope="session")
def faces(tmp_path_factory):
    """Drawn faces as a folder per label, divided into splits: 28 for training, 14 each for validation and test."""
    folder = tmp_path_factory.mktemp("data") / "faces"
    write_folder(8, folder, size=48, validation=0.25, test=0.25)
    return folder


@pytest.fixture(scope="session")
def run(faces, tmp_path_factory):
    """The folder of a run of one epoch on them."""
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", "mien-s", "--data", str(faces), "--out", str(out), *QUICK]) == 0
    return out


@pytest.fixture(scope="session")
def quick():
    """Flags that make a training short."""
    return QUICK
