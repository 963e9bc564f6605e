"""Outputs of every verb and function: they replace only what mien wrote, of their kind, and never an input."""

import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mien
from mien.cli import VERBS, main
from mien.drawn import draw_photo
from mien.errors import MienError

# for each output of a verb: whether it is a folder, the suffix of its file, and the words of its command line
CASES = {
    ("train", "out"): ("folder", "", "train mien-s --data {faces} --out {out}"),
    ("evaluate", "out"): ("folder", "", "evaluate {model} --data {faces} --out {out}"),
    ("audit", "out"): ("folder", "", "audit --data {faces} --out {out}"),
    ("audit", "write"): ("file", ".csv", "audit --data {faces} --out {new} --write {out}"),
    ("compare", "out"): ("file", ".md", "compare {runs} --out {out}"),
    ("predict", "out"): ("file", ".csv", "predict {photo} --out {out}"),
    ("predict", "draw"): ("pictures", "", "predict {photo} --draw {out}"),
    ("explain", "out"): ("file", ".png", "explain {photo} --out {out}"),
    ("crop", "out"): ("folder", "", "crop {photo} --out {out}"),
    ("quantize", "out"): ("file", ".onnx", "quantize {model} --data {faces} --out {out}"),
    ("push", "out"): ("folder", "", "push {run} --to a/b --out {out}"),
    ("page", "out"): ("folder", "", "page --model {model} --out {out}"),
    ("demo", "out"): ("folder", "", "demo --out {out}"),
}
PYTHON = {
    ("train", "out"): lambda given, out: mien.train("mien-s", given["faces"], out),
    ("evaluate", "out"): lambda given, out: mien.evaluate(given["model"], given["faces"], out),
    ("audit", "out"): lambda given, out: mien.audit(given["faces"], out),
    ("audit", "write"): lambda given, out: mien.audit(given["faces"], given["new"], write=out),
    ("compare", "out"): lambda given, out: mien.compare([given["runs"]], out=out),
    ("predict", "draw"): lambda given, out: list(mien.predict(given["photo"], draw=out)),
    ("explain", "out"): lambda given, out: mien.explain(given["photo"], out=out),
    ("crop", "out"): lambda given, out: mien.crop([given["photo"]], out),
    ("quantize", "out"): lambda given, out: mien.quantize(given["model"], given["faces"], out),
    ("push", "out"): lambda given, out: mien.push(given["run"], "a/b", out=out),
}
WRITTEN = re.compile(
    r"^(a |the )?((CSV|model) )?(file|folder|picture)s? .*\b(write|make|copy)\b|^a CSV file for the rows\b", re.IGNORECASE
)
NAMES = {"out", "draw", "write", "output", "save", "save_to", "dump", "export", "destination", "target", "log", "log_file"}


def outputs_of(functions):
    """Parameters that name something to write, by their names, or by what the docstring says of them."""
    found = set()
    for name, function in functions.items():
        told = dict(re.findall(r"^ {4,12}(\w+): (.*)$", inspect.getdoc(function) or "", re.MULTILINE))
        for parameter in inspect.signature(function).parameters:
            if parameter in NAMES or WRITTEN.search(told.get(parameter, "")):
                found.add((name, parameter))
    return found


def test_every_output_of_a_verb_and_of_a_public_function_has_its_cases():
    verbs = {verb: getattr(importlib.import_module(module), verb) for verb, (module, _) in VERBS.items()}
    assert outputs_of(verbs) | {("predict", "draw")} == set(CASES)  # --draw comes from mien.predict
    public = {name: getattr(mien, name) for name in mien.__all__ if inspect.isfunction(getattr(mien, name))}
    assert {"train", "evaluate", "explain", "predict", "crop", "read_faces"} <= set(public)
    assert outputs_of(public) == set(PYTHON)
    methods = {
        f"{name}.{method}": function
        for name in mien.__all__
        if inspect.isclass(getattr(mien, name))
        for method, function in inspect.getmembers(getattr(mien, name), inspect.isfunction)
        if not method.startswith("_")
    }
    assert outputs_of(methods) == set()


@pytest.fixture(scope="module")
def given(run, faces, tmp_path_factory):
    folder = tmp_path_factory.mktemp("given")
    (folder / "photos").mkdir()
    Image.fromarray(draw_photo(["happy"], seed=5)[0]).save(folder / "photos" / "photo.png")
    (folder / "runs.json").write_text(mien.compare([run], "json"))
    model, new = run / "model.onnx", folder / "new"
    return {
        "run": run,
        "model": model,
        "faces": faces,
        "photo": folder / "photos" / "photo.png",
        "runs": folder / "runs.json",
    } | {"new": new}


def contents(*folders):
    found = [path for folder in folders for path in folder.rglob("*")]
    return {
        path: (path.is_symlink(), path.read_bytes() if path.is_file() else None)
        for path in found
        if not path.name.startswith(".")
    }


