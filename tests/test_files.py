import pytest

from mien.files import write_whole


def test_a_file_is_written_and_nothing_is_left_beside_it(tmp_path):
    assert write_whole(tmp_path / "a.txt", lambda part: part.write_text("new")) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "new"


def test_a_file_that_was_there_stays_when_writing_fails(tmp_path):
    (tmp_path / "a.txt").write_text("old")

    def fail(part):
        part.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(tmp_path / "a.txt", fail)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"
