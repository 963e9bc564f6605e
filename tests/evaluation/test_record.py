import pytest

from mien.errors import MienError
from mien.files import REPORT


def written(tmp_path, text):
    (tmp_path / "metrics.json").write_text(text)
    return tmp_path / "metrics.json"


def test_a_record_of_ours_is_read(tmp_path):
    path = written(tmp_path, '{"made_by": "mien evaluate", "format": 1, "date": "today"}')
    assert REPORT.read(path)["date"] == "today"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "Cannot read"),
        ("[1, 2]", "not the metrics.json of a mien report"),
        ('{"accuracy": 1}', "not the metrics.json of a mien report"),
        ('{"made_by": "mien evaluate", "format": 2}', "has format 2; this version of mien reads format 1"),
        ('{"made_by": "mien evaluate"}', "has format None"),
    ],
)
def test_other_files_are_rejected(tmp_path, text, sentence):
    with pytest.raises(MienError, match=sentence):
        REPORT.read(written(tmp_path, text))


def test_a_missing_record_is_an_error(tmp_path):
    with pytest.raises(MienError, match="Cannot read"):
        REPORT.read(tmp_path / "metrics.json")
