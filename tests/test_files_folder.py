import errno
import json
import os
from functools import partial

import pytest

from mien.errors import MienError
from mien.files import REPORT, check_folder, written_folder

whole_folder = partial(written_folder, contents="the report", check=partial(check_folder, kind=REPORT))


def write_report(out, text="new"):
    with whole_folder(out) as folder:
        (folder / "page.html").write_text(text)
        (folder / "metrics.json").write_text(
            json.dumps({"made_by": "mien evaluate", "format": 1, "files": ["metrics.json", "page.html"]})
        )


def test_the_folder_appears_whole_and_nothing_is_left_beside_it(tmp_path):
    write_report(tmp_path / "deep" / "report")
    assert sorted(path.name for path in (tmp_path / "deep" / "report").iterdir()) == ["metrics.json", "page.html"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["report"]


def test_others_may_read_it_as_they_may_read_any_new_folder(tmp_path):
    write_report(tmp_path / "report")
    (tmp_path / "usual").mkdir()
    assert (tmp_path / "report").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_an_earlier_report_is_replaced(tmp_path):
    write_report(tmp_path / "report", "old")
    write_report(tmp_path / "report", "new")
    assert (tmp_path / "report" / "page.html").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "report").mkdir()
    write_report(tmp_path / "report")
    assert (tmp_path / "report" / "page.html").exists()


def test_a_failure_leaves_the_earlier_report_and_nothing_else(tmp_path):
    write_report(tmp_path / "report", "old")
    with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "report") as folder:  # noqa: PT012
        (folder / "page.html").write_text("half")
        raise ZeroDivisionError
    assert (tmp_path / "report" / "page.html").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.ENOSPC, r"the disk is full.*Free some space, or choose another --out\."),
        (errno.EFBIG, r"the disk is full.*Free some space"),
        (errno.EACCES, r"Permission denied\. Choose another --out"),
    ],
)
def test_a_write_error_has_a_reason_and_advice(number, sentence, tmp_path):
    with (
        pytest.raises(MienError, match=rf"Cannot write the report to .*report: {sentence}"),
        whole_folder(tmp_path / "report"),
    ):
        raise OSError(number, os.strerror(number))
    assert list(tmp_path.iterdir()) == []


def test_if_the_last_step_fails_the_earlier_report_comes_back(tmp_path, monkeypatch):
    write_report(tmp_path / "report", "old")
    rename = os.rename

    def broken(source, target, **options):
        if str(source).endswith("new"):
            raise OSError(5, "Input/output error")
        return rename(source, target, **options)

    monkeypatch.setattr(os, "rename", broken)
    with pytest.raises(MienError, match="Input/output error"):
        write_report(tmp_path / "report", "new")
    assert (tmp_path / "report" / "page.html").read_text() == "old"


def test_a_folder_that_is_no_report_is_left_alone(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("a photo")
    with pytest.raises(MienError, match="is no report of mien"):
        write_report(tmp_path / "photos")
    assert (tmp_path / "photos" / "a.jpg").read_text() == "a photo"


def test_somebody_elses_metrics_json_is_left_alone(tmp_path):
    (tmp_path / "metrics.json").write_text('{"loss": 1}')
    with pytest.raises(MienError, match=r"not the metrics\.json of a mien report"):
        write_report(tmp_path)
    assert (tmp_path / "metrics.json").read_text() == '{"loss": 1}'


def test_what_a_person_put_into_a_report_is_not_deleted(tmp_path):
    write_report(tmp_path / "report")
    (tmp_path / "report" / "notes.txt").write_text("mine")
    with pytest.raises(MienError, match=r"'notes\.txt', which is not part of the report"):
        write_report(tmp_path / "report")
    assert (tmp_path / "report" / "notes.txt").read_text() == "mine"


def test_a_file_in_place_of_the_folder_is_an_error(tmp_path):
    (tmp_path / "report").write_text("a file")
    with pytest.raises(MienError, match="is a file"):
        write_report(tmp_path / "report")


def test_a_file_in_place_of_a_parent_folder_is_an_error(tmp_path):
    (tmp_path / "file").write_text("a file")
    with pytest.raises(MienError, match="Cannot write the report"):
        write_report(tmp_path / "file" / "report")
