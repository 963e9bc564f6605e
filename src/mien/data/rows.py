"""What every reader works with: the files at a path, the words of data sets, and labelled images that are not decoded yet."""

import gzip
import hashlib
import io
import os
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from stat import S_ISDIR, S_ISREG
from typing import IO, cast

import numpy as np

from mien.errors import MienError
from mien.files import missing_path
from mien.images import read_image, walk, zip_members
from mien.labels import FERPLUS, LabelSet

_DAMAGED = (OSError, EOFError, RuntimeError, NotImplementedError, UnicodeError, zipfile.BadZipFile, zlib.error)
"""What reading a damaged, encrypted or missing file raises, whether it is in an archive or not."""


@dataclass(frozen=True)
class Tree:
    """The files of one file, a folder or an archive."""

    path: Path  # from the user
    files: tuple[str, ...]  # sorted names relative to the folder or archive, with slashes; of a single file, its own name
    folders: tuple[str, ...]  # sorted names of all folders, empty ones too
    open: Callable[[str], IO[bytes]]  # opens a file by name
    root: Path | None  # the folder that names are relative to; None inside an archive

    @property
    def is_single_file(self) -> bool:
        """True for one file, gzipped or not; False for a folder or a zip."""
        return self.root is not None and self.root != self.path

    def place(self, name: str) -> str:
        """Describe where a file is, for messages."""
        if self.is_single_file:
            return str(self.path)
        return str(self.path / name) if self.root else f"{name} in {self.path}"

    def read(self, name: str) -> bytes:
        """Read a whole file."""
        try:
            with self.open(name) as file:
                return file.read()
        except (FileNotFoundError, IsADirectoryError, KeyError):
            raise MienError("there is no such file") from None
        except _DAMAGED as error:
            raise MienError(f"it cannot be read: {getattr(error, 'strerror', None) or error}") from error

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
    """List the files of a file (gzipped or not), a folder or a zip, without hidden files and files of the operating system."""
    try:
        if not (path.is_file() or path.is_dir()):
            raise MienError(missing_path(path))
        if path.is_dir():
            found = [(name, status is not None and S_ISDIR(status.st_mode)) for name, status in _entries(path)]
            files = tuple(name for name, is_folder in found if not is_folder)
            folders = tuple(name for name, is_folder in found if is_folder)
            return Tree(path, files, folders, lambda name: (path / name).open("rb"), path)
        with path.open("rb") as file:
            magic = file.read(4)
        if magic == b"PK\x03\x04":
            return _zip(path)
        if path.name.endswith((".tar", ".tgz", ".tar.gz")):
            raise MienError(f"{path} is a tar archive; unpack it first (tar xf {path.name}) and name the result.")
        is_gzip = magic.startswith(b"\x1f\x8b")
        name = path.name.removesuffix(".gz") if is_gzip else path.name

        def open_file(file: str) -> IO[bytes]:
            return cast(IO[bytes], gzip.open(path)) if is_gzip and file == name else (path.parent / file).open("rb")

        return Tree(path, (name,), (), open_file, path.parent)
    except _DAMAGED as error:
        place = str(getattr(error, "filename", None) or path)  # it may be deep in the folder
        advice = ""
        if isinstance(error, PermissionError):
            advice = f" Allow yourself to read it (chmod -R u+rX '{place}')"
            advice += "." if place == str(path) else f", or move it out of {path}."
        raise MienError(f"Cannot read {place}: {getattr(error, 'strerror', None) or error}.{advice}") from error


def _entries(root: Path) -> Iterator[tuple[str, os.stat_result | None]]:
    """List files and folders below a folder, without pipes and devices; the status of a link to nowhere is None."""
    for name, status in walk(str(root)):
        if isinstance(status, OSError):
            raise status
        if status is None or S_ISDIR(status.st_mode) or S_ISREG(status.st_mode):
            yield name, status


