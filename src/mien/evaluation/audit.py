"""Find copies, conflicting labels, images without a face and outliers in labelled faces, and write them as a folder."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from mien.data.copies import SAME_PHOTO, SIDE, Copies, find_copies, gray_chunks
from mien.data.faceset import SPLITS, FaceSet
from mien.data.pack import in_threads
from mien.errors import MienError, load_table, spreadsheet_safe
from mien.evaluation.metrics import MISTAKES
from mien.evaluation.plots import new_environment
from mien.evaluation.record import describe_origin, provenance, write_rows
from mien.files import AUDIT, EXCLUDED_ROWS, check_folder, written_folder
from mien.images import as_data_uri

LONGEST = 96  # longest side of an embedded picture in pixels; larger ones are shrunk to keep the page small
MOST_LOST = 0.2  # a list of more of the rows than this is only written if asked for twice
BINS, FACES = 9, 256  # orientations of gradients over half a turn, as in Dalal and Triggs; faces computed at a time
TRAIN = SPLITS.index("train")
THRESHOLDS: dict[str, float] = {"near-copy": SAME_PHOTO} | load_table(__file__)  # the values beyond which rows are found
LEAST_SPREAD = 1 / 3  # least standard deviation of sizes, in octaves: of equal sizes, nothing within a factor of 2 is odd


class Tile(NamedTuple):
    """A picture or several side by side on the page, each the rows that share it, and a note; the last may be mirrored."""

    pictures: tuple[np.ndarray, ...]
    note: str
    mirrored: bool = False


class Finding(NamedTuple):
    """The rows of one kind of finding."""

    rows: np.ndarray  # (n,), int64, the most conspicuous first
    partners: np.ndarray  # (n,), int64: the row that each is a copy of or in conflict with; -1 where there is none
    values: np.ndarray  # (n,), float64: what each was found by
    tiles: Sequence[Tile]  # for the page
    groups: int = 0  # of copies; 0 for kinds without groups


class Overlap(NamedTuple):
    """Rows of a split that have a copy in a split, which may be the same one: an exact copy, or any, exact or near."""

    split: str
    other: str
    exact: int
    any: int


@dataclass(frozen=True)
class Audit:
    """What was found in labelled faces."""

    faces: FaceSet
    copies: Copies
    findings: dict[str, Finding]
    """By kind, as page/audit.html describes them; "size" only where the images' own sizes are known, and "crowd" only where
    there are votes beside the labels. The first four kinds are certain; the others are for a person to judge."""

    @cached_property
    def overlaps(self) -> tuple[Overlap, ...]:
        """Every split of the data with every one, itself first."""
        rows = {name: self.faces.splits == SPLITS.index(name) for name in self.faces.split_names}

        def count(group: np.ndarray, own: np.ndarray, others: np.ndarray) -> int:
            members = np.bincount(group[others], minlength=len(group))
            return int((members[group[own]] > others[own]).sum())  # a row is no copy of itself

        pairs = ((split, other) for split in rows for other in sorted(rows, key=lambda name: name != split))
        kinds = (self.copies.original, self.copies.group)
        return tuple(Overlap(one, other, *(count(kind, rows[one], rows[other]) for kind in kinds)) for one, other in pairs)

    @property
    def leaks(self) -> tuple[Overlap, ...]:
        """The overlaps of validation and test with an earlier split, which make figures too good."""
        return tuple(each for each in self.overlaps if SPLITS.index(each.split) > SPLITS.index(each.other) > 0)

    def table(self) -> str:
        """Format the counts as text for a terminal."""
        return new_environment(text=True).get_template("audit.txt").render(audit=self, splits=SPLITS).rstrip()

    def describe_row(self, row: int) -> tuple[str, str, str]:
        """Give a row's id, its split and its label."""
        return self.faces.id(row), SPLITS[self.faces.splits[row]], self.faces.labels[int(self.faces.classes[row])]

    def draw(self, tile: Tile, rows: np.ndarray) -> str:
        """Draw a picture of a tile, as the address of an image."""
        image = Image.fromarray(np.asarray(self.faces.images[rows[0]]))
        return as_data_uri(ImageOps.mirror(image) if tile.mirrored and rows is tile.pictures[-1] else image, LONGEST, "png")


