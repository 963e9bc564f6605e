"""Rows left out by a list of their ids."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np

from mien.data.faceset import FaceSet
from mien.data.rows import shortened
from mien.errors import MienError


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