def _zip(path: Path) -> Tree:
    archive = zipfile.ZipFile(path)
    lock = threading.Lock()  # ZipFile counts its open members without one
    members = zip_members(archive)
    files = tuple(name for name in members if not name.endswith("/"))
    folders = {name.rstrip("/") for name in members if name.endswith("/")}
    folders.update(str(parent) for name in members for parent in PurePosixPath(name).parents)

    def open_member(name: str) -> IO[bytes]:
        if name.lower().endswith((".csv", ".tsv", ".parquet")):  # large, and read by one thread
            return archive.open(members[name])
        with lock:
            return io.BytesIO(archive.read(members[name]))

    return Tree(path, files, tuple(sorted(folders - {"."})), open_member, None)


def lines(tree: Tree, name: str) -> Iterator[tuple[int, bytes]]:
    """Read a text file line by line, without line ends, byte-order mark and blank lines, each with its number from 1."""
    try:
        with tree.open(name) as file:
            for number, line in enumerate(file, start=1):
                line = line.rstrip(b"\r\n")
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if line.strip():
                    yield number, line
    except _DAMAGED as error:
        raise MienError(f"{tree.place(name)} is damaged or cut short: {error}. Download or create it again.") from error


def stamp_of(paths: Iterable[Path]) -> str:
    """Hash the sizes and times of files, and of all files of folders; adding, removing and writing files changes the hash."""
    marks: list[str] = []
    for path in paths:
        marks.append(str(path))
        with suppress(OSError, ValueError):  # reading them reports it; ValueError: not a valid name
            entries = _entries(path) if path.is_dir() else [(str(path), path.stat())]
            for name, status in entries:
                is_file = status and not S_ISDIR(status.st_mode)
                marks.append(f"{name}\t{status.st_size}\t{status.st_mtime_ns}" if status and is_file else name)
    return digest(marks)


def digest(parts: Iterable[str]) -> str:
    """Hash some strings to 64 hex digits."""
    return hashlib.sha256("\n".join(parts).encode(errors="backslashreplace")).hexdigest()


SPLIT_WORDS = {
    **dict.fromkeys(("", "none"), "none"),
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "publictest"), "validation"),
    **dict.fromkeys(("test", "testing", "privatetest"), "test"),
}
"""The names of splits in data sets, in lower case; FER-2013 has Training, PublicTest and PrivateTest."""

EXPRESSION_WORDS = {
    **{name: name for name in FERPLUS.names},
    "anger": "angry",
    "disgusted": "disgust",
    "afraid": "fear",
    "fearful": "fear",
    "happiness": "happy",
    "sadness": "sad",
    "surprised": "surprise",
}
"""The names of the expressions of FER-2013 and FER+ in data sets, in lower case."""


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


def shortened(text: str, most: int = 60) -> str:
    """Shorten text quoted in a message: a cell may hold thousands of characters."""
    return text if len(text) <= most else text[: most - 3] + "..."


def split_of(word: str) -> str:
    """Translate a data set's name of a split."""
    if (split := SPLIT_WORDS.get(word.strip().casefold())) is None:
        raise MienError(f"the split {shortened(word)!r} is none of train, validation, test, Training, PublicTest, PrivateTest")
    return split


def labels_from(names: Iterable[str]) -> tuple[LabelSet, dict[str, int]]:
    """Order label names, and find the index of each name.

    Where every name is one of FER+'s eight expressions or a synonym (`EXPRESSION_WORDS`), the labels get FER-2013's names and
    order, so that models and data sets agree. Otherwise the names stay as they are and are sorted, numbers by value.
    """
    names = set(names)
    meaning = {name: EXPRESSION_WORDS.get(name.casefold(), "") for name in names}
    if all(meaning.values()):
        labels = LabelSet(sorted(set(meaning.values()), key=FERPLUS.index))
        return labels, {name: labels.index(meaning[name]) for name in names}
    labels = LabelSet(sorted(names, key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)))
    return labels, {name: labels.index(name) for name in names}
