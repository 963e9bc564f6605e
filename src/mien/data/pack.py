"""One memory-mapped file of labelled faces: a safetensors file, written as the rows come and opened without a copy.

Tensors: images U8 (N, H, W) or (N, H, W, 3); targets F32 (N, K); votes F32 (N, K), only where there are any; sizes U32
(N, 2), height and width before packing, not in older packs; splits U8 (N,); ids U8 (N, width), UTF-8 filled up with zeros;
columns U8, JSON, a list of texts by the name of each further column, only where there are any; skipped U8, a JSON list. The
metadata name the format, the labels and the origin. Rows are sorted by split, so that a split is a view and not a copy.
"""

import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from mien.data.faceset import SPLITS, FaceSet, Origin
from mien.data.rows import BadRow, Row, Rows, Tree
from mien.errors import MienError
from mien.files import write_whole
from mien.images import prepare
from mien.labels import LabelSet

FORMAT = "1"
"""Written into every pack; packs of another format are rejected, or made again in the cache."""

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
"""The tensors in the order of the file; "votes", "sizes" and "columns" are left out where there are none."""

Progress = Callable[[int, int | None], None]
"""Called now and then with the number of rows done, and of all rows where that is known beforehand."""

_CODES = {np.uint8: "U8", np.uint32: "U32", np.float32: "F32"}
_BLOCK = 4096  # the header fills whole blocks, so that the images begin at a page
_TENSOR_ROOM = 2048  # bytes of the header for the tensors: eight of at most 200
_NAMED = 5  # bad rows named in the message; if there are more, all are listed in a file
_CHUNK = 32  # rows decoded by one thread at a time: passing on a single one costs more than decoding it
_THREADS = min(8, os.cpu_count() or 1)

_Entry = tuple[int | np.ndarray, int, bytes, np.ndarray | None, tuple[int, int], Mapping[str, str]]
"""A row without its pixels: target, split, id, votes, height and width, columns."""

Decoded = tuple[Row, np.ndarray, tuple[int, int]]
"""A row, its face, uint8 (size, size) or (size, size, 3), and the height and width it had before."""


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
    """Decode, prepare and write rows; memory use does not grow with their number, and an existing file is complete.

    A list of many bad rows is written next to the pack. `source`, the path of the rows, and `stamp` are stored in the pack.
    """
    shape = (size, size) if channels == 1 else (size, size, 3)
    metadata = {
        "mien.format": FORMAT,
        "mien.labels": json.dumps(list(rows.labels)),
        "mien.origin": json.dumps({"kind": rows.kind, "path": source}),
        "mien.stamp": stamp,
    }
    start = -(-(len(json.dumps(metadata)) + _TENSOR_ROOM) // _BLOCK) * _BLOCK

    def write(part: Path) -> None:
        with part.open("wb") as file:
            file.seek(start)
            entries, bad = _write_images(file, rows, size, channels, progress)
        _check(len(entries), bad, rows.kind, path, skip_bad, source)
        order = np.argsort([split for _, split, *_ in entries], kind="stable")
        if (np.diff(order) != 1).any():
            write_whole(part, lambda ordered: _copy_images(part, ordered, start, order, shape))
        tensors = _tensors([entries[row] for row in order], bad, len(rows.labels))
        with part.open("r+b") as file:
            file.seek(0, os.SEEK_END)
            for name in TENSORS:
                if name in tensors:
                    file.write(np.ascontiguousarray(tensors[name]).data)
            file.seek(0)
            shapes = {"images": (len(entries), *shape), **{name: tensor.shape for name, tensor in tensors.items()}}
            file.write(_header(metadata, shapes, start))

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, write)
    except OSError as error:
        raise MienError(
            f"Cannot write the packed faces to {path.parent}: {error.strerror or error}. "
            "Make room there, or set MIEN_CACHE to another folder."
        ) from error


def _write_images(
    file: IO[bytes], rows: Rows, size: int, channels: int, progress: Progress | None
) -> tuple[list[_Entry], list[str]]:
    """Write the faces; returns the rows without their pixels, and a description of every bad row."""
    entries: list[_Entry] = []
    bad: list[str] = []
    for done, item in enumerate(decoded(rows.rows, size, channels), start=1):
        if progress and (done % 256 == 0 or done == rows.count):
            progress(done, rows.count)
        if isinstance(item, BadRow):
            bad.append(f"{item.place}: {item.reason}")
            continue
        row, image, original = item
        file.write(np.ascontiguousarray(image).data)
        id_ = row.id.encode(errors="backslashreplace")
        entries.append((row.target, SPLITS.index(row.split), id_, row.votes, original, row.columns))
    return entries, bad


def decoded(rows: Iterable[Row | BadRow], size: int, channels: int) -> Iterator[Decoded | BadRow]:
    """Load and prepare every row in a few threads, in order; a row that cannot be read becomes a `BadRow`."""
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


def _check(good: int, bad: list[str], kind: str, path: Path, skip_bad: bool, source: str) -> None:
    if bad and (not skip_bad or not good):
        text = "; ".join(bad[:_NAMED])
        if len(bad) > _NAMED:
            listing = path.with_suffix(".unreadable.txt")
            listing.write_text("\n".join(bad) + "\n", errors="backslashreplace")
            text += f"; and {len(bad) - _NAMED} more, all listed in {listing}"
        advice = "Correct them, or go on without them: skip_bad (--data.skip_bad true)." if good else "Nothing is left."
        raise MienError(f"{len(bad)} of {len(bad) + good} images cannot be read: {text}. {advice}")
    if not good:
        raise MienError(f"There are no rows in {source or 'the source'}, read as {kind}; check that it is the right path.")


