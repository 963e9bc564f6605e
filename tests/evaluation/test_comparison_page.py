import csv
import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, f1_score, recall_score

import mien
from mien.cli import main
from mien.evaluation.comparison import as_json, render, summarise
from mien.evaluation.plots import SERIES
from mien.inference.classifier import Classifier

LABELS = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]


class Tables(HTMLParser):
    """The cells of all tables of a page."""

    def __init__(self, page):
        super().__init__()
        self.tables, self.inside = [], False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.inside = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.tables[-1][-1][-1] += data


@pytest.fixture(scope="module")
def two(run, faces, tmp_path_factory):
    """A run whose report is on test rows, and one on the same rows by two views of each, with some answers of its own."""
    folder = tmp_path_factory.mktemp("two") / "mine"
    shutil.copytree(run, folder)
    words = ["evaluate", str(folder), "--data", str(faces), "--split", "test", "--out"]
    assert main([*words, str(folder / "report-one")]) == 0
    assert main([*words, str(folder / "report-flip"), "--tta", "flip"]) == 0
    path = folder / "report-flip" / "predictions.csv"
    header, *rows = [line.split(",") for line in path.read_text().splitlines()]
    for row in [row for row in rows if row[1] != row[2]][:7]:
        row[2] = row[1]
    path.write_text("\n".join(",".join(row) for row in [header, *rows]) + "\n")
    return folder / "report-one", folder / "report-flip"


@pytest.fixture(scope="module")
def page(two):
    return mien.compare(two, format="html", title="Mine & <yours>", command="mien compare <runs>")


def answers(report):
    with (report / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["true"] for row in rows], [row["predicted"] for row in rows]


def test_the_figures_are_those_that_scikit_learn_computes_from_the_answers(two, page):
    reached, recalls = Tables(page).tables[:2]
    truth, predicted = answers(two[0])
    row = next(row for row in reached if row[0] == "mine/report-one")
    interval = binomtest(sum(map(str.__eq__, truth, predicted)), len(truth)).proportion_ci(method="wilson")
    assert row[1] == f"{accuracy_score(truth, predicted):.1%}, {interval.low:.1%} to {interval.high:.1%}"
    assert row[2] == f"{f1_score(truth, predicted, labels=LABELS, average='macro', zero_division=0):.3f}"
    shares = recall_score(truth, predicted, labels=LABELS, average=None, zero_division=0)
    assert recalls[0] == ["recall", *LABELS]
    assert next(row for row in recalls if row[0] == "mine/report-one")[1:] == [f"{share:.1%}" for share in shares]


def test_what_they_cost_is_what_log_and_model_say(two, page):
    with (two[0].parent / "log.csv").open(newline="") as file:
        (epoch,) = csv.DictReader(file)
    cost = next(table for table in Tables(page).tables if table[0][1] == "network")
    row = next(row for row in cost if row[0] == "mine/report-one")
    model = Classifier(two[0].parent)
    millions = int(model.metadata["mien.multiply_adds"]) / 1e6
    assert row[1:5] == ["compact_resnet", f"{model.parameters:,}", f"{millions:.1f}M", "1 (best 1)"]
    assert row[5:] == [
        f"{float(epoch['seconds']):.0f} s", f"{float(epoch['seconds']):.1f}", f"{float(epoch['images_per_second']):.0f}",
    ]  # fmt: skip
    assert "1 cpu threads" in page
    assert "<code>mien train mien-s --data" in page


def test_the_paired_test_is_the_binomial_one_on_the_answers(two, page):
    hits = [[each == given for each, given in zip(*answers(report), strict=True)] for report in two]
    counts = Counter(zip(*hits, strict=True))
    only_first, only_second = counts[True, False], counts[False, True]
    p = binomtest(only_second, only_first + only_second).pvalue
    header, row, verdict = next(table for table in Tables(page).tables if table[0][0].startswith("against"))
    assert header[0] == "against mine/report-one"
    assert row[:3] == ["mine/report-flip", str(only_first), str(only_second)]
    assert row[3].startswith(f"{100 * (only_second - only_first) / 14:+.1f} points, ")
    assert row[4] == (f"{p:.3f}" if p >= 0.001 else "below 0.001")
    assert verdict[0].startswith("Yes, mine/report-flip is better" if p < 0.05 else "Not significant")


def test_the_page_says_what_was_measured_by_several_views(two, page):
    reached = Tables(page).tables[0]
    assert reached[0] == ["run", "accuracy, 95% interval", "macro-F1", "views"]
    assert {row[0]: row[3] for row in reached[1:]} == {"mine/report-one": "one", "mine/report-flip": "flip"}
    assert "test-time augmentation" in page
    record = json.loads((two[1] / "metrics.json").read_text())
    assert summarise(two[1]).test_time_augmentation == record["test_time_augmentation"]["kind"] == "flip"
    alone = mien.compare(two[:1], format="html")
    assert "views" not in Tables(alone).tables[0][0]
    assert "test-time augmentation" not in alone


def test_markdown_says_it_too(two):
    text = mien.compare(two)
    assert "test-time augmentation" in text
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "|" in line][:4]
    column = header.index("views")
    assert {row[0]: row[column] for row in rows} == {"mine/report-one": "one", "mine/report-flip": "flip"}
    assert "views" not in mien.compare(two[:1])


def test_the_page_opens_offline_and_names_are_harmless(page):
    assert page.startswith("<!doctype html>")
    assert "<h1>Mine &amp; &lt;yours&gt;</h1>" in page
    assert "<code>mien compare &lt;runs&gt;</code>" in page
    assert not re.findall(r"<script|<link|url\((?!#)|@import", page)
    assert not [link for link in re.findall(r'(?:src|href)="([^"]*)"', page) if not link.startswith("#")]
    assert page.count("<svg") == 3  # accuracies, recalls, the course of training


