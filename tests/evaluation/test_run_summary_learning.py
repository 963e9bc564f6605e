import numpy as np
import pytest

from mien.errors import MienError
from mien.evaluation.plots import plot_learning
from mien.evaluation.record import read_log

HEADER = "epoch,train_loss,train_accuracy,validation_loss,validation_accuracy,learning_rate,seconds,images_per_second\n"
LOG = HEADER + "1,1.9,0.2,1.8,0.25,0.1,30,900\n2,1.5,0.4,1.4,0.5,0.1,30,900\n3,1.2,0.6,1.5,0.45,0.01,30,900\n"


@pytest.fixture
def log(tmp_path):
    (tmp_path / "log.csv").write_text(LOG)
    return tmp_path / "log.csv"


def test_the_columns_are_read_as_numbers(log):
    found = read_log(log)
    assert found["epoch"].tolist() == [1, 2, 3]
    assert found["validation_accuracy"].tolist() == [0.25, 0.5, 0.45]


def test_an_empty_cell_is_unknown(tmp_path):
    (tmp_path / "log.csv").write_text(HEADER + "1,,0.2,1.8,0.25,0.1,30,900\n")
    assert np.isnan(read_log(tmp_path / "log.csv")["train_loss"][0])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("epoch,loss\n1,2\n", "no column train_loss, train_accuracy, validation_loss, validation_accuracy; it has epoch, loss"),
        (HEADER, "no epochs"),
        (HEADER + "1,high,0.2,1.8,0.25,0.1,30,900\n", "not a number: .*'high'"),
        (HEADER + "1,0.2\n", "breaks off in line 2"),
    ],
)
def test_a_log_that_is_none_is_refused(tmp_path, text, sentence):
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(MienError, match=sentence):
        read_log(tmp_path / "log.csv")


def test_a_log_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(MienError, match=r"Cannot read the training log .*nothing\.csv"):
        read_log(tmp_path / "nothing.csv")


def test_the_curves_are_those_of_the_log_and_the_dots_mark_the_best(log):
    loss, accuracy = plot_learning(read_log(log)).axes
    assert [line.get_ydata().tolist() for line in loss.lines] == [[1.9, 1.5, 1.2], [1.8, 1.4, 1.5], [1.4]]
    assert [line.get_ydata().tolist() for line in accuracy.lines] == [[0.2, 0.4, 0.6], [0.25, 0.5, 0.45], [0.5]]
    titles = [axes.get_title(loc="left") for axes in (loss, accuracy)]
    assert titles == ["loss, at best 1.400 on validation", "accuracy, at best 50.0% on validation"]


def test_the_legend_lies_on_no_curve(log):
    figure = plot_learning(read_log(log))
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["train", "validation"]
    assert not any(legend.get_window_extent().overlaps(axes.get_tightbbox()) for axes in figure.axes)


def test_a_run_without_validation_shows_training_alone(tmp_path):
    (tmp_path / "log.csv").write_text(HEADER + "1,1.9,0.2,,,0.1,30,900\n2,1.5,0.4,,,0.1,30,900\n")
    loss, _ = plot_learning(read_log(tmp_path / "log.csv")).axes
    assert (loss.lines[0].get_ydata().tolist(), loss.get_title(loc="left")) == ([1.9, 1.5], "loss")
