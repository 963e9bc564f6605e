"""What every reader works with: the files at a path, the words of data sets, and labelled images that are not decoded yet."""

import bz2
import csv
import functools
import gzip
import hashlib
import io
import lzma
import os
import re
import sys
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from stat import S_ISDIR, S_ISREG
from typing import IO, Any, cast

import numpy as np

from mien.errors import MienError, load_table, shortened
from mien.files import missing_path
from mien.images import member_name, open_member, read_image, walk, zip_members
from mien.inputs import MOST_CELLS, BoundedReader, open_file, reason_of, text_lines, unpack
from mien.labels import FERPLUS, LabelSet, meaning

KNOWN = load_table(__file__, "known")  # the words of published data sets
MISTAKES: dict[str, str] = KNOWN["mistakes"]
TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".lst")
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz")
_STREAMED = (*TABLE_SUFFIXES, ".parquet")  # the files of an archive that may be large, and are read by one thread
_LARGEST_FILE = 1 << 31  # bytes of one image or Parquet file that are read into memory, whatever an archive says of them
_TAR_MEMORY = 1 << 30  # bytes of a tar's headers and of the small files of a compressed one, which are kept: it has no index
_TAR_HEADER = 1 << 20  # bytes of the name and the attributes of a file in a tar, which tarfile reads whatever their size
_COMPRESSIONS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open, b"]\0": lzma.open}  # of tars


@dataclass(frozen=True)
class Tree:
    """The files of one file, a folder or an archive."""

    path: Path  # from the user
    files: tuple[str, ...]  # sorted names relative to the folder or archive, with slashes; of a single file, its own name
    folders: tuple[str, ...]  # sorted names of all folders, empty ones too
    open: Callable[[str], AbstractContextManager[IO[bytes]]]  # opens a file by name
    root: Path | None  # the folder that names are relative to; None inside an archive

    @property
    def is_single_file(self) -> bool:
        """True for one file, gzipped or not; False for a folder or an archive."""
        return self.root is not None and self.root != self.path

    def named(self, suffixes: tuple[str, ...] = TABLE_SUFFIXES) -> list[str]:
        """List the files with one of these suffixes, in upper or lower case; by default the tables of text."""
        return [name for name in self.files if name.lower().endswith(suffixes)]

    def place(self, name: str) -> str:
        """Describe where a file is, for messages."""
        return f"{name} in {self.path}" if self.root is None else str(self.path if self.is_single_file else self.path / name)

    def read(self, name: str) -> bytes:
        """Read a whole file."""
        try:
            with self.open(name) as file:
                return unpack(file, _LARGEST_FILE)
        except (FileNotFoundError, IsADirectoryError, KeyError):
            raise MienError("there is no such file") from None
        except MienError as error:
            raise MienError(f"it {error}") from None
        except Exception as error:  # each compression raises its own
            raise MienError(f"it cannot be read: {reason_of(error)}") from error

    def read_image(self, name: str) -> np.ndarray:
        """Decode an image file."""
        return decode(self.read(name))


def decode(data: bytes) -> np.ndarray:
    """Decode the bytes of an image; the error is a reason to follow the name of the row, not a sentence."""
    try:
        return read_image(data)
    except MienError as error:
        raise MienError(str(error).removeprefix("The image in these bytes ").partition("; ")[0].rstrip(".")) from error


def open_tree(path: Path) -> Tree:
    """List the files of a file (gzipped or not), a folder, a zip or a tar, without hidden files and those of the system."""
    try:
        if path.is_dir():
            entries = [(name, status is not None and S_ISDIR(status.st_mode)) for name, status in _entries(path)]
            files, folders = (tuple(name for name, is_folder in entries if is_folder == kind) for kind in (False, True))
            return Tree(path, files, folders, lambda name: open_file(path / name), path)
        if not path.is_file():
            raise MienError(missing_path(path))
        with path.open("rb") as file:
            magic = file.read(4)
        if magic == b"PK\x03\x04":
            return _zip(path)
        is_tar = False
        with suppress(tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError), _opened_tar(path):
            is_tar = True
        if is_tar:
            return _tar(path)
        if path.name.lower().endswith(ARCHIVE_SUFFIXES):
            raise MienError(f"Cannot read {path}: it is not an archive, or it is damaged. Download or create it again.")
        is_gzip = magic.startswith(b"\x1f\x8b")
        name = path.name.removesuffix(".gz") if is_gzip else path.name

        def open_named(file: str) -> IO[bytes]:
            return cast(IO[bytes], gzip.open(path)) if is_gzip and file == name else open_file(path.parent / file)

        return Tree(path, (name,), (), open_named, path.parent)
    except MienError:
        raise
    except Exception as error:  # archives raise what their parsers fail with
        place = str(getattr(error, "filename", None) or path)  # it may be deep in the folder
        advice = f" Allow yourself to read it (chmod -R u+rX '{place}')" if isinstance(error, PermissionError) else ""
        advice += f", or move it out of {path}" if advice and place != str(path) else ""
        raise MienError(f"Cannot read {place}: {reason_of(error)}.{advice and advice + '.'}") from error


