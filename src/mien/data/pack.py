"""One memory-mapped file of labelled faces: a safetensors file, written as the rows come and opened without a copy.

Tensors: images U8 (N, H, W) or (N, H, W, 3); targets F32 (N, K); votes F32 (N, K), only where there are any; sizes U32
(N, 2), height and width before packing, not in older packs; splits U8 (N,); ids U8 (N, width), UTF-8 filled up with zeros;
columns U8, JSON, a list of texts by the name of each further column, only where there are any; skipped U8, a JSON list. The
metadata name the format, the labels and the origin. Rows lie split by split, so that a split is a view and not a copy.
"""

import json
import os
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from mien.data.faceset import SPLITS, FaceSet, Origin
from mien.data.rows import BadRow, Row, Rows, Tree
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


def _append(file: IO[bytes], rows: Rows, size: int, channels: int, progress: Progress | None) -> "PackedTable":
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


def _check(table: "PackedTable", rows: Rows, path: Path, skip_bad: bool, source: str) -> None:
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
    file: IO[bytes], start: int, table: "PackedTable", labels: LabelSet, shape: tuple[int, ...], metadata: dict[str, str]
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


# How a pack lies in its file: a safetensors header with room to spare, then the tensors one after another.

TENSORS = {
    "images": np.uint8,
    "targets": np.float32,
    "votes": np.float32,
    "sizes": np.uint32,
    "splits": np.uint8,
    "ids": np.uint8,
    "columns": np.uint8,
    "skipped": np.uint8,
}
"""The tensors in the order in which they lie; "votes", "sizes" and "columns" are left out where there are none."""

_CODES = {np.uint8: "U8", np.uint32: "U32", np.float32: "F32"}
_BLOCK = 4096  # the header fills whole blocks, so that the images begin at a page


