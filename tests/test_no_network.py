"""No verb opens a socket unless the user names a URL: each runs in a child process that records every use of one."""

import json
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from mien.drawn import draw_photo
from mien.inference.model_file import MODEL_FILE

CHILD = """
import sys

events = []


def listen(event, arguments):
    if event.startswith("socket.") and event not in ("socket.__new__", "socket.gethostname"):
        events.append([event, repr(arguments[1:])])


sys.addaudithook(listen)
import json

from mien.cli import main

status = main(sys.argv[2:])
with open(sys.argv[1], "w") as file:
    json.dump([status, events], file)
"""
NAMES = [
    "http:127.0.0.1:9.png",
    "https:example.org?x=1.jpg",
    "rtsp:127.0.0.1.png",
    "tcp:127.0.0.1:9.png",
    "hf:a~b.png",
    "udp:@9.jpg",
]
CASES = {
    "predict": "predict {photos} {photos}/http:127.0.0.1:9.mp4 --model {model} --draw {out} --format csv",
    "crop": "crop {photos} --out {out}",
    "explain": "explain {photos} --out {out}.png",
    "evaluate": "evaluate {model} --data {faces} --out {out}",
    "audit": "audit --data {faces} --out {out} --write {out}.csv",
    "compare": "compare {run} --format html",
    "quantize": "quantize {model} --data {faces} --out {out}.onnx --faces 8",
    "train": "train mien-s --data {faces} --out {out} --recipe.epochs 1 --recipe.batch_size 16 --threads 1",
    "push": "push {run} --to a/b --dry-run",
    "doctor": "doctor",
}


@pytest.fixture(scope="module")
def given(faces, run, tmp_path_factory):
    """Photos and faces whose names look like addresses, and a model in a cache without a note that it was checked."""
    folder = tmp_path_factory.mktemp("offline")
    (folder / "photos").mkdir()
    for name in NAMES:
        Image.fromarray(draw_photo(["happy"], 1, 160, 120)[0]).save(folder / "photos" / name)
    (folder / "photos" / "http:127.0.0.1:9.mp4").write_bytes(b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n")
    shutil.copytree(faces, folder / "faces")
    for path in sorted((folder / "faces").glob("*/happy"))[:2]:
        for number, (name, face) in enumerate(zip(NAMES, sorted(path.glob("*.png")), strict=False)):
            face.rename(path / f"{name.removesuffix('.jpg').removesuffix('.png')}{number}.png")
    assert list((folder / "faces").rglob("http:*.png"))
    return {"photos": folder / "photos", "faces": folder / "faces", "run": run, "model": run / MODEL_FILE}


def sockets(words, folder, native=None):
    """Run a verb in a child process, and return its exit status and the uses of sockets."""
    command = [sys.executable, "-c", CHILD, str(folder / "events.json"), *words]
    trace = folder / "trace"
    if native:
        command = [native, "-f", "-qq", "-e", "trace=connect,bind,sendto,sendmsg,listen", "-o", str(trace), *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert (folder / "events.json").exists(), done.stderr
    status, events = json.loads((folder / "events.json").read_text())
    calls = [line for line in trace.read_text().splitlines() if "AF_INET" in line] if native else []
    return status, [*events, *calls], done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("verb", CASES)
def test_a_verb_opens_no_connection(verb, given, tmp_path):
    words = CASES[verb].format(out=tmp_path / "out", **given).split(" ")
    status, used, printed = sockets(words, tmp_path, shutil.which("strace"))
    assert status in ((0, 1) if verb in ("predict", "doctor") else (0,)), printed
    assert used == []


def test_prediction_of_hostile_names_opens_no_connection(given, tmp_path):
    status, used, printed = sockets(CASES["predict"].format(out=tmp_path / "out", **given).split(" "), tmp_path)
    assert (status, used) == (1, []), printed


def test_an_address_that_is_named_is_noticed(tmp_path):
    words = ["predict", "http://127.0.0.1:9/a.jpg", "--fetch"]
    status, used, _ = sockets(words, tmp_path)
    assert status == 2
    assert any(event == "socket.connect" for event, _ in used)
