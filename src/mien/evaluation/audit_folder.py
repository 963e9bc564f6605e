"""An audit as a folder: index.html to look at, findings.csv with every row, audit.json with the counts."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from mien._version import __version__
from mien.data.copies import SAME_PICTURE
from mien.data.faceset import FaceSet
from mien.data.outliers import FAR_FROM_FACES, NEARLY_BLANK, ODD_SIZE, TOO_DARK_OR_BRIGHT
from mien.errors import MienError
from mien.evaluation.audit import Audit
from mien.evaluation.audit_list import check_list_can_be_written, describe_row, write_list, write_table
from mien.evaluation.audit_page import render
from mien.evaluation.folder import check_replaceable, whole_folder
from mien.evaluation.record import read_marked

FORMAT = 1
"""Version of audit.json; rises when a field changes its meaning or goes."""

MADE_BY = "mien audit"
"""By this, and by FORMAT, an audit.json of ours is known."""

FILES = ("index.html", "findings.csv", "audit.json")
"""What an audit's folder holds."""

COLUMNS = ("id", "split", "label", "finding", "partner", "value")
"""The columns of findings.csv."""


def check_places(out: Path, write: Path | None) -> None:
    """Make sure that an audit can be written, before it takes its time.

    Args:
        out: its folder.
        write: the file of its list, or None.

    Raises:
        MienError: if `out` holds anything but an audit of ours, or `write` anything but a list of ours.
    """
    check_replaceable(out, "audit.json", read_audit)
    if write is None:
        return
    if write.resolve() in (out.resolve(), *(out.resolve() / name for name in FILES)):
        raise MienError(f"{write} is what the audit itself writes; choose another name for --write.")
    check_list_can_be_written(write)


def write_audit(audit: Audit, out: Path, write: Path | None = None, command: str | None = None) -> int:
    """Write the folder, and the list of rows to leave out.

    Args:
        audit: what was found.
        out: the folder; an earlier audit there is replaced.
        write: the list's file, which may lie in that folder; none, if not given.
        command: the command line, to be noted.

    Returns:
        How many rows the list has.

    Raises:
        MienError: as `check_places`, or if `out` cannot be written.
    """
    inside = write is not None and write.resolve().parent == out.resolve()
    check_places(out, write)
    record = _record(audit, command, (*FILES, write.name) if write is not None and inside else FILES)
    listed = 0
    with whole_folder(out, "audit.json", read_audit) as folder:
        (folder / "index.html").write_text(render(audit, record), encoding="utf-8")
        write_table(folder / "findings.csv", COLUMNS, _records(audit))
        if write is not None and inside:
            listed = write_list(folder / write.name, audit)
        (folder / "audit.json").write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if write is not None and not inside:
        write.parent.mkdir(parents=True, exist_ok=True)
        listed = write_list(write, audit)
    return listed


def read_audit(path: Path) -> dict[str, Any]:
    """Read an audit.json.

    Raises:
        MienError: if it is not there, is not ours, or comes from a later format than this mien knows.
    """
    return read_marked(path, "audit.json", "audit", MADE_BY, FORMAT)


def original_sizes(faces: FaceSet) -> dict[str, list[int]] | None:
    """Say how large the images were before they were prepared.

    Returns:
        [height, width] in pixels of the smallest and the largest by area, and the medians of both (the lower of two in the
        middle); None where it is not known.
    """
    if faces.sizes is None:
        return None
    area = faces.sizes.astype(np.int64).prod(axis=1)
    middle = np.quantile(faces.sizes, 0.5, axis=0, method="lower")
    found = {"smallest": faces.sizes[area.argmin()], "median": middle, "largest": faces.sizes[area.argmax()]}
    return {name: [int(side) for side in size] for name, size in found.items()}


def _record(audit: Audit, command: str | None, files: tuple[str, ...]) -> dict[str, Any]:
    faces = audit.faces
    return {
        "made_by": MADE_BY,
        "format": FORMAT,
        "mien_version": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "data": {
            "kind": faces.origin.kind,
            "path": Path(faces.origin.path).name,
            "rows": len(faces),
            "skipped": len(faces.origin.skipped),
            "size": faces.size,
            "original_sizes": original_sizes(faces),
            "fingerprint": faces.fingerprint(),
        },
        "counts": audit.counts(),
        "findings": {kind: {"rows": len(each.rows), "groups": each.groups} for kind, each in audit.findings.items()},
        "overlaps": [asdict(each) for each in audit.overlaps],
        "leaks": [asdict(each) for each in audit.leaks],
        "thresholds": {
            "near-copy": SAME_PICTURE,
            "blank": NEARLY_BLANK,
            "no-face": FAR_FROM_FACES,
            "brightness": TOO_DARK_OR_BRIGHT,
            "size": ODD_SIZE,
        },
        "files": files,
    }


def _records(audit: Audit) -> Iterator[tuple[str, ...]]:
    for kind, finding in audit.findings.items():
        for row, partner, value in zip(finding.rows.tolist(), finding.partners.tolist(), finding.values.tolist(), strict=True):
            named = audit.faces.id(partner) if partner >= 0 else ""
            yield (*describe_row(audit, row), kind, named, f"{value:.4g}")
