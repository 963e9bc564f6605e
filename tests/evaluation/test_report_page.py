import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from mien.evaluation.metrics import PairedTest, measure, proportion
from mien.evaluation.plots import new_figure
from mien.evaluation.record import measure_crowd
from mien.evaluation.report import largest_confusions, render
from mien.labels import LabelSet

NAMES = ("confusion", "labels", "reliability", "coverage", "precision_recall", "roc", "random")
PICTURES = dict.fromkeys(NAMES, new_figure(1, 1))


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


def test_the_headline_has_the_accuracy_its_interval_and_the_counts(record):
    said = words(render(record, PICTURES, None))
    assert "80.0%" in said
    # Wilson by hand, 4 of 5: (0.8 + 0.3841) / 1.7683 -+ 1.96 sqrt(0.032 + 0.03841) / 1.7683, that is 0.6697 -+ 0.2941
    assert "accuracy: 4 of 5 faces are classified correctly. The 95% interval is 37.6% to 96.4%." in said


def test_the_page_has_every_metric(record):
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


def test_the_table_has_a_row_per_label_and_a_dash_for_undefined_metrics(record):
    page = render(record, PICTURES, None)
    table = [re.sub(r"<[^>]+>", " ", row).split() for row in re.findall(r"<tr>.*?</tr>", page, re.DOTALL)][1:]
    assert table[:3] == [
        ["happy", "3", "100.0%", "66.7%", "20.8%", "to", "93.9%", "0.800", "0.917", "0.833"],
        ["sad", "2", "66.7%", "100.0%", "34.2%", "to", "100.0%", "0.800", "0.833", "0.917"],
        ["neutral", "0", *"\N{EN DASH}" * 6],
    ]


def test_the_most_frequent_confusions_are_named(record):
    assert largest_confusions(record.all_rows) == [("happy", "sad", 1, pytest.approx(1 / 3))]
    assert "happy predicted as sad, once (33% of happy)." in " ".join(words(render(record, PICTURES, None)))


def test_the_most_frequent_confusion_comes_first(record_of):
    happy_as_sad, sad_as_happy, sad_as_neutral = [(10, 80, 10)] * 2, [(80, 10, 10)] * 3, [(10, 10, 80)]
    metrics = record_of(happy_as_sad + sad_as_happy + sad_as_neutral, [0, 0, 1, 1, 1, 1]).all_rows
    assert largest_confusions(metrics) == [("sad", "happy", 3, 0.75), ("happy", "sad", 2, 1.0), ("sad", "neutral", 1, 0.25)]
    assert len(largest_confusions(metrics, wanted=2)) == 2


def test_a_page_without_mistakes_says_so(record_of):
    said = words(render(record_of([(80, 10, 10), (10, 80, 10)], [0, 1]), PICTURES, None))
    assert "There are no mistakes: every face is classified correctly." in said
    assert "There are none." in said


def test_what_comes_from_users_is_text_and_never_markup(record):
    named = replace(record, model=record.model | {"name": "<script>alert(1)</script>"})
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
    assert "Training curves" not in render(record, PICTURES, None)
    assert "Training curves" in render(record, PICTURES | {"learning": new_figure(1, 1)}, None)


def test_the_head_is_named_for_models_with_two(record):
    one = words(render(record, PICTURES, None))
    two = words(render(replace(record, model=record.model | {"head": "crowd", "heads": ("label", "crowd")}), PICTURES, None))
    assert two[two.index("head") + 1] == "crowd, of label and crowd"
    assert "evaluated on 5 faces of faces, split test, predicted by the crowd head" in two
    assert "evaluated on 5 faces of faces, split test" in one
    assert "head" not in one


def test_the_page_has_the_name_of_the_run(record):
    page = render(record, PICTURES, None)
    assert "<title>first on faces: 80.0%</title>" in page
    assert "<h1>first</h1>" in page


def test_accuracy_by_coverage_is_a_table(record):
    page = render(record, PICTURES, None)
    rows = [re.sub(r"<[^>]+>", " ", row).split() for row in re.findall(r"<tr>.*?</tr>", page, re.DOTALL)][-4:]
    # confidence 0.9 and 0.8 right, 0.7 once right and once wrong, 0.6 right
    assert [row[:4] for row in rows] == [
        ["100%", "60.0%", "5", "80.0%"],
        ["90%", "60.0%", "5", "80.0%"],
        ["80%", "70.0%", "4", "75.0%"],
        ["50%", "70.0%", "4", "75.0%"],  # three are wanted, and two tie for the third place
    ]
    # the curve: 1, 1, 2.5/3, 3/4, 4/5; at best 1, 1, 1, 1, 4/5
    area, best = (1 + 1 + 2.5 / 3 + 3 / 4 + 4 / 5) / 5, (4 + 4 / 5) / 5
    said = " ".join(words(page))
    assert (
        f"The area under the curve is {area:.3f}. It would be 0.800 if confidence carried no information, "
        f"and {best:.3f} if every correct" in said
    )


def test_the_effect_of_the_temperature_is_shown_if_it_is_known(record):
    before = {"temperature": 1.25, "log_loss": 0.7654, "expected_calibration_error": 0.0421, "reliability": ()}
    text = " ".join(words(render(replace(record, before_temperature=before), PICTURES, None)))
    assert "Without the model's temperature of 1.250 they differ by 4.2 points, and the log loss is 0.765 instead of" in text
    assert "temperature" not in " ".join(words(render(record, PICTURES, None)))