def inspect(faces: FaceSet) -> Audit:
    """Look for every kind of finding; faces of any size are compared in gray at 48 pixels. MienError if there are none."""
    if not len(faces):
        raise MienError("The data have no rows to audit.")
    copies = find_copies(faces.images)
    brightness, contrast = brightness_and_contrast(faces.images)
    far, uneven = robust_deviations(distance_from_faces(faces.images)), np.abs(robust_deviations(brightness))
    most, visible = THRESHOLDS, contrast >= THRESHOLDS["blank"]
    odd, unusual = (np.where(visible, scores, -np.inf) for scores in (far, uneven))
    found = {
        "exact-copy": _exact_copies(faces, copies),
        "near-copy": _near_copies(copies),
        "conflict": _conflicts(faces, copies),
        "blank": _above(-contrast, -most["blank"], contrast, lambda _, value: f"contrast {value:.1f}" if value else "constant"),
        "no-face": _above(odd, most["no-face"], far, lambda _, value: f"{value:.1f} deviations"),
        "brightness": _above(unusual, most["brightness"], brightness, lambda _, value: f"mean {value:.0f}"),
    }
    if (sizes := faces.sizes) is not None:
        by_size = size_deviations(sizes)
        pixels = "{1}\N{MULTIPLICATION SIGN}{0} pixels"
        found["size"] = _above(by_size, most["size"], by_size, lambda row, _: pixels.format(*sizes[row]))
    if (votes := faces.votes) is not None:  # their share for another label, where the row's own label got no clear vote
        share, favourite = votes.max(axis=1), np.array(faces.labels.names)[votes.argmax(axis=1)]
        disagrees = np.where(votes[np.arange(len(votes)), faces.classes] == 0, share, 0)
        found["crowd"] = _above(disagrees, 0, share, lambda row, value: f"crowd: {favourite[row]} {value:.0%}")
    return Audit(faces, copies, found)


def rows_to_leave_out(audit: Audit, near: bool = False) -> dict[int, str]:
    """List the rows that training is better without, rising, with the reasons; with `near`, near copies too, none of test."""
    faces, splits = audit.faces, audit.faces.splits
    reasons: dict[int, str] = {}
    for members in _groups(audit.copies.group if near else audit.copies.original):
        latest = int(splits[members].max())
        is_latest = splits[members] == latest
        own = members[is_latest]
        first = faces.id(int(own[0]))
        reasons |= dict.fromkeys(members[~is_latest].tolist(), f"copy of {first} in {SPLITS[latest]}")
        if latest <= TRAIN and len(np.unique(faces.classes[members])) > 1:
            reasons |= dict.fromkeys(own.tolist(), "copies of it have other labels")
        elif latest <= TRAIN:
            reasons |= dict.fromkeys(own[1:].tolist(), f"copy of {first}")
    for kind, reason in (("no-face", "may show no face"), ("blank", "blank")):
        reasons |= {row: reason for row in audit.findings[kind].rows.tolist() if splits[row] <= TRAIN}
    return dict(sorted(reasons.items()))


def _groups(group: np.ndarray) -> list[np.ndarray]:
    order = np.argsort(group, kind="stable")
    _, first, counts = np.unique(group[order], return_index=True, return_counts=True)
    return [order[start : start + count] for start, count in zip(first, counts, strict=True) if count > 1]


def _exact_copies(faces: FaceSet, copies: Copies) -> Finding:
    """Find rows with the same pixels; the partner is in another split where possible."""
    splits, groups, found = faces.splits, _groups(copies.original), []
    for members in groups:
        for row in members:
            elsewhere = members[splits[members] != splits[row]]
            found.append((row, elsewhere[0] if len(elsewhere) else members[members != row][0], 1.0))
    groups.sort(key=lambda rows: (len(np.unique(splits[rows])) == 1, -len(rows)))
    return _finding(found, [Tile((rows,), f"{len(rows)} rows") for rows in groups], len(groups))


def _near_copies(copies: Copies) -> Finding:
    """Find rows with a near copy; the partner is the best one. Rows that resemble theirs least come first."""
    best: dict[int, tuple[float, int]] = {}
    tiles = []
    for pair, value, mirrored in zip(copies.pairs, copies.difference.tolist(), copies.mirrored.tolist(), strict=True):
        first, second = pair.tolist()
        best[first], best[second] = (value, second), (value, first)  # pairs come by falling difference
        tiles.append(Tile((pair[:1], pair[1:]), f"{value:.3f}" + (", the second mirrored" if mirrored else ""), mirrored))
    ordered = sorted((*best[original], row) for row, original in enumerate(copies.original.tolist()) if original in best)[::-1]
    found = [(row, partner, value) for value, partner, row in ordered]
    return _finding(found, tiles, len({copies.group[row] for row, _, _ in found}))


