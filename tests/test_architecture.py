"""Rules of the structure: import order, what an import loads, and budgets of lines, files and dataclasses."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import mien
from mien.cli import VERBS
from mien.drawn import draw_photo, write_folder

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "mien"
SOURCES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

OPTIONAL = {
    "torch",
    "sklearn",
    "scipy",
    "matplotlib",
    "jinja2",
    "pyarrow",
    "pandas",
    "onnx",
    "tensorboard",
    "lightning_fabric",
    "timm",
    "huggingface_hub",
    "fastapi",
    "starlette",
    "pydantic",
    "uvicorn",
    "prometheus_client",
    "ray",
}
"""What `pip install mien` does not bring, and jinja2, which only pages and tables need."""

WINGS = {"training", "evaluation", "serving", "scaling"}
"""Rooms that need more than `pip install mien`."""

OWN_BUDGET = {"serving", "scaling"}
MOST_LINES, MOST_FILES = 13_000, 85
MOST_BENCHMARK_LINES = 1_600
MOST_DATACLASSES = 60
MOST_FILES_OF_A_PHOTO, MOST_FILES_OF_A_TRAINING = 12, 41
SHORTEST, LONGEST = 60, 400
"""Budgets: ceilings, not aims."""


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
    alone = [*WINGS, "__main__.py"]  # the last one runs the program
    modules = [module_name(path) for path in SOURCES if not set(alone).intersection(path.relative_to(PACKAGE).parts)]
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


def test_no_optional_package_is_loaded_by_a_prediction(tmp_path):
    Image.fromarray(draw_photo(["happy"], seed=1)[0]).save(tmp_path / "photo.png")
    code = "import sys; from mien.cli import main; assert main(['predict', sys.argv[1]]) == 0; print(*sys.modules)"
    done = python(code, str(tmp_path / "photo.png"))
    assert done.returncode == 0, done.stderr
    assert sorted(OPTIONAL.intersection(done.stdout.split())) == []


def test_a_recipe_can_be_read_without_torch():
    assert "torch" not in loaded_by("mien.training.recipe")


@pytest.mark.parametrize("name", mien.__all__)
def test_a_public_name_is_there(name):
    assert getattr(mien, name) is not None


def test_type_checkers_are_told_the_same_public_names_from_the_same_modules():
    tree = ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    told = {alias.name: node.module for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert told == mien._HOME
    assert {*told, "__version__"} == set(mien.__all__) == set(dir(mien))


def line_counts(folder, pattern="*.py"):
    return {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sorted(folder.rglob(pattern))}


def counted_sources():
    """The package without the rooms that have budgets of their own."""
    return {path: n for path, n in line_counts(PACKAGE).items() if not OWN_BUDGET.intersection(path.relative_to(PACKAGE).parts)}


def imports_of(path):
    """Names of mien's modules that a file imports, anywhere in it."""
    known = {module_name(source) for source in SOURCES}
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "mien":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in known else node.module)
    return found - {"mien"}


def entered_by(code, *arguments):
    """Run code in a new process, and list the files of mien in which it enters a function."""
    trace = (
        "import sys, threading\nentered = set()\n"
        "def enter(frame, event, _):\n"
        "    if event == 'call' and frame.f_code.co_flags & 1: entered.add(frame.f_code.co_filename)\n"
        "threading.settrace(enter)\nsys.settrace(enter)\n" + code + "\nsys.settrace(None)\n"
        "print(*sorted(entered), sep='\\n')"
    )
    done = python(trace, *arguments)
    assert done.returncode == 0, done.stderr
    entered = {Path(line) for line in done.stdout.splitlines()}
    return sorted(str(path.relative_to(PACKAGE)) for path in SOURCES if path in entered)


def test_the_package_keeps_its_budget_of_lines_and_files():
    lines = counted_sources()
    told = f"{sum(lines.values()):,} lines in {len(lines)} files; the budget is {MOST_LINES:,} in {MOST_FILES}"
    assert sum(lines.values()) <= MOST_LINES, told
    assert len(lines) <= MOST_FILES, told


def test_the_benchmarks_keep_their_budget_of_lines():
    lines = sum(line_counts(ROOT / "benchmarks").values())
    assert lines <= MOST_BENCHMARK_LINES, f"{lines:,} lines of benchmarks; the budget is {MOST_BENCHMARK_LINES:,}"


def test_no_file_is_longer_than_a_person_reads_at_once():
    long = {str(path.relative_to(ROOT)): n for path, n in line_counts(PACKAGE).items() if n > LONGEST}
    assert long == {}, f"files of more than {LONGEST} lines: {long}"


def test_a_short_file_with_one_importer_is_part_of_it():
    importers = {}
    for path in SOURCES:
        for name in imports_of(path):
            importers.setdefault(name, []).append(module_name(path))
    short = {
        str(path.relative_to(ROOT)): f"{n} lines, imported by {importers.get(module_name(path))}"
        for path, n in line_counts(PACKAGE).items()
        if n < SHORTEST and len(importers.get(module_name(path), [])) == 1
    }
    assert short == {}, f"merge them with their importers: {short}"


def test_no_two_files_import_each_other():
    imports = {module_name(path): imports_of(path) for path in SOURCES if path.parent != PACKAGE or path.name != "__init__.py"}
    both = [(one, other) for one, names in imports.items() for other in names if one < other and one in imports.get(other, ())]
    assert both == []


def test_dataclasses_are_few():
    named = [
        f"{module_name(path)}.{node.name}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and any("dataclass" in ast.unparse(each) for each in node.decorator_list)
    ]
    assert len(named) <= MOST_DATACLASSES, f"{len(named)} dataclasses; the budget is {MOST_DATACLASSES}: {named}"


def test_one_photo_passes_few_files(tmp_path):
    Image.fromarray(draw_photo(["happy"], seed=1)[0]).save(tmp_path / "photo.png")
    code = "import mien\nassert [row.face for row in mien.predict(sys.argv[1])] == [0]"
    entered = entered_by(code, str(tmp_path / "photo.png"))
    assert len(entered) <= MOST_FILES_OF_A_PHOTO, f"one photo enters {len(entered)} files: {entered}"


@pytest.mark.slow
def test_one_training_passes_few_files(tmp_path):
    write_folder(8, tmp_path / "faces", validation=0.3)
    code = (
        "import mien\nfrom dataclasses import replace\n"
        "recipe = replace(mien.load_recipe('few-faces'), epochs=1)\n"
        "mien.train(recipe, sys.argv[1], sys.argv[2], quiet=True, threads=1)"
    )
    entered = entered_by(code, str(tmp_path / "faces"), str(tmp_path / "run"))
    assert len(entered) <= MOST_FILES_OF_A_TRAINING, f"one training enters {len(entered)} files: {entered}"


def test_no_module_is_a_drawer_for_odds_and_ends():
    drawers = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert [path for path in SOURCES + TESTS if drawers.intersection(path.relative_to(ROOT).with_suffix("").parts)] == []


def test_every_module_says_what_it_is_for():
    silent = [path for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]
    assert silent == []
