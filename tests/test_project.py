"""What surrounds the package: the files that are published, and those that services read."""

import inspect
import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

import mien

ROOT = Path(__file__).parents[1]


def run(*words, cwd=ROOT):
    """Run a program of the development environment, and return its result."""
    words = [str(Path(sys.executable).with_name(words[0])), *map(str, words[1:])]
    # basedpyright follows neither an editable installation nor, for another interpreter, the packages beside it
    places = os.pathsep.join([str(ROOT / "src"), sysconfig.get_path("purelib")])
    environment = os.environ | {"PYTHONPATH": places}
    return subprocess.run(words, capture_output=True, text=True, check=False, cwd=cwd, env=environment)


def passes(*words):
    done = run(*words)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The wheel and the source archive."""
    folder = tmp_path_factory.mktemp("dist")
    passes("python3", "-m", "hatchling", "build", "-d", folder)
    return sorted(folder.iterdir())


def test_the_package_index_takes_the_wheel_and_the_source_archive(published):
    assert [path.suffix for path in published] == [".whl", ".gz"]
    passes("twine", "check", "--strict", *published)


def test_the_wheel_holds_the_package_and_nothing_else(published):
    passes("check-wheel-contents", published[0])


@pytest.mark.slow
def test_the_citation_is_valid():
    done = run("uv", "tool", "run", "--quiet", "cffconvert==2.0.0", "--validate")  # needs an older jsonschema than Ray
    if "Failed to fetch" in done.stderr:
        pytest.skip("the package registry cannot be reached")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_citation_names_this_version():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == mien.__version__


def test_the_workflow_and_the_forms_are_valid():
    passes("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *(ROOT / ".github/workflows").iterdir())
    forms = ROOT / ".github/ISSUE_TEMPLATE"
    passes("check-jsonschema", "--builtin-schema", "vendor.github-issue-config", forms / "config.yml")
    passes("check-jsonschema", "--builtin-schema", "vendor.github-issue-forms", forms / "bug.yml", forms / "feature.yml")


def test_the_workflow_runs_commands_that_exist():
    jobs = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())["jobs"].values()
    commands = " ".join(step.get("run", "") for job in jobs for step in job["steps"])
    for path in re.findall(r"\S+/\S+", commands):
        assert (ROOT / path).is_file(), path


@pytest.mark.slow
def test_everything_public_is_typed():
    done = run("basedpyright", "--pythonpath", sys.executable, "--verifytypes", "mien", "--ignoreexternal", "--outputjson")
    symbols = json.loads(done.stdout)["typeCompleteness"]["symbols"]
    values = [
        value for value in (getattr(mien, name) for name in mien.__all__) if inspect.isclass(value) or inspect.isfunction(value)
    ]
    public = {f"{value.__module__}.{value.__qualname__}" for value in values}
    found = [each for each in symbols if any(each["name"] == name or each["name"].startswith(f"{name}.") for name in public)]
    assert len(found) > 100
    assert [each["name"] for each in found if not each["isTypeKnown"] or each["isTypeAmbiguous"]] == []
