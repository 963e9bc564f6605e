"""The house rules: which way imports run, what loads what, and how large a file may be."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mien
from mien.cli import VERBS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "mien"
SOURCES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

OPTIONAL = {
    "torch",
    "lightning",
    "sklearn",
    "scipy",
    "matplotlib",
    "jinja2",
    "pyarrow",
    "pandas",
    "onnx",
    "tensorboard",
    "tqdm",
    "timm",
    "huggingface_hub",
}
"""What `pip install mien` does not bring."""

WINGS = {"training", "evaluation", "serving", "scaling"}
"""Rooms that need more than `pip install mien`."""

LONGEST = 700  # lines


def module_name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def python(code, *arguments):
    return subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def loaded_by(*modules):
    """Import modules in a new process, and list what of the optional packages that loads."""
    code = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]; print(*sys.modules)"
    done = python(code, *modules)
    assert done.returncode == 0, done.stderr
    return sorted(OPTIONAL.intersection(done.stdout.split()))


def test_imports_run_downwards_only():
    code = "from importlinter.cli import lint_imports_command as lint; lint()"
    done = python(code, "--config", str(ROOT / "pyproject.toml"), "--no-cache", "--no-logo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 kept, 0 broken" in done.stdout


@pytest.mark.parametrize("module", ["mien", "mien.cli", "mien.inference"])
def test_no_optional_package_is_loaded_by_importing(module):
    assert loaded_by(module) == []


def test_every_room_but_the_wings_can_be_imported_without_optional_packages():
    modules = [module_name(path) for path in SOURCES if not WINGS.intersection(path.relative_to(PACKAGE).parts)]
    assert {"mien.data.tables", "mien.images", "mien.verbs.train"} <= set(modules)
    assert loaded_by(*modules) == []


@pytest.mark.parametrize("verb", VERBS)
def test_no_optional_package_is_loaded_by_the_help_of(verb):
    code = (
        "import contextlib, io, sys; from mien.cli import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as told: main(sys.argv[1:])\n"
        "print(*sys.modules if 'usage' in told.getvalue() else ['no help'])"
    )
    done = python(code, verb, "--help")
    assert done.returncode == 0, done.stderr
    assert "jsonargparse" in done.stdout
    assert sorted(OPTIONAL.intersection(done.stdout.split())) == []


def test_a_recipe_can_be_read_without_torch():
    assert "torch" not in loaded_by("mien.training.recipe")


@pytest.mark.parametrize("name", mien.__all__)
def test_a_public_name_is_there(name):
    assert getattr(mien, name) is not None


def test_type_checkers_are_told_the_same_public_names_from_the_same_modules():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    told = {alias.name: imports.module for imports in block.body for alias in imports.names}
    assert told == mien._HOME
    assert {*told, "__version__"} == set(mien.__all__) == set(dir(mien))


def test_no_file_is_longer_than_a_person_reads_at_once():
    long = {
        str(path.relative_to(ROOT)): count
        for path in SOURCES + TESTS
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST
    }
    assert long == {}


def test_no_module_is_a_drawer_for_odds_and_ends():
    drawers = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert [path for path in SOURCES + TESTS if drawers.intersection(path.relative_to(ROOT).with_suffix("").parts)] == []


def test_every_module_says_what_it_is_for():
    silent = [path for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]
    assert silent == []
