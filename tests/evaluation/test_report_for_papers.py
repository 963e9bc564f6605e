import json
import re

import pytest

from mien.cli import main
from mien.evaluation.plots import new_environment


@pytest.fixture(scope="module")
def report(run, faces, tmp_path_factory):
    out = tmp_path_factory.mktemp("paper") / "report"
    assert main(["evaluate", str(run), "--data", str(faces), "--out", str(out), "--paper", "--quiet"]) == 0
    return out


def test_every_plot_is_there_as_pdf_and_svg_and_no_face_is(report):
    names = {path.name for path in (report / "paper").iterdir()}
    wanted = ("confusion", "labels", "reliability", "coverage", "precision-recall", "roc")
    assert names >= {f"{name}.{kind}" for name in wanted for kind in ("pdf", "svg")} | {"tables.tex"}
    assert not [name for name in names if re.match("random|worst|uncertain|mislabelled", name)]
    assert all(path.read_bytes().startswith(b"%PDF-") for path in report.glob("paper/*.pdf"))
    assert all("</svg>" in path.read_text() for path in report.glob("paper/*.svg"))
    assert ">happy</text>" in (report / "paper" / "confusion.svg").read_text()  # text stays text


def test_the_tables_hold_the_figures_of_the_report(report):
    text = (report / "paper" / "tables.tex").read_text()
    metrics = json.loads((report / "metrics.json").read_text())["all_rows"]
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == text.count(r"\bottomrule") == 3
    assert f"{metrics['accuracy']['value']:.1%}".replace("%", r"\%") in text
    tables = text.split(r"\begin{tabular}")[1:]
    rows = [line.removesuffix(r" \\").split(" & ") for line in tables[2].splitlines() if line.endswith(r" \\")]
    assert [row[0] for row in rows[1:]] == rows[0][1:] == [each["label"] for each in metrics["labels"]]
    assert [[int(cell) for cell in row[1:]] for row in rows[1:]] == metrics["confusion"]


@pytest.mark.slow
def test_a_report_with_them_is_replaced_by_the_next_and_a_foreign_file_is_kept(report, run, faces, capsys):
    words = ["evaluate", str(run), "--data", str(faces), "--out", str(report), "--quiet"]
    assert main([*words, "--paper"]) == 0
    (report / "paper" / "mine.tex").write_text("my own")
    assert main(words) == 2
    assert "holds 'paper/mine.tex', which is not part of the report" in capsys.readouterr().err
    (report / "paper" / "mine.tex").unlink()
    assert main([*words, "--paper"]) == 0


def test_cells_are_escaped():
    rows = [["a & b", "50%"], ["x_1 {y}", r"\today ~^#$"]]
    table = new_environment(text=True).get_template("table.tex").render(rows=rows)
    assert r"a \& b & 50\% \\" in table
    assert r"x\_1 \{y\} & \textbackslash{}today \textasciitilde{}\textasciicircum{}\#\$ \\" in table
    assert table.startswith(r"\begin{tabular}{lr}")


def test_runs_are_compared_in_latex(report, run, tmp_path, capsys):
    assert main(["compare", str(run), str(report), "--format", "latex"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(r"% written by mien compare; needs \usepackage{booktabs}")
    assert r"compact\_resnet" in text
    assert text.count(r"\begin{tabular}") == 3  # two sets of faces, and the recalls
    header = text.split(r"\midrule")[0].splitlines()[-1]
    assert header == r"run & accuracy, 95\% interval & macro-F1 & network & parameters & multiply-adds & epochs \\"
    out = tmp_path / "runs.tex"
    assert main(["compare", str(run), "--out", str(out), "--title", "Runs"]) == 0
    assert main(["compare", str(run), "--out", str(out)]) == 0  # replaces its own
    out.write_text("% my own")
    assert main(["compare", str(run), "--out", str(out)]) == 2
    assert "is not written by mien compare" in capsys.readouterr().err
