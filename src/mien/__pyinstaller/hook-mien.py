"""Include mien's modules, which are imported by their name, and its files: also the sources, that make the command line."""

from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
files = sorted(path.relative_to(ROOT) for path in (ROOT / "mien").rglob("*") if path.is_file())
files = [path for path in files if not {"__pycache__", "__pyinstaller"}.intersection(path.parts)]
datas = [(str(ROOT / path), str(path.parent)) for path in files]
hiddenimports = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in files if path.suffix == ".py"]
with suppress(ImportError):  # mien may be on the path without being installed
    from PyInstaller.utils.hooks import copy_metadata  # type: ignore[import-untyped, import-not-found, unused-ignore]

    datas += copy_metadata("mien", recursive=True)  # `mien doctor` reads it
