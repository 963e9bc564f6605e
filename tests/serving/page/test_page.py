"""The folder of the page: its files, its model's description, and what it replaces."""

import gzip
import hashlib
import json
import re
from pathlib import Path

import pytest

import mien
from inference.conftest import build_model
from mien.cli import main
from mien.errors import MienError
from mien.inference.classifier import MODELS, Classifier
from mien.inference.prediction import columns
from mien.serving.browser_page import FILES, describe, write_page

ROOT = Path(mien.__file__).parents[2]


def test_the_page_has_the_small_model_and_says_what_it_is(page_folder):
    told, model = json.loads((page_folder / "models" / "model.json").read_text()), Classifier("mien-s-int8")
    assert (page_folder / "models" / told["file"]).read_bytes() == (MODELS / "mien-s-int8.onnx").read_bytes()
    assert told["name"] == "mien-s-int8"
    assert (told["labels"], told["size"], told["channels"]) == (list(model.labels), 48, 1)
    assert told["columns"] == [list(column) for column in columns(model.labels)]
    assert (told["head"], told["heads"]["crowd"]["power"], told["heads"]["label"]["power"]) == ("crowd", 0.25, 0)
    assert told["heads"]["crowd"]["training"] == model.training_priors["crowd"].tolist()
    assert told["licence"] == "Apache-2.0"


def test_the_record_lists_every_file(page_folder):
    listed = json.loads((page_folder / "page.json").read_text())["files"]
    assert sorted(listed) == sorted(
        path.relative_to(page_folder).as_posix() for path in page_folder.rglob("*") if path.is_file()
    )
    assert {"index.html", "sw.js", "models/yunet.onnx", "models/yunet.LICENSE.txt", "ort/LICENSE.txt"} <= set(listed)


def test_the_documentation_names_every_file(page_folder):
    text = (ROOT / "docs" / "page.md").read_text(encoding="utf-8")
    named = set(
        re.findall(r"`([\w.-]+/?)`", "".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| ")))
    )
    assert named == {f"{path.name}/" if path.is_dir() else path.name for path in page_folder.iterdir()}


def test_the_python_functions_whose_outputs_are_documented_exist():
    text = (ROOT / "docs" / "predict.md").read_text(encoding="utf-8")
    names, page = re.search(r"for its Python function: (.*?) of `mien`, and `(.*?)`", text, re.DOTALL).groups()
    assert set(re.findall(r"`(\w+)`", names)) <= {*mien.__all__}
    assert (page, callable(mien.serving.page)) == ("mien.serving.page", True)


def test_the_runtime_is_the_published_one():
    sums = dict(line.split()[::-1] for line in (FILES / "ort" / "SHA256SUMS").read_text().splitlines())
    contents = {path.name: path.read_bytes() for path in (FILES / "ort").iterdir()}
    packed = contents["ort-wasm-simd-threaded.wasm.gzip"]
    contents["ort-wasm-simd-threaded.wasm"] = gzip.decompress(packed)
    assert len(sums) == 3
    assert sums == {name: hashlib.sha256(contents[name]).hexdigest() for name in sums}


def test_the_page_has_no_inline_script_and_no_address_of_another_host():
    for path in FILES.rglob("*"):
        if path.suffix in (".html", ".css", ".js"):
            text = path.read_text(encoding="utf-8")
            assert re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]+/", text) == [], path.name
            assert re.findall(r"<script(?![^>]* src=)|<style| on\w+=\"| style=\"", text) == [], path.name
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', (FILES / "index.html").read_text())[1]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["connect-src"] == "'self'"
    assert rules["script-src"] == "'self' 'wasm-unsafe-eval'"


def test_a_model_of_ones_own_without_priors_and_with_one_head(tmp_path):
    build_model(tmp_path / "mine.onnx", labels=["calm", "tense"], size=20, channels=3)
    write_page(tmp_path / "page", tmp_path / "mine.onnx")
    told = json.loads((tmp_path / "page" / "models" / "model.json").read_text())
    assert (told["name"], told["labels"], told["channels"], told["licence"]) == ("mine", ["calm", "tense"], 3, "")
    assert told["heads"] == {"label": {"output": "probabilities", "training": None, "power": 0.0}}


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("runs/x/model.onnx", "x"),
        ("x.v2/model.onnx", "x.v2"),
        ("other.onnx", "other"),
        ("hub/models--somebody--faces/snapshots/0a1b/model.onnx", "faces"),
    ],
)
def test_a_model_has_the_name_of_its_run_or_repository(file, name, tmp_path, monkeypatch):
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    build_model(path, labels=["calm", "tense"])
    assert describe(Classifier(path))["name"] == name
    monkeypatch.chdir(path.parent)
    assert describe(Classifier(path.name))["name"] == name


def test_the_command_writes_the_page_and_replaces_an_earlier_one(tmp_path, capsys):
    out = tmp_path / "page"
    assert main(["page", "--out", str(out)]) == 0
    assert "http.server --bind 127.0.0.1" in capsys.readouterr().out
    (out / "index.html").write_text("old")
    assert main(["page", "--out", str(out), "--model", "mien-s"]) == 0
    assert (out / "index.html").read_bytes() == (FILES / "index.html").read_bytes()
    assert (out / "models" / "classifier.onnx").read_bytes() == (MODELS / "mien-s.onnx").read_bytes()
    (out / "mine.txt").write_text("mine")
    assert main(["page", "--out", str(out)]) == 2
    assert (out / "mine.txt").read_text() == "mine"


def test_the_page_is_written_from_python(tmp_path):
    told = mien.serving.page(out=tmp_path / "page", model="mien-s")
    assert told.startswith(f"{tmp_path / 'page'}: to look at it, run: python -m http.server")
    assert (tmp_path / "page" / "models" / "classifier.onnx").read_bytes() == (MODELS / "mien-s.onnx").read_bytes()


def test_a_folder_of_anything_else_is_no_page(tmp_path, capsys):
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "a.png").touch()
    assert main(["page", "--out", str(tmp_path / "faces")]) == 2
    assert "exists and is no page of mien page; choose another folder" in capsys.readouterr().err


def test_a_model_that_cannot_be_used_leaves_nothing(tmp_path, capsys):
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    assert main(["page", "--out", str(tmp_path / "page"), "--model", str(tmp_path / "bad.onnx")]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.onnx"]
    with pytest.raises(MienError):
        write_page(tmp_path / "page", tmp_path / "bad.onnx")
    assert not (tmp_path / "page").exists()