def header_room(metadata: dict[str, str], labels: int, shape: tuple[int, ...]) -> int:
    """Tell how many bytes to leave free for the header, before the rows are known.

    Args:
        metadata: as it will be written.
        labels: K.
        shape: of one image.
    """
    most = 10**12  # more rows, and longer ids, than there will be
    shapes = {
        "images": (most, *shape),
        "targets": (most, labels),
        "votes": (most, labels),
        "sizes": (most, 2),
        "splits": (most,),
        "ids": (most, most),
        "columns": (most,),
        "skipped": (most,),
    }
    return -(-len(header_bytes(metadata, shapes)) // _BLOCK) * _BLOCK


def header_bytes(metadata: dict[str, str], shapes: dict[str, tuple[int, ...]], room: int = 0) -> bytes:
    """Write the header of tensors of these shapes, filled up with spaces to `room` bytes."""
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, dtype in TENSORS.items():
        if name not in shapes:
            continue
        begin, end = end, end + prod(shapes[name]) * np.dtype(dtype).itemsize
        header[name] = {"dtype": _CODES[dtype], "shape": list(shapes[name]), "data_offsets": [begin, end]}
    text = json.dumps(header).encode().ljust(room - 8)
    return len(text).to_bytes(8, "little") + text


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """Read the header of a safetensors file.

    Returns:
        The header, and where the data begin.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is not a safetensors file.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            raise ValueError("it does not begin as a safetensors file does")
        return json.loads(file.read(length)), 8 + length


def view(path: Path, start: int, header: dict[str, Any], name: str) -> np.ndarray:
    """Map one tensor into memory, read-only.

    Raises:
        ValueError: if the header contradicts itself.
    """
    (begin, end), shape = header[name]["data_offsets"], tuple(header[name]["shape"])
    if prod(shape) * np.dtype(TENSORS[name]).itemsize != end - begin:
        raise ValueError("its header contradicts itself")
    return np.memmap(path, TENSORS[name], "r", start + begin, shape)


# What a pack holds of its rows besides their pixels, gathered row by row.


@dataclass
class PackedTable:
    """The rows so far, in their order, and what was said of those that could not be read."""

    targets: list[int | np.ndarray] = field(default_factory=list)
    splits: list[int] = field(default_factory=list)
    ids: list[bytes] = field(default_factory=list)
    votes: list[np.ndarray | None] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    columns: list[dict[str, str]] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)

    def append(self, row: Row, size: tuple[int, int]) -> None:
        """Add a row; its size is the height and width its image had."""
        self.targets.append(row.target)
        self.splits.append(SPLITS.index(row.split))
        self.ids.append(row.id.encode(errors="backslashreplace"))
        self.votes.append(row.votes)
        self.sizes.append(size)
        self.columns.append(dict(row.columns))

    def in_order(self, order: np.ndarray) -> "PackedTable":
        """Give the rows in another order."""
        return PackedTable(
            targets=[self.targets[i] for i in order],
            splits=[self.splits[i] for i in order],
            ids=[self.ids[i] for i in order],
            votes=[self.votes[i] for i in order],
            sizes=[self.sizes[i] for i in order],
            columns=[self.columns[i] for i in order],
            bad=self.bad,
        )

    def tensors(self, labels: int) -> dict[str, np.ndarray]:
        """Make the tensors of a pack, but for the images.

        Args:
            labels: K.
        """
        hard = np.eye(labels, dtype=np.float32)
        targets = np.stack([hard[target] if isinstance(target, int) else target for target in self.targets])
        ids = np.array(self.ids, dtype=bytes)
        tensors = {
            "targets": targets.astype("<f4"),
            "sizes": np.array(self.sizes, dtype="<u4"),
            "splits": np.array(self.splits, dtype=np.uint8),
            "ids": ids.view(np.uint8).reshape(len(ids), -1),
            "skipped": np.frombuffer(json.dumps(self.bad).encode(), np.uint8),
        }
        if any(votes is not None for votes in self.votes):
            unknown = np.zeros(labels, dtype=np.float32)
            tensors["votes"] = np.stack([unknown if votes is None else votes for votes in self.votes]).astype("<f4")
        if names := list(dict.fromkeys(name for columns in self.columns for name in columns)):
            values = {name: [columns.get(name, "") for columns in self.columns] for name in names}
            tensors["columns"] = np.frombuffer(json.dumps(values).encode(), np.uint8)
        return tensors


def read_columns(tensor: np.ndarray | None) -> dict[str, np.ndarray]:
    """Read the columns of a pack: each (N,) of text, by their names."""
    values = json.loads(bytes(tensor)) if tensor is not None else {}
    return {name: np.array(cells, dtype=str) for name, cells in values.items()}


# Rows to prepared faces: a few threads decode ahead, the order stays, memory stays flat.

Decoded = tuple[Row, np.ndarray, tuple[int, int]]

_CHUNK = 32  # rows that one thread decodes at a time, for handing over a single one costs more than decoding it
_THREADS = min(8, os.cpu_count() or 1)


def decoded(rows: Iterable[Row | BadRow], size: int, channels: int) -> Iterator[Decoded | BadRow]:
    """Load and prepare every row, in order; a row that cannot be read becomes a `BadRow`.

    Args:
        rows: what a reader gives.
        size: height and width of the faces in pixels.
        channels: 1 for gray, 3 for RGB.

    Yields:
        A row, its face, uint8 (size, size) or (size, size, 3), and the height and width it had before; or a bad row.
    """
    waiting: deque[Future[list[Decoded | BadRow]]] = deque()
    rows = iter(rows)
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="mien-decode")
    try:
        while chunk := list(islice(rows, _CHUNK)):
            waiting.append(pool.submit(_decode, chunk, size, channels))
            if len(waiting) > 2 * _THREADS:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _decode(chunk: list[Row | BadRow], size: int, channels: int) -> list[Decoded | BadRow]:
    from mien.images import prepare

    done: list[Decoded | BadRow] = []
    for row in chunk:
        if isinstance(row, BadRow):
            done.append(row)
            continue
        try:
            image = row.load()
            done.append((row, prepare(image, size, channels), row.size or (image.shape[0], image.shape[1])))
        except MienError as error:
            done.append(BadRow(row.place or row.id, str(error)))
    return done
