"""Memory-mapped safetensors files of labelled faces, sorted by split: a split is a view (docs/data.md lists the tensors)."""

import json
import os
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mien.data.faceset import NO_FACE, SPLITS, FaceSet, Origin
from mien.data.rows import MISTAKES, BadRow, Row, Rows, Tree
from mien.errors import MienError, first_line
from mien.files import write_whole
from mien.images import prepare
from mien.inputs import pixels_in_flight, reason_of
from mien.labels import LabelSet

FORMAT = "1"  # written into every pack; packs of another format are rejected, or made again in the cache
Progress = Callable[[int, int | None], None]  # called now and then with the rows done, and all rows if their number is known
Crop = Callable[[np.ndarray], np.ndarray | None]  # crops the face of a photo, or returns None if there is no face
OpenCrop = Callable[[str], Crop]  # opens the detector of a name
Item = TypeVar("Item")
Result = TypeVar("Result")
Decoded = tuple[Row, np.ndarray, tuple[int, ...]]  # a row, its prepared face, and the height and width it had before
_COLUMNS = {"targets": "<f4", "votes": "<f4", "sizes": "<u4", "splits": "u1"}  # types of what every row has
_DTYPES = {"U8": np.uint8, "U32": np.uint32, "F32": np.float32}  # by their names in safetensors
_METADATA = {"mien.format", "mien.labels", "mien.origin", "mien.stamp"}
_CHECKSUM = "mien.checksum"
_BLOCK = 4096  # the header fills whole blocks, so that the images begin at a page
_TENSOR_ROOM = 2048  # bytes of the header for the tensors: eight of at most 200
_NAMED = 5  # bad rows named in the message; if there are more, all are listed in a file
_THREADS = min(8, os.cpu_count() or 1)


def write_pack(
    path: Path,
    rows: Rows,
    size: int,
    channels: int,
    source: str = "",
    stamp: str = "",
    skip_bad: bool = False,
    progress: Progress | None = None,
    crop: Crop | None = None,
) -> None:
    """Decode, prepare and write the rows of the path `source` in flat memory, without those in which `crop` finds no face."""
    shape = (size, size) if channels == 1 else (size, size, 3)
    metadata = {"mien.format": FORMAT, "mien.labels": json.dumps(list(rows.labels))}
    metadata |= {"mien.origin": json.dumps({"kind": rows.kind, "path": source}), "mien.stamp": stamp}
    start = -(-(len(json.dumps(metadata)) + _TENSOR_ROOM) // _BLOCK) * _BLOCK

    def write(part: Path) -> None:
        known = np.eye(len(rows.labels) + 1, len(rows.labels), dtype="<f4")  # the last row: nothing is known
        table = {name: bytearray() for name in _COLUMNS}  # objects would take ten times as much
        ids, columns, bad, has_votes = list[bytes](), list[Mapping[str, str]](), list[str](), False
        with part.open("wb") as file:
            file.seek(start)
            work = partial(_decode, size=size, channels=channels, crop=crop)
            # 32 at a time: passing on a single one costs more than decoding it
            for done, item in enumerate(in_threads(work, rows.rows, 32), start=1):
                if progress and (done % 256 == 0 or done == rows.count):
                    progress(done, rows.count)
                if isinstance(item, BadRow):
                    bad.append(f"{item.place}: {item.reason}")
                    continue
                row, image, original = item
                file.write(np.ascontiguousarray(image).data)
                for name, shares in (("targets", row.target), ("votes", row.votes)):
                    shares = known[-1 if shares is None else shares] if not isinstance(shares, np.ndarray) else shares
                    table[name] += shares.tobytes()
                table["sizes"] += np.array(original, dtype="<u4").tobytes()
                table["splits"].append(SPLITS.index(row.split))
                ids.append(row.id.encode(errors="backslashreplace"))
                columns.append(row.columns)
                has_votes |= row.votes is not None
        _check(len(ids), bad, rows.kind, path, skip_bad, source)
        order = np.argsort(np.frombuffer(table["splits"], np.uint8), kind="stable")
        if (np.diff(order) != 1).any():
            write_whole(part, lambda ordered: _copy_images(part, ordered, start, order, shape))
        tensors: dict[str, np.ndarray] = {"images": np.memmap(part, np.uint8, "r", start, (len(order), *shape))}
        for name in (name for name in table if has_votes or name != "votes"):
            tensors[name] = np.frombuffer(table[name], _COLUMNS[name]).reshape(len(order), -1)[order]
        tensors["splits"] = tensors["splits"][:, 0]
        tensors["ids"] = np.array(ids, dtype=bytes)[order].view(np.uint8).reshape(len(order), -1)
        if names := list(dict.fromkeys(name for each in order for name in columns[each])):
            cells = {name: [columns[each].get(name, "") for each in order] for name in names}
            tensors["columns"] = np.frombuffer(json.dumps(cells).encode(), np.uint8)
        tensors["skipped"] = np.frombuffer(json.dumps(bad).encode(), np.uint8)
        header, end = dict[str, Any](__metadata__=metadata), 0
        with part.open("r+b") as file:
            file.seek(0, os.SEEK_END)
            for name, tensor in tensors.items():
                code = f"{tensor.dtype.kind.upper()}{8 * tensor.itemsize}"
                begin, end = end, end + tensor.nbytes
                header[name] = {"dtype": code, "shape": tensor.shape, "data_offsets": [begin, end]}
                if name != "images":
                    file.write(np.ascontiguousarray(tensor).data)
            file.flush()
            header["__metadata__"] = {**metadata, _CHECKSUM: _checksum(part, header, start)}
            file.seek(0)
            file.write((start - 8).to_bytes(8, "little") + json.dumps(header).encode().ljust(start - 8))

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, write)
    except OSError as error:
        raise MienError(MISTAKES["cannot write"].format(path.parent, error.strerror or error)) from error


