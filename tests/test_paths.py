"""Every option of every verb that takes a path, given a pipe, a device, a socket, a folder or a hostile path: a sentence."""

import inspect
import os
import re
import socket
from importlib import import_module

import pytest
from PIL import Image

from mien.cli import VERBS, _make_parser, main
from mien.drawn import draw_photo

# the words of each path that a verb takes, {x} in its place
CASES = {
    "train RECIPE": "train {x} --data {faces} --out {new}",
    "train --data.path": "train mien-s --data {x} --out {new}",
    "train --data.votes": "train mien-s --data {faces} --data.votes {x} --out {new}",
    "train --data.drop": "train mien-s --data {faces} --data.drop {x} --out {new}",
    "train --data.detector": "train mien-s --data {faces} --data.detector {x} --out {new}",
    "train --data": "train mien-s --data.path {faces} --data {x} --out {new}",
    "train --recipe": "train mien-s --recipe {x} --data {faces} --out {new}",
    "train --recipe.optimizer": "train mien-s --recipe.optimizer {x} --data {faces} --out {new}",
    "train --recipe.weights": "train mien-s --recipe.weights {x} --data {faces} --out {new}",
    "train --recipe.distillation.teachers": "train mien-s --recipe.distillation.teachers {x} --data {faces} --out {new}",
    "train --out": "train mien-s --data {faces} --out {x}",
    "evaluate MODEL": "evaluate {x} --data {faces} --out {new}",
    "evaluate --data.path": "evaluate {run} --data {x} --out {new}",
    "evaluate --data.votes": "evaluate {run} --data {faces} --data.votes {x} --out {new}",
    "evaluate --data.drop": "evaluate {run} --data {faces} --data.drop {x} --out {new}",
    "evaluate --out": "evaluate {run} --data {faces} --out {x}",
    "audit --data.path": "audit --data {x} --out {new}",
    "audit --out": "audit --data {faces} --out {x}",
    "audit --write": "audit --data {faces} --out {new} --write {x}",
    "compare RUNS": "compare {run} {x}",
    "compare --out": "compare {run} --format table --out {x}",
    "predict SOURCE": "predict {x}",
    "predict --model": "predict {photo} --model {x}",
    "predict --detector": "predict {photo} --detector {x}",
    "predict --out": "predict {photo} --format csv --out {x}",
    "predict --draw": "predict {photo} --draw {x}",
    "predict --font": "predict {photo} --draw {new} --font {x}",
    "explain SOURCE": "explain {x} --out {new}.png",
    "explain --model": "explain {photo} --model {x} --out {new}.png",
    "explain --detector": "explain {photo} --detector {x} --out {new}.png",
    "explain --out": "explain {photo} --out {x}",
    "explain --font": "explain {photo} --font {x} --out {new}.png",
    "crop PHOTOS": "crop {x} --out {new}",
    "crop --detector": "crop {photo} --detector {x} --out {new}",
    "crop --out": "crop {photo} --out {x}",
    "quantize MODEL": "quantize {x} --data {faces} --out {new}.onnx",
    "quantize --data.path": "quantize {run} --data {x} --out {new}.onnx",
    "quantize --out": "quantize {run} --data {faces} --out {x}",
    "push RUN": "push {x} --to a/b --dry-run",
    "push --out": "push {run} --to a/b --out {x}",
    "recipes NAME": "recipes {x}",
    "demo --out": "demo --out {x}",
    "page --out": "page --out {x}",
    "page --model": "page --model {x} --out {new}",
    "serve --model": "serve --model {x} --port 0",
    "serve --detector": "serve --detector {x} --port 0",
}
TAKES_FOLDER = {"predict SOURCE", "predict --draw"}  # an empty one is answered, too
FLAGS = re.compile(r"(--|\.)(path|votes|drop|detector|out|write|draw|font|model|data|weights|teachers|recipe|log|file|folder)$")


def path_options():
    """List the flags of all verbs that may take a path, by their names, or since their help speaks of a file or folder."""
    for verb, (module, _) in VERBS.items():
        function = getattr(import_module(module), verb)
        recipe = None
        if "recipe" in inspect.signature(function).parameters:
            recipe = import_module("mien.training.recipe").load_recipe("mien-s")
        for action in _make_parser(verb, function, recipe)._actions:
            for flag in action.option_strings:
                if FLAGS.search(flag) and action.nargs != 0:
                    yield f"{verb} {flag}"


def test_every_option_with_a_path_has_its_case():
    same = {
        "data.detector",
        "data.votes",
        "data.drop",
        "data",
        "data.path",
        "recipe.votes",
    }  # the cases of train try their reader
    missing = {option for option in path_options() if option.partition("--")[2] not in same} - set(CASES)
    assert missing == set()


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd")
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(folder / "socket"))
    (folder / "linked.png").symlink_to(folder / "pipe")
    yield [
        folder / "pipe",
        folder / "socket",
        folder / "folder",
        folder / "linked.png",
        "/dev/zero",
        "/dev/null",
        folder / "none" / "x",
    ]
    server.close()


QUICK = ("predict --font", "train --recipe", "train --recipe.optimizer", "recipes NAME", "predict --model", "compare RUNS")


@pytest.mark.parametrize("case", [pytest.param(case, marks=() if case in QUICK else pytest.mark.slow) for case in CASES])
def test_a_pipe_a_device_a_socket_or_a_folder_is_a_sentence(case, odd, faces, run, tmp_path, capsys):
    Image.fromarray(draw_photo(["happy"], 1, 160, 120)[0]).save(tmp_path / "photo.png")
    wrong = []
    for path in odd:
        is_place = case.partition(" ")[2] in ("--out", "--draw", "--write") and not str(path).startswith("/dev")
        if is_place and (str(path).endswith("x") or (path.is_dir() and "file" not in case)):
            continue  # a new or an empty folder may be written
        words = CASES[case].format(x=path, faces=faces, run=run, photo=tmp_path / "photo.png", new=tmp_path / "new")
        status = main(words.split(" "))
        out, err = capsys.readouterr()
        told = [line for line in err.splitlines() if line.startswith("mien: ")]
        if status != 2 or not told or "bug" in err or "Traceback" in err:
            wrong.append((str(path), status, out[-300:], err[-300:]))
    assert wrong == []
    assert not list(tmp_path.glob("new*"))
