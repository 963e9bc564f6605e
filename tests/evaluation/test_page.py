import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from mien.evaluation.metrics import measure
from mien.evaluation.page import largest_confusions, render
from mien.evaluation.record import DataRecord, ModelRecord, Record
from mien.labels import LabelSet

LABELS = LabelSet(("happy", "sad", "neutral"))
PICTURES = dict.fromkeys(("confusion", "labels", "reliability", "precision_recall", "random"), "<svg></svg>")


def record_of(percents, classes, **data):
    probabilities = np.array(percents, dtype=np.float32) / 100
    described = {
        "kind": "folder", "path": "faces", "split": "test", "rows": len(classes), "labels": LABELS.names, "skipped": 0,
        "fingerprint": "f" * 64, "same_as_training": None,
    }  # fmt: skip
    return Record(
        model=ModelRecord("model.onnx", "a" * 64, LABELS.names, 48, 1, 12345, "0.1.0", 1.5, None, "first", "label", ("label",)),
        data=DataRecord(**(described | data)),
        all_rows=measure(probabilities, np.eye(3, dtype=np.float32)[classes], LABELS),
        date="2026-01-31T12:30:00+00:00",
        mien_version="0.1.0",
        command="mien evaluate <model> & more",
        files=("index.html",),
    )


@pytest.fixture
def record():
    """Four of five right: happy 2 of 3, sad 2 of 2, neutral without rows."""
    return record_of([(80, 10, 10), (60, 30, 10), (20, 70, 10), (30, 70, 0), (5, 90, 5)], [0, 0, 0, 1, 1])


class Words(HTMLParser):
    """Collects a page's text, cell by cell."""

    def __init__(self):
        super().__init__()
        self.found, self.hidden = [], False

    def handle_starttag(self, tag, attrs):
        self.hidden = tag == "style" or (self.hidden and tag != "body")

    def handle_data(self, data):
        if data.strip() and not self.hidden:
            self.found.append(" ".join(data.split()))


def words(page):
    parser = Words()
    parser.feed(page)
    return parser.found


def test_the_headline_says_the_figure_its_interval_and_of_how_many(record):
    said = words(render(record, PICTURES, None))
    assert "80.0%" in said
    # Wilson by hand, 4 of 5: (0.8 + 0.3841) / 1.7683 -+ 1.96 sqrt(0.032 + 0.03841) / 1.7683, that is 0.6697 -+ 0.2941
    assert "of the faces are given their right label: 4 of 5. With 95% confidence between 37.6% and 96.4%." in said


def test_every_figure_stands_on_the_page(record):
    said = words(render(record, PICTURES, None))
    tiles = said.index("balanced accuracy")
    figures = dict(zip(said[tiles : tiles + 12 : 2], said[tiles + 1 : tiles + 13 : 2], strict=True))
    assert figures["macro-F1"] == "0.800"  # happy 2 * 2 / (3 + 2), sad 2 * 2 / (2 + 3)
    assert figures["weighted F1"] == "0.800"
    assert figures["log loss"] == f"{-np.log([0.8, 0.6, 0.2, 0.7, 0.9]).mean():.3f}"
    brier = (0.06 + 0.26 + 1.14 + 0.18 + 0.015) / 5
    assert figures["Brier score"] == f"{brier:.3f}"
    # bins of a fifteenth: 0.6 right; 0.7 twice, one right; 0.8 right; 0.9 right
    assert figures["calibration error"] == f"{(0.4 + 2 * 0.2 + 0.2 + 0.1) / 5:.3f}"
    assert figures["balanced accuracy"] == "83.3%"


def test_the_table_has_a_row_per_label_and_a_dash_for_what_is_not(record):
    page = render(record, PICTURES, None)
    table = [re.sub(r"<[^>]+>", " ", row).split() for row in re.findall(r"<tr>.*?</tr>", page, re.DOTALL)][1:]
    assert table == [
        ["happy", "3", "100.0%", "66.7%", "20.8%", "to", "93.9%", "0.800", "0.917", "0.833"],
        ["sad", "2", "66.7%", "100.0%", "34.2%", "to", "100.0%", "0.800", "0.833", "0.917"],
        ["neutral", "0", *"\N{EN DASH}" * 6],
    ]


def test_the_most_frequent_confusions_are_named(record):
    assert [(each.true, each.predicted, each.count) for each in largest_confusions(record.all_rows)] == [("happy", "sad", 1)]
    assert largest_confusions(record.all_rows)[0].share == pytest.approx(1 / 3)
    assert "happy taken for sad, once (33% of happy)." in " ".join(words(render(record, PICTURES, None)))


def test_the_most_frequent_confusion_comes_first():
    happy_as_sad, sad_as_happy, sad_as_neutral = [(10, 80, 10)] * 2, [(80, 10, 10)] * 3, [(10, 10, 80)]
    metrics = record_of(happy_as_sad + sad_as_happy + sad_as_neutral, [0, 0, 1, 1, 1, 1]).all_rows
    found = [(each.true, each.predicted, each.count, each.share) for each in largest_confusions(metrics)]
    assert found == [("sad", "happy", 3, 0.75), ("happy", "sad", 2, 1.0), ("sad", "neutral", 1, 0.25)]
    assert len(largest_confusions(metrics, wanted=2)) == 2


def test_a_page_without_mistakes_says_so():
    said = words(render(record_of([(80, 10, 10), (10, 80, 10)], [0, 1]), PICTURES, None))
    assert "Nothing: every face was given its right label." in said
    assert "There are none." in said


def test_what_comes_from_users_is_text_and_never_markup(record):
    named = replace(record, model=replace(record.model, name="<script>alert(1)</script>"))
    page = render(named, PICTURES, "recipe: <b>")
    assert "<script" not in page
    assert "mien evaluate &lt;model&gt; &amp; more" in page
    assert "recipe: &lt;b&gt;" in page


def test_the_page_asks_nothing_of_the_network(record):
    page = render(record, PICTURES, None)
    assert not re.findall(r'(?:src|href)="(?!metrics\.json|predictions\.csv)', page)
    assert "url(" not in page
    assert "@import" not in page


def test_it_has_a_dark_side_and_a_print_side(record):
    page = render(record, PICTURES, None)
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_parts_without_a_picture_are_left_out(record):
    assert "How it was trained" not in render(record, PICTURES, None)
    assert "How it was trained" in render(record, PICTURES | {"learning": "<svg></svg>"}, None)


def test_the_head_is_told_of_models_with_two(record):
    one = words(render(record, PICTURES, None))
    two = words(render(replace(record, model=replace(record.model, head="crowd", heads=("label", "crowd"))), PICTURES, None))
    assert two[two.index("head") + 1] == "crowd, of label and crowd"
    assert "measured on 5 faces of faces, split test, answered by its crowd head" in two
    assert "measured on 5 faces of faces, split test" in one
    assert "head" not in one


def test_the_page_bears_the_name_of_the_run(record):
    page = render(record, PICTURES, None)
    assert "<title>first on faces: 80.0%</title>" in page
    assert "<h1>first</h1>" in page