def refused(case, given, out, capsys):
    """Give the sentence with which a command line is refused, after a check that nothing has changed."""
    places = [Path(out).parents[-2] if not Path(out).is_absolute() and len(Path(out).parts) > 1 else Path.cwd(), given["run"]]
    before = contents(*places, given["photo"].parent)
    assert main(CASES[case][2].format(out="\0", **given).replace("\0", str(out)).split(" ")) == 2
    printed, said = capsys.readouterr()
    assert printed == ""
    assert said.count("\n") == 1, said
    assert contents(*places, given["photo"].parent) == before
    assert not given["new"].exists()
    if case in PYTHON:
        with pytest.raises(MienError):
            PYTHON[case](given, out)
        capsys.readouterr()
        assert contents(*places, given["photo"].parent) == before
    return said


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_what_is_not_of_mien_stays_under_every_name(case, given, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    kind, suffix, _ = CASES[case]
    (tmp_path / "mine").mkdir()
    file = tmp_path / "mine" / f"own{suffix or '.txt'}"
    file.write_text("id,label\nmine,happy\n")
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    (tmp_path / f"linked{file.suffix}").symlink_to(file)
    os.link(file, tmp_path / f"hard{file.suffix}")
    outs = [f"linked{file.suffix}", f"hard{file.suffix}", f"mine/../link/{file.name}", str(file)]
    outs += {"file": ["mine", "mine/", "link"], "folder": ["mine", "link", "."], "pictures": []}[kind]
    outs += [f"mine/{file.name}/below{suffix}", "x" * 300 + suffix]
    for out in outs:
        assert re.search("choose|name another|name a f|give a folder|must end in", refused(case, given, out, capsys))


@pytest.mark.parametrize("case", [case for case in CASES if case[0] != "demo"], ids="-".join)
def test_an_input_stays_under_every_name(case, given, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    kind, suffix, words = CASES[case]
    name = next(name for name in ("photo", "runs", "model", "faces", "run") if f"{{{name}}}" in words)
    source = given[name]
    if kind != "file":
        outs = [source if source.is_dir() else source.parent, source]
    else:
        (tmp_path / f"linked{suffix}").symlink_to(source)
        outs = [
            source,
            Path(os.path.relpath(source)),
            tmp_path / f"linked{suffix}",
            source.parent / ".." / source.parent.name / source.name,
        ]
        if source.is_file() and source.stat().st_dev == tmp_path.stat().st_dev:
            os.link(source, tmp_path / f"hard{suffix}")
            outs.append(tmp_path / f"hard{suffix}")
    for out in outs:
        refused(case, given, out, capsys)


@pytest.mark.parametrize("case", [("predict", "out"), ("compare", "out"), ("explain", "out"), ("audit", "write")], ids="-".join)
def test_a_file_of_mien_is_replaced_by_one_of_its_kind_only_and_a_link_to_it_stays(case, given, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    suffix, words = CASES[case][1:]
    given = {**given, "new": tmp_path / "new"}
    (tmp_path / f"link{suffix}").symlink_to(tmp_path / f"out{suffix}")
    for out in (f"out{suffix}", f"out{suffix}", f"link{suffix}"):
        assert main(words.format(out=out, **given).split(" ")) == 0
    assert (tmp_path / f"link{suffix}").is_symlink()
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]
    written = (tmp_path / f"out{suffix}").read_bytes()
    for other in {"predict-out", "compare-out", "explain-out", "audit-write"} - {"-".join(case)}:
        key = tuple(other.split("-"))
        if CASES[key][1] == suffix:
            capsys.readouterr()
            assert main(CASES[key][2].format(out=f"out{suffix}", **given).split(" ")) == 2
            assert "so it is not replaced" in capsys.readouterr().err
    assert (tmp_path / f"out{suffix}").read_bytes() == written


@pytest.mark.parametrize("suffix", [".csv", ".json", ".jsonl", ".txt", ".parquet"])
def test_predictions_are_recognised_in_every_format(suffix, given, tmp_path):
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / 'no "face".png')
    for _ in range(2):
        words = ["predict", str(given["photo"]), str(tmp_path / 'no "face".png'), "--out", str(tmp_path / f"rows{suffix}")]
        assert main(words) == 0
    content = (tmp_path / f"rows{suffix}").read_bytes()
    (tmp_path / f"rows{suffix}").write_bytes(b"my notes\n" + content)
    assert main(words) == (0 if suffix == ".parquet" else 2)


@pytest.mark.parametrize("suffix", [".md", ".json", ".html"])
def test_comparisons_are_recognised_in_every_format(suffix, run, tmp_path, capsys):
    out = tmp_path / f"runs{suffix}"
    mien.compare([run], out=out)
    capsys.readouterr()
    assert main(["compare", str(run), "--out", str(out)]) == 0
    assert "which replaces an earlier one" in capsys.readouterr().err
    mien.compare([run], out=out)
    out.write_bytes(b"My notes\n" + out.read_bytes())
    assert main(["compare", str(run), "--out", str(out)]) == 2


@pytest.mark.slow
def test_an_earlier_report_and_audit_are_replaced_with_a_line_and_nothing_else_is(given, tmp_path, capsys):
    for verb, words in (("evaluate", ["evaluate", str(given["model"])]), ("audit", ["audit"])):
        out = tmp_path / verb
        words = [*words, "--data", str(given["faces"]), "--out", str(out), "--quiet"]
        assert main(words) == 0
        assert "replaces" not in capsys.readouterr().err
        assert main(words) == 0
        assert "which replaces an earlier one" in capsys.readouterr().err
        page = (out / "index.html").read_text()
        (out / "index.html").write_text("<!doctype html> my own page")
        assert "'index.html', which is not part of" in refused_line(words, capsys)
        (out / "index.html").write_text(page)
        (out / "deep").mkdir()
        (out / "deep" / "notes.txt").write_text("mine")
        assert "'deep/notes.txt', which is not part of" in refused_line(words, capsys)
        assert (out / "deep" / "notes.txt").read_text() == "mine"


def refused_line(words, capsys):
    capsys.readouterr()
    assert main(words) == 2
    return capsys.readouterr().err


def test_lists_that_are_read_are_not_replaced(given, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    audit = ["audit", "--data", str(given["faces"])]
    assert main([*audit, "--out", "audit", "--write", "audit/clean.csv"]) == 0
    clean = (tmp_path / "audit" / "clean.csv").read_bytes()
    with (tmp_path / "audit" / "clean.csv").open("a") as file:
        file.write("train/happy/0001.png,train,happy,mine\n")
    drop = ["--data.drop", "audit/clean.csv"]
    assert "is one of the inputs" in refused_line([*audit, *drop, "--out", "other", "--write", "audit/clean.csv"], capsys)
    assert "holds the input" in refused_line([*audit, *drop, "--out", "audit"], capsys)
    assert (tmp_path / "audit" / "clean.csv").read_bytes().startswith(clean)
    assert not (tmp_path / "other").exists()


def test_a_list_on_standard_input_is_not_replaced(given, tmp_path):
    earlier = tmp_path / "rows.txt"
    assert main(["predict", str(given["photo"]), "--out", str(earlier)]) == 0
    before = earlier.read_bytes()
    command = [sys.executable, "-m", "mien.cli", "predict", "-", "--out", str(earlier)]
    with earlier.open() as listed:
        done = subprocess.run(command, stdin=listed, capture_output=True, text=True, check=False)
    assert (done.returncode, earlier.read_bytes()) == (2, before)
    assert "is one of the inputs" in done.stderr


def test_a_log_that_is_not_one_is_left_alone(given, tmp_path, capsys):
    (tmp_path / "rows.csv.part").write_text("my notes")
    words = ["predict", str(given["photo"]), "--out", str(tmp_path / "rows.csv")]
    for more in ([], ["--resume"]):
        refused_line([*words, *more], capsys)
        assert (tmp_path / "rows.csv.part").read_text() == "my notes"


def test_what_appears_during_the_work_stays(given, tmp_path, monkeypatch, capsys):
    out = tmp_path / "rows.csv"

    def finish(log, *how, real=mien.inference.output.ResumeLog.finish):
        out.write_text("mine")
        return real(log, *how)

    monkeypatch.setattr("mien.inference.output.ResumeLog.finish", finish)
    words = ["predict", str(given["photo"]), "--out", str(out)]
    assert "so it is not replaced" in refused_line(words, capsys)
    assert out.read_text() == "mine"
    monkeypatch.undo()
    out.rename(tmp_path / "moved.csv")
    assert main([*words, "--resume"]) == 0
    assert len(out.read_text().splitlines()) == 2


@pytest.mark.parametrize("verb", ["train", "evaluate", "audit", "quantize", "compare", "push"])
def test_an_output_is_checked_before_the_large_libraries_are_loaded(verb, given, tmp_path):
    _, suffix, words = CASES[verb, "out"]
    (tmp_path / f"mine{suffix}").write_text("mine")
    code = "import sys; from mien.cli import main; status = main(sys.argv[1:]); print(status, *sys.modules)"
    words = words.format(out=tmp_path / f"mine{suffix}", **given).split(" ")
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    status, *modules = done.stdout.split()
    assert status == "2", done.stderr
    assert {"torch", "sklearn", "scipy", "matplotlib"}.isdisjoint(modules)


@pytest.mark.slow
def test_a_demo_replaces_what_it_wrote_and_nothing_else(tmp_path, monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("mien.verbs.train.read_data", stop)
    monkeypatch.setattr("mien.verbs.train.FACES_PER_LABEL", 4)
    words = ["demo", "--out", str(tmp_path / "demo")]
    assert [main(words), main(words)] == [130, 130]
    mine = tmp_path / "demo" / "faces" / "train" / "happy" / "me.png"
    mine.write_text("mine")
    assert "'faces/train/happy/me.png', which is not part of the demo" in refused_line(words, capsys)
    assert mine.read_text() == "mine"
    assert json.loads((tmp_path / "demo" / "about-this-folder.json").read_text())["made_by"] == "mien demo"
