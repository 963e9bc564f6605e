"""List the inputs of a job lazily, locally or in a bucket, divide them into parts, and read the inputs of a part again."""

import hashlib
import json
import posixpath
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from glob import has_magic
from itertools import chain
from pathlib import Path
from typing import Any

from mien.data.rows import KNOWN
from mien.errors import MienError, shortened
from mien.images import is_image_name, matching, member_name
from mien.inference.prediction import Frame, Unread
from mien.inference.sources import camera_number, check_names, folder_files, is_stream, natural
from mien.inputs import failure, reason_of

PARQUET = (".parquet", ".pq")
ROWS_AT_ONCE = 64  # rows of a Parquet file with images that are in memory together
_WEB = ("http", "https", "data")  # schemes that are no file system: `mien.predict` downloads or decodes these

# An input is a list for JSON: ["path", name], a local file; ["object", name], a file of another file system;
# ["row", file, row group, first row in it, rows, number of the first row in the file], images in a Parquet file;
# ["error", name, why it cannot be read].
Input = list[Any]


class Files:
    """Opens names in the file systems where they are: one given by the caller, those of URIs such as s3://, or local ones."""

    def __init__(self, filesystem: Any = None) -> None:
        self._given = filesystem
        self._opened: dict[str, Any] = {}

    def is_elsewhere(self, name: str) -> bool:
        """Tell whether a name is in a file system of pyarrow, and not a local path or an address for `mien.predict`."""
        scheme = re.match(r"([a-z][a-z0-9+.-]+)://", name, re.IGNORECASE)
        return self._given is not None or bool(scheme and scheme[1].lower() not in _WEB and not is_stream(name))

    def locate(self, name: str) -> tuple[Any, str]:
        """Return the file system of a name, and its path there; a MienError if the file system cannot be opened."""
        from pyarrow import fs

        if self._given is not None:
            return self._given, name
        if not self.is_elsewhere(name):
            return fs.LocalFileSystem(), name
        body, mark, query = name.partition("?")
        place = "/".join(body.split("/")[:3])  # scheme and bucket
        key, path = place + mark + query, body.removeprefix(place)
        try:
            if key not in self._opened:
                system, whole = fs.FileSystem.from_uri(name)
                if not whole.endswith(path.rstrip("/")):
                    raise ValueError("its path is escaped; write it as it is, or name the folder above")
                self._opened[key] = system, whole.removesuffix(path.rstrip("/"))
        except Exception as problem:  # ArrowInvalid, OSError, or a library that is missing
            raise MienError(f"{name!r} cannot be opened ({reason_of(problem)}); check the address and its options.") from None
        system, before = self._opened[key]
        return system, before + path

    def read(self, name: str) -> bytes:
        """Read a whole file."""
        system, path = self.locate(name)
        with system.open_input_stream(path) as stream:
            return bytes(stream.read())

    def info(self, name: str) -> Any:
        """Return pyarrow's FileInfo of a name; a MienError if it may not be examined."""
        system, path = self.locate(name)
        try:
            return system.get_file_info(path)
        except OSError as problem:
            rights = "check that the credentials of this machine and of the workers may list and read it"
            raise MienError(f"{name!r} cannot be read ({reason_of(problem)}); {rights}.") from None

    def check(self, names: list[str], fetch: bool) -> None:
        """Raise a MienError for an input that cannot be divided, or may not be read, and if there is nothing under any name."""
        for name in names:
            if name == "-" or (not self.is_elsewhere(name) and (camera_number(name) is not None or _is_live(name, fetch))):
                kind = "a list of paths; write it into a Parquet file" if name == "-" else "a camera or stream"
                raise MienError(f"{name!r} is {kind}; --engine ray reads folders, patterns, files, Parquet and buckets.")
        elsewhere = [name for name in names if self.is_elsewhere(name)]
        found = [self.info(name).type.name != "NotFound" for name in elsewhere]
        if local := [name for name in names if name not in elsewhere]:
            check_names(local, fetch)
        elif not any(found):
            raise MienError(f"There is nothing at {names[0]!r}; check the bucket and the path.")


