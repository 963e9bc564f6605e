from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mien.evaluation.metrics import PairedTest, measure, proportion
from mien.evaluation.plots import markdown_table
from mien.evaluation.record import measure_subgroups
from mien.evaluation.report import Report
from mien.labels import LabelSet

LABELS = LabelSet(("happy", "sad", "neutral"))


@pytest.fixture
def table_of(record):
    """Make the text of a report for other metrics, without its first line, which says what was evaluated."""
    return lambda **parts: Report(replace(record, **parts), Path("report")).table().partition("\n")[2]


def test_the_table_has_every_metric_and_a_dash_for_undefined_ones(table_of):
    probabilities = np.array([(0.8, 0.1, 0.1), (0.6, 0.3, 0.1), (0.2, 0.7, 0.1), (0.3, 0.7, 0.0)], dtype=np.float32)
    text = table_of(all_rows=measure(probabilities, np.eye(3, dtype=np.float32)[[0, 0, 0, 1]], LABELS))
    # by hand: 3 of 4; recall 2/3 and 1; F1 4/5 and 2/3; losses -ln of 0.8, 0.6, 0.2, 0.7
    # bins of a fifteenth: 0.8 right, 0.6 right, 0.7 twice, one of them right: (0.2 + 0.4 + 2 * 0.2) / 4
    assert text.splitlines() == [
        "accuracy 75.0%   95% interval 30.1% to 95.4%   3 of 4 faces",
        "balanced accuracy 83.3%   macro-F1 0.733   weighted-F1 0.767   (over 2 of 3 labels: the others have no rows)",
        "log loss 0.675   Brier 0.410   ECE 0.250",
        "",
        "label    precision  recall     95% interval     F1     AP    AUC  support",
        "happy       100.0%   66.7%   20.8% to 93.9%  0.800  0.917  0.667        3",
        "sad          50.0%  100.0%  20.7% to 100.0%  0.667  0.500  0.833        1",
        "neutral          -       -                -      -      -      -        0",
    ]


def test_votes_add_their_cross_entropy(table_of):
    rows = np.array([(0.5, 0.25, 0.25), (0.25, 0.5, 0.25)], dtype=np.float32)
    assert "cross-entropy with the votes 1.040" in table_of(all_rows=measure(rows, rows, LABELS))  # 1.5 ln 2


def test_all_lines_of_the_table_end_together(table_of):
    rows = np.eye(3, dtype=np.float32)
    lines = table_of(all_rows=measure(rows, rows, LabelSet(("a", "a long name", "b")))).splitlines()[4:]
    assert len({len(line) for line in lines}) == 1


def test_one_line_has_the_gain_and_the_cost_of_test_time_augmentation(table_of):
    rows = np.eye(2, dtype=np.float32)
    test = PairedTest(2, only_first=0, only_second=1, difference=0.5, low=-0.3, high=0.9, p_value=1.0)
    gain = {"kind": "flip", "views": 2, "accuracy_without": proportion(1, 2), "test": test}
    gain |= {"seconds_without": 1.0, "seconds": 2.1, "seconds_ratio": 2.1}
    text = table_of(all_rows=measure(rows, rows, LabelSet(("a", "b"))), test_time_augmentation=gain)
    assert text.split("\n\n")[-1] == (
        "test-time augmentation flip: accuracy 50.0% without, 100.0% with it "
        "(+50.0 points, 95% interval -30.0 to +90.0, McNemar's exact p = 1); 2.1 times the seconds"
    )


def test_groups_have_a_table_of_their_own(table_of):
    rows = np.eye(2, dtype=np.float32)
    truth, answers = rows[[0, 1] * 100], rows[[0, 1] * 75 + [1, 0] * 25]
    groups = np.array(["a"] * 150 + ["b"] * 45 + ["c"] * 5)
    found = measure_subgroups({"x": groups}, answers, truth, LabelSet(("happy", "sad")))
    text = table_of(subgroups=found).split("\n\n")[-1]
    assert [" ".join(line.split()) for line in text.splitlines()] == [
        "by x faces accuracy 95% interval balanced macro-F1 ECE gap to the others",
        "a 150 100.0% 97.5% to 100.0% 100.0% 1.000 0.000 +100.0 (+92.4 to +100.0)",
        "b 45 0.0% 0.0% to 7.9% 0.0% 0.000 1.000 -96.8 (-98.6 to -87.9)",
        "c 5 0.0% 0.0% to 43.4% 0.0% 0.000 1.000 too few faces",
    ]


def test_columns_are_aligned():
    assert markdown_table([["run", "n"], ["mien-s", "3,589"], ["a", "7"]]).splitlines() == [
        "| run    | n     |",
        "| ------ | ----- |",
        "| mien-s | 3,589 |",
        "| a      | 7     |",
    ]


def test_bars_and_line_breaks_do_not_break_a_row():
    assert markdown_table([["command"], ["a | b\n  c"]]).splitlines()[2] == r"| a \| b c |"