def _entries(root: Path) -> Iterator[tuple[str, os.stat_result | None]]:
    """List files and folders below a folder, without pipes and devices; the status of a link to nowhere is None."""
    for name, status in walk(str(root)):
        if isinstance(status, OSError):
            raise status
        if status is None or S_ISDIR(status.st_mode) or S_ISREG(status.st_mode):
            yield name, status


def _archive(path: Path, members: Mapping[str, Any], stream: Callable[[Any], Any], content: Callable[[Any], bytes]) -> Tree:
    """Make the tree of an archive of which some members are streamed; the names of its folders end with a slash."""
    files = sorted(name for name in members if not name.endswith("/"))
    folders = {str(parent) for name in members for parent in PurePosixPath(f"{name}x").parents}  # those of a/b/x: a/b and a

    def open_member(name: str) -> Any:
        return stream(members[name]) if name.lower().endswith(_STREAMED) else io.BytesIO(content(members[name]))

    return Tree(path, tuple(files), tuple(sorted(folders - {"."})), open_member, None)


def _zip(path: Path) -> Tree:
    reader = BoundedReader(open_file(path).detach())
    archive, lock = zipfile.ZipFile(reader), threading.Lock()  # ZipFile counts its open members without one
    reader.left = sys.maxsize

    def content(member: zipfile.ZipInfo) -> bytes:
        with lock, open_member(archive, member) as file:
            return unpack(file)

    return _archive(path, zip_members(archive), functools.partial(open_member, archive), content)


@contextmanager
def _opened_tar(path: Path, limit: int = _TAR_HEADER) -> Iterator[tuple[tarfile.TarFile, BoundedReader]]:
    with open_file(path) as file, BoundedReader(_COMPRESSIONS.get(file.peek(2)[:2], io.BufferedReader)(file)) as reader:
        reader.left = limit
        with tarfile.open(fileobj=reader, mode="r:") as archive:
            yield archive, reader


def _tar(path: Path) -> Tree:
    members: dict[str, tarfile.TarInfo] = {}
    held: dict[int, bytes] = {}  # by their place in the archive
    size = 0
    with _opened_tar(path) as (archive, reader):
        for member in archive:
            name = member_name(member.name)
            is_streamed = isinstance(reader.raw, io.BufferedReader) or not member.isfile() or name.lower().endswith(_STREAMED)
            kept = 0 if is_streamed else member.size
            size += kept + member.offset_data - member.offset
            if size > _TAR_MEMORY:
                raise MienError(f"{path} is too large to read; unpack it (tar xf {path}) and name the result.")
            reader.left = kept + _TAR_HEADER  # for the next one, too
            if name.strip(".") and (member.isdir() or member.isfile()):  # no links and devices
                members[f"{name}/" if member.isdir() else name] = member
                if not is_streamed:
                    held[member.offset_data] = cast(IO[bytes], archive.extractfile(member)).read()

    @contextmanager
    def stream(member: tarfile.TarInfo) -> Iterator[IO[bytes]]:
        with _opened_tar(path, sys.maxsize) as (archive, _):
            yield cast(IO[bytes], archive.extractfile(member))

    def content(member: tarfile.TarInfo) -> bytes:
        if member.offset_data in held:
            return held[member.offset_data]
        with path.open("rb") as file:  # opening the archive for each image takes five times as long
            file.seek(member.offset_data)
            return file.read(member.size)

    return _archive(path, members, stream, content)


def records(tree: Tree, name: str) -> Iterator[tuple[int, list[str]]]:
    """Read the cells of a table of text row by row, each row with the number of its line, from 1; blank lines are skipped."""
    separator = ""
    try:
        with tree.open(name) as file:
            for number, line in text_lines(file):
                if not separator and line.lower().startswith("sep="):  # written by spreadsheets
                    separator = line[4:5]
                elif line.strip():
                    separator = separator or (max(",;\t", key=line.count) if re.search("[,;\t]", line) else " ")
                    reader = csv.reader([line], delimiter=separator, skipinitialspace=True)
                    cells = next(reader) if '"' in line else line.split(separator)  # which is faster
                    if len(cells) > MOST_CELLS:
                        raise ValueError(f"line {number} has more than {MOST_CELLS:,} cells")
                    yield number, [cell.strip() for cell in cells if cell or separator != " "]
    except MienError:
        raise
    except Exception as error:  # each compression raises its own
        if isinstance(error, csv.Error | ValueError) and not isinstance(error, UnicodeError):
            raise MienError(f"{tree.place(name)} is not a table of comma-separated values: {error}.") from error
        raise MienError(f"{tree.place(name)} is damaged or cut short: {error}. Download or create it again.") from error


