"""Every command of the README runs on drawn data, and the commands of all pages have verbs and flags that exist."""

import contextlib
import io
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.cli import VERBS, main, read_command_line
from mien.drawn import draw_faces, draw_photo
from mien.serving import serve
from mien.training.recipe import load_recipe
from mien.verbs.train import train

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
INSTALLS_OR_NEEDS_A_SERVER = ("pip", "curl")


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with the photo and the data that the README names, both drawn."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(draw_photo(["happy", "sad"], seed=1)[0]).save("photo.jpg")
    faces = draw_faces(4, validation=0.25, test=0.25)
    usage = {1: "Training", 2: "PublicTest", 3: "PrivateTest"}
    rows = zip(faces.classes.tolist(), np.asarray(faces.images).reshape(len(faces), -1), faces.splits.tolist(), strict=True)
    lines = [f"{label},{' '.join(map(str, pixels))},{usage[split]}" for label, pixels, split in rows]
    Path("fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *lines, ""]), encoding="utf-8")
    return tmp_path


COMMANDS = [text for language, text in BLOCKS if not language and "mien" in text]
TRAINING = [pytest.param(text, True, marks=pytest.mark.slow) for text in COMMANDS if "mien train" in text]


@pytest.mark.parametrize(("commands", "trains"), [*((text, False) for text in COMMANDS), *TRAINING])
def test_the_commands_of_the_readme_run(commands, trains, workplace, request, quick, capsys):
    ran = 0
    for line in commands.splitlines():
        program, *words = shlex.split(line, comments=True) or [""]
        if program in INSTALLS_OR_NEEDS_A_SERVER:
            continue
        assert program == "mien", line
        if words[0] == "serve":
            assert read_command_line("serve", serve, words[1:])["port"]
        elif words[0] == "train" and not trains:  # what this recipe makes in an epoch, on other drawn faces
            shutil.copytree(request.getfixturevalue("run"), read_command_line("train", train, words[1:])["out"])
        else:
            assert main([*words, *(quick if words[0] == "train" else ())]) == 0, line
        ran += 1
    assert ran or commands.startswith("pip")


def marked(code):
    """Training is what the commands do too, so the same in Python is tested among the slow tests."""
    return pytest.param(code, marks=pytest.mark.slow if "train(" in code else ())


@pytest.mark.parametrize("code", [marked(text) for language, text in BLOCKS if language == "python"])
def test_the_python_code_of_the_readme_runs(code, workplace, monkeypatch, capsys):
    short = replace(load_recipe("mien-s"), epochs=1, batch_size=16)
    monkeypatch.setattr("mien.verbs.train.load_recipe", lambda name: short)
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out


def flags_in(text):
    """The flags of a text; --csv-safe and --csv_safe are the same one."""
    return {f"--{name.replace('-', '_')}" for name in re.findall(r"(?<![\w-])--([a-z](?:[\w.-]*\w)?)", text)}


@pytest.fixture(scope="module")
def flags():
    """The flags of each verb, as its --help lists them."""
    found = {}
    for verb in VERBS:
        output = io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
            main([verb, "--help"])
        found[verb] = {"--help", *flags_in(output.getvalue())}
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_commands_of_a_page_have_verbs_and_flags_that_exist(page, flags):
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(?:text)?\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`(mien [^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
    commands = [line for block in blocks for line in re.sub(r"\n +(?=[\[-])", " ", block).splitlines()] + spans
    for command in commands:
        for verb, words in re.findall(r"(?:^|\$ | )mien ([a-z]\w*)((?: [^#|&;]*)?)", command.partition("  #")[0]):
            if verb in VERBS:
                assert flags_in(words) <= flags[verb] | {"--data.KEY", "--recipe.KEY"}, command
