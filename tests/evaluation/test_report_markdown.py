from mien.evaluation.report import markdown_table


def test_columns_are_aligned():
    assert markdown_table([["run", "n"], ["mien-s", "3,589"], ["a", "7"]]).splitlines() == [
        "| run    | n     |",
        "| ------ | ----- |",
        "| mien-s | 3,589 |",
        "| a      | 7     |",
    ]


def test_bars_and_line_breaks_do_not_break_a_row():
    assert markdown_table([["command"], ["a | b\n  c"]]).splitlines()[2] == r"| a \| b c |"