def _conflicts(faces: FaceSet, copies: Copies) -> Finding:
    """Find groups of copies with several labels; the partner has another label, and the value counts the labels."""
    found, shown = [], []
    for members in _groups(copies.group):
        classes = faces.classes[members]
        labels, first, counts = np.unique(classes, return_index=True, return_counts=True)
        if len(labels) > 1:
            found += [(row, members[np.argmax(classes != own)], len(labels)) for row, own in zip(members, classes, strict=True)]
            order = np.argsort(-counts, kind="stable")
            note = ", ".join(f"{counts[i]} {faces.labels[int(labels[i])]}" for i in order)
            shown.append((len(members), Tile(tuple(members[[first[i]]] for i in order), note)))
    shown.sort(key=lambda sized: -sized[0])
    return _finding(found, [tile for _, tile in shown], len(shown))


def _finding(found: Sequence[tuple[int, int, float]], tiles: list[Tile], groups: int = 0) -> Finding:
    rows, partners, values = zip(*found, strict=True) if found else ((), (), ())
    return Finding(np.array(rows, np.int64), np.array(partners, np.int64), np.array(values, np.float64), tiles, groups)


def brightness_and_contrast(images: np.ndarray) -> np.ndarray:
    """Compute the mean and the standard deviation of every face's pixels: (2, N), float32, in grays of 0 to 255."""
    return np.concatenate([[gray.mean((1, 2), np.float32), gray.std((1, 2), np.float32)] for gray in gray_chunks(images)], 1)


def distance_from_faces(images: np.ndarray) -> np.ndarray:
    """Compute how far every image's gradients lie from the mean of all, most of which show a face: (N,), float32."""
    # of FER-2013's images without a face it finds more than the distance from face space (Turk and Pentland, 1991): average
    # precision 0.39 instead of 0.10
    sums = in_threads(lambda gray: _gradient_histograms(gray).sum(axis=0, dtype=np.float64), gray_chunks(images, FACES), 1)
    mean = sum(sums) / max(len(images), 1)
    # computed twice, because 900 numbers a face take more memory than its pixels
    norms = in_threads(lambda gray: np.linalg.norm(_gradient_histograms(gray) - mean, axis=1), gray_chunks(images, FACES), 1)
    return np.concatenate([*norms]).astype(np.float32)


def _gradient_histograms(gray: np.ndarray) -> np.ndarray:
    """Compute what OpenCV's HOGDescriptor does, within 0.001: 5 by 5 blocks of 2 by 2 cells (Dalal and Triggs, 2005)."""
    edged = np.pad(gray.astype(np.float32), ((0, 0), (1, 1), (1, 1)), mode="reflect")
    down, across = edged[:, 2:, 1:-1] - edged[:, :-2, 1:-1], edged[:, 1:-1, 2:] - edged[:, 1:-1, :-2]
    strength, angle = np.hypot(down, across), np.arctan2(down, across)
    place = np.where(angle < 0, angle + np.pi, angle) * (BINS / np.pi) - 0.5
    apart = (np.abs(place - number) for number in range(BINS))
    shares = (strength * np.maximum(0, 1 - np.minimum(each, BINS - each)) for each in apart)
    pixel = np.arange(16)  # of a row or column of a block
    cells = np.maximum(0, 1 - np.abs((pixel + 0.5) / 8 - 0.5 - [[0], [1]])) * np.exp(-((pixel - 8) ** 2) / 32)  # (2, 16)
    flat = np.concatenate([np.pad(cells, ((0, 0), (8 * row, SIDE - 16 - 8 * row))) for row in range(5)], dtype=np.float32)
    blocks = np.stack([flat @ each @ flat.T for each in shares], axis=-1).reshape(-1, 5, 2, 5, 2, BINS)
    for limit, least in ((0.2, 3.6), (np.inf, 1e-3)):  # `least` keeps blocks without gradients at 0
        length = np.sqrt((blocks**2).sum(axis=(2, 4, 5), keepdims=True))
        blocks = np.minimum(blocks / (length + np.float32(least)), limit)
    return blocks.reshape(-1, 900)


