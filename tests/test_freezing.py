"""Programs made by PyInstaller contain all of mien."""

import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from PIL import Image

import mien
from mien.cli import VERBS
from mien.drawn import draw_photo

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "mien"
HOOKS = PACKAGE / "__pyinstaller"


def test_the_hook_names_every_file_and_every_module_that_is_imported_by_name():
    hook = runpy.run_path(str(HOOKS / "hook-mien.py"))
    datas = [(Path(source), target) for source, target in hook["datas"] if Path(source).is_relative_to(PACKAGE)]
    there = {PACKAGE.parent / target / source.name for source, target in datas}
    assert there == {source for source, _ in datas}  # each keeps its place in the package
    files = {path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert there == {path for path in files if HOOKS not in path.parents}
    assert {".onnx", ".yaml", ".html", ".css", ".md", ".txt", ".py"} <= {path.suffix for path in there}
    modules = set(hook["hiddenimports"])
    assert {module for module, _ in VERBS.values()} | set(mien._HOME.values()) <= modules
    places = [PACKAGE.parent / name.replace(".", "/") for name in modules]  # importing them would need PyTorch
    assert all((place / "__init__.py").is_file() or place.with_suffix(".py").is_file() for place in places)
    assert not any(name.endswith("__init__") for name in modules)


def test_pyinstaller_is_told_where_the_hook_is():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, function = project["entry-points"]["pyinstaller40"]["hook-dirs"].partition(":")
    (folder,) = getattr(__import__(module, fromlist=[function]), function)()
    assert (Path(folder) / "hook-mien.py").samefile(HOOKS / "hook-mien.py")


@pytest.mark.slow
def test_a_frozen_mien_predicts(tmp_path):
    pytest.importorskip("PyInstaller")
    (tmp_path / "entry.py").write_text("from mien.cli import program\nprogram()\n")
    options = ["--noconfirm", "--additional-hooks-dir", str(HOOKS), "--paths", str(PACKAGE.parent), "entry.py"]
    subprocess.run([sys.executable, "-m", "PyInstaller", *options], cwd=tmp_path, check=True, capture_output=True)
    Image.fromarray(draw_photo(["happy"], seed=1)[0]).save(tmp_path / "photo.png")
    program = tmp_path / "dist" / "entry" / "entry"
    done = subprocess.run(
        [program, "predict", "photo.png", "--format", "csv", "--min_size", "10"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "photo.png,,,0" in done.stdout