def _is_live(name: str, fetch: bool) -> bool:
    return is_stream(name) and not (fetch and name.lower().startswith("http"))


def list_inputs(names: Iterable[str], files: Files, size: int) -> Iterator[Input]:
    """List the inputs under these names on demand, in the order of `mien predict`; of Parquet at most `size` rows in one."""
    for name in names:
        try:
            yield from _list_elsewhere(name, files, size) if files.is_elsewhere(name) else _list_local(name, files, size)
        except Exception as problem:  # one name that cannot be read does not end the job
            yield ["error", name, failure(f"input {name!r}", problem)]


def _list_local(name: str, files: Files, size: int) -> Iterator[Input]:
    path = Path(name)
    with suppress(OSError):  # of a name that is too long
        if path.is_dir():
            for found in folder_files(path):
                yield ["error", found.source, found.error] if isinstance(found, Frame) else ["path", found]
            return
    paths = matching(name, natural) if has_magic(name) and not path.exists() else [name]
    for each in paths:
        yield from _list_table(each, files, size) if each.lower().endswith(PARQUET) else [["path", each]]
    if not paths:
        yield ["error", name, f"Nothing matches {name!r}."]


def _list_elsewhere(name: str, files: Files, size: int) -> Iterator[Input]:
    info = files.info(name)
    if info.type.name != "Directory":
        yield from _list_table(name, files, size) if name.lower().endswith(PARQUET) else [["object", name]]
        return
    is_empty = True
    for found in _walk(name, files):
        is_empty = False
        is_table = found[0] == "object" and found[1].lower().endswith(PARQUET)
        yield from _list_table(found[1], files, size) if is_table else [found]
    if is_empty:
        yield ["error", name, f"{name!r} holds no images (.jpg, .png or the like) and no Parquet; give one that does."]


def _walk(name: str, files: Files) -> Iterator[Input]:
    """List the images and Parquet files below a folder, one folder at a time, so that memory holds no whole bucket."""
    from pyarrow.fs import FileSelector

    system, path = files.locate(name)
    folder, mark, query = name.partition("?")
    try:
        entries = system.get_file_info(FileSelector(path))
    except OSError as problem:
        yield ["error", name, f"The folder {name!r} cannot be read ({reason_of(problem)})."]
        return
    for entry in sorted(entries, key=lambda entry: natural(entry.base_name)):
        below = f"{folder.rstrip('/')}/{entry.base_name}{mark}{query}"
        if not member_name(entry.base_name):  # hidden
            continue
        if entry.type.name == "Directory":
            yield from _walk(below, files)
        elif is_image_name(entry.base_name) or entry.base_name.lower().endswith(PARQUET):
            yield ["object", below]


def _list_table(name: str, files: Files, size: int) -> Iterator[Input]:
    """List the rows of a Parquet file: images by their place in it, which the worker reads, and paths relative to it."""
    try:
        table = _open_table(name, files)
        image, text = image_columns(table.schema_arrow)
    except Exception as problem:  # pyarrow's own
        yield ["error", name, failure(f"table {name!r}", problem, "is damaged or no Parquet")]
        return
    number = 0
    for group in range(table.num_row_groups):
        rows = table.metadata.row_group(group).num_rows
        if image:
            starts = range(0, rows, size)
            yield from (["row", name, group, start, min(size, rows - start), number + start] for start in starts)
        else:
            batches = table.iter_batches(row_groups=[group], columns=[text])
            cells = chain.from_iterable(batch.column(0).to_pylist() for batch in batches)
            yield from (_cell_input(name, number + row, cell, files) for row, cell in enumerate(cells))
        number += rows


def _cell_input(table: str, row: int, cell: Any, files: Files) -> Input:
    if not isinstance(cell, str) or not cell.strip():
        return ["error", row_name(table, row), f"Row {row:,} of {table!r} has no path."]
    if is_stream(cell) and not cell.lower().startswith("http"):
        return ["error", cell, f"{shortened(cell)!r} is a camera or stream, which a table may not name."]
    is_address = re.match(r"[a-z][a-z0-9+.-]+:", cell, re.IGNORECASE) is not None and "://" in cell
    if not is_address:
        cell = posixpath.normpath(posixpath.join(posixpath.dirname(table), cell.strip().replace("\\", "/")))
    return ["object" if files.is_elsewhere(cell) else "path", cell]


