"""The one door for labelled faces: recognises what lies at a path, packs it once, opens the pack from then on.

To add a format: write a module with `recognise(tree)` and `read(tree)`, give it a line in `FORMATS` and a name in
`FormatName`, and generate an example of it in tests/data.
"""

import csv
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mien import __version__
from mien.data import fer2013, folders, pack, tables
from mien.data.faceset import FaceSet
from mien.data.ferplus import with_votes
from mien.data.pack import Progress, open_pack, pack_stamp, write_pack
from mien.data.rows import Rows, Tree, digest, open_tree, shortened, stamp_of, stamp_of_files
from mien.data.source import DataSource, as_source
from mien.errors import MienError
from mien.files import cache_folder


def without_listed(faces: FaceSet, path: Path, some_are_gone: bool = False) -> FaceSet:
    """Leave out the rows that a list names; the origin's kind says how many they were.

    Args:
        faces: the rows.
        path: a CSV file with a column "id", such as `mien audit --write` makes.
        some_are_gone: whether rows of the list may have been left out before.

    Returns:
        The other rows, in the same order.

    Raises:
        MienError: if the file cannot be read or has no such column, names rows that are not there, or all that are.
    """
    listed = _read_ids(path)
    known = np.isin(listed, faces.ids)
    unknown = [bytes(name).decode(errors="replace") for name in listed[~known]]
    if unknown and (not some_are_gone or not known.any()):
        count = "1 row" if len(unknown) == 1 else f"{len(unknown):,} rows"
        raise MienError(
            f"{path} lists {count} that {faces.origin.path or 'the data'} do not have, such as {shortened(unknown[0])!r}; "
            "give the list that was made of these data, or leave --data.drop out."
        )
    stays = ~np.isin(faces.ids, listed)
    if not stays.any():
        raise MienError(f"{path} lists all {len(faces):,} rows of the data; nothing would be left.")
    dropped = len(faces) - int(stays.sum())
    kind = f"{faces.origin.kind}, without {dropped:,} rows that {path.name} lists"
    kept = faces.take(stays)
    return replace(kept, origin=replace(faces.origin, kind=kind))