def in_threads(work: Callable[[Item], Result], items: Iterable[Item], at_a_time: int) -> Iterator[Result]:
    """Work on items in a few threads, several at a time in each, and yield the results in order, in bounded memory."""
    waiting: deque[Future[list[Result]]] = deque()
    items, pool = iter(items), ThreadPoolExecutor(_THREADS, thread_name_prefix="mien-decode")
    try:
        while chunk := list(islice(items, at_a_time)):
            waiting.append(pool.submit(lambda chunk: list(map(work, chunk)), chunk))
            if len(waiting) > 2 * _THREADS:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


@pixels_in_flight()
def _decode(row: Row | BadRow, size: int, channels: int, crop: Crop | None) -> Decoded | BadRow:
    """Load, crop and prepare the image of a row, which becomes a `BadRow` without a readable image or face."""
    if isinstance(row, BadRow):
        return row
    try:
        image = row.load()
        face = crop(image) if crop else image
        if face is None:
            return BadRow(row.place or row.id, NO_FACE)
        return row, prepare(face, size, channels), (row.size if face is image else None) or face.shape[:2]
    except Exception as error:  # whatever reading a row raises concerns this row only
        return BadRow(row.place or row.id, reason_of(error))


def _check(good: int, bad: list[str], kind: str, path: Path, skip_bad: bool, source: str) -> None:
    every = len(bad) + good
    bad = [each for each in bad if not each.endswith(NO_FACE)]
    if every and not good and not bad:
        raise MienError(MISTAKES["no faces"].format(every, source))
    if bad and (not skip_bad or not good):
        text = "; ".join(bad[:_NAMED])
        if len(bad) > _NAMED:
            listing = path.with_suffix(".unreadable.txt")
            listing.write_text("\n".join(bad) + "\n", errors="backslashreplace")
            text += f"; and {len(bad) - _NAMED} more, all listed in {listing}"
        advice = "Correct them, or go on without them: skip_bad (--data.skip_bad)." if good else "Nothing is left."
        raise MienError(f"{len(bad)} of {every} images cannot be read: {text}. {advice}")
    if not good:
        raise MienError(f"There are no rows in {source or 'the source'}, read as {kind}; check that it is the right path.")


def _copy_images(source: Path, into: Path, start: int, order: np.ndarray, shape: tuple[int, ...]) -> None:
    images = np.memmap(source, np.uint8, "r", start, (len(order), *shape))
    with into.open("wb") as file:
        file.seek(start)
        file.writelines(images[row].data for row in order)


