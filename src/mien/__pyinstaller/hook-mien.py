"""Include mien's files and all of its modules: verbs and public names are imported by their name.

The sources are among the files because the command line is made from them.
"""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]

files = [path.relative_to(PACKAGE.parent) for path in PACKAGE.rglob("*") if path.is_file() and path.parts[-2] != "__pycache__"]
files = sorted(path for path in files if "__pyinstaller" not in path.parts)
datas = [(str(PACKAGE.parent / path), str(path.parent)) for path in files]
hiddenimports = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in files if path.suffix == ".py"]
