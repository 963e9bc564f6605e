"""An audit as one page: what was looked for, how, how many there are, and the pictures to judge it by."""

import base64
import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mien import __version__
from mien.data.copies import SAME_PICTURE
from mien.data.faceset import FaceSet
from mien.errors import MienError
from mien.evaluation.audit import (
    FAR_FROM_FACES,
    NEARLY_BLANK,
    ODD_SIZE,
    TOO_DARK_OR_BRIGHT,
    Audit,
    check_list_can_be_written,
    describe_row,
    groups_of,
    write_list,
    write_table,
)
from mien.evaluation.record import read_marked
from mien.evaluation.report_folder import check_replaceable, whole_folder
from mien.evaluation.report_page import new_environment

# The contact sheets of an audit: which faces are shown side by side, and what stands below them.

TILES = 48
"""Groups, pairs or single faces on a sheet."""

BESIDE = 4
"""Faces of a group that are shown, and rows that are named in a face's tooltip."""

LONGEST = 96
"""Longest side of an embedded face in pixels; larger ones are shrunk, so that a page stays small."""


@dataclass(frozen=True)
class Picture:
    """One face on a sheet.

    Attributes:
        source: a data URL.
        captions: the split and the label of the rows that have these pixels, with their count where there are several.
        ids: of the first few of these rows.
    """

    source: str
    captions: tuple[str, ...]
    ids: str


@dataclass(frozen=True)
class Tile:
    """What belongs together on a sheet: one face, a pair or a group, and a few words to it."""

    pictures: tuple[Picture, ...]
    note: str = ""


@dataclass(frozen=True)
class Sheet:
    """Some tiles out of `total`."""

    tiles: tuple[Tile, ...]
    total: int


def exact_sheet(audit: Audit) -> Sheet:
    """Show groups of exact copies as one face each, those across splits first, then by falling size."""
    splits = audit.faces.splits
    groups = sorted(groups_of(audit.copies.original), key=lambda rows: (len(np.unique(splits[rows])) == 1, -len(rows)))
    tiles = [Tile((_picture(audit, rows),), f"{len(rows)} rows") for rows in groups[:TILES]]
    return Sheet(tuple(tiles), len(groups))


def near_sheet(audit: Audit) -> Sheet:
    """Show pairs of near copies, the least alike first; a mirrored one is turned back."""
    copies, tiles = audit.copies, []
    for (first, second), value, turned in zip(copies.pairs[:TILES], copies.correlation, copies.mirrored, strict=False):
        pictures = (
            _picture(audit, np.array([first])),
            _picture(audit, np.array([second]), mirrored=bool(turned)),
        )
        tiles.append(Tile(pictures, f"{value:.3f}" + (", the second mirrored" if turned else "")))
    return Sheet(tuple(tiles), len(copies.pairs))


def conflict_sheet(audit: Audit) -> Sheet:
    """Show groups of copies that bear several labels, the largest first: a face of each label."""
    classes = audit.faces.classes
    groups = [rows for rows in groups_of(audit.copies.group) if len(np.unique(classes[rows])) > 1]
    groups.sort(key=lambda rows: -len(rows))
    tiles = []
    for rows in groups[:TILES]:
        counts = np.bincount(classes[rows], minlength=len(audit.faces.labels))
        shown = [
            rows[np.argmax(classes[rows] == label)] for label in np.argsort(-counts, kind="stable")[:BESIDE] if counts[label]
        ]
        said = ", ".join(f"{counts[label]} {audit.faces.labels[label]}" for label in np.argsort(-counts) if counts[label])
        tiles.append(Tile(tuple(_picture(audit, np.array([row])) for row in shown), said))
    return Sheet(tuple(tiles), len(groups))


def single_sheet(audit: Audit, kind: str, words: str) -> Sheet:
    """Show the faces of a finding one by one, in its order.

    Args:
        audit: what was found.
        kind: a name out of `mien.evaluation.audit.KINDS`.
        words: a format of the value, to stand below each.
    """
    finding = audit.findings[kind]
    shown = zip(finding.rows[:TILES], finding.values[:TILES], strict=True)
    tiles = []
    for row, value in shown:
        said = "constant" if kind == "blank" and value == 0 else words.format(value)
        tiles.append(Tile((_picture(audit, np.array([row])),), said))
    return Sheet(tuple(tiles), len(finding.rows))


def size_sheet(audit: Audit) -> Sheet:
    """Show the images of odd size, as they are after they were prepared, with the width and height they had before."""
    finding, tiles = audit.findings["size"], []
    sizes = audit.faces.sizes if audit.faces.sizes is not None else np.empty((0, 2), dtype=np.uint32)
    for row in finding.rows[:TILES]:
        height, width = sizes[row]
        tiles.append(Tile((_picture(audit, np.array([row])),), f"{width}\N{MULTIPLICATION SIGN}{height} pixels"))
    return Sheet(tuple(tiles), len(finding.rows))


def crowd_sheet(audit: Audit) -> Sheet:
    """Show the faces whose own label got no clear vote, with what the crowd says instead."""
    finding, faces, tiles = audit.findings["crowd"], audit.faces, []
    votes = faces.votes if faces.votes is not None else faces.targets
    for row, value in zip(finding.rows[:TILES], finding.values[:TILES], strict=True):
        said = f"crowd: {faces.labels[int(votes[row].argmax())]} {value:.0%}"
        tiles.append(Tile((_picture(audit, np.array([row])),), said))
    return Sheet(tuple(tiles), len(finding.rows))


