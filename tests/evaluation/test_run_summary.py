import json
import shutil
from dataclasses import asdict

import numpy as np
import pytest

from mien.cli import main
from mien.errors import MienError
from mien.evaluation.comparison import as_json, best_epoch, read_summaries, summarise
from mien.inference.classifier import Classifier


@pytest.fixture(scope="module")
def mine(run, faces, tmp_path_factory):
    """The run with a report on test rows in it, and a log of three epochs."""
    mine = tmp_path_factory.mktemp("runs") / "mine"
    shutil.copytree(run, mine)
    words = ["evaluate", str(mine), "--data", str(faces), "--split", "test", "--out", str(mine / "report-test")]
    assert main(words) == 0
    header = "epoch,train_loss,train_accuracy,validation_loss,validation_accuracy,learning_rate,seconds,images_per_second\n"
    (mine / "log.csv").write_text(f"{header}1,2,0.2,1.9,0.3,0.1,10,90\n2,2,0.3,1.8,0.5,0.1,20,80\n3,1,0.4,1.7,0.4,0.1,60,100\n")
    return mine


def test_a_summary_tells_what_report_log_and_model_hold(mine):
    summary, report = summarise(mine), json.loads((mine / "report" / "metrics.json").read_text())
    figures = report["all_rows"]
    assert (summary.name, summary.network, summary.split, summary.rows) == ("mine", "compact_resnet", "validation", 14)
    assert summary.accuracy == figures["accuracy"]["value"]
    assert (summary.low, summary.high) == (figures["accuracy"]["low"], figures["accuracy"]["high"])
    assert summary.recall["sad"] == figures["labels"][4]["recall"]["value"]
    assert summary.support == dict.fromkeys(Classifier(mine).labels.names, 2)
    model = Classifier(mine)
    assert (summary.parameters, summary.multiply_adds) == (model.parameters, int(model.metadata["mien.multiply_adds"]))
    assert (summary.epochs, summary.best_epoch, summary.validation_accuracy_by_epoch) == (3, 2, [0.3, 0.5, 0.4])
    assert (summary.training_seconds, summary.seconds_an_epoch, summary.faces_a_second) == (90, 20, 90)
    assert summary.hardware.startswith("1 cpu threads, torch ")
    assert summary.recipe == "mien-s with epochs 1, batch_size 16"
    assert summary.command == report["command"]
    assert summary.command.startswith("mien train mien-s --data")


def test_a_report_in_a_run_folder_stands_for_itself_and_its_run(mine):
    summary, own = summarise(mine / "report-test"), summarise(mine)
    assert (summary.name, summary.split) == ("mine/report-test", "test")
    assert summary.data != own.data
    assert (summary.network, summary.best_epoch) == (own.network, own.best_epoch)
    trained, measured = summary.command.split(" && ")
    assert trained == own.command
    assert measured.startswith("mien evaluate ")
    assert measured.endswith("report-test")


def test_the_report_of_a_run_by_its_own_folder_is_that_run(mine):
    assert summarise(mine / "report") == summarise(mine)


def test_a_report_on_another_model_is_not_taken_for_the_runs(mine, faces, tmp_path):
    shutil.copytree(mine, tmp_path / "mine")
    out = tmp_path / "mine" / "report-of-mien-s"
    assert main(["evaluate", "mien-s", "--data", str(faces), "--out", str(out)]) == 0
    with pytest.raises(MienError, match="is about another model than"):
        summarise(out)


