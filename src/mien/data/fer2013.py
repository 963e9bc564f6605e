"""FER-2013 as one CSV file (fer2013.csv, icml_face_data.csv or the contest's train.csv), and FER+: crowd votes for its rows."""

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np

from mien.data.faceset import SPLITS
from mien.data.rows import KNOWN, MISTAKES, BadRow, Row, Rows, Tree, open_tree, records, split_of
from mien.data.source import VotesAs
from mien.errors import MienError, shortened
from mien.labels import FER2013, FERPLUS, meaning

_SIDE = 48  # height and width of a face in FER-2013, in pixels
_ENOUGH = 2  # a single vote counts as a mistake


def read(tree: Tree) -> Rows:
    """Read `emotion,pixels[,Usage]`, in any order and with further columns; labels are the numbers of `FER2013`, or names."""
    name, columns = find(tree)
    if not name:
        raise MienError(f"{tree.path} holds no {' or '.join(KNOWN['tables']['FER-2013'])}.")
    if not columns:
        raise MienError(MISTAKES["empty FER-2013"].format(tree.place(name)))
    if "emotion" not in columns or "pixels" not in columns:
        found = ", ".join(column[:20] for column in columns[:8])
        hint = " The contest's test.csv has no labels; take icml_face_data.csv." if columns == ["pixels"] else ""
        raise MienError(MISTAKES["no FER-2013"].format(tree.place(name), found, hint))
    # the first complete row decides how many pixels all rows have, if that is a square
    rows = islice(records(tree, name), 1, None)
    first = next((cells for _, cells in rows if len(cells) == len(columns)), [""] * len(columns))
    count = len(re.findall(r"\d+", first[columns.index("pixels")]))
    side = math.isqrt(count) if count and math.isqrt(count) ** 2 == count else _SIDE
    kind = "FER-2013 as CSV" + ("" if "usage" in columns else " without splits")
    kind += "" if side == _SIDE else f", {side} x {side} pixels"
    return Rows(kind=kind, labels=FER2013, rows=_rows(tree, name, columns, side))


def find(tree: Tree) -> tuple[str, list[str]]:
    """Find the name of the CSV file, and those of its columns; empty ones where there is none."""
    tables = tree.named()[::-1]
    by_name = {PurePosixPath(file).name.lower(): file for file in tables}
    found = next(filter(None, map(by_name.get, KNOWN["tables"]["FER-2013"])), tables[0] if len(tables) == 1 else "")
    _, names = next(records(tree, found), (0, [])) if found else (0, [])
    names, others = [name.strip("'").casefold() for name in names], KNOWN["FER-2013 columns"]
    return found, [name if others.get(name) in names else others.get(name, name) for name in names]


def _rows(tree: Tree, name: str, columns: list[str], side: int) -> Iterator[Row | BadRow]:
    for number, (line, fields) in enumerate(islice(records(tree, name), 1, None)):
        place = f"row {number} (line {line})"
        if len(fields) != len(columns):
            yield BadRow(place, f"{len(fields)} columns, not {len(columns)}")
            continue
        cells = dict(zip(columns, fields, strict=True))
        code = re.sub(r"[.,]0+$", "", cells["emotion"])  # 3.0 is a 3 that a spreadsheet or pandas has written
        is_number = code.isdecimal() and len(code) < 9 and int(code) < len(FER2013)
        try:
            split = split_of(cells.get("usage", "none"))
            if not is_number and meaning(cells["emotion"]) not in FER2013.names:
                raise MienError(f"the label {shortened(cells['emotion'])!r} is not a number from 0 to {len(FER2013) - 1}")
            label = int(code) if is_number else FER2013.index(cells["emotion"])
            yield Row(str(number), split, label, partial(read_pixels, cells["pixels"], side), place, number)
        except MienError as error:
            yield BadRow(place, str(error))