def test_every_colour_of_the_runs_stands_in_the_pages_style_for_light_and_for_dark():
    style = (Path(mien.__file__).parent / "evaluation" / "page" / "comparison.css").read_text()
    for number, colour in enumerate(SERIES, start=1):
        assert f"--series-{number}: {colour};" in style
        assert style.count(f"--series-{number}:") == 2


def test_runs_on_other_faces_have_a_section_of_their_own_and_one_alone_no_row_of_accuracies(two):
    mine = summarise(two[0])
    page = render([mine, replace(mine, name="other", data="b" * 64, rows=99)])
    assert "not all measured on the same faces" in page
    assert "<h2>14 faces, test split</h2>" in page
    assert "<h2>99 faces, test split</h2>" in page
    assert page.count("<svg") == 3  # recalls twice, the course of training
    assert "McNemar" not in page


def test_the_ending_of_the_file_decides_unless_the_format_is_named(two, tmp_path):
    runs, page = [str(each) for each in two], tmp_path / "pages" / "compare.html"
    assert main(["compare", *runs, "--out", str(page)]) == 0
    assert page.read_text().startswith("<!doctype html>")
    assert f"<code>mien compare {' '.join(runs)} --out {page}</code>" in page.read_text()
    assert main(["compare", *runs, "--out", str(tmp_path / "runs.json")]) == 0
    assert [each["name"] for each in json.loads((tmp_path / "runs.json").read_text())] == [
        each.name for each in sorted(map(summarise, two), key=lambda each: -each.accuracy)
    ]  # fmt: skip
    assert main(["compare", *runs, "--format", "table", "--out", str(tmp_path / "page.html")]) == 0
    assert (tmp_path / "page.html").read_text().startswith("Accuracy is given with")


def test_an_unknown_format_is_refused_and_nothing_is_written(two, tmp_path, capsys):
    out = tmp_path / "runs.pdf"
    assert main(["compare", str(two[0]), "--format", "pdf", "--out", str(out)]) == 2
    assert "There is no format 'pdf'; choose table, json, html, latex." in capsys.readouterr().err
    assert not out.exists()


def test_runs_saved_before_several_views_were_noted_are_still_read(two, tmp_path):
    rows = json.loads(as_json([summarise(two[0])]))
    del rows[0]["test_time_augmentation"]
    (tmp_path / "old.json").write_text(json.dumps(rows))
    assert "mine/report-one" in mien.compare([tmp_path / "old.json"], format="html")
    assert render([summarise(two[0])], format="md").count("views") == 0


@pytest.fixture(scope="module")
def long_names(two, tmp_path_factory):
    """The page of two runs with long names, measured with groups."""
    path = tmp_path_factory.mktemp("page") / "compare.html"
    mine, names = summarise(two[0]), [f"{kind}-from-the-embedded-model-of-few-faces" for kind in ("studio", "office")]
    predictions = {}
    for name, report in zip(names, two, strict=True):
        header, *rows = (report / "predictions.csv").read_text().splitlines()
        predictions[name] = path.with_name(f"{name}.csv")
        lines = [f"{header},group", *(f"{line},p{row % 7}" for row, line in enumerate(rows))]
        predictions[name].write_text("\n".join(lines) + "\n")
    path.write_text(render([replace(mine, name=name) for name in names], predictions=predictions), encoding="utf-8")
    return path


OUTSIDE = """() => [...document.querySelectorAll('h1, h2, h3, p, td, th, dd, li')].filter(each => {
    if (each.closest('thead') && getComputedStyle(each.closest('thead')).clipPath != 'none') return false;
    const range = document.createRange(); range.selectNodeContents(each);
    return [...range.getClientRects()].some(box => box.left < -1 || box.right > innerWidth + 1);
}).map(each => each.textContent)"""


@pytest.mark.parametrize("width", [320, 400, 700, 840, 1200])
def test_no_text_lies_beside_the_screen_at_any_width(long_names, open_page, width):
    page = open_page(long_names, width)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("[...document.querySelectorAll('.wide')].every(each => each.scrollWidth <= each.clientWidth)")
    assert page.evaluate(OUTSIDE) == []


def test_on_a_phone_every_value_of_a_table_has_its_name_beside_it(long_names, open_page):
    page = open_page(long_names, 400)
    beside = "(cell) => getComputedStyle(cell, '::before').content"
    named = {
        page.evaluate(beside, cell).strip('"'): cell.inner_text() for cell in page.query_selector_all(".wide td[data-name]")
    }
    header, row, _ = next(table for table in Tables(long_names.read_text()).tables if table[0][0].startswith("against"))
    assert {"accuracy, 95% interval", "surprise", "faces/s", "the same over 7 groups", *header[1:]} <= set(named)
    assert [named[name] for name in header[1:]] == row[1:]
    wide = open_page(long_names, 1200)
    assert wide.evaluate(beside, wide.query_selector(".wide td[data-name]")) == "none"


def test_on_a_phone_figures_keep_a_readable_size_and_scroll(long_names, open_page):
    page = open_page(long_names, 400)
    sizes = page.evaluate("[...document.querySelectorAll('figure')].map(each => [each.clientWidth, each.scrollWidth])")
    assert len(sizes) == 3
    assert all(shown < 400 < all_of_it for shown, all_of_it in sizes)
    text = page.evaluate(
        "Math.min(...[...document.querySelectorAll('svg text')].map(each => each.getBoundingClientRect().height))"
    )
    assert text > 8
