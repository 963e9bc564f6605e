import numpy as np
import pytest

from mien.cli import main
from mien.errors import MienError
from mien.evaluation.comparison import RunSummary, paired_tests, read_answers, render


@pytest.fixture
def predictions(tmp_path):
    """Write predictions.csv of models by a string of 1 (right) and 0 for each."""

    def write(people=None, **models):
        paths = {}
        for name, hits in models.items():
            lines = [f"{row},sad,{'sad' if hit == '1' else 'happy'},0.5,0.5" for row, hit in enumerate(hits)]
            header = "id,true,predicted,probability_happy,probability_sad"
            if people and name in people:
                header, lines = f"{header},group", [f"{line},{who}" for line, who in zip(lines, people[name], strict=True)]
            paths[name] = tmp_path / f"{name}.csv"
            paths[name].write_text("\n".join([header, *lines]) + "\n")
        return paths

    return write


@pytest.fixture
def written(predictions):
    """Write the comparison of models as Markdown."""

    def write(people=None, **models):
        figures = {"rows": 40, "data": "a" * 64, "split": "test", "accuracy": 0.5, "low": 0.4, "high": 0.6, "macro_f1": 0.5}
        figures |= {"recall": {"sad": 0.5}, "support": {"sad": 40}, "parameters": 1}
        return render(
            [RunSummary(name=name, **figures) for name in models], predictions=predictions(people, **models), format="md"
        )

    return write


def table_of(text):
    """The cells of the table of paired tests."""
    lines = text.split("Is the difference")[1].split("\n\n")[1].splitlines()
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return header, rows


BASE = SAME = "1" * 10 + "0" * 30
BETTER = "1" * 8 + "0" * 2 + "1" * 20 + "0" * 10
SHUFFLED = "0" * 3 + "1" * 12 + "0" * 25


def test_every_run_is_tested_against_the_first(predictions):
    same, better, shuffled = paired_tests(predictions(base=BASE, same=SAME, better=BETTER, shuffled=SHUFFLED))
    assert {same.first, better.first, shuffled.first} == {"base"}
    assert (better.test.only_first, better.test.only_second) == (2, 20)
    assert (shuffled.test.only_first, shuffled.test.only_second) == (3, 5)
    assert better.adjusted_p_value == pytest.approx(3 * better.test.p_value)  # the smallest of three
    assert [each.is_significant for each in (same, better, shuffled)] == [False, True, False]


def test_each_has_one_plain_sentence(written):
    _, rows = table_of(written(base=BASE, same=SAME, better=BETTER, shuffled=SHUFFLED))
    same, better, shuffled = (row[-1] for row in rows)
    assert same == "No difference: same and base are right on the same faces."
    assert better == "Yes, better is better: it is right on 20 of the 22 faces on which only one of the two is."
    assert shuffled.startswith("Not significant: shuffled and base could be equally good, or differ by up to ")
    _, [worse] = table_of(written(better=BETTER, base=BASE))
    assert worse[-1].startswith("Yes, better is better: it is right on 20 of the 22")


def test_the_table_has_a_row_for_each(written):
    sentence = "Is the difference from base significant? McNemar's exact test on the same faces; intervals by Newcombe."
    assert sentence in written(base=BASE, better=BETTER)
    header, [row] = table_of(written(base=BASE, better=BETTER))
    assert header[:3] == ["against base", "only base right", "only this right"]
    assert row[:3] == ["better", "2", "20"]
    assert row[3].startswith("+45.0 points, +")
    assert row[4] == "below 0.001"


def test_p_values_of_several_are_said_to_be_adjusted(written):
    assert "Holm" in written(base=BASE, same=SAME, better=BETTER)
    assert "Holm" not in written(base=BASE, better=BETTER)


def test_one_run_alone_is_not_tested(predictions):
    assert paired_tests(predictions(base=BASE)) == []
    assert paired_tests({}) == []


def test_answers_to_other_faces_are_refused(predictions):
    with pytest.raises(MienError, match=r"should be of the same faces, but have 40 and 2 rows; evaluate both again"):
        paired_tests(predictions(base=BASE, short="10"))


def test_answers_are_read_from_a_report(run, faces, tmp_path):
    assert main(["evaluate", str(run), "--data", str(faces), "--split", "validation", "--out", str(tmp_path / "report")]) == 0
    first, second = read_answers(run / "report" / "predictions.csv"), read_answers(tmp_path / "report" / "predictions.csv")
    assert first.labels == ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    assert np.bincount(first.truth).tolist() == [2] * 7
    assert len(set(first.ids)) == 14
    assert (first.ids, first.predicted.tolist()) == (second.ids, second.predicted.tolist())


@pytest.mark.parametrize(
    "content", ["", "id,true,predicted,probability_a\n", "a,b\n1,2\n", "id,true,predicted,probability_a\n0,b,a,1\n"]
)
def test_another_file_is_not_taken_for_answers(tmp_path, content):
    (tmp_path / "predictions.csv").write_text(content)
    with pytest.raises(MienError, match=r"Cannot read .*predictions\.csv as the predictions\.csv of a report"):
        read_answers(tmp_path / "predictions.csv")


def test_a_column_that_tells_copies_is_no_label(tmp_path):
    (tmp_path / "predictions.csv").write_text(
        "id,true,predicted,probability_a,probability_b,copy_in_training\n1,a,b,0.2,0.8,near\n2,b,b,0.1,0.9,\n"
    )
    assert read_answers(tmp_path / "predictions.csv").labels == ("a", "b")


TWENTY = [f"p{row // 2}" for row in range(40)]
THREE = ["ann"] * 10 + ["bob"] * 20 + ["cem"] * 10  # better is better on bob only


def test_with_groups_the_table_has_an_interval_over_them_too_and_says_which_is_which(written):
    text = written({"base": TWENTY, "better": TWENTY}, base=BASE, better=BETTER)
    assert "a bootstrap over the 20 groups (people, clips) of these faces: it is the one for new people or clips." in text
    assert "take every face for a draw of its own.\n" in text
    header, [row] = table_of(text)
    assert header == ["against base", "only base right", "only this right", "difference, 95% interval",
                      "the same over 20 groups", "p", "significant?"]  # fmt: skip
    plain, over = ([float(end) for end in cell.split("points, ")[-1].split(" to ")] for cell in row[3:5])
    assert over[0] <= plain[0] < plain[1] <= over[1]
    assert row[-1].startswith("Yes, better is better")


def test_a_difference_on_a_few_people_only_is_not_called_significant_for_new_ones(written):
    text = written({"base": THREE, "better": THREE}, base=BASE, better=BETTER)
    assert "with fewer than 20 groups the second is still rather too narrow" in text
    _, [row] = table_of(text)
    assert row[-1] == (
        "On these faces only: better and base differ, but over the groups the interval contains 0, and with new people "
        "or clips they could be equally good."
    )
    assert row[5] == "below 0.001"


def test_one_report_with_groups_is_enough_and_one_group_has_no_interval(written):
    _, [row] = table_of(written({"better": TWENTY}, base=BASE, better=BETTER))
    assert len(row) == 7
    text = written({"base": ["ann"] * 40}, base=BASE, better=BETTER)
    assert "All faces are of 1 group (a person, a clip): the test says nothing about others." in text
    assert len(table_of(text)[1][0]) == 6