def test_calibration_is_shown_for_the_faces_as_they_are_and_for_worse_copies(record):
    worse = measure(np.array([(0.55, 0.45), (0.5, 0.5)]), np.eye(2), LabelSet(("happy", "sad")))
    text = " ".join(words(render(replace(record, worse_copies=worse), PICTURES, None)))
    error = f"{100 * worse.expected_calibration_error:.1f}"
    assert "Each of 2 faces was also made worse" in text
    assert f"On these copies they differ by {error} points, and the accuracy is 50.0% (9.5% to 90.5%)." in text
    assert "as they are 100.0% 80.0% 37.6% to 96.4%" in text
    assert "worse copies 0.0% \u2013 \u2013" in text
    assert "worse copies" not in " ".join(words(render(record, PICTURES, None)))


def test_test_time_augmentation_shows_its_gain_and_its_cost(record):
    test = PairedTest(5, only_first=1, only_second=2, difference=0.2, low=-0.1, high=0.45, p_value=0.0625)
    gain = {"kind": "ten-crops", "views": 10, "accuracy_without": proportion(3, 5), "test": test}
    gain |= {"seconds_without": 2.0, "seconds": 21.0, "seconds_ratio": 10.5}
    text = " ".join(words(render(replace(record, test_time_augmentation=gain), PICTURES, None)))
    for part in (
        "the mean prediction over 10 views of each face (ten-crops)",
        "The accuracy is 60.0% without it and 80.0% with it: +20.0 points, 95% interval \N{MINUS SIGN}10.0 to +45.0.",
        "2 faces are correct only with it, 1 only without it (McNemar's exact test, p = 0.062).",
        "It takes 10.5 times as long: 21.0 s instead of 2.0 s.",
    ):
        assert part in text
    quick = " ".join(words(render(replace(record, test_time_augmentation=gain | {"seconds_without": 0.0123}), PICTURES, None)))
    assert "21.0 s instead of 12 ms." in quick
    assert "Test-time augmentation" not in " ".join(words(render(record, PICTURES, None)))


def test_crowd_agreement_is_shown_if_there_are_votes(record):
    votes = np.array([(1, 0, 0), (0.8, 0.2, 0), (0.4, 0.6, 0), (0, 1, 0), (0.3, 0.7, 0)])
    crowd = measure_crowd(votes, np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 0]), judged_by_votes=False)
    text = " ".join(words(render(replace(record, crowd=crowd), PICTURES, None)))
    # right: 1, 0.8 and 1; wrong: 0.6 (the crowd sides with the model) and 0.7 (with the label)
    assert "5 faces have votes." in text
    assert "93.3% on average where the model is correct, 65.0% where it is wrong (difference +28.3 points, 95% interval" in text
    assert (
        "On 50.0% of the 2 misclassified faces the most frequent vote is the model's prediction, on 50.0% it is the label."
        in text
    )
    assert "crowd" not in " ".join(words(render(record, PICTURES, None)))
    alone = measure_crowd(votes[:1], np.array([0]), np.array([0]), judged_by_votes=True)
    text = " ".join(words(render(replace(record, crowd=alone), PICTURES, None)))
    assert "100.0% on average where the model is correct. " in text


def test_likely_wrong_labels_are_counted_unless_they_were_training_rows(record):
    assert "Likely wrong labels" not in render(record, PICTURES, None)
    some = " ".join(words(render(replace(record, likely_mislabelled=2), PICTURES, None)))
    assert "The model predicts another label for 2 of 5 faces with at least the confidence that is usual" in some
    none = " ".join(words(render(replace(record, likely_mislabelled=0), PICTURES, None)))
    assert "There are none: the model predicts no face confidently as another label." in none


@pytest.mark.parametrize(("p_value", "said"), [(0.0004, "p < 0.001"), (0.049, "p = 0.049"), (1.0, "p = 1.000")])
def test_a_p_value_is_written_as_papers_do(record, p_value, said):
    test = PairedTest(5, only_first=1, only_second=2, difference=0.2, low=-0.1, high=0.45, p_value=p_value)
    gain = {"kind": "flip", "views": 2, "accuracy_without": proportion(3, 5), "test": test}
    gain |= {"seconds_without": 2.0, "seconds": 21.0, "seconds_ratio": 10.5}
    assert f"(McNemar's exact test, {said})." in " ".join(
        words(render(replace(record, test_time_augmentation=gain), PICTURES, None))
    )


def test_the_reason_for_unknown_copies_is_given(record):
    for count, reason in (
        (28_709, "Models trained by this version of mien store them."),
        (300_000, "It was trained on 300,000 faces; a file has room for 150,000."),
        (None, "Models trained by this version of mien store them."),
    ):
        trained = record.model | {"trained_on": {"path": "faces", "kind": "folder", "train_count": count}}
        said = words(render(replace(record, model=trained), PICTURES, None))
        assert f"The model file stores no signatures of its training faces, so copies of them cannot be found. {reason}" in said


def test_names_in_cautions_are_text_and_never_markup(record):
    named = replace(record.all_rows, labels=tuple(replace(each, label=f"<b>{each.label}") for each in record.all_rows.labels))
    page = render(replace(record, all_rows=named), PICTURES, None)
    assert "<b>" not in page
    assert "No rows: &lt;b&gt;neutral." in page