def stamp_of(paths: Iterable[Path]) -> str:
    """Hash the sizes, times and inodes of files, and of all files of folders; writing a file changes its ctime in any case."""
    marks: list[str] = []
    for path in paths:
        marks.append(str(path))
        with suppress(OSError, ValueError):  # reading them reports it; ValueError: not a valid name
            for name, status in _entries(path) if path.is_dir() else [(str(path), path.stat())]:
                if status and not S_ISDIR(status.st_mode):
                    name += f"\t{[status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]}"
                marks.append(name)
    return digest(marks)


def digest(parts: Iterable[str]) -> str:
    """Hash some strings to 64 hex digits."""
    return hashlib.sha256("\n".join(parts).encode(errors="backslashreplace")).hexdigest()


def numbered_labels(names: Iterable[str]) -> dict[str, dict[str, str | None]]:
    """Return the labels that numbers stand for, by the data sets with all of these numbers; None: no label."""
    numbers = set(filter(str.isdecimal, names))
    tables = {set_: known["labels"] for set_, known in KNOWN["numbered"].items()}
    return {set_: table for set_, table in tables.items() if any(map(table.get, numbers)) and table.keys() >= numbers}


def numbers_of(path: str, files: Iterable[str], names: Iterable[str]) -> tuple[str, dict[str, str | None]]:
    """Describe the data set with these numbers, where the path or all file names tell it, and return the labels by number."""
    numbers = sorted(filter(str.isdecimal, names), key=lambda name: (len(name), name))
    files, place = [PurePosixPath(file).name.casefold() for file in files], "/".join(Path(path).parts[-2:]).casefold()
    for set_, table in numbered_labels(numbers).items():
        known = KNOWN["numbered"][set_]
        if re.search(known["path"], place) or (files and all(re.match(known["file"], file) for file in files)):
            left_out = ", ".join(each for each in numbers if not table[each])
            said = f", numbered as in {set_}: {', '.join(f'{each} {table[each]}' for each in numbers if table[each])}"
            said += f" (rows of {left_out} left out)" if left_out else ""
            return said, {number: table[number] for number in numbers}
    return "", {}


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled image."""

    id: str  # its path in the source, or its row number, counted from 0
    split: str  # a name from `mien.data.faceset.SPLITS`
    target: int | np.ndarray  # an index into the labels, or (K,) shares that sum to 1
    load: Callable[[], np.ndarray]  # decodes the image, uint8 (H, W) or (H, W, 3); called once, from a worker thread
    place: str = ""  # where a person finds it, for messages; by default the id
    number: int | None = None  # its row in fer2013.csv, counted from 0, where that is known; FER+ votes are matched by it
    votes: np.ndarray | None = None  # (K,) shares of crowd votes in addition to the target, or zeros
    size: tuple[int, int] | None = None  # height and width before packing, where `load` gives another size
    columns: Mapping[str, str] = field(default_factory=dict)  # the values of the further columns that were requested


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be used: where it is, and why."""

    place: str
    reason: str


@dataclass(frozen=True)
class Rows:
    """All rows of a source."""

    kind: str  # the detected kind of data, in words
    labels: LabelSet
    rows: Iterable[Row | BadRow]  # read on demand, once
    count: int | None = None  # the number of rows, where it is known beforehand
    files: tuple[Path, ...] = ()  # the files besides the source itself; packed rows are stale when one of them changes


@functools.cache
def split_word(name: str) -> str | None:
    """Return the split that a data set calls so, or None."""
    word = re.sub(r"[\W_]", "", name.casefold())
    return next((split for split, words in KNOWN["splits"].items() if re.fullmatch(words, word)), None)


def split_of(word: str) -> str:
    """Translate a data set's name of a split."""
    if (split := split_word(word)) is None:
        raise MienError(f"the split {shortened(word)!r} is none of train, validation, test, Training, PublicTest, PrivateTest")
    return split


def labels_from(names: Iterable[str]) -> tuple[LabelSet, dict[str, int]]:
    """Order label names, FER+'s expressions first if there are two or more of them, and find the index of each name."""
    labels = {name: meaning(name) or name for name in names}
    expressions = [name for name in FERPLUS if name in labels.values()]
    first = expressions if len(expressions) > 1 else []
    others = sorted(set(labels.values()).difference(first))
    others.sort(key=lambda name: (not name.isdecimal(), len(name.lstrip("0")) if name.isdecimal() else 0))
    index = {label: number for number, label in enumerate([*first, *others])}
    return LabelSet(index), {name: index[label] for name, label in labels.items()}