def open_pack(path: Path) -> FaceSet:
    """Open a pack; the images stay on disk, memory-mapped, and are read-only. MienError if it is missing, or no whole pack."""
    try:
        header, start = read_header(path)
        metadata = header["__metadata__"]
        if metadata["mien.format"] != FORMAT:
            raise ValueError(f"its format is {metadata['mien.format']}, not {FORMAT}")
        if start + header["skipped"]["data_offsets"][1] != path.stat().st_size:
            raise ValueError("it is cut short")
        checksum = metadata.pop(_CHECKSUM, None)
        if metadata.keys() != _METADATA or (checksum is not None and checksum != _checksum(path, header, start)):
            raise ValueError("its checksum differs")
        tensors = {}
        for name in header.keys() - {"__metadata__"}:
            begin, end = header[name]["data_offsets"]
            data = np.memmap(path, np.uint8, "r", start + begin, (end - begin,))
            tensors[name] = data.view(_DTYPES[header[name]["dtype"]]).reshape(header[name]["shape"])
        skipped = tuple(map(str, json.loads(bytes(tensors["skipped"]))))
        columns = json.loads(bytes(tensors["columns"])) if "columns" in tensors else {}
        arrays = ("targets", "splits", "votes", "sizes")  # in memory, because the data on disk may not be aligned
        in_memory: dict[str, Any] = {name: np.array(tensors[name]) for name in arrays if name in tensors}
        in_memory["columns"] = {name: np.array(cells, dtype=str) for name, cells in columns.items()}
        in_memory["labels"] = LabelSet(json.loads(metadata["mien.labels"]))
        in_memory["origin"] = Origin(**json.loads(metadata["mien.origin"]), skipped=skipped)
        return FaceSet(tensors["images"], ids=tensors["ids"].view(f"S{tensors['ids'].shape[1]}")[:, 0], **in_memory)
    except OSError as error:
        raise MienError(f"Cannot open the pack {path}: {error.strerror or error}.") from error
    except Exception as error:  # a damaged header may be any JSON
        reason = f"it has no {error}" if isinstance(error, KeyError) else first_line(error)
        raise MienError(f"{path} is not a pack of labelled faces, or it is damaged: {reason}. Make it again.") from error


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """Read the header of a safetensors file, and where its data begin."""
    if path.exists() and not path.is_file():
        raise ValueError("it is a folder, a pipe or a device")
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(path.stat().st_size, 100_000_000):  # the limit of the safetensors library
            raise ValueError("it does not begin as a safetensors file does")
        return json.loads(file.read(length)), 8 + length


def _checksum(path: Path, header: dict[str, Any], start: int) -> str:
    value = zlib.crc32(json.dumps(header).encode())
    with path.open("rb") as file:
        file.seek(start)
        while block := file.read(1 << 16):
            value = zlib.crc32(block, value)
    return f"{value:08x}"


def pack_stamp(path: Path) -> str | None:
    """Read the stamp of a pack without opening the rest; None where there is no pack, or a damaged one."""
    try:
        return str(read_header(path)[0]["__metadata__"]["mien.stamp"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def is_pack(path: Path) -> bool:
    """Return whether a file is meant to be a pack, damaged or not."""
    return path.is_file() and (path.suffix.lower() in (".safetensors", ".pack") or pack_stamp(path) is not None)


def read(tree: Tree) -> Rows:
    """Read a pack row by row, to pack it at another size."""
    faces = open_pack(tree.path)

    def rows() -> Iterator[Row]:
        for i, target in enumerate(faces.targets):
            height, width = faces.images.shape[1:3] if faces.sizes is None else faces.sizes[i].tolist()
            load, votes = partial(faces.images.__getitem__, i), None if faces.votes is None else faces.votes[i]
            columns = {name: str(values[i]) for name, values in faces.columns.items()}
            yield Row(faces.id(i), SPLITS[faces.splits[i]], target, load, votes=votes, size=(height, width), columns=columns)

    return Rows(faces.origin.kind, faces.labels, rows(), len(faces))
