import os
from pathlib import Path

import pytest


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
