"""What reaches a terminal: no verb prints a raw control character, whatever files, labels and models are called."""

import io
import json
import os
import shutil
import subprocess
import sys
import time
import unicodedata

import numpy as np
import onnx
import pytest
from PIL import Image

from mien.cli import VERBS, main
from mien.drawn import draw_face
from mien.errors import printable, say, show, spreadsheet_safe, to_json

HOSTILE = "e\x1b[31m\nmien: all is well\r\x07\x08\x7f\x9b2J\u202eb\u2028c\u2066d\udcff"
"""ESC, a false line, CR, BEL, backspace, DEL, C1, bidi overrides, a line separator, and a byte that is no UTF-8."""
FILE = HOSTILE.replace("\udcff", "")  # labels are text


def raw_controls(text: str) -> set[str]:
    """Find what moves a cursor, other than the ends of lines."""
    return {char for char in text if unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp", "Cs") and char != "\n"}


@pytest.fixture(scope="module")
def world(run, tmp_path_factory):
    """Places with hostile names: photos, a run, labelled faces, a manifest, a recipe."""
    root = tmp_path_factory.mktemp("hostile") / FILE
    for label in (f"happy{FILE}", f"sad{FILE}"):
        for split, seeds in (("train", range(4)), ("validation", range(4, 6)), ("test", range(6, 8))):
            (root / "faces" / split / label).mkdir(parents=True, exist_ok=True)
            for seed in seeds:
                face = Image.fromarray(draw_face(label[:5].rstrip("e\x1b"), seed, 48))
                face.save(root / "faces" / split / label / f"{seed}.png")
    (root / "photos").mkdir()
    Image.fromarray(draw_face("happy", 1, 96)).save(root / "photos" / f"{FILE}.png")
    (root / "photos" / f"bad{FILE}.png").write_text("no image")
    shutil.copytree(run, root / "run")
    model = onnx.load(root / "run" / "model.onnx")
    for entry in model.metadata_props:
        if entry.key == "mien.labels":
            entry.value = json.dumps([f"{name}{FILE}" for name in json.loads(entry.value)])
        if entry.key == "mien.prior":
            shares = json.loads(entry.value)["label"]
            entry.value = json.dumps({"label": {f"{name}{FILE}": share for name, share in shares.items()}})
    onnx.save(model, root / "hostile.onnx")
    (root / f"{FILE}.yaml").write_text(f"epochs: 1\nnetwork: {json.dumps(FILE)}\n")
    return root


@pytest.mark.parametrize(
    "words",
    [
        [FILE],
        ["predict", "photos"],
        ["predict", "photos", "--model", "hostile.onnx", "--faces"],
        ["predict", "photos", "--model", "hostile.onnx", "--faces", "--format", "json"],
        ["predict", "photos", "--model", "hostile.onnx", "--faces", "--format", "jsonl"],
        ["predict", "photos", "--draw", f"drawn{FILE}", "--font", FILE],
        ["predict", "photos", f"--{FILE}"],
        ["predict", "photos", "--labels", json.dumps({FILE: "joy"})],
        ["predict", f"nothing{FILE}"],
        ["predict", "photos", "--model", FILE],
        ["predict", "photos", "--detector", FILE],
        ["predict", "photos", "--format", FILE],
        ["explain", "photos", "--faces", "--model", "hostile.onnx", "--out", "e.png"],
        ["explain", "photos", "--faces", "--label", FILE, "--out", "f.png"],
        ["crop", "photos", "--detector", "none", "--out", f"crops{FILE}"],
        ["crop", "faces", "--detector", "none", "--out", f"labelled{FILE}"],
        ["audit", "--data", "faces", "--out", f"audit{FILE}", "--write", f"list{FILE}.csv"],
        ["audit", "--data", "faces", "--out", "photos"],
        ["evaluate", "run", "--data", "faces", "--out", "report"],
        ["evaluate", "hostile.onnx", "--data", "faces", "--out", f"report{FILE}"],
        ["evaluate", "run", "--data", "faces", "--out", "report", "--split", FILE],
        ["evaluate", "run", "--data", "faces", "--out", "report", "--prior", FILE],
        ["compare", "run", "--title", FILE],
        ["compare", "run", "--format", "json"],
        ["compare", FILE],
        ["quantize", "hostile.onnx", "--data", "faces", "--out", "int8.onnx"],
        ["recipes", f"{FILE}.yaml"],
        ["recipes", FILE],
        ["models", FILE],
        ["doctor", "--format", FILE],
        ["push", "run", "--to", FILE],
        ["push", "run", "--to", "a/b", "--dry-run"],
        ["demo", "--out", "photos"],
        ["page", "--out", "photos"],
        ["page", "--out", "page", "--model", FILE],
        ["serve", "--model", FILE],
        ["serve", "--host", FILE, "--no-auth"],
        ["train", f"{FILE}.yaml", "--data", "faces", "--out", f"new{FILE}"],
        ["train", "mien-s", "--data", "faces", "--out", "photos"],
        pytest.param(
            ["train", "mien-s", "--data", "faces", "--out", f"run{FILE}", "--recipe.epochs", "1", "--threads", "1"],
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda words: printable(" ".join(words))[:60].replace("\\", ""),
)
def test_no_verb_prints_a_raw_control_character(words, world, monkeypatch, capfd):
    monkeypatch.chdir(world)
    monkeypatch.setenv("MIEN_CACHE", str(world / "cache"))
    status = main(words)
    assert status in (0, 1, 2)
    out, err = capfd.readouterr()
    assert raw_controls(out) | raw_controls(err) == set()
    assert not {line for line in (out + err).splitlines() if line.startswith("mien: all is well")}
    if "json" in words:
        json.loads(out)  # the escapes are JSON's own


def test_every_verb_is_tried():
    (mark,) = test_no_verb_prints_a_raw_control_character.pytestmark
    assert set(VERBS) - {"train"} <= {words[0] for words in mark.args[1] if isinstance(words, list)}


def test_doctor_escapes_the_settings(monkeypatch, capsys):
    monkeypatch.setenv("MIEN_HOSTILE", FILE)
    for form in ("table", "json"):
        main(["doctor", "--format", form])
        out = capsys.readouterr().out
        assert raw_controls(out) == set()
        assert "\nmien: all" not in out
    assert json.loads(out)["settings"]["MIEN_HOSTILE"] == FILE


def test_warnings_of_libraries_are_escaped(tmp_path):
    code = (
        "import logging, sys, warnings, mien.cli\n"
        "def hostile(words):\n"
        "    warnings.warn(sys.argv[1]); logging.getLogger('other').warning('%s', sys.argv[1]); return 0\n"
        "mien.cli._run = hostile\n"
        "mien.cli.program()\n"
    )
    done = subprocess.run([sys.executable, "-c", code, FILE], capture_output=True, check=False)
    first, second = done.stderr.decode().removesuffix("\n").split("\n")
    assert raw_controls(first + second) == set()
    assert first.startswith("UserWarning: e\\x1b[31m")
    assert second.startswith("e\\x1b[31m")


@pytest.mark.parametrize("value", [FILE, "\u200dZWJ \U000e0041 tag \ud800", "ünï 开心 😀", {"\x85": ["\u2029"]}])
def test_json_on_a_terminal_keeps_the_exact_value(value):
    text = to_json(value)
    assert raw_controls(text) == set()
    assert json.loads(text) == value
    assert "开心 😀" in to_json("ünï 开心 😀")


@pytest.mark.parametrize(
    ("cell", "safe"),
    [
        ("=1+1", "'=1+1"), ("+1", "'+1"), ("-1", "'-1"), ("@SUM(A1)", "'@SUM(A1)"), ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"), (" =1", "' =1"),
        ("\uff1d1", "'\uff1d1"), ("a=1", "a=1"), ("", ""), (-1.5, -1.5), (None, None), (True, True),
    ],
)  # fmt: skip
def test_text_that_a_spreadsheet_would_run_gets_an_apostrophe(cell, safe):
    assert spreadsheet_safe(cell) == safe


def test_csv_for_a_spreadsheet_differs_only_in_dangerous_text(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("=HYPERLINK(1).png", "plain.png"):
        Image.fromarray(draw_face("happy", seed=1, size=64)).save(name)
    words = ["predict", "=HYPERLINK(1).png", "plain.png", "--faces", "--labels", '{"happy": "@joy"}', "--format", "csv"]
    texts = {}
    for flags in ((), ("--csv-safe",)):
        assert main([*words, *flags]) == 0
        texts[flags] = capsys.readouterr().out
        assert main([*words, *flags, "--out", "rows.csv"]) == 0
        assert (tmp_path / "rows.csv").read_text() == texts[flags]
    exact, safe = texts.values()
    assert "\n=HYPERLINK(1).png," in exact
    assert "\n'=HYPERLINK(1).png," in safe
    assert safe.replace("'=HYPER", "=HYPER").replace("'@joy", "@joy") == exact


def test_lists_of_crops_and_audits_can_be_made_safe_and_what_mien_reads_back_stays_exact(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for label in ("=happy", "sad"):
        (tmp_path / "faces" / label).mkdir(parents=True)
        for seed in range(2):
            pixels = np.zeros((48, 48), np.uint8) if seed else draw_face("happy", 1, 48)
            Image.fromarray(pixels).save(tmp_path / "faces" / label / f"{seed}.png")
    assert main(["crop", "faces", "--detector", "none", "--out", "crops", "--csv-safe"]) == 0
    assert ",'=happy," in (tmp_path / "crops" / "photos.csv").read_text()
    assert ",'=happy," not in (tmp_path / "crops" / "manifest.csv").read_text()
    assert main(["audit", "--data", "faces", "--out", "audit", "--write", "list.csv", "--csv-safe", "--force"]) == 0
    assert "'=happy/" in (tmp_path / "audit" / "findings.csv").read_text()
    assert "'=happy/" not in (tmp_path / "list.csv").read_text()


class Full(io.StringIO):
    """A stream on a full disk."""

    def write(self, text):
        raise OSError(28, "No space left on device")


def test_a_line_that_stderr_cannot_take_is_lost_and_the_work_goes_on(monkeypatch):
    for stream in (Full(), None):
        monkeypatch.setattr(sys, "stderr", stream)
        say("words")


def test_a_result_stays_in_its_lines(capsys):
    show("one\x1b\ntwo\u2028three")
    assert capsys.readouterr().out == "one\\x1b\ntwo\\u2028three\n"


needs_a_shell = pytest.mark.skipif(os.name == "nt", reason="descriptors of POSIX")


def shell(line, tmp_path, **kwargs):
    Image.fromarray(draw_face("happy", seed=1, size=64)).save(tmp_path / "a.png")
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"} | {"PYTHON": sys.executable}
    command = ["bash", "-c", f'"$PYTHON" -m mien.cli {line}']
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False, cwd=tmp_path, **kwargs)


@needs_a_shell
@pytest.mark.slow
@pytest.mark.parametrize(
    "closed", ["2>&-", ">&-", "<&- >&-", "<&- >&- 2>&-", "2> /dev/full", "2>&1 | true; exit ${PIPESTATUS[0]}"]
)
def test_a_file_is_whole_and_holds_no_messages_whatever_is_closed(closed, tmp_path):
    assert shell("predict a.png --faces --out plain.csv", tmp_path).returncode == 0
    done = shell(f"predict a.png --faces --out rows.csv {closed}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "rows.csv").read_text() == (tmp_path / "plain.csv").read_text()


@needs_a_shell
@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "status", "says"),
    [
        ("predict - <&-", 2, "Standard input is closed"),
        ("predict - < /dev/null", 0, "0 images"),
        ("doctor >&-", 2, "Standard output is closed"),
        ("--version >&-", 2, "Standard output is closed"),
        ("explain a.png --faces --out e.png >&-", 0, "picture e.png"),
        ("explain a.png --faces --out e.png > /dev/full", 2, "The disk is full"),
        ("crop a.png nothing.png --detector none --out c | true; exit ${PIPESTATUS[0]}", 1, "nothing.png"),
        ("doctor | head -1; exit ${PIPESTATUS[0]}", 0, ""),
        ("predict a.png --faces --format parquet | true; exit ${PIPESTATUS[0]}", 0, ""),
    ],
)
def test_closed_and_full_streams_get_the_right_status_and_at_most_a_sentence(line, status, says, tmp_path):
    done = shell(line, tmp_path)
    assert done.returncode == status, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@needs_a_shell
@pytest.mark.slow
def test_a_pipe_that_does_not_block_and_is_read_slowly_gets_everything(tmp_path):
    Image.fromarray(draw_face("happy", seed=1, size=64)).save(tmp_path / "a.png")
    words = ["predict", *["a.png"] * 400, "--faces", "--format", "jsonl"]
    ends = os.pipe()
    os.set_blocking(ends[1], False)
    with subprocess.Popen(
        [sys.executable, "-m", "mien.cli", *words], stdout=ends[1], cwd=tmp_path, stderr=subprocess.PIPE
    ) as process:
        os.close(ends[1])
        time.sleep(5)  # until the pipe is full
        with os.fdopen(ends[0]) as reader:
            rows = [json.loads(line) for line in reader]
        assert b"400 images" in process.stderr.read()
    assert process.returncode == 0
    assert len(rows) == 400