def _read_ids(path: Path) -> np.ndarray:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            if "id" not in (table.fieldnames or ()):
                raise MienError(f"{path} has no column 'id'; give a CSV file that mien audit --write made.")
            names = [record["id"] for record in table if record["id"]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise MienError(f"Cannot read the list of rows to leave out, {path}: {reason}.") from None
    return np.array(sorted({name.encode() for name in names}), dtype=bytes)


@dataclass(frozen=True)
class Format:
    """A format: its name for `DataSource.format`, what tells whether a path holds it, and its reader.

    Of a table, `read_table` reads further columns too, by their names.
    """

    name: str
    recognise: Callable[[Tree], bool]
    read: Callable[[Tree], Rows]
    read_table: Callable[[Tree, Sequence[str]], Rows] | None = None


FORMATS = (
    Format("pack", pack.recognise, pack.read),
    Format("fer2013-csv", fer2013.recognise, fer2013.read),
    Format("parquet", tables.recognise_parquet, tables.read_parquet, tables.read_parquet),
    Format("manifest", tables.recognise_csv, tables.read_csv, tables.read_csv),
    Format("folders", folders.recognise, folders.read),
)
"""Tried from first to last; the first that recognises a path reads it."""

_READERS = "3"  # to be raised when a reader makes other rows of the same files


def read_faces(source: DataSource | str | Path, size: int = 48, channels: int = 1, progress: Progress | None = None) -> FaceSet:
    """Read labelled faces, in whatever format they are, without those that `source.drop` lists.

    The first time they are packed into the cache folder; as long as neither the source nor the wishes change, later calls
    open that pack and read nothing else.

    Args:
        source: a path, or a path with wishes.
        size: height and width of the faces in pixels.
        channels: 1 for gray, 3 for RGB.
        progress: called while packing, now and then, with the rows done and all rows (None where that is not known).

    Returns:
        The faces, memory-mapped and read-only; `origin` says what the path was taken for, and which rows were skipped.

    Raises:
        MienError: if there is nothing at the path, it is none of the formats, its rows cannot be read, or all rows have
            the same label, or rows are to be dropped that are not there.
    """
    source = as_source(source)
    faces = _read_all(source, size, channels, progress)
    if source.drop is None:
        return faces
    # votes in place of the labels leave rows out themselves, and one list is to serve with and without them
    some_are_gone = source.votes is not None and source.votes_as != "beside"
    return _checked(without_listed(faces, Path(source.drop).expanduser(), some_are_gone))


def _read_all(source: DataSource, size: int, channels: int, progress: Progress | None) -> FaceSet:
    path, votes = Path(source.path).expanduser(), Path(source.votes).expanduser() if source.votes else None
    if size < 1 or channels not in (1, 3):
        raise MienError(f"Faces need a size of at least 1 and 1 or 3 channels, not {size} and {channels}.")
    if source.format in ("auto", "pack") and votes is None and pack.is_pack(path):
        faces = open_pack(path)
        if (faces.size, faces.channels) == (size, channels):
            return _checked(replace(faces, origin=replace(faces.origin, path=str(path))))
    wishes = [str(path.resolve()), source.format, str(size), str(channels), str(votes), source.votes_as]
    wishes += source.columns or []
    cached = cache_folder() / "faces" / f"{path.resolve().name[:80]}-{digest(wishes)[:16]}.safetensors"
    stamp = digest([__version__, _READERS, pack.FORMAT, stamp_of(path), stamp_of(votes) if votes else ""])
    if packed := _reusable(cached, stamp, source.skip_bad):
        return _checked(packed)
    tree = open_tree(path)
    rows = _rows(tree, source)
    if rows.files:  # a manifest's images may lie anywhere, and only reading it tells where
        stamp = digest([stamp, stamp_of_files(rows.files)])
        if packed := _reusable(cached, stamp, source.skip_bad):
            return _checked(packed)
    if votes:
        rows = with_votes(rows, votes, source.votes_as)
    _sweep(cached.parent)
    write_pack(cached, rows, size, channels, str(path), stamp, source.skip_bad, progress)
    return _checked(open_pack(cached))


def _rows(tree: Tree, source: DataSource) -> Rows:
    reader = _reader(tree, source.format)
    if not source.columns or reader.name == "pack":  # a pack has the columns that it was made with
        return reader.read(tree)
    if reader.read_table is None:
        raise MienError(
            f"{tree.path} has no columns to group by or to carry along, such as {source.columns[0]!r}: put its images and "
            "their labels into a manifest, a table (CSV or Parquet) with the columns image, label and such ones."
        )
    return reader.read_table(tree, source.columns)


def _reader(tree: Tree, name: str) -> Format:
    for format_ in FORMATS:
        if format_.name == name or (name == "auto" and format_.recognise(tree)):
            return format_
    if name != "auto":
        raise MienError(f"There is no data format {name!r}; there are auto, {', '.join(format_.name for format_ in FORMATS)}.")
    raise MienError(
        f"{tree.path} is no labelled data that mien knows: fer2013.csv, a folder or zip with one folder of images per class, "
        "a manifest (CSV or Parquet with image and label), or a pack."
    )


def _reusable(pack: Path, stamp: str, skip_bad: bool) -> FaceSet | None:
    if pack_stamp(pack) != stamp:
        return None
    try:
        faces = open_pack(pack)
    except MienError:  # damaged: it is made anew
        return None
    return None if faces.origin.skipped and not skip_bad else faces


def _checked(faces: FaceSet) -> FaceSet:
    used = np.flatnonzero(faces.targets.any(axis=0))
    if len(used) < 2:
        raise MienError(
            f"All {len(faces)} faces in {faces.origin.path} have the label {shortened(faces.labels[int(used[0])])!r}; "
            "at least two labels are needed to tell apart. (Is it one class folder? Name the folder that holds it.)"
        )
    return faces


def _sweep(folder_: Path) -> None:
    """Remove what killed processes left half-written, a day later."""
    for part in folder_.glob("*.part"):
        try:
            if time.time() - part.stat().st_mtime > 86400:
                part.unlink()
        except OSError:
            continue  # another process was faster
