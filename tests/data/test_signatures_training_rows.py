import json

import numpy as np
import pytest

from mien.data import copies as module
from mien.data.copies import (
    ALIKE,
    EXACT,
    UNKNOWN,
    TrainingRows,
    as_text,
    copies_of_training_rows,
    describe_training_rows,
    from_text,
)
from mien.errors import MienError


@pytest.fixture
def faces():
    from mien.drawn import draw_faces

    return np.asarray(draw_faces(2, size=48, seed=1).images)


def test_what_a_model_file_notes_is_read_again(faces):
    known = from_text(as_text(describe_training_rows(faces[:10])))
    assert (known.noted, known.rows, known.table.shape) == ("signatures", 10, (10, 12))
    found = copies_of_training_rows(np.concatenate([faces[:2], faces[2:3, :, ::-1], faces[12:]]), known)
    assert found.tolist() == [EXACT, EXACT, ALIKE, UNKNOWN, UNKNOWN]


def test_a_face_that_stands_there_twice_is_noted_once(faces):
    known = describe_training_rows(faces[[0, 1, 0]])
    assert (known.rows, len(known.table)) == (3, 2)


def test_of_many_faces_only_digests_are_noted_and_of_more_nothing(faces, monkeypatch):
    monkeypatch.setattr(module, "MOST_SIGNED", 5)
    monkeypatch.setattr(module, "MOST_DIGESTED", 10)
    known = from_text(as_text(describe_training_rows(faces[:6])))
    assert (known.noted, known.table.shape) == ("digests", (6, 5))
    found = copies_of_training_rows(np.concatenate([faces[:2], faces[2:3, :, ::-1]]), known)
    assert found.tolist() == [EXACT, EXACT, UNKNOWN]
    untold = from_text(as_text(describe_training_rows(faces[:11])))
    assert (untold.noted, untold.rows) == ("nothing", 11)
    assert copies_of_training_rows(faces, untold) is None


def test_the_notes_stay_small():
    assert len(as_text(TrainingRows("signatures", 28_709, np.zeros((28_709, 12), dtype=np.uint8)))) < 480_000
    assert len(as_text(TrainingRows("digests", 150_000, np.zeros((150_000, 5), dtype=np.uint8)))) < 1_001_000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"noted": "holograms", "rows": 3, "table": ""}',
        '{"noted": "signatures", "rows": 3, "table": "AAAA"}',
        '{"noted": "signatures", "rows": 3, "table": "*"}',
        json.dumps({"noted": "signatures", "rows": None, "table": ""}),
    ],
)
def test_damaged_notes_are_said(text):
    with pytest.raises(MienError, match="notes of its training faces cannot be read"):
        from_text(text)