def read_pixels(cell: object, side: int | None = None) -> np.ndarray:
    """Read a square face, uint8 (side, side), from a list, or from text: numbers between blanks, or a printed list."""
    if isinstance(cell, str):
        text = cell.encode(errors="replace").strip(b" \t\"'")
        if text.startswith(b"["):
            text = b" ".join(re.findall(rb"[^][,\s]+", text))
        if strange := text.translate(None, b"0123456789 "):
            word = next((word for word in text.split(b" ") if word.strip(b"0123456789")), strange)
            raise MienError(f"{word[:20].decode(errors='replace')!r} among the pixels is not a number from 0 to 255")
        values = np.fromstring(text, dtype=np.int64, sep=" ")
    else:
        values = np.array(cell).ravel()
    side = side or math.isqrt(len(values)) or _SIDE
    if len(values) != side**2:
        raise MienError(f"{len(values)} pixels, not {side**2} ({side} x {side})")
    if not 0 <= values.min() <= values.max() <= 255:
        wrong = values.max() if values.max() > 255 else values.min()
        raise MienError(f"the pixel value {wrong} is not a number from 0 to 255")
    return values.astype(np.uint8).reshape(side, side)


def with_votes(rows: Rows, path: Path, votes_as: VotesAs) -> Rows:
    """Replace the targets of FER-2013's rows by FER+ votes, without rows where no label wins, or add the votes to all rows."""
    counts, splits, numbers = _read_votes(path)
    shares, is_beside = vote_targets(counts, votes_as), votes_as == "beside"
    if is_beside:
        if set(rows.labels) != set(FER2013):
            raise MienError(MISTAKES["not beside"].format(", ".join(FER2013), shortened(", ".join(rows.labels), 200)))
        shares = shares[:, [FER2013.index(name) for name in rows.labels]]

    def voted_rows() -> Iterator[Row | BadRow]:
        for row in rows.rows:
            if isinstance(row, BadRow):
                yield row
                continue
            number = numbers.get(PurePosixPath(row.id).name) if row.number is None else row.number
            if number is None:
                raise MienError(MISTAKES["no row number"].format(row.id))
            voted = splits[number] if number < len(splits) else "beyond the end"
            if row.number is not None and voted != row.split and (row.split != "none" or voted not in SPLITS):
                raise MienError(MISTAKES["row order"].format(number, row.split, voted, path))
            if is_beside:
                yield replace(row, votes=shares[number])
            elif shares[number].any():
                yield replace(row, target=shares[number], votes=None)

    how = "beside the labels" if is_beside else f"by {votes_as} (rows without a face or a clear vote left out)"
    labels = rows.labels if is_beside else FERPLUS
    return replace(rows, kind=f"{rows.kind}, with FER+ votes {how}", labels=labels, rows=voted_rows())


def vote_targets(votes: np.ndarray, votes_as: VotesAs) -> np.ndarray:
    """Turn votes (M, 10) into shares (M, 8), or (M, 7) for "beside", float32, that sum to 1, or to 0 where no label wins."""
    votes = np.where(votes < _ENOUGH, 0, votes).astype(np.float64)
    labels = len(FER2013) if votes_as == "beside" else len(FERPLUS)
    emotions, others = votes[:, :labels], votes[:, labels:].max(axis=1)
    if votes_as == "majority":
        return np.asarray(emotions > votes.sum(axis=1, keepdims=True) / 2, dtype=np.float32)
    most = emotions.max(axis=1)
    wins = most > others if votes_as == "beside" else most >= np.maximum(others, _ENOUGH)
    total = emotions.sum(axis=1, keepdims=True, where=wins[:, None])
    return np.asarray(np.divide(emotions, total, out=np.zeros_like(emotions), where=total > 0), dtype=np.float32)


def _read_votes(path: Path) -> tuple[np.ndarray, list[str], dict[str, int]]:
    """Read the votes (M, 10), int64, the split of every row, and the number of each image's row by its name."""
    tree = open_tree(path)
    if not tree.is_single_file:
        raise MienError(f"The votes must be one file, fer2013new.csv, not {path}.")
    header, *table = [cells for _, cells in records(tree, tree.files[0])] or [[]]
    columns = {meaning(name) or name: column for column, name in enumerate(header)}
    wanted = ("Usage", "Image name", *FERPLUS.names, *KNOWN["no emotion"])
    if missing := [name for name in wanted if name not in columns]:
        raise MienError(MISTAKES["no votes"].format(path, shortened(", ".join(header), 200), ", ".join(missing)))
    try:
        usages, images, *counts = ([cells[columns[name]] for cells in table] for name in wanted)
        votes = np.array(counts, dtype=np.int64).T
        splits = [split_of(usage) for usage in usages]
    except (ValueError, IndexError, MienError) as error:
        raise MienError(f"{path} is damaged: {error}. Download it again.") from error
    return votes, splits, {image: row for row, image in enumerate(images) if image}
