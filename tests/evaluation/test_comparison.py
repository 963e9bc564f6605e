import json
import re
import shutil
from dataclasses import asdict, replace
from functools import partial

import pytest

from mien.cli import main
from mien.evaluation.comparison import RunSummary, as_json, read_runs, read_summaries, render, summarise

MADE_UP = RunSummary(
    name="wide",
    recipe="four wide blocks",
    network="wide_cnn",
    rows=3589,
    data="a" * 64,
    split="validation",
    accuracy=0.66,
    low=0.644,
    high=0.675,
    macro_f1=0.61234,
    recall={"happy": 0.85, "sad": 0.5, "neutral": None},
    support={"happy": 3000, "sad": 589, "neutral": 0},
    parameters=1_819_015,
    multiply_adds=184_000_000,
    epochs=3,
    best_epoch=2,
    validation_accuracy_by_epoch=[0.4, 0.66, 0.65],
    training_seconds=540.4,
    seconds_an_epoch=180.1,
    faces_a_second=159.4,
    hardware="1 cpu threads",
    command="mien train wide-cnn",
)
LOWER = replace(MADE_UP, name="six", accuracy=0.5, network="six_conv")
OTHER_FACES = replace(
    MADE_UP, name="three", data="b" * 64, split="test", rows=1234, support={"happy": 1234}, recall={"happy": 0.9}
)


as_markdown = partial(render, format="md")


def tables(text):
    """Split Markdown into its tables: for each the lines of its rows, without the header, and the paragraph above."""
    blocks = text.strip().split("\n\n")
    return [(blocks[i - 1], block.splitlines()[2:]) for i, block in enumerate(blocks) if block.startswith("|")]


def test_a_row_tells_the_figures_and_what_they_cost():
    above, (row,) = tables(as_markdown([MADE_UP]))[0]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert above == "3,589 faces, validation split: happy, sad"
    assert cells == [
        "wide", "66.0%, 64.4% to 67.5%", "0.612", "wide_cnn", "1,819,015", "184.0M", "3 (best 2)", "9 min", "180.1", "159",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(41.7, "42 s"), (59.6, "1 min"), (540, "9 min"), (3569, "59 min"), (3580, "1 h 0 min"), (7500, "2 h 5 min")],
)
def test_training_time_is_told_as_a_person_would(seconds, told):
    assert f"| {told} " in as_markdown([replace(MADE_UP, training_seconds=seconds)])


def test_runs_on_other_faces_have_a_table_of_their_own():
    text = as_markdown([MADE_UP, LOWER, OTHER_FACES])
    assert "These runs were not all measured on the same faces" in text
    (_, first), (above, second), (_, recalls), (_, making) = tables(text)
    assert [row.split()[1] for row in first] == ["wide", "six"]
    assert above == "1,234 faces, test split: happy"
    assert [row.split()[1] for row in second] == ["three"]
    assert [row.split()[1] for row in recalls] == [row.split()[1] for row in making] == ["wide", "six", "three"]
    assert re.split(r"\s*\|\s*", recalls[2])[1:-1] == ["three", "90.0%", "-", "-"]


def test_runs_on_the_same_faces_share_one_table():
    text = as_markdown([MADE_UP, LOWER])
    assert len(tables(text)) == 3
    assert "not all measured" not in text


def test_a_title_stands_on_top_and_a_file_says_what_its_figures_are():
    plain = as_markdown([MADE_UP])
    assert as_markdown([MADE_UP], "Reproductions") == f"# Reproductions\n\n{plain}"
    title, sentence, rest = as_markdown([MADE_UP], "Reproductions", "mien compare wide --out x.md").split("\n\n", 2)
    assert (title, rest) == ("# Reproductions", plain)
    assert "95% interval (Wilson)" in sentence
    assert sentence.endswith("Written by: `mien compare wide --out x.md`")


def test_those_on_the_same_faces_come_together_the_most_accurate_first(tmp_path):
    (tmp_path / "runs.json").write_text(as_json([LOWER, OTHER_FACES, MADE_UP]))
    assert [each.name for each in read_runs([tmp_path / "runs.json"])[0]] == ["wide", "six", "three"]


def test_of_a_name_that_comes_twice_the_later_stands(run, tmp_path, capsys):
    stale = tmp_path / "stale.json"
    stale.write_text(as_json([replace(summarise(run), accuracy=0.999), MADE_UP]))
    found = {each.name: each for each in read_runs([stale, run])[0]}
    assert found == {"run": summarise(run), "wide": MADE_UP}
    assert f"There are several runs run; the one in {run} is used" in capsys.readouterr().err
    assert {each.name: each.accuracy for each in read_runs([run, stale])[0]}["run"] == 0.999