def _copy_images(source: Path, into: Path, start: int, order: np.ndarray, shape: tuple[int, ...]) -> None:
    images = np.memmap(source, np.uint8, "r", start, (len(order), *shape))
    with into.open("wb") as file:
        file.seek(start)
        for i in range(0, len(order), 1024):
            file.write(images[order[i : i + 1024]].data)


def _tensors(entries: list[_Entry], bad: list[str], labels: int) -> dict[str, np.ndarray]:
    """Make all tensors of a pack but the images."""
    targets, splits, ids, votes, sizes, columns = zip(*entries, strict=True)
    hard = np.eye(labels, dtype=np.float32)
    id_array = np.array(ids, dtype=bytes)
    tensors = {
        "targets": np.stack([hard[each] if isinstance(each, int) else each for each in targets]).astype("<f4"),
        "sizes": np.array(sizes, dtype="<u4"),
        "splits": np.array(splits, dtype=np.uint8),
        "ids": id_array.view(np.uint8).reshape(len(ids), -1),
        "skipped": np.frombuffer(json.dumps(bad).encode(), np.uint8),
    }
    if any(each is not None for each in votes):
        unknown = np.zeros(labels, dtype=np.float32)
        tensors["votes"] = np.stack([unknown if each is None else each for each in votes]).astype("<f4")
    if names := list(dict.fromkeys(name for each in columns for name in each)):
        values = {name: [each.get(name, "") for each in columns] for name in names}
        tensors["columns"] = np.frombuffer(json.dumps(values).encode(), np.uint8)
    return tensors


def _header(metadata: dict[str, str], shapes: dict[str, tuple[int, ...]], room: int) -> bytes:
    """Make the header of tensors of these shapes, filled up with spaces to `room` bytes."""
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, dtype in TENSORS.items():
        if name in shapes:
            begin, end = end, end + prod(shapes[name]) * np.dtype(dtype).itemsize
            header[name] = {"dtype": _CODES[dtype], "shape": list(shapes[name]), "data_offsets": [begin, end]}
    text = json.dumps(header).encode().ljust(room - 8)
    return len(text).to_bytes(8, "little") + text


def open_pack(path: Path) -> FaceSet:
    """Open a pack; the images stay on disk, memory-mapped, and are read-only.

    Raises:
        MienError: if there is no such file, it is not a pack, or it is damaged.
    """
    try:
        header, start = read_header(path)
        metadata = header.pop("__metadata__")
        if metadata["mien.format"] != FORMAT:
            raise ValueError(f"its format is {metadata['mien.format']}, not {FORMAT}")
        if start + header["skipped"]["data_offsets"][1] != path.stat().st_size:
            raise ValueError("it is cut short")
        found = {name: _view(path, start, header[name], dtype) for name, dtype in TENSORS.items() if name in header}
        origin = json.loads(metadata["mien.origin"])
        columns = json.loads(bytes(found["columns"])) if "columns" in found else {}
        return FaceSet(
            images=found["images"],
            targets=np.array(found["targets"]),  # a copy, because the data on disk may not be aligned
            labels=LabelSet(json.loads(metadata["mien.labels"])),
            splits=np.array(found["splits"]),
            ids=found["ids"].view(f"S{found['ids'].shape[1]}")[:, 0],
            origin=Origin(origin["kind"], origin["path"], tuple(json.loads(bytes(found["skipped"])))),
            votes=np.array(found["votes"]) if "votes" in found else None,
            sizes=np.array(found["sizes"]) if "sizes" in found else None,
            columns={name: np.array(cells, dtype=str) for name, cells in columns.items()},
        )
    except OSError as error:
        raise MienError(f"Cannot open the pack {path}: {error.strerror or error}.") from error
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise MienError(f"{path} is not a pack of labelled faces, or it is damaged: {error}. Make it again.") from error


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """Read the header of a safetensors file, and where its data begin."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            raise ValueError("it does not begin as a safetensors file does")
        return json.loads(file.read(length)), 8 + length


def _view(path: Path, start: int, tensor: dict[str, Any], dtype: Any) -> np.ndarray:
    """Map one tensor into memory, read-only."""
    (begin, end), shape = tensor["data_offsets"], tuple(tensor["shape"])
    if prod(shape) * np.dtype(dtype).itemsize != end - begin:
        raise ValueError("its header contradicts itself")
    return np.memmap(path, dtype, "r", start + begin, shape)


def pack_stamp(path: Path) -> str | None:
    """Read the stamp of a pack without opening the rest; None where there is no pack, or a damaged one."""
    try:
        return str(read_header(path)[0]["__metadata__"]["mien.stamp"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_pack(path: Path) -> bool:
    """Return whether a path is a pack."""
    return pack_stamp(path) is not None


def recognise(tree: Tree) -> bool:
    """Return whether the path is a pack."""
    return tree.is_single_file and is_pack(tree.path)


def read(tree: Tree) -> Rows:
    """Read a pack row by row, to pack it at another size."""
    faces = open_pack(tree.path)

    def rows() -> Iterator[Row]:
        for i, target in enumerate(faces.targets):
            height, width = faces.images.shape[1:3] if faces.sizes is None else faces.sizes[i].tolist()
            yield Row(
                faces.id(i),
                SPLITS[faces.splits[i]],
                target,
                load=partial(faces.images.__getitem__, i),
                votes=None if faces.votes is None else faces.votes[i],
                size=(height, width),
                columns={name: str(values[i]) for name, values in faces.columns.items()},
            )

    return Rows(faces.origin.kind, faces.labels, rows(), len(faces))
