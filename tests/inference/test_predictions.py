import math
import sys

import numpy as np
import pytest
from PIL import Image

import mien
from mien.drawn import draw_face, draw_photo
from mien.errors import MienError
from mien.inference.prediction import Prediction, Predictions
from mien.labels import FER2013


class Source:
    """Rows that note how many were computed, and whether they were closed."""

    def __init__(self, count):
        self.count, self.computed, self.closed = count, 0, False

    def rows(self):
        try:
            for number in range(self.count):
                self.computed += 1
                yield Prediction(f"{number}.png", FER2013)
        finally:
            self.closed = True


@pytest.fixture
def source():
    return Source(5)


@pytest.fixture
def rows(source):
    return Predictions(source.rows())


def names(rows):
    return [row.source for row in rows]


def test_iteration_computes_one_at_a_time_and_keeps_none(source, rows):
    assert source.computed == 0
    assert next(rows).source == "0.png"
    assert source.computed == 1
    assert names(rows) == ["1.png", "2.png", "3.png", "4.png"]
    assert names(rows) == []
    assert rows._kept is None


def test_an_index_computes_what_it_needs_and_iteration_starts_again(source, rows):
    assert rows[1].source == "1.png"
    assert source.computed == 2
    assert names(rows) == names(rows) == [f"{number}.png" for number in range(5)]
    assert (rows[-1].source, names(rows[1:3]), len(rows)) == ("4.png", ["1.png", "2.png"], 5)
    with pytest.raises(IndexError):
        rows[5]


def test_rows_that_were_iterated_are_gone_and_the_sentence_says_how_to_keep_them(rows):
    for _ in rows:
        break
    for ask in (lambda: rows[0], rows.to_df, lambda: rows[:]):
        with pytest.raises(MienError, match=r"not kept; begin with rows = list\(mien\.predict"):
            ask()
    assert names(rows) == ["1.png", "2.png", "3.png", "4.png"]


def test_the_number_is_known_once_all_are_computed(source, rows):
    with pytest.raises(TypeError, match=r"not known before all are computed; predictions\[:\] computes them"):
        len(rows)
    assert source.computed == 0
    assert bool(rows)
    rows[:]
    assert len(rows) == 5
    assert len(list(Predictions(Source(3).rows()))) == 3


def test_bars_over_predictions_do_not_compute_all_first(source, rows):
    from tqdm import tqdm

    for _ in tqdm(rows, disable=None):
        break
    assert source.computed == 1


def test_closing_ends_the_source(source, rows):
    next(rows)
    rows.close()
    assert source.closed
    assert names(rows) == []


def test_an_empty_result_is_empty():
    rows = Predictions(Source(0).rows())
    assert rows[:] == []
    assert (len(rows), names(rows)) == (0, [])
    with pytest.raises(StopIteration):
        next(rows)


def test_reprs_are_short_and_notebooks_get_a_table(rows):
    assert repr(rows) == "Predictions(0 computed so far)"
    page = rows._repr_html_()
    assert page.count("<tr") == 6
    assert "0.png" in page
    assert repr(rows) == "Predictions(5 computed)"
    many = Source(1000)
    assert Predictions(many.rows())._repr_html_().count("<tr") == 21
    assert many.computed == 20


def test_notebooks_show_the_repr_without_pandas(rows, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert rows._repr_html_() is None


def test_a_photo_is_predicted_when_asked_and_a_label_is_asked_by_its_name():
    photo, _ = draw_photo(["happy", "sad"], seed=5)
    found = mien.predict(photo, threads=0)
    assert len(found[:]) == 2
    assert {found[0].label, found[1].label} <= set(FER2013)
    assert found[0]["happy"] == pytest.approx(found[0].shares["happy"])
    assert found[0]["happiness"] == found[0]["happy"]  # another name of the same expression
    with pytest.raises(MienError, match=r"There is no label 'hapy' among .* Did you mean 'happy'"):
        found[0]["hapy"]
    with pytest.raises(TypeError, match="by the name of a label"):
        list(found[0])
    assert math.isnan(mien.predict(np.full((64, 64), 90, np.uint8), threads=0)[0]["happy"])
    assert found.to_df()["face"].tolist() == [0, 1]


@pytest.mark.parametrize("name", ["phto.jpg", "folder/none", "none*.png"])
def test_a_mistyped_path_raises_at_once_and_one_of_several_is_a_row(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(draw_face("happy", 1, 96)).save("photo.jpg")
    with pytest.raises(MienError, match=r"(phto\.jpg|none|none\*\.png)'"):
        mien.predict(name)
    found = list(mien.predict([name, "photo.jpg"], threads=0))
    assert [bool(row.error) for row in found] == [True, False]


def test_annotate_draws_on_a_copy_of_any_image(tmp_path):
    photo, _ = draw_photo(["happy", "sad"], seed=5)
    found = mien.predict(photo, threads=0)
    assert found[0].label
    picture = mien.annotate(photo, found)
    assert picture.size == (photo.shape[1], photo.shape[0])
    assert picture.mode == "RGB"
    x1, y1, _, _ = map(round, found[0].box)
    assert (np.asarray(picture)[y1, x1:] != photo[y1, x1:]).any()
    Image.fromarray(photo).save(tmp_path / "photo.png")
    np.testing.assert_array_equal(np.asarray(mien.annotate(tmp_path / "photo.png", found)), np.asarray(picture))
    np.testing.assert_array_equal(np.asarray(mien.annotate(photo, found[0])), np.asarray(mien.annotate(photo, found[:1])))
    with pytest.raises(MienError, match="no predictions to draw"):
        mien.annotate(photo, [])
