"""An audit as a folder: index.html with pictures, findings.csv with every row, audit.json with the counts."""

import base64
import io
import json
from collections import Counter
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from mien import __version__
from mien.data.faceset import FaceSet
from mien.errors import MienError
from mien.evaluation.audit import THRESHOLDS, Audit, Tile, rows_to_leave_out
from mien.evaluation.record import AUDIT, check_replaceable, whole_folder, write_rows
from mien.evaluation.report_page import new_environment

FILES = ("index.html", "findings.csv", "audit.json")
FINDINGS = ("id", "split", "label", "finding", "partner", "value")  # columns of findings.csv
LEFT_OUT = ("id", "split", "label", "reason")  # columns of the list of rows to leave out
TILES = 48  # most tiles shown of a kind
BESIDE = 4  # most pictures in a tile, and most rows named in a picture's tooltip
LONGEST = 96  # longest side of an embedded picture in pixels; larger ones are shrunk to keep the page small


def check_places(out: Path, write: Path | None) -> None:
    """Check before an audit that it can be written: MienError if its folder or its list holds anything but an earlier one."""
    check_replaceable(out, AUDIT)
    if write is None:
        return
    if write.resolve() in (out.resolve(), *(out.resolve() / name for name in FILES)):
        raise MienError(f"{write} is what the audit itself writes; choose another name for --write.")
    if write.is_dir():
        raise MienError(f"{write} is a folder; name a file for the list, such as {write / 'clean.csv'}.")
    if write.parent.exists() and not write.parent.is_dir():
        raise MienError(f"{write.parent} is a file, so the list cannot be written into it; choose another --write.")
    if write.exists():
        with write.open("rb") as file:
            first = file.readline(200)
        if first.strip() != ",".join(LEFT_OUT).encode():
            raise MienError(f"{write} exists and is not a list written by mien audit; choose another --write.")


def write_audit(audit: Audit, out: Path, write: Path | None = None, command: str | None = None) -> int:
    """Write the folder `out`, which replaces an earlier audit there, and the list of rows to leave out; return its length.

    The list `write` may lie in that folder. `command` is the command line, noted on the page. MienError as `check_places`, or
    if `out` cannot be written.
    """
    check_places(out, write)
    is_inside = write is not None and write.resolve().parent == out.resolve()
    record = _record(audit, command, (*FILES, write.name) if write is not None and is_inside else FILES)
    reasons = {} if write is None else rows_to_leave_out(audit)
    with whole_folder(out, AUDIT) as folder:
        (folder / "index.html").write_text(render(audit, record), encoding="utf-8")
        found = (
            (*audit.describe_row(row), kind, audit.faces.id(partner) if partner >= 0 else "", f"{value:.4g}")
            for kind, finding in audit.findings.items()
            for row, partner, value in zip(*(each.tolist() for each in finding[:3]), strict=True)
        )
        write_rows(folder / "findings.csv", [FINDINGS, *found])
        (folder / "audit.json").write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if write is not None:
        write.parent.mkdir(parents=True, exist_ok=True)
        write_rows(write, [LEFT_OUT, *((*audit.describe_row(row), reason) for row, reason in reasons.items())])
    return len(reasons)


def render(audit: Audit, record: dict[str, Any]) -> str:
    """Write the page of an audit, from what was found and what audit.json holds."""
    return (
        new_environment()
        .get_template("audit.html")
        .render(
            record=record,
            findings=audit.findings,
            cautions=[audit.describe_overlap(leak) for leak in audit.leaks],
            overlaps={(each.split, each.other): each for each in audit.overlaps},
            pictures=partial(_pictures, audit),
            most_tiles=TILES,
        )
    )


def _pictures(audit: Audit, tile: Tile) -> list[dict[str, Any]]:
    """Draw the pictures of a tile, with the splits and labels of the rows that share them."""
    drawn = []
    for rows in tile.pictures[:BESIDE]:
        image = Image.fromarray(np.asarray(audit.faces.images[rows[0]]))
        image = ImageOps.mirror(image) if tile.mirrored and rows is tile.pictures[-1] else image
        image.thumbnail((LONGEST, LONGEST))
        buffer = io.BytesIO()
        image.save(buffer, "png")
        described = [audit.describe_row(int(row)) for row in rows]
        kinds = Counter(label if split == "none" else f"{split} {label}" for _, split, label in described)
        ids = ", ".join(name for name, _, _ in described[:BESIDE])
        drawn.append(
            {
                "source": "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode(),
                "captions": [kind if len(rows) == 1 else f"{count} {kind}" for kind, count in kinds.items()],
                "ids": ids if len(rows) <= BESIDE else f"{ids}, ...",
            }
        )
    return drawn


def _original_sizes(faces: FaceSet) -> dict[str, list[int]] | None:
    """Give [height, width] of the smallest and largest image by area before they were prepared, and the lower medians."""
    if faces.sizes is None:
        return None
    area = faces.sizes.astype(np.int64).prod(axis=1)
    middle = np.quantile(faces.sizes, 0.5, axis=0, method="lower")
    found = {"smallest": faces.sizes[area.argmin()], "median": middle, "largest": faces.sizes[area.argmax()]}
    return {name: [int(side) for side in size] for name, size in found.items()}


def _record(audit: Audit, command: str | None, files: tuple[str, ...]) -> dict[str, Any]:
    faces = audit.faces
    return {
        "made_by": AUDIT.made_by,
        "format": AUDIT.format,
        "mien_version": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "data": {
            "kind": faces.origin.kind,
            "path": Path(faces.origin.path).name,
            "rows": len(faces),
            "skipped": len(faces.origin.skipped),
            "size": faces.size,
            "original_sizes": _original_sizes(faces),
            "fingerprint": faces.fingerprint(),
        },
        "counts": {
            split: dict(zip(faces.labels.names, faces.split(split).counts().tolist(), strict=True))
            for split in faces.split_names
        },
        "findings": {kind: {"rows": len(each.rows), "groups": each.groups} for kind, each in audit.findings.items()},
        "overlaps": [each._asdict() for each in audit.overlaps],
        "leaks": [each._asdict() for each in audit.leaks],
        "thresholds": THRESHOLDS,
        "files": files,
    }
