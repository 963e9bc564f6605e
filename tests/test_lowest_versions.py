"""The lowest versions that pyproject.toml allows give right answers: tests run in an environment that has them."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHON = PROJECT["requires-python"].removeprefix(">=")  # newer ones lack wheels of the lowest versions
EXTRAS = ("evaluate", "serve", "hub")  # `train` is left out, since PyTorch takes 2.5 GB
TOOLS = ("pytest", "onnx", "opencv-python-headless", "pandas", "schemathesis")
CLIENT = "httpx>=0.27"  # Starlette's test client, before it took httpx2
CHOSEN = [
    "tests/inference/test_video.py",
    "tests/inference/test_odd_files.py",
    "tests/inference/test_sources_content.py",
    "tests/inference/test_output.py",
    "tests/inference/test_output_columns.py",
    "tests/inference/test_model_file.py::test_a_crafted_graph_gets_a_sentence_and_no_other_output",
    "tests/data/test_tables_parquet.py",
    "tests/evaluation/test_plots.py",
    "tests/serving/test_app.py",
]
NEEDS_TORCH = ("test_a_model_of_ones_own",)


def uv(*words):
    return subprocess.run([sys.executable, "-m", "uv", *words], cwd=ROOT, capture_output=True, text=True, check=False)


def name_of(requirement):
    return re.match(r"[\w-]+", requirement)[0]


def numbers(version):
    """The numbers of a version without zeros at its end."""
    return [int(number) for number in re.sub(r"(\.0)+$", "", version).split(".")]


@pytest.mark.slow
def test_the_lowest_versions_give_right_answers(tmp_path):
    pytest.importorskip("uv")
    extras = PROJECT["optional-dependencies"]
    wanted = PROJECT["dependencies"] + [each for extra in EXTRAS for each in extras[extra]]
    tools = [each for each in extras["train"] + extras["dev"] if name_of(each) in TOOLS]
    assert len(tools) == len(TOOLS)
    made = uv("venv", "--no-python-downloads", "--python", PYTHON, str(tmp_path / "lowest"))
    if made.returncode:
        pytest.skip(f"Python {PYTHON} is not installed: {made.stderr}")
    python = str(next(path for path in (tmp_path / "lowest").glob("*/python*") if path.stem == "python"))
    options = ["--python", python, "--resolution", "lowest-direct", "--only-binary", ":all:"]
    installed = uv("pip", "install", *options, *wanted, *tools, CLIENT)
    if re.search("error sending request|Failed to fetch|Failed to download|dns error", installed.stderr):
        pytest.skip(f"the package registry cannot be reached: {installed.stderr}")
    assert installed.returncode == 0, installed.stderr
    frozen = dict(line.split("==") for line in uv("pip", "freeze", "--python", python).stdout.splitlines())
    bounds = {name_of(each): re.search(r">=([\d.]+)", each)[1] for each in wanted}
    higher = {name: (frozen[name], bound) for name, bound in bounds.items() if numbers(frozen[name]) != numbers(bound)}
    assert higher == {}, "the bound is not a version that can be installed"
    settings = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    names = " and ".join(f"not {name}" for name in NEEDS_TORCH)
    words = [python, "-m", "pytest", "-x", "-k", names, f"--basetemp={tmp_path / 'tests'}", *CHOSEN]
    run = subprocess.run(words, cwd=ROOT, env=settings, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
