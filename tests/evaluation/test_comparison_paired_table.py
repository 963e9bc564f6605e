import pytest

from mien.errors import MienError
from mien.evaluation.comparison import paired_table, paired_tests, verdict


@pytest.fixture
def predictions(tmp_path):
    """Write predictions.csv of models by a string of 1 (right) and 0 for each."""

    def write(**models):
        paths = {}
        for name, hits in models.items():
            lines = [f"{row},sad,{'sad' if hit == '1' else 'happy'},0.5,0.5" for row, hit in enumerate(hits)]
            paths[name] = tmp_path / f"{name}.csv"
            paths[name].write_text("\n".join(["id,true,predicted,probability_happy,probability_sad", *lines]) + "\n")
        return paths

    return write


BASE = SAME = "1" * 10 + "0" * 30
BETTER = "1" * 8 + "0" * 2 + "1" * 20 + "0" * 10
SHUFFLED = "0" * 3 + "1" * 12 + "0" * 25


def test_every_run_is_tested_against_the_first(predictions):
    same, better, shuffled = paired_tests(predictions(base=BASE, same=SAME, better=BETTER, shuffled=SHUFFLED))
    assert {same.first, better.first, shuffled.first} == {"base"}
    assert (better.test.only_first, better.test.only_second) == (2, 20)
    assert (shuffled.test.only_first, shuffled.test.only_second) == (3, 5)
    assert better.adjusted_p_value == pytest.approx(3 * better.test.p_value)  # the smallest of three
    assert [each.is_real for each in (same, better, shuffled)] == [False, True, False]


def test_each_has_one_plain_sentence(predictions):
    same, better, shuffled = paired_tests(predictions(base=BASE, same=SAME, better=BETTER, shuffled=SHUFFLED))
    assert verdict(same) == "There is none: same and base are right on the same faces."
    assert (
        verdict(better) == "Yes, better is better: it is the one that is right on 20 of the 22 faces where only one of them is."
    )
    assert verdict(shuffled).startswith("It cannot be told: shuffled and base could be equally good, or differ by up to ")
    (worse,) = paired_tests(predictions(better=BETTER, base=BASE))
    assert verdict(worse).startswith("Yes, better is better: it is the one that is right on 20 of the 22")


def test_the_table_has_a_row_for_each(predictions):
    said, _, table = paired_table(paired_tests(predictions(base=BASE, better=BETTER))).partition("\n\n")
    assert said == "Is the difference from base real? McNemar's exact test on the same faces; intervals by Newcombe."
    header, _, row = table.splitlines()
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert [cell.strip() for cell in header.strip("|").split("|")][:3] == ["against base", "only base right", "only this right"]
    assert cells[:3] == ["better", "2", "20"]
    assert cells[3].startswith("+45.0 points, +")
    assert cells[4] == "below 0.001"


def test_p_values_of_several_are_said_to_be_adjusted(predictions):
    assert "Holm" in paired_table(paired_tests(predictions(base=BASE, same=SAME, better=BETTER)))


def test_one_run_alone_is_not_tested(predictions):
    assert paired_tests(predictions(base=BASE)) == []
    assert paired_tests({}) == []


def test_answers_to_other_faces_are_refused(predictions):
    with pytest.raises(MienError, match=r"should be of the same faces, but have 40 and 2 rows; evaluate both again"):
        paired_tests(predictions(base=BASE, short="10"))