def test_a_model_without_a_run_is_compared_by_its_report(mine, faces, tmp_path, capsys):
    out = tmp_path / "reports" / "on-mine"
    assert main(["evaluate", "mien-s", "--data", str(faces), "--split", "test", "--out", str(out)]) == 0
    summary, figures = summarise(out), json.loads((out / "metrics.json").read_text())["all_rows"]
    assert (summary.name, summary.accuracy, summary.epochs) == ("mien-s/on-mine", figures["accuracy"]["value"], None)
    assert summary.data == summarise(mine / "report-test").data
    capsys.readouterr()
    assert main(["compare", str(mine / "report-test"), str(out)]) == 0
    table = capsys.readouterr().out
    assert "| mien-s/on-mine " in table
    assert "McNemar" in table
    assert main(["compare", str(out), "--out", str(tmp_path / "page.html")]) == 0
    assert "mien-s/on-mine" in (tmp_path / "page.html").read_text()
    assert main(["compare", str(out), str(mine), "--out", str(tmp_path / "saved.json")]) == 0
    assert summary in read_summaries(tmp_path / "saved.json")


@pytest.mark.parametrize("missing", ["model.onnx", "report/metrics.json"])
def test_an_unfinished_run_is_refused(mine, tmp_path, missing):
    shutil.copytree(mine, tmp_path / "mine")
    (tmp_path / "mine" / missing).unlink()
    with pytest.raises(MienError, match=r"not the folder of a finished run.*--resume"):
        summarise(tmp_path / "mine")


def test_the_best_epoch_is_the_first_of_the_best_by_what_the_recipe_selects_by():
    log = {
        "epoch": np.array([1.0, 2, 3, 4]),
        "validation_loss": np.array([np.nan, 1.5, 1.2, 1.2]),
        "validation_accuracy": np.array([0.2, 0.5, 0.5, 0.4]),
    }
    assert best_epoch(log, "accuracy") == 2
    assert best_epoch(log, "loss") == 3
    assert best_epoch(log, "last") is None


def test_what_was_written_as_json_is_read_back(mine, tmp_path):
    summaries = [summarise(mine), summarise(mine / "report-test")]
    (tmp_path / "runs.json").write_text(as_json(summaries))
    assert read_summaries(tmp_path / "runs.json") == summaries


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"accuracy": "high"}, "run 1 has a wrong value: accuracy: expected a number, not high"),
        ({"epochs": 2.5}, "epochs: expected a whole number or null, not 2.5"),
        ({"rows": None}, "rows"),
        ({"recall": {"sad": "low"}}, "recall: expected a number or null, not low"),
        ({"validation_accuracy_by_epoch": 0.5}, "validation_accuracy_by_epoch: expected a list"),
        ({"name": ["a"]}, "name: expected a text"),
        ({"colour": "red"}, "run 1 has the unknown field colour"),
        ({"best_epoch": ...}, "run 1 lacks best_epoch"),
    ],
)
def test_broken_json_is_answered_with_what_is_wrong(mine, tmp_path, change, sentence):
    row = {key: value for key, value in (asdict(summarise(mine)) | change).items() if value is not ...}
    (tmp_path / "runs.json").write_text(json.dumps([row]))
    with pytest.raises(MienError) as told:
        read_summaries(tmp_path / "runs.json")
    assert sentence in str(told.value)
    assert "\n" not in str(told.value)


def test_of_many_missing_keys_a_few_are_named(tmp_path):
    (tmp_path / "runs.json").write_text('[{"command": "mien train"}]')
    with pytest.raises(MienError, match="run 1 lacks name, recipe, network and 18 more; write it again"):
        read_summaries(tmp_path / "runs.json")


@pytest.mark.parametrize("content", ["[{", "{}", "[]", "[1]", "7", '"text"', "\x00\xff"])
def test_foreign_json_is_refused(tmp_path, content):
    (tmp_path / "runs.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(MienError, match=r"runs\.json .*`mien compare --format json"):
        read_summaries(tmp_path / "runs.json")


def test_a_metrics_json_is_no_list_of_runs(mine):
    with pytest.raises(MienError, match="it is not a list of runs"):
        read_summaries(mine / "report" / "metrics.json")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(MienError, match=r"Cannot read .*nowhere\.json"):
        read_summaries(tmp_path / "nowhere.json")
