import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from mien.inference.sources import read_paths


class Piecewise(io.BytesIO):
    """Gives three bytes at a time, as a pipe may."""

    def read(self, _=-1):
        return super().read(3)


@pytest.mark.parametrize("stream", [io.BytesIO, Piecewise])
def test_paths_come_one_a_line_or_each_before_a_zero_byte(stream):
    assert list(read_paths(stream(b"a.jpg\n\nb c.jpg\r\nlast.jpg"))) == ["a.jpg", "b c.jpg", "last.jpg"]
    assert list(read_paths(stream(b"a\nb.jpg\0c.jpg\r\0"), null=True)) == ["a\nb.jpg", "c.jpg\r"]
    assert list(read_paths(stream("лицо.png\n".encode() + b"bytes\xff.png\n"))) == ["лицо.png", "bytes\udcff.png"]
    assert list(read_paths(stream(b"\xef\xbb\xbfa.jpg\r\nb.jpg"))) == ["a.jpg", "b.jpg"]  # as PowerShell writes them
    assert list(read_paths(stream(b""))) == []


@pytest.fixture
def photos(tmp_path):
    for name in ("a.png", "line\nbreak.png"):
        Image.fromarray(np.zeros((48, 48), np.uint8)).save(tmp_path / name)
    return tmp_path


def start(model, *words):
    command = [sys.executable, "-m", "mien.cli", "predict", *words, "--model", str(model), "--faces", "--format", "jsonl"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_paths_are_read_from_standard_input(model, photos):
    with start(model, "-") as process:
        out, err = process.communicate(f"{photos}/a.png\n{photos}/gone.png\n".encode(), timeout=60)
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(row["source"], "error" in row) for row in rows] == [(f"{photos}/a.png", False), (f"{photos}/gone.png", True)]
    assert (process.returncode, err) == (1, b"mien: 2 images: 1 face, 1 failed\n")


def test_paths_with_line_breaks_come_with_zero_bytes(model, photos):
    with start(model, "-", "--null") as process:
        out, _ = process.communicate(os.fsencode(f"{photos}/line\nbreak.png\0"), timeout=60)
    assert json.loads(out)["source"] == f"{photos}/line\nbreak.png"
    assert process.returncode == 0


def test_no_paths_are_no_mistake(model):
    with start(model, "-") as process:
        assert process.communicate(b"", timeout=60) == (b"", b"mien: 0 images: 0 faces\n")
    assert process.returncode == 0


def test_an_answer_does_not_wait_for_the_next_path_and_an_interrupt_ends_the_waiting(model, photos):
    with start(model, "-") as process:
        process.stdin.write(f"{photos}/a.png\n".encode())
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["source"] == f"{photos}/a.png"
        process.send_signal(signal.SIGINT)
        begin = time.monotonic()
        assert process.wait(30) == 130
        assert time.monotonic() - begin < 10
        assert process.stderr.read() == b"mien: stopped\n"