def image_columns(schema: Any) -> tuple[str | None, str | None]:
    """Return the column of a table that holds the bytes of images, and the one that holds paths; a MienError for neither."""
    words = [word for word in KNOWN["columns"]["image"] if word != "pixels"]
    held = next((field.name for field in schema if _holds_bytes(field.type)), None)
    text = [field.name for field in schema if str(field.type) in ("string", "large_string")]
    by_word = {name.casefold(): name for name in reversed(text)}
    named = next((by_word[word] for word in words if word in by_word), None)
    if held is None and named is None:
        raise MienError(f"has neither a column of images (bytes) nor one of paths ({', '.join(words[:3])}); name one so.")
    return held, named


def _holds_bytes(kind: Any) -> bool:  # or the struct of the Hugging Face hub, with bytes and path
    if str(kind).startswith("struct"):
        return any(field.name == "bytes" and _holds_bytes(field.type) for field in kind)
    return "binary" in str(kind).partition("<")[0]


def row_name(table: str, row: int) -> str:
    """Name a row of a table that has no path."""
    return f"{table}/row {row}"


def _open_table(name: str, files: Files) -> Any:
    from pyarrow.parquet import ParquetFile

    system, path = files.locate(name)
    return ParquetFile(system.open_input_file(path), pre_buffer=False)


def opened_inputs(items: Iterable[Input], files: Files) -> Iterator[str | Frame | Unread]:
    """Give each input of a part the form that `mien.predict` takes; what cannot be read becomes a frame with an error."""
    for kind, name, *rest in items:
        if kind == "path":
            yield name
        elif kind == "object":
            yield Unread(name, partial(_read_object, name, files))
        elif kind == "row":
            yield from _read_rows(files, name, *rest)
        else:
            yield Frame(name, error=rest[0])


def _read_object(name: str, files: Files) -> bytes:
    try:
        return files.read(name)
    except OSError as problem:
        raise MienError(f"The image {name!r} cannot be read ({reason_of(problem)}).") from None


def _read_rows(files: Files, name: str, group: int, start: int, rows: int, number: int) -> Iterator[Frame | Unread]:
    done = 0
    try:
        table = _open_table(name, files)
        image, text = image_columns(table.schema_arrow)
        seen = 0
        for batch in table.iter_batches(ROWS_AT_ONCE, row_groups=[group], columns=[each for each in (image, text) if each]):
            first, last = max(start - seen, 0), min(start + rows - seen, len(batch))
            seen += len(batch)
            for record in batch.slice(first, max(0, last - first)).to_pylist() if first < last else ():
                yield _row_input(record[image], record[text] if text else None, row_name(name, number + done))
                done += 1
            if seen >= start + rows:
                break
    except Exception as problem:  # pyarrow's own
        reason = failure(f"table {name!r}", problem, "is damaged")
        yield from (Frame(row_name(name, number + row), error=reason) for row in range(done, rows))


def _row_input(cell: Any, text: Any, name: str) -> Frame | Unread:
    path, content = (cell.get("path"), cell.get("bytes")) if isinstance(cell, dict) else (None, cell)
    name = next((each for each in (path, text) if isinstance(each, str) and each), name)
    return Unread(name, content) if isinstance(content, bytes) else Frame(name, error="The row holds no image.")


def split_parts(items: Iterable[Input], size: int) -> Iterator[str]:
    """Divide inputs into parts of at most `size`, each the JSON of its inputs: the same inputs give the same parts."""
    part, held = list[Input](), 0
    for item in items:
        count = item[4] if item[0] == "row" else 1
        if held and held + count > size:
            yield json.dumps(part)
            part, held = [], 0
        part.append(item)
        held += count
    if part:
        yield json.dumps(part)


def part_name(number: int, items: str) -> str:
    """Name the file of a part by its number, for the order, and by a hash of its inputs: a retry has the same name."""
    return f"part-{number:08d}-{hashlib.sha256(items.encode()).hexdigest()[:16]}.parquet"
