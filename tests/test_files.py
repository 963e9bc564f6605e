import os
import stat

import pytest

from mien.errors import MienError
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


def test_an_error_names_the_file_and_not_its_temporary_name(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path / "gone" / "a.txt", tmp_path / "folder", tmp_path / "file" / "a.txt"):
        with pytest.raises(OSError, match=f"'{path}'$") as caught:
            write_whole(path, lambda part: part.write_text("new"))
        assert caught.value.filename == str(path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_full_disk_names_the_file_and_another_files_error_stays_its_own(tmp_path):
    def fail(error):
        raise error

    with pytest.raises(OSError, match="No space left on device") as caught:
        write_whole(tmp_path / "a.txt", lambda part: fail(OSError(28, "No space left on device")))
    assert caught.value.filename == str(tmp_path / "a.txt")
    with pytest.raises(PermissionError) as caught:
        write_whole(tmp_path / "a.txt", lambda part: fail(PermissionError(13, "Permission denied", "other")))
    assert caught.value.filename == "other"


@pytest.mark.parametrize("is_linked", [False, True])
def test_a_pipe_or_a_device_is_never_replaced(tmp_path, is_linked):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    with pytest.raises(MienError, match="is a pipe or a device"):
        write_whole(tmp_path / ("link" if is_linked else "pipe"), lambda part: part.write_text("new"))
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "pipe"]
