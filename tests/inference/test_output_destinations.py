import json

import numpy as np
import pytest
from PIL import Image

from mien.cli import main
from mien.errors import MienError
from mien.inference.output import check_draw, check_out, choose_format, write_file
from mien.inference.pipeline import predict
from mien.labels import FER2013


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    for name in ("a.png", "b.jpg", "deep/c.png"):
        Image.fromarray(np.full((60, 60), 90, np.uint8)).save(tmp_path / "photos" / name)
    return tmp_path / "photos"


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("source", "draw"),
    [
        ("photos/a.png", "photos"),
        ("photos/a.png", "photos/deep/.."),
        ("photos/*.png", "photos"),
        ("photos/**/*.png", "photos/deep"),
        ("photos", "photos"),
        ("photos", "photos/drawn"),
        ("photos", "link"),
        ("link/a.png", "photos"),
        ("linked.png", "photos"),
        ("linked.png", "."),
        ("photos/a.png", ""),
    ],
)
def test_pictures_never_go_where_an_input_is(photos, model, source, draw, monkeypatch, capsys):
    monkeypatch.chdir(photos.parent)
    (photos.parent / "link").symlink_to(photos)
    (photos.parent / "linked.png").symlink_to(photos / "a.png")
    before = contents(photos.parent)
    assert main(["predict", source, "--model", str(model), "--detector", "none", "--draw", draw]) == 2
    said = capsys.readouterr().err
    assert "with --draw." in said
    assert said.count("\n") == 1
    assert contents(photos.parent) == before
    assert not (photos / "drawn").exists()


def test_pictures_may_go_anywhere_else_and_twice(photos, model, monkeypatch, capsys):
    monkeypatch.chdir(photos.parent)
    before = contents(photos)
    for _ in range(2):
        words = ["predict", "photos/a.png", "photos/b.jpg", "--model", str(model), "--detector", "none"]
        assert main([*words, "--draw", "photos/drawn"]) == 0
    assert sorted(path.name for path in (photos / "drawn").iterdir()) == ["a.png", "b.jpg"]
    assert {path: content for path, content in contents(photos).items() if path in before} == before


def test_python_is_told_at_once_too_and_images_in_memory_are_free(photos, model):
    with pytest.raises(MienError, match="choose another folder"):
        predict([photos / "a.png"], model, "none", draw=photos)
    check_draw(photos, [np.zeros((9, 9), np.uint8), b"bytes"])
    check_draw(photos, np.zeros((9, 9), np.uint8))


@pytest.mark.parametrize(
    ("source", "out", "says"),
    [
        ("photos/a.png", "photos/a.png", "one of the inputs"),
        ("photos/*.png", "photos/../photos/a.png", "one of the inputs"),
        ("photos", "photos/deep/c.png", "one of the inputs"),
        ("photos", "photos", "is a folder"),
        ("photos", "new/", "is a folder"),
        ("photos", "", "--out is empty"),
        ("photos", "/dev/stdout", "standard output"),
        ("photos", "-", "standard output"),
        ("photos", "model.onnx/rows.csv", "cannot be made"),
    ],
)
def test_answers_never_replace_an_input_or_a_folder(photos, model, source, out, says, monkeypatch, capsys):
    monkeypatch.chdir(photos.parent)
    before = contents(photos.parent)
    assert main(["predict", source, "--model", str(model), "--detector", "none", "--out", out]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert contents(photos.parent) == before


def test_the_folder_of_the_answers_is_made_and_their_suffix_is_their_format(photos, model, tmp_path):
    out = tmp_path / "new" / "deep" / "rows.json"
    assert main(["predict", str(photos), "--model", str(model), "--detector", "none", "--out", str(out)]) == 0
    assert [row["source"] for row in json.loads(out.read_text())] == [
        str(photos / name) for name in ("a.png", "b.jpg", "deep/c.png")
    ]


def test_a_wanted_format_counts_more_than_a_suffix(tmp_path):
    assert choose_format("csv", tmp_path / "a.json") == "csv"
    assert choose_format(None, tmp_path / "a.JSONL") == "jsonl"
    assert choose_format(None, tmp_path / "a.txt") == choose_format(None, None) == "table"
    with pytest.raises(MienError, match="choose table, json"):
        choose_format("xml", None)


def test_a_file_of_earlier_answers_may_be_replaced(photos):
    write_file([], FER2013, "csv", photos / "rows.csv")
    assert check_out(str(photos / "rows.csv"), [str(photos)]) == photos / "rows.csv"


def test_where_every_input_failed_the_exit_is_2(model, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["predict", str(tmp_path / "empty"), "--model", str(model), "--detector", "none"]) == 2
    assert "holds no images (.jpg, .png or the like); give one that does" in capsys.readouterr().out
