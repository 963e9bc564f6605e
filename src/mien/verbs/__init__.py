"""The verbs, the same in Python and on the command line: each reads its data, does the work and reports what it did."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mien.errors import MienError

if TYPE_CHECKING:
    from mien.data.faceset import FaceSet
    from mien.data.source import DataSource


def require(extra: str, *modules: str) -> None:
    """Raise a MienError if one of these optional modules is not installed; it names the extra that installs them."""
    from importlib.util import find_spec

    if missing := [name for name in modules if find_spec(name) is None]:
        raise MienError(f"Not installed, and needed for this: {', '.join(missing)}; run: pip install 'mien[{extra}]'")


def read_data(
    data: "FaceSet | DataSource | str | Path", size: int, channels: int, quiet: bool, out: Path | None = None
) -> "FaceSet":
    """Read labelled faces in a model's size and channels, and print to stderr which format they were read as.

    Raise a MienError if `out`, the folder to write, lies among the folders of the labels: it would count as a label next time.
    """
    from mien.data.faceset import SPLITS, FaceSet
    from mien.data.folders import CLASS_FOLDERS
    from mien.data.reading import read_faces

    if isinstance(data, FaceSet):
        return data
    faces = read_faces(data, size, channels, None if quiet else _show_reading)
    within = Path(faces.origin.path).resolve()
    if out is not None and faces.origin.kind.startswith(CLASS_FOLDERS) and within in (out.resolve(), *out.resolve().parents):
        raise MienError(f"{out} lies in the data {faces.origin.path}, where it would count as a label; choose another --out.")
    if not quiet:
        counts = [(name, int((faces.splits == SPLITS.index(name)).sum())) for name in faces.split_names]
        splits = ", ".join("not divided" if name == "none" else f"{name} {count:,}" for name, count in counts)
        print(f"reading {faces.origin.path} as {faces.origin.kind}: {len(faces):,} faces ({splits})", file=sys.stderr)
        print(f"labels: {', '.join(faces.labels.names)}", file=sys.stderr)
        if all(name.isdecimal() for name in faces.labels):
            print('the labels are numbers; name them: --labels \'{"0": "neutral", ...}\'', file=sys.stderr)
    return faces


def _show_reading(done: int, total: int | None) -> None:
    if sys.stderr.isatty():
        of_all = f" of {total:,}" if total else ""
        print(f"\rreading {done:,}{of_all} faces", end="\n" if done == total else "", file=sys.stderr, flush=True)
