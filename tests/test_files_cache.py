import pytest

from mien.errors import MienError
from mien.files import cache_folder


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_folder_is_the_one_named_by_the_environment_and_is_made(folder):
    assert cache_folder() == folder
    assert folder.is_dir()


def test_without_the_variable_it_is_the_systems_place(monkeypatch, tmp_path):
    monkeypatch.delenv("MIEN_CACHE")
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / "system" / name)
    assert cache_folder() == tmp_path / "system" / "mien"


def test_a_folder_that_cannot_be_made_says_what_to_set(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(MienError, match="MIEN_CACHE"):
        cache_folder()
