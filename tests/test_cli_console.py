"""What the command line writes to consoles of any encoding, and to outputs that are closed or full."""

import csv
import io
import json
import os
import subprocess
import sys

import pytest
from PIL import Image

from mien.cli import main
from mien.drawn import draw_face


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "лицо 开心.png"
    Image.fromarray(draw_face("happy", seed=1, size=64)).save(path)
    return path


def console(monkeypatch, encoding: str, newline: str | None = None) -> io.BytesIO:
    """Let stdout be a stream of this encoding, as on another system."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding, newline=newline))
    return raw


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437", "latin-1", "utf-8"])
def test_the_table_is_escaped_where_the_console_lacks_letters(encoding, photo, monkeypatch):
    raw = console(monkeypatch, encoding)
    assert main(["predict", str(photo), "--faces"]) == 0
    text = raw.getvalue().decode(encoding)
    assert ("开心.png" if encoding == "utf-8" else r"\u5f00\u5fc3.png") in text


@pytest.mark.parametrize("form", ["json", "jsonl", "csv"])
@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_formats_for_programs_are_the_same_on_any_console_and_in_a_file(form, encoding, photo, tmp_path, monkeypatch):
    raw = console(monkeypatch, encoding, "\r\n")
    assert main(["predict", str(photo), "--faces", "--format", form]) == 0
    assert main(["predict", str(photo), "--faces", "--out", str(tmp_path / f"rows.{form}")]) == 0
    assert raw.getvalue() == (tmp_path / f"rows.{form}").read_bytes()
    text = raw.getvalue().decode()
    rows = list(csv.DictReader(io.StringIO(text))) if form == "csv" else json.loads(text)
    assert (rows if form == "jsonl" else rows[0])["source"] == str(photo)


def test_file_names_of_any_bytes_keep_their_difference(tmp_path, monkeypatch):
    face = draw_face("happy", seed=1, size=64)
    for byte in (b"\xfe", b"\xff"):
        with open(os.path.join(os.fsencode(tmp_path), b"face" + byte + b".png"), "wb") as file:  # noqa: PTH118, PTH123
            Image.fromarray(face).save(file, "PNG")
    raw = console(monkeypatch, "utf-8")
    assert main(["predict", str(tmp_path), "--faces", "--format", "json"]) == 0
    names = [row["source"].removeprefix(f"{tmp_path}/") for row in json.loads(raw.getvalue())]
    assert sorted(names) == [r"face\udcfe.png", r"face\udcff.png"]


def test_an_error_with_control_characters_stays_on_its_line(capsys):
    assert main(["predict", "\x1b[31mno\nphoto\u202e.jpg"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()


SHELL = '"$PYTHON" -m mien.cli '


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")  # noqa: PTH110
@pytest.mark.parametrize(
    ("line", "status", "says"),
    [
        ("models > /dev/full", 2, "The disk is full"),
        ("--help > /dev/full", 2, "The disk is full"),
        ("predict --help > /dev/full", 2, "The disk is full"),
        ("predict $PHOTO --faces > /dev/full", 2, "The disk is full"),
        ("predict $PHOTO --faces --format csv > /dev/full", 2, "The disk is full"),
        ("predict nothing 2> /dev/full", 2, ""),
        ("predict $PHOTO --faces >&-", 2, "Standard output is closed"),
        ("models >&-", 2, "Standard output is closed"),
        ("models 2>&-", 0, ""),
        ("predict nothing 2>&-", 2, ""),
        ("models 1< /dev/null", 2, "Bad file descriptor"),
        ("models | true; exit ${PIPESTATUS[0]}", 0, ""),
        ("predict $PHOTO --faces | true; exit ${PIPESTATUS[0]}", 0, ""),
        ("predict $PHOTO --faces 2>&1 | true; exit ${PIPESTATUS[0]}", 0, ""),
    ],
)
def test_an_output_that_cannot_be_written_is_one_sentence(line, status, says, tmp_path):
    Image.fromarray(draw_face("happy", seed=1, size=64)).save(tmp_path / "a.png")
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    variables |= {"PYTHON": sys.executable, "PHOTO": str(tmp_path / "a.png")}
    done = subprocess.run(["bash", "-c", SHELL + line], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "variables", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
@pytest.mark.parametrize(
    "words", [["--help"], ["predict", "--help"], ["recipes"], ["models"], ["doctor"], ["predict", "没有.jpg"]]
)
def test_every_verb_writes_to_a_console_of_ascii(variables, words):
    done = subprocess.run(
        [sys.executable, "-m", "mien.cli", *words], env=os.environ | variables, capture_output=True, check=False
    )
    assert done.returncode in (0, 2)
    assert b"Traceback" not in done.stderr
    assert (done.stdout + done.stderr).isascii()
