import io
import re

import numpy as np
from PIL import Image

from mien.evaluation.report import evaluate


def test_the_folder_holds_the_page_the_numbers_the_picture_and_the_rows(model, eight, tmp_path):
    report = evaluate(model, eight, tmp_path / "report")
    names = ["confusion.png", "index.html", "metrics.json", "predictions.csv"]
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == names
    assert report.folder == tmp_path / "report"
    assert min(Image.open(io.BytesIO((report.folder / "confusion.png").read_bytes())).size) > 400
    assert report.table().splitlines()[1].startswith("accuracy 62.5%")


def test_the_page_embeds_its_pictures(model, eight, tmp_path):
    evaluate(model, eight, tmp_path / "report")
    page = (tmp_path / "report" / "index.html").read_text()
    assert page.count("<svg role") == 10
    sheets = 8 + 3 + 8 + 3  # at random, the mistakes, the uncertain, and those whose labels may be wrong
    assert len(re.findall(r'xlink:href="data:image/png', page)) == sheets
    assert "62.5%" in page


def test_the_run_s_log_becomes_curves(model, eight, tmp_path):
    log = tmp_path / "log.csv"
    log.write_text(
        "epoch,train_loss,train_accuracy,validation_loss,validation_accuracy\n1,1.9,0.2,1.8,0.25\n2,1.5,0.3,1.4,0.4567\n"
    )
    evaluate(model, eight, tmp_path / "report", log=log)
    assert "at best 45.7% on validation" in (tmp_path / "report" / "index.html").read_text()


def test_three_rows_are_enough(model, eight, tmp_path):
    report = evaluate(model, eight.take(np.arange(3)), tmp_path / "report")
    assert (report.metrics.n, report.metrics.accuracy.count) == (3, 2)
    assert "Few rows: happy (3)" in (tmp_path / "report" / "index.html").read_text()
