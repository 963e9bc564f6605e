"""Groups of faces that belong together, such as those of one person or one clip, by a column, by file names or by likeness."""

import re
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np

from mien.data.copies import likeness_groups
from mien.data.faceset import SPLITS, FaceSet
from mien.data.rows import MISTAKES
from mien.errors import MienError, shortened

AUTO, PATTERN = "auto", "re:"  # values of `DataSource.group` that are not the name of a column
LIKENESS = 0.75  # least correlation of the details of neighbours; at 0.6, chains join 251 of FER-2013's 3,589 PublicTest faces
MOST_SHOWN = 6  # groups whose sizes are shown


def group_column(how: str | None) -> str | None:
    """Return the column that names the groups, if one does."""
    return None if how is None or how == AUTO or how.startswith(PATTERN) else how


def with_groups(faces: FaceSet, how: str) -> FaceSet:
    """Give every row its group, as `DataSource.group` says; MienError if a row has none."""
    if how == AUTO:
        named = [faces.id(row) for row in likeness_groups(faces.images, LIKENESS)]
    elif how.startswith(PATTERN):
        named = _by_name(faces, how.removeprefix(PATTERN))
    elif how in faces.columns:
        named = np.char.strip(faces.columns[how]).tolist()
    else:
        raise MienError(MISTAKES["no group column"].format(shortened(how), ", ".join(faces.columns) or "no columns"))
    if gaps := [row for row, name in enumerate(named) if not name]:
        mistake = "group column with gaps" if group_column(how) else "no group in names"
        raise MienError(MISTAKES[mistake].format(how, len(gaps), len(named), shortened(faces.id(gaps[0]))))
    kind = f"{faces.origin.kind}, grouped by {'likeness' if how == AUTO else how}"
    return replace(faces, groups=np.array(named, dtype=str), origin=replace(faces.origin, kind=kind))


def _by_name(faces: FaceSet, pattern: str) -> list[str]:
    """Search the file name of every row, or its path if the pattern has a slash; join the parts in parentheses."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise MienError(f"{pattern!r} in --data.group is not a regular expression: {error}.") from None
    if not compiled.groups:
        raise MienError(MISTAKES["no parentheses"].format(pattern))
    ids = [faces.id(row) for row in range(len(faces))]
    found = [compiled.search(each if "/" in pattern else PurePosixPath(each).name) for each in ids]
    return ["" if each is None else "-".join(filter(None, each.groups())) for each in found]


def describe_groups(faces: FaceSet) -> list[str]:
    """Say how many groups there are and how large, and which splits share some."""
    if faces.groups is None:
        return []
    names, group, sizes = np.unique(faces.groups, return_inverse=True, return_counts=True)
    order = np.argsort(-sizes, kind="stable")[:MOST_SHOWN]
    largest = ", ".join(f"{shortened(str(names[each]), 40)} {sizes[each]:,}" for each in order)
    alone = f"; {(sizes == 1).sum():,} of a single face" if (sizes == 1).any() else ""
    lines = [f"{len(names):,} groups; faces in the largest: {largest}{', ...' if len(names) > len(order) else ''}{alone}"]
    present = np.zeros((len(names), len(SPLITS)), dtype=bool)
    present[group, faces.splits] = True
    if len(shared := np.flatnonzero(present.sum(axis=1) > 1)):
        splits = " and ".join(SPLITS[each] for each in np.flatnonzero(present[shared].any(axis=0)))
        told = f"{len(shared):,} of them have rows in several splits ({splits}), such as {names[shared[0]]}"
        lines.append(f"{told}: the metrics on these splits are too high for new people or clips")
    return lines
