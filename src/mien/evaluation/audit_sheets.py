"""The contact sheets of an audit: which faces are shown side by side, and what stands below them."""

import base64
import io
from collections import Counter
from dataclasses import dataclass

import numpy as np
from PIL import Image

from mien.evaluation.audit import Audit, groups_of
from mien.evaluation.audit_list import describe_row

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
