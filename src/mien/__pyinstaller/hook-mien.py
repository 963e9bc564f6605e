"""Include mien's files and all of its modules: verbs and public names are imported by their name.

The sources are among the files because the command line is made from them; `mien doctor` reads the metadata.
"""

from contextlib import suppress
from importlib.metadata import PackageNotFoundError
from pathlib import Path

from PyInstaller.utils.hooks import copy_metadata  # type: ignore[import-untyped, import-not-found, unused-ignore]

PACKAGE = Path(__file__).parents[1]

files = [path.relative_to(PACKAGE.parent) for path in PACKAGE.rglob("*") if path.is_file() and path.parts[-2] != "__pycache__"]
files = sorted(path for path in files if "__pyinstaller" not in path.parts)
datas = [(str(PACKAGE.parent / path), str(path.parent)) for path in files]
with suppress(PackageNotFoundError):  # mien may be on the path without being installed
    datas += copy_metadata("mien", recursive=True)
hiddenimports = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in files if path.suffix == ".py"]
