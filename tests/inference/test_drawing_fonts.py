import logging
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from mien.cli import main
from mien.drawn import draw_face
from mien.errors import MienError
from mien.inference import drawing
from mien.inference.drawing import annotate, choose_fonts
from mien.inference.prediction import Prediction
from mien.labels import LabelSet

FONTS = Path(mpl.get_data_path()) / "fonts" / "ttf"  # DejaVu: Cyrillic, Greek and Arabic, not Chinese
DEJAVU = str(FONTS / "DejaVuSans.ttf")
LABELS = LabelSet(("гнев", "радость"))


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """Let DejaVu be the installed fonts."""
    monkeypatch.setattr(drawing._LOOK, "folders", (str(FONTS),))
    drawing.choose_fonts.cache_clear()
    drawing.installed_fonts.cache_clear()
    yield
    drawing.choose_fonts.cache_clear()
    drawing.installed_fonts.cache_clear()


def drawn(font=None, labels=LABELS):
    row = Prediction("a.png", labels, 0, (100, 100, 300, 300), 0.9, np.array([0.1, 0.9], np.float32))
    return np.asarray(annotate(np.full((500, 500, 3), 40, np.uint8), [row], font=font))


def test_letters_that_pillow_lacks_come_from_an_installed_font_of_plain_style(caplog):
    assert choose_fonts(("happy", "радость", "χαρά")) == {"happy": None, "радость": DEJAVU, "χαρά": DEJAVU}
    assert not caplog.messages


def test_labels_no_font_has_are_named_in_one_line(caplog):
    with caplog.at_level(logging.WARNING, "mien"):
        for _ in range(2):
            choose_fonts(("happy", "开心", "радость", "难过"))
    assert caplog.messages == ["mien: no installed font has the letters of 开心, 难过; name a font file that has, with --font"]


def test_without_installed_fonts_labels_are_drawn_all_the_same(monkeypatch, caplog):
    monkeypatch.setattr(drawing._LOOK, "folders", ("/nowhere",))
    assert (drawn() != 40).any()
    assert "гнев, радость" in caplog.text


def test_a_font_that_is_named_is_used_for_the_labels():
    bold = str(FONTS / "DejaVuSans-Bold.ttf")
    assert choose_fonts(LABELS.names, bold) == dict.fromkeys(LABELS.names, bold)
    assert (drawn(bold) != drawn()).any()
    assert (drawn(DEJAVU) == drawn()).all()


def test_the_letters_are_those_of_the_label():
    assert (drawn() != drawn(labels=LabelSet(("гнев", "печаль!")))).any()


@pytest.mark.parametrize("verb", ["predict", "explain"])
def test_a_file_that_is_no_font_is_one_sentence(verb, tmp_path, capsys):
    photo, out = tmp_path / "a.png", tmp_path / "out"
    Image.fromarray(draw_face("happy", seed=1, size=64)).save(photo)
    where = ["--draw", str(out)] if verb == "predict" else ["--out", str(out / "why.png")]
    for font in (photo, tmp_path / "missing.ttf"):
        assert main([verb, str(photo), "--faces", *where, "--font", str(font)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line == f"mien: {str(font)!r} is not a font that can be used; name a .ttf, .otf or .ttc file with --font."
    with pytest.raises(MienError, match="not a font"):
        choose_fonts(LABELS.names, str(photo))


def test_arabic_is_joined_and_its_space_lies_between_it_and_the_number():
    from PIL import features

    if not features.check("raqm"):
        pytest.skip("Pillow finds no FriBiDi")
    text = drawing.set_text("سعيد 88%", 40, choose_fonts(("سعيد",)))
    assert [part for part, _ in text] == ["سعيد", " ", "88%"]
    alone = sum(text[0][1].getlength(letter) for letter in "سعيد")
    assert text[0][1].getlength("سعيد") < alone  # joined letters are narrower
