"""One memory-mapped file of labelled faces: a safetensors file, written as the rows come and opened without a copy.

Tensors: images U8 (N, H, W) or (N, H, W, 3); targets F32 (N, K); votes F32 (N, K), only where there are any; sizes U32
(N, 2), height and width before packing, not in older packs; splits U8 (N,); ids U8 (N, width), UTF-8 filled up with zeros;
columns U8, JSON, a list of texts by the name of each further column, only where there are any; skipped U8, a JSON list. The
metadata name the format, the labels and the origin. Rows lie split by split, so that a split is a view and not a copy.
"""

import json
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from mien.data.decoding import decoded
from mien.data.faceset import SPLITS, FaceSet, Origin
from mien.data.layout import TENSORS, header_bytes, header_room, read_header, view
from mien.data.packed_table import PackedTable, read_columns
from mien.data.rows import BadRow, Row, Rows
from mien.data.tree import Tree
from mien.errors import MienError
from mien.labels import LabelSet

FORMAT = "1"
"""Written into every pack; packs of another format are refused, or made anew in the cache."""

Progress = Callable[[int, int | None], None]
"""Called now and then with the number of rows done, and of all rows where that is known beforehand."""

_NAMED = 5  # bad rows named in the sentence; a list of more stands in a file


def write_pack(
    path: Path,
    rows: Rows,
    size: int,
    channels: int,
    source: str = "",
    stamp: str = "",
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> None:
    """Decode, prepare and write rows; memory stays flat, and a file that exists is whole.

    Args:
        path: the pack; an old one is replaced at the end.
        rows: what a reader gives.
        size: height and width of the faces in pixels.
        channels: 1 for gray, 3 for RGB.
        source: the path the rows come from, to be remembered.
        stamp: remembered too, for `pack_stamp`.
        skip_bad: go on without rows that cannot be read.
        progress: told how far it is.

    Raises:
        MienError: if rows cannot be read (all are tried, and a list of many is written beside the pack), there are none, or
            there is no room for the file.
    """
    shape = (size, size) if channels == 1 else (size, size, 3)
    metadata = {
        "mien.format": FORMAT,
        "mien.labels": json.dumps(list(rows.labels)),
        "mien.origin": json.dumps({"kind": rows.kind, "path": source}),
        "mien.stamp": stamp,
    }
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")  # a name of its own for every process and thread
    ordered = part.with_suffix(".ordered.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            start = file.seek(header_room(metadata, len(rows.labels), shape))
            table = _append(file, rows, size, channels, progress)
            _check(table, rows, path, skip_bad, source)
            if is_ordered := table.splits == sorted(table.splits):
                _finish(file, start, table, rows.labels, shape, metadata)
        if not is_ordered:
            order = np.argsort(table.splits, kind="stable")
            _copy_in_order(part, ordered, start, order, shape)
            table = table.in_order(order)
            with ordered.open("r+b") as file:
                file.seek(0, 2)
                _finish(file, start, table, rows.labels, shape, metadata)
        (part if is_ordered else ordered).replace(path)
    except OSError as error:
        raise MienError(
            f"Cannot write the packed faces to {path.parent}: {error.strerror or error}. "
            "Make room there, or let MIEN_CACHE name another folder."
        ) from error
    finally:
        part.unlink(missing_ok=True)
        ordered.unlink(missing_ok=True)


def open_pack(path: Path) -> FaceSet:
    """Open a pack; the images stay on disk, memory-mapped, and are read-only.

    Raises:
        MienError: if there is no such file, it is no pack, or it is damaged.
    """
    try:
        header, start = read_header(path)
        metadata = header.pop("__metadata__")
        if metadata["mien.format"] != FORMAT:
            raise ValueError(f"its format is {metadata['mien.format']}, not {FORMAT}")
        if start + header["skipped"]["data_offsets"][1] != path.stat().st_size:
            raise ValueError("it is cut short")
        found = {name: view(path, start, header, name) for name in TENSORS if name in header}
        origin = json.loads(metadata["mien.origin"])
        return FaceSet(
            images=found["images"],
            targets=np.array(found["targets"]),  # a copy, for what lies on disk need not be aligned
            labels=LabelSet(json.loads(metadata["mien.labels"])),
            splits=np.array(found["splits"]),
            ids=found["ids"].view(f"S{found['ids'].shape[1]}")[:, 0],
            origin=Origin(origin["kind"], origin["path"], tuple(json.loads(bytes(found["skipped"])))),
            votes=np.array(found["votes"]) if "votes" in found else None,
            sizes=np.array(found["sizes"]) if "sizes" in found else None,
            columns=read_columns(found.get("columns")),
        )
    except OSError as error:
        raise MienError(f"Cannot open the pack {path}: {error.strerror or error}.") from error
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise MienError(f"{path} is no pack of labelled faces, or it is damaged: {error}. Make it anew.") from error


def pack_stamp(path: Path) -> str | None:
    """Read the stamp of a pack without opening the rest; None where there is no pack, or a damaged one."""
    try:
        return str(read_header(path)[0]["__metadata__"]["mien.stamp"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_pack(path: Path) -> bool:
    """Tell whether a path is a pack."""
    return pack_stamp(path) is not None


def recognise(tree: Tree) -> bool:
    """Tell whether the path is a pack."""
    return tree.is_single_file and is_pack(tree.path)


def read(tree: Tree) -> Rows:
    """Read a pack row by row, to pack it at another size.

    Raises:
        MienError: if it is damaged.
    """
    faces = open_pack(tree.path)

    def rows() -> Any:
        for i, target in enumerate(faces.targets):
            votes = None if faces.votes is None else faces.votes[i]
            height, width = faces.images.shape[1:3] if faces.sizes is None else faces.sizes[i].tolist()
            load = partial(faces.images.__getitem__, i)
            columns = {name: str(values[i]) for name, values in faces.columns.items()}
            split = SPLITS[faces.splits[i]]
            yield Row(faces.id(i), split, target, load, votes=votes, size=(height, width), columns=columns)

    return Rows(faces.origin.kind, faces.labels, rows(), len(faces))


def _append(file: IO[bytes], rows: Rows, size: int, channels: int, progress: Progress | None) -> PackedTable:
    table = PackedTable()
    for done, item in enumerate(decoded(rows.rows, size, channels), start=1):
        if progress and (done % 256 == 0 or done == rows.count):
            progress(done, rows.count)
        if isinstance(item, BadRow):
            table.bad.append(f"{item.place}: {item.reason}")
            continue
        row, image, had = item
        file.write(np.ascontiguousarray(image).data)
        table.append(row, had)
    return table


def _check(table: PackedTable, rows: Rows, path: Path, skip_bad: bool, source: str) -> None:
    good, bad = len(table.ids), len(table.bad)
    if bad and (not skip_bad or not good):
        text = "; ".join(table.bad[:_NAMED])
        if bad > _NAMED:
            listing = path.with_suffix(".unreadable.txt")
            listing.write_text("\n".join(table.bad) + "\n", errors="backslashreplace")
            text += f"; and {bad - _NAMED} more, all listed in {listing}"
        advice = "Put them right, or go on without them: skip_bad (--data.skip_bad true)." if good else "Nothing is left."
        raise MienError(f"{bad} of {bad + good} images cannot be read: {text}. {advice}")
    if not good:
        place = f"{source}, taken" if source else "what was taken"
        raise MienError(f"There are no rows in {place} for {rows.kind}; check that it is the file or folder you meant.")


def _finish(
    file: IO[bytes], start: int, table: PackedTable, labels: LabelSet, shape: tuple[int, ...], metadata: dict[str, str]
) -> None:
    """Write what follows the images, then the header into the room left for it."""
    tensors = table.tensors(len(labels))
    for name in (name for name in TENSORS if name in tensors):
        file.write(np.ascontiguousarray(tensors[name]).data)
    shapes = {"images": (len(table.ids), *shape), **{name: tensor.shape for name, tensor in tensors.items()}}
    file.seek(0)
    file.write(header_bytes(metadata, shapes, start))


def _copy_in_order(source: Path, into: Path, start: int, order: np.ndarray, shape: tuple[int, ...]) -> None:
    images = np.memmap(source, np.uint8, "r", start, (len(order), *shape))
    with into.open("wb") as file:
        file.seek(start)
        for i in range(0, len(order), 1024):
            file.write(images[order[i : i + 1024]].data)
