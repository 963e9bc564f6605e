import pytest

from mien.errors import MienError
from mien.inference.sources import camera_number, check_names, natural


def test_one_name_that_stands_for_something_is_enough(tmp_path):
    (tmp_path / "photo.png").write_bytes(b"")
    check_names([str(tmp_path / "none.png"), str(tmp_path / "*.png")])
    with pytest.raises(MienError, match=r"nothing at .*photo\.pgn.* Did you mean .*photo\.png"):
        check_names([str(tmp_path / "photo.pgn")])


def test_only_a_near_name_is_guessed(tmp_path):
    (tmp_path / "one.png").write_bytes(b"")
    with pytest.raises(MienError, match=r"The folder .* has no 'nope\.jpg'\.$"):
        check_names([str(tmp_path / "nope.jpg")])


def test_a_camera_counts_as_something_and_a_long_number_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_names(["0"])
    assert (camera_number("12"), camera_number("123"), camera_number("-1"), camera_number("a")) == (12, None, None, None)
    with pytest.raises(MienError, match="nothing at '2024'"):
        check_names(["2024"])
    (tmp_path / "0").write_bytes(b"")
    assert camera_number("0") is None


def test_numbers_in_names_count_as_numbers_and_come_before_letters():
    assert sorted(["b", "a10", "A2", "2", "10"], key=natural) == ["2", "10", "A2", "a10", "b"]