def test_runs_of_folders_and_files_stand_side_by_side_on_the_command_line(run, tmp_path, capsys):
    (tmp_path / "elsewhere.json").write_text(as_json([MADE_UP]))
    sources, out = [str(run), str(tmp_path / "elsewhere.json")], tmp_path / "docs" / "runs.md"
    assert main(["compare", *sources, "--title", "My runs", "--out", str(out)]) == 0
    assert capsys.readouterr().out == ""
    text = out.read_text()
    assert text.startswith("# My runs\n\nAccuracy is given with its 95% interval")
    assert f"Written by: `mien compare {' '.join(sources)} --title 'My runs' --out {out}`" in text
    assert main(["compare", *sources]) == 0
    assert text.endswith(printed := capsys.readouterr().out)
    assert printed.startswith("These runs were not all measured on the same faces")


@pytest.fixture(scope="module")
def two(run, faces, tmp_path_factory):
    """Two reports of one run on the same faces, the second with some answers of its own."""
    folder = tmp_path_factory.mktemp("two") / "mine"
    shutil.copytree(run, folder)
    words = ["evaluate", str(folder), "--data", str(faces), "--split", "validation", "--out", str(folder / "again")]
    assert main(words) == 0
    path = folder / "again" / "predictions.csv"
    header, *rows = [line.split(",") for line in path.read_text().splitlines()]
    wrong = [row for row in rows if row[1] != row[2]]
    for row in wrong:
        row[2] = row[1]
    path.write_text("\n".join(",".join(row) for row in [header, *rows]) + "\n")
    return folder, folder / "again", len(wrong)


def test_runs_on_the_same_faces_are_tested_against_the_first(two, capsys):
    first, again, corrected = two
    assert corrected >= 6  # a model of one epoch: a coin that falls six times on one side is no fair one
    assert main(["compare", str(first), str(again)]) == 0
    said = capsys.readouterr().out
    assert "Is the difference from mine significant? McNemar's exact test on the same faces; intervals by Newcombe." in said
    (row,) = next(rows for above, rows in tables(said) if above.startswith("Is the difference"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:3] == ["mine/again", "0", str(corrected)]
    assert cells[3].startswith(f"+{100 * corrected / 14:.1f} points, ")
    assert f"Yes, mine/again is better: it is right on {corrected} of the {corrected} faces" in cells[5]


def test_the_first_is_the_one_named_first(two, capsys):
    first, again, corrected = two
    assert main(["compare", str(again), str(first)]) == 0
    said = capsys.readouterr().out
    assert "Is the difference from mine/again significant?" in said
    assert f"Yes, mine/again is better: it is right on {corrected} of" in said


def test_runs_out_of_json_are_not_tested(two, tmp_path, capsys):
    first, again, _ = two
    out = tmp_path / "runs.json"
    assert main(["compare", str(first), str(again), "--format", "json", "--out", str(out)]) == 0
    for sources in ([out], [first, out], [first, again, out], [first]):
        assert main(["compare", *map(str, sources)]) == 0
        assert "McNemar" not in capsys.readouterr().out
    assert read_runs([out, again])[1] == {"mine/again": again / "predictions.csv"}


def test_a_report_without_its_predictions_is_not_tested(two, tmp_path):
    first, _, _ = two
    shutil.copytree(first, tmp_path / "mine")
    (tmp_path / "mine" / "report" / "predictions.csv").unlink()
    assert read_runs([tmp_path / "mine"])[1] == {}


def test_json_of_the_command_line_is_a_source_again(run, tmp_path):
    out, again = tmp_path / "runs.json", tmp_path / "again.json"
    assert main(["compare", str(run), "--format", "json", "--out", str(out)]) == 0
    assert read_summaries(out) == [summarise(run)]
    assert json.loads(out.read_text()) == [asdict(summarise(run))]
    assert main(["compare", str(out), "--format", "json", "--out", str(again)]) == 0
    assert again.read_text() == out.read_text()


def test_json_has_no_title(run, capsys):
    assert main(["compare", str(run), "--format", "json", "--title", "My runs"]) == 2
    assert "JSON has no title" in capsys.readouterr().err


def test_rows_on_training_faces_are_marked_and_a_best_epoch_is_only_named_where_one_was_chosen():
    seen = replace(MADE_UP, name="seen", split="all", on_training_faces=True, epochs=7, best_epoch=None)
    text = render([seen], command="mien compare seen", format="md")
    assert "| seen (on training faces)" in text
    assert "best" not in text
    chosen = replace(MADE_UP, split="validation", epochs=7, best_epoch=3)
    assert "The best epoch was chosen" in render([chosen], command="mien compare it", format="md")
