"""`mien explain` on the command line."""

import numpy as np
import pytest
from PIL import Image

from mien.cli import main
from mien.drawn import draw_face


@pytest.fixture
def face(tmp_path):
    path = tmp_path / "a face.png"
    Image.fromarray(draw_face("happy", seed=1, size=96)).save(path)
    return path


def test_explaining_writes_the_picture_and_says_what_it_shows(face, tmp_path, capsys):
    out = tmp_path / "made" / "why.png"
    assert main(["explain", str(face), "--faces", "--label", "happy", "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert "happy" in printed.out
    assert str(out) in printed.err
    with Image.open(out) as picture:
        assert picture.width > picture.height


def test_a_name_with_a_line_break_stays_on_its_line(face, tmp_path, capsys):
    odd = face.rename(tmp_path / "line\nbreak.png")
    assert main(["explain", str(odd), "--faces", "--out", str(tmp_path / "why.png")]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert "line\\nbreak.png" in line


def test_without_a_face_nothing_is_written_and_the_exit_status_is_2(tmp_path, capsys):
    Image.new("RGB", (300, 200), "green").save(tmp_path / "meadow.png")
    out = tmp_path / "why.png"
    assert main(["explain", str(tmp_path / "meadow.png"), "--out", str(out)]) == 2
    assert "no face" in capsys.readouterr().err
    assert not out.exists()


def test_a_photo_that_cannot_be_read_is_reported_and_the_others_explained(face, tmp_path, capsys):
    (tmp_path / "letter.jpg").write_text("Dear me")
    out = tmp_path / "why.png"
    assert main(["explain", str(face), str(tmp_path / "letter.jpg"), "--faces", "--out", str(out)]) == 1
    assert "letter.jpg" in capsys.readouterr().err
    assert out.exists()


@pytest.mark.parametrize("words", [["nothing.jpg", "--out", "why.png"], ["{face}", "--out", "{face}"], ["{face}"]])
def test_mistakes_are_one_sentence(words, face, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = np.asarray(Image.open(face).copy())
    assert main(["explain", "--faces", *(word.format(face=face) for word in words)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    with Image.open(face) as after:
        assert (np.asarray(after) == before).all()