def robust_deviations(values: np.ndarray, least: float = 0.0) -> np.ndarray:
    """Compute how many robust standard deviations, of at least `least`, values lie from their median, signed: (N,), float64."""
    if not len(values):
        return np.zeros(0)
    distance = values.astype(np.float64) - np.median(values)
    deviation = max(1.4826 * float(np.median(np.abs(distance))), least)  # that of a normal distribution (Hampel, 1974)
    return np.asarray(distance / deviation) if deviation else np.zeros(len(values))


def size_deviations(sizes: np.ndarray) -> np.ndarray:
    """Compute the largest robust deviation of each height, width and aspect ratio, by logarithms: (N, 2) to (N,), float64."""
    height, width = np.log2(sizes.astype(np.float64)).T
    deviations = [robust_deviations(octaves, LEAST_SPREAD) for octaves in (height, width, height - width)]
    return np.asarray(np.abs(deviations).max(axis=0))


def _above(scores: np.ndarray, threshold: float, values: np.ndarray, note: Callable[[int, float], str]) -> Finding:
    rows = np.flatnonzero(scores > threshold)
    found = [(row, -1, float(values[row])) for row in rows[np.argsort(-scores[rows], kind="stable")].tolist()]
    return _finding(found, [Tile((np.array([row]),), note(row, value)) for row, _, value in found])


def write_audit(
    audit: Audit, out: Path, write: Path | None, command: str | None, csv_safe: bool, near: bool = False, force: bool = False
) -> int:
    """Write the folder `out` and the list `write` of rows to leave out, which needs `force` if long; return its length."""
    reasons, faces = rows_to_leave_out(audit, near) if write else {}, audit.faces
    kept = np.bincount(np.delete(faces.classes, list(reasons)), minlength=len(faces.labels))
    emptied = [name for name, left, had in zip(faces.labels, kept, faces.counts(), strict=True) if had and not left]
    losses = [f"{len(reasons):,} of {len(faces):,} rows"] * (len(reasons) > MOST_LOST * len(faces))
    loss = "" if force else " and ".join(losses + [f"every row of {name!r}" for name in emptied])
    inside = [write.name] if write and not loss and write.resolve().parent == out.resolve() else []
    record = _record(audit, command, (*AUDIT.patterns, AUDIT.record, *inside, *["skipped.txt"] * bool(faces.origin.skipped)))
    with written_folder(out, "the audit", partial(check_folder, kind=AUDIT)) as folder:
        page = new_environment().get_template("audit.html").render(record=record, audit=audit, splits=SPLITS)
        (folder / "index.html").write_text(page, encoding="utf-8")
        found = (
            (*audit.describe_row(row), kind, audit.faces.id(partner) if partner >= 0 else "", f"{value:.4g}")
            for kind, finding in audit.findings.items()
            for row, partner, value in zip(*(each.tolist() for each in finding[:3]), strict=True)
        )
        header = ("id", "split", "label", "finding", "partner", "value")
        write_rows(folder / "findings.csv", (map(spreadsheet_safe, row) if csv_safe else row for row in (header, *found)))
        faces.origin.write_skipped(folder)
        (folder / "audit.json").write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if loss:
        raise MienError(MISTAKES["long list"].format(loss, out))
    if write:
        write.parent.mkdir(parents=True, exist_ok=True)
        rows = ((*audit.describe_row(row), reason) for row, reason in reasons.items())
        write_rows(write, (("id", "split", "label", "reason"), *rows), EXCLUDED_ROWS)
    return len(reasons)


def _record(audit: Audit, command: str | None, files: tuple[str, ...]) -> dict[str, Any]:
    faces, labels, original_sizes = audit.faces, audit.faces.labels.names, None
    if (sizes := faces.sizes) is not None:  # [height, width] of the smallest and largest image by area, and the lower medians
        area, middle = sizes.astype(np.int64).prod(axis=1), np.quantile(sizes, 0.5, axis=0, method="lower").astype(int)
        found = {"smallest": sizes[area.argmin()], "median": middle, "largest": sizes[area.argmax()]}
        original_sizes = {name: size.tolist() for name, size in found.items()}
    return provenance(AUDIT, command) | {
        "data": describe_origin(faces) | {"size": faces.size, "original_sizes": original_sizes},
        "counts": {name: dict(zip(labels, faces.split(name).counts().tolist(), strict=True)) for name in faces.split_names},
        "findings": {kind: {"rows": len(each.rows), "groups": each.groups} for kind, each in audit.findings.items()},
        "overlaps": [each._asdict() for each in audit.overlaps],
        "leaks": [each._asdict() for each in audit.leaks],
        "thresholds": THRESHOLDS,
        "files": files,
    }