def _picture(audit: Audit, rows: np.ndarray, mirrored: bool = False) -> Picture:
    """Draw the first of rows with the same pixels, and say what they are."""
    pixels = np.asarray(audit.faces.images[rows[0]])
    image = Image.fromarray(np.ascontiguousarray(pixels[:, ::-1]) if mirrored else pixels)
    image.thumbnail((LONGEST, LONGEST))
    buffer = io.BytesIO()
    image.save(buffer, "png")
    named = [describe_row(audit, int(row)) for row in rows]
    kinds = Counter(label if split == "none" else f"{split} {label}" for _, split, label in named)
    captions = tuple(kind if len(rows) == 1 else f"{count} {kind}" for kind, count in kinds.items())
    source = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    ids = ", ".join(name for name, _, _ in named[:BESIDE])
    return Picture(source, captions, ids if len(rows) <= BESIDE else f"{ids}, ...")


@dataclass(frozen=True)
class Section:
    """One kind of finding on the page.

    Attributes:
        kind: its name in findings.csv.
        title: its heading.
        how: how it was found.
        order: which tiles of the sheet come first.
        unit: what a tile shows, in the plural.
        rows: how many rows were found.
        sheet: the pictures.
    """

    kind: str
    title: str
    how: str
    order: str
    unit: str
    rows: int
    sheet: Sheet


def render(audit: Audit, record: dict[str, Any]) -> str:
    """Write the page.

    Args:
        audit: what was found.
        record: what audit.json holds.
    """
    return (
        new_environment()
        .get_template("audit.html")
        .render(
            record=record,
            sections=sections(audit),
            labels=audit.faces.labels.names,
            overlaps={(each.split, each.other): each for each in audit.overlaps},
            sizes=_sizes(record["data"]),
            has_sizes=audit.faces.sizes is not None,
            has_votes=audit.faces.votes is not None,
        )
    )


def sections(audit: Audit) -> list[Section]:
    """Arrange the findings with their sheets, in the order of `mien.evaluation.audit.KINDS`."""
    return [_section(audit, kind) for kind in audit.findings]


def _sizes(data: dict[str, Any]) -> str:
    """Say how large the images are and were, as width by height."""
    here = f"{data['size']}{TIMES}{data['size']}"
    if (original := data["original_sizes"]) is None:
        return f"{here} pixels each"
    sizes = (original[name] for name in ("smallest", "median", "largest"))
    smallest, median, largest = (f"{width}{TIMES}{height}" for height, width in sizes)
    if smallest == largest:
        return f"{smallest} pixels each" + (f", compared at {here}" if smallest != here else "")
    return f"{smallest} to {largest} pixels (median {median}), compared at {here}"


def _section(audit: Audit, kind: str) -> Section:
    title, how, order, unit = TEXTS[kind]
    size = f"{audit.faces.size} by {audit.faces.size}"
    if kind == "exact-copy":
        sheet = exact_sheet(audit)
    elif kind == "near-copy":
        sheet = near_sheet(audit)
    elif kind == "conflict":
        sheet = conflict_sheet(audit)
    elif kind == "size":
        sheet = size_sheet(audit)
    elif kind == "crowd":
        sheet = crowd_sheet(audit)
    else:
        sheet = single_sheet(audit, kind, VALUES[kind])
    return Section(kind, title, how.format(size=size), order, unit, len(audit.findings[kind].rows), sheet)


TIMES = "\N{MULTIPLICATION SIGN}"

VALUES = {"blank": "contrast {:.1f}", "no-face": "{:.1f} deviations", "brightness": "mean {:.0f}"}
"""What stands below a single face."""

TEXTS = {
    "exact-copy": (
        "Exact copies",
        "The same pixels, at {size} pixels. Each face stands for its group.",
        "groups across splits first, then the largest",
        "groups",
    ),
    "near-copy": (
        "Near copies",
        "The same picture in other pixels: brighter, compressed, with a watermark, mirrored, or cut out a pixel or two of 48 "
        "apart. Candidates are the nearest of small thumbnails; a pair is confirmed where the details (what a Gaussian blur "
        f"of 1 pixel leaves and one of 4 takes away) correlate by {SAME_PICTURE:g} or more.",
        "the least alike first, so that the rest is surer",
        "pairs",
    ),
    "conflict": (
        "Copies with conflicting labels",
        "Groups of copies, exact or near, also by way of another copy, that bear more than one label.",
        "the largest groups first, a face of each label",
        "groups",
    ),
    "blank": (
        "Constant and nearly blank",
        f"The pixels' standard deviation is below {NEARLY_BLANK:g} grays of 256.",
        "the emptiest first",
        "faces",
    ),
    "no-face": (
        "May show no face",
        "Histograms of oriented gradients lie farther from the mean of all images than is usual, by more than "
        f"{FAR_FROM_FACES:g} robust standard deviations. A hint and no proof: a profile is far from the mean too.",
        "the farthest first",
        "images",
    ),
    "brightness": (
        "Far darker or brighter than the rest",
        f"The pixels' mean is more than {TOO_DARK_OR_BRIGHT:g} robust standard deviations from the median. A hint: such faces "
        "can be good ones.",
        "the farthest first",
        "faces",
    ),
    "size": (
        "Of another size or shape than the rest",
        "Height, width or their ratio, before the image was brought to {size} pixels, lies more than "
        f"{ODD_SIZE:g} robust standard deviations from the median of all (in logarithms), and more than a factor of 2. Small "
        "ones are blurred by enlarging, odd shapes are stretched.",
        "the farthest first",
        "images",
    ),
    "crowd": (
        "The crowd sees something else",
        "Of the clear votes beside the labels none is for the row's own label.",
        "the most agreed on first",
        "faces",
    ),
}
"""Title, how it was found, order and unit of every kind of finding."""


# An audit as a folder: index.html to look at, findings.csv with every row, audit.json with the counts.

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
