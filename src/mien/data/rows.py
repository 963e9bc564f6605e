"""What every reader hands to the packer: labelled images, one at a time, not yet decoded."""

import difflib
import gzip
import hashlib
import io
import os
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, cast

import numpy as np

from mien.errors import MienError
from mien.labels import FERPLUS, LabelSet

# What lies at a path: one file, a folder or an archive, listed and read in the same way.

DAMAGED = (OSError, EOFError, RuntimeError, NotImplementedError, UnicodeError, zipfile.BadZipFile, zlib.error)
"""What reading a damaged, encrypted or vanished file raises, plain or out of an archive."""

_NOISE = {"__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir"}  # left behind by macOS, Windows and network drives


@dataclass(frozen=True)
class Tree:
    """The files at a path.

    Attributes:
        path: what the user named.
        files: names relative to the folder or archive, with slashes, sorted; of a single file, its own name.
        folders: names of all folders, empty ones too, sorted.
        open: opens a file by name, to read bytes.
        root: the folder that names are relative to; None inside an archive.
    """

    path: Path
    files: tuple[str, ...]
    folders: tuple[str, ...]
    open: Callable[[str], IO[bytes]]
    root: Path | None

    @property
    def is_single_file(self) -> bool:
        """True for one file, gzipped or not; False for a folder or a zip."""
        return self.root is not None and self.root != self.path

    def place(self, name: str) -> str:
        """Say where a file is, for messages."""
        if self.is_single_file:
            return str(self.path)
        return str(self.path / name) if self.root else f"{name} in {self.path}"

    def read(self, name: str) -> bytes:
        """Read a whole file.

        Raises:
            MienError: if it is not there or cannot be read.
        """
        try:
            with self.open(name) as file:
                return file.read()
        except (FileNotFoundError, IsADirectoryError, KeyError):
            raise MienError("there is no such file") from None
        except DAMAGED as error:
            raise MienError(f"it cannot be read: {getattr(error, 'strerror', None) or error}") from error


def open_tree(path: Path) -> Tree:
    """List what lies at a path; hidden files and what operating systems leave behind are passed over.

    Raises:
        MienError: if nothing is there (the sentence gives the nearest name), or it cannot be read.
    """
    if not path.exists():
        raise MienError(_missing(path))
    try:
        if path.is_dir():
            return _folder(path)
        with path.open("rb") as file:
            magic = file.read(4)
        if magic == b"PK\x03\x04":
            return _zip(path)
        if magic.startswith(b"\x1f\x8b"):
            return _gzip(path)
        if path.name.endswith(".tar"):
            raise MienError(f"{path} is a tar archive; unpack it first (tar xf {path.name}) and name what it held.")
        return Tree(path, (path.name,), (), lambda name: (path.parent / name).open("rb"), path.parent)
    except DAMAGED as error:
        raise _cannot_read(path, error) from error


def stamp_of(path: Path) -> str:
    """Digest sizes and times of a file, or of all files of a folder: another stamp where one was added, removed or written.

    Raises:
        MienError: if nothing is there, or it cannot be listed.
    """
    try:
        if path.is_file():
            return digest([_stat_mark(str(path), path.stat())])
        if path.is_dir():
            return digest(mark for _, _, mark in _walk(str(path)))
    except OSError as error:
        raise _cannot_read(path, error) from error
    raise MienError(_missing(path))


def stamp_of_files(paths: Iterable[Path]) -> str:
    """Digest sizes and times of many files; one that is not there counts too."""

    def mark(path: Path) -> str:
        try:
            return _stat_mark(str(path), path.stat())
        except (OSError, ValueError):  # not there, or no name that could be
            return str(path)

    return digest(map(mark, paths))


def digest(parts: Iterable[str]) -> str:
    """Digest some strings to 64 hex digits."""
    return hashlib.sha256("\n".join(parts).encode(errors="backslashreplace")).hexdigest()


def _stat_mark(name: str, status: os.stat_result) -> str:
    return f"{name}\t{status.st_size}\t{status.st_mtime_ns}"


def _cannot_read(path: Path, error: Exception) -> MienError:
    """Name what cannot be read, which may lie deep in the folder, and what to do."""
    place = str(getattr(error, "filename", None) or path)
    reason = getattr(error, "strerror", None) or error
    advice = ""
    if isinstance(error, PermissionError):
        advice = f" Allow yourself to read it (chmod -R u+rX '{place}')"
        advice += "." if place == str(path) else f", or move it out of {path}."
    return MienError(f"Cannot read {place}: {reason}.{advice}")


def _missing(path: Path) -> str:
    missing, parent = path, path.parent
    while not parent.is_dir() and parent != parent.parent:
        missing, parent = parent, parent.parent
    try:
        near = difflib.get_close_matches(missing.name, sorted(entry.name for entry in parent.iterdir()), n=1)
    except OSError:
        near = []
    where = "this folder" if parent == Path() else f"the folder {parent}"
    hint = f"did you mean {parent / near[0]}?" if near else f"{where} has no {missing.name}."
    return f"There is nothing at {path}; {hint}"


def _is_noise(name: str) -> bool:
    return any(part.startswith(".") or part in _NOISE for part in PurePosixPath(name).parts)


def _folder(root: Path) -> Tree:
    found = list(_walk(str(root)))
    files = tuple(name for name, is_folder, _ in found if not is_folder)
    folders = tuple(name for name, is_folder, _ in found if is_folder)
    return Tree(root, files, folders, lambda name: (root / name).open("rb"), root)


def _walk(folder: str, prefix: str = "", above: frozenset[str] = frozenset()) -> Iterator[tuple[str, bool, str]]:
    """List a folder to its depths: names relative to it, whether they are folders, and a mark that changes with them."""
    here = os.path.realpath(folder)
    if here in above:  # a link back to a folder that holds it
        return
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            name = prefix + entry.name
            if _is_noise(entry.name):
                continue
            if entry.is_dir():
                yield name, True, name
                yield from _walk(entry.path, name + "/", above | {here})
            elif entry.is_file():
                yield name, False, _stat_mark(name, entry.stat())
            elif entry.is_symlink():  # to nowhere: listed, so that reading it says so
                yield name, False, name


def _zip(path: Path) -> Tree:
    archive = zipfile.ZipFile(path)
    lock = threading.Lock()  # ZipFile counts its open members without one
    members = {info.filename.replace("\\", "/"): info for info in archive.infolist()}
    names = [name for name in members if not _is_noise(name)]
    files = sorted(name for name in names if not name.endswith("/"))
    folders = {name.rstrip("/") for name in names if name.endswith("/")}
    folders.update(str(parent) for name in [*files, *folders] for parent in PurePosixPath(name).parents if str(parent) != ".")

    def open_member(name: str) -> IO[bytes]:
        if name.lower().endswith((".csv", ".tsv", ".parquet")):  # large, and read by one thread
            return archive.open(members[name])
        with lock:
            return io.BytesIO(archive.read(members[name]))

    return Tree(path, tuple(files), tuple(sorted(folders)), open_member, None)


def _gzip(path: Path) -> Tree:
    if path.name.endswith((".tgz", ".tar.gz")):
        raise MienError(f"{path} is a tar archive; unpack it first (tar xf {path.name}) and name what it held.")
    inner = path.name.removesuffix(".gz")

    def open_file(name: str) -> IO[bytes]:
        return cast(IO[bytes], gzip.open(path) if name == inner else (path.parent / name).open("rb"))

    return Tree(path, (inner,), (), open_file, path.parent)


def lines(tree: Tree, name: str) -> Iterator[tuple[int, bytes]]:
    """Read a text file line by line, without line ends, byte-order mark and blank lines.

    Yields:
        The line's number, counted from 1 as editors do, and the line.

    Raises:
        MienError: if the file is damaged.
    """
    try:
        with tree.open(name) as file:
            for number, line in enumerate(file, start=1):
                line = line.rstrip(b"\r\n")
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if line.strip():
                    yield number, line
    except DAMAGED as error:
        raise MienError(f"{tree.place(name)} is damaged or cut short: {error}. Fetch or make it anew.") from error


SPLIT_WORDS = {
    "": "none",
    "none": "none",
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "publictest": "validation",
    "test": "test",
    "testing": "test",
    "privatetest": "test",
}
"""What data sets call their splits, in lower case; FER-2013 calls its own Training, PublicTest and PrivateTest."""

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
"""What data sets call the expressions of FER-2013 and FER+, in lower case."""


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled image.

    Attributes:
        id: its path in the source, or its row number, counted from 0.
        split: a name out of `mien.data.faceset.SPLITS`.
        target: an index into the labels, or (K,) shares that sum to 1.
        load: decodes the image; uint8, (H, W) or (H, W, 3). Called from a worker thread, once.
        place: where a person finds it, for messages; without it, the id.
        number: its row in fer2013.csv, counted from 0, where that is known. FER+ votes are matched by it.
        votes: (K,) shares of crowd votes beside the target, which sum to 1, or zeros; None where there are none.
        size: height and width in pixels, where they were others before what `load` gives was made.
        columns: what stands in further columns that were asked for, by their names.
    """

    id: str
    split: str
    target: int | np.ndarray
    load: Callable[[], np.ndarray]
    place: str = ""
    number: int | None = None
    votes: np.ndarray | None = None
    size: tuple[int, int] | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be used: where it is, and why."""

    place: str
    reason: str


@dataclass(frozen=True)
class Rows:
    """All rows of a source.

    Attributes:
        kind: what the source was taken for, in words.
        labels: the label names.
        rows: the rows, read as they are asked for, once.
        count: how many there are, where that is known beforehand.
        files: files besides the source itself that the rows come from; a change of one makes packed rows stale.
    """

    kind: str
    labels: LabelSet
    rows: Iterable[Row | BadRow]
    count: int | None = None
    files: tuple[Path, ...] = ()


def shortened(text: str, most: int = 60) -> str:
    """Cut what a message quotes: a cell may hold thousands of characters."""
    return text if len(text) <= most else text[: most - 3] + "..."


def split_of(word: str) -> str:
    """Translate what a data set calls a split.

    Raises:
        MienError: if the word is unknown.
    """
    if (split := SPLIT_WORDS.get(word.strip().casefold())) is None:
        raise MienError(f"the split {shortened(word)!r} is none of train, validation, test, Training, PublicTest, PrivateTest")
    return split


def labels_from(names: Iterable[str]) -> tuple[LabelSet, dict[str, int]]:
    """Order label names, and find the index of each.

    Where every name is one of FER+'s eight expressions, in any case or as a common synonym (anger, happiness, ...; see
    `EXPRESSION_WORDS`), the labels get FER-2013's names and order, so that models and data sets agree. Otherwise the names
    stay as they are and are sorted, numbers by value.

    Returns:
        The labels, and for each name given its index.

    Raises:
        MienError: if there is no name, or one is empty.
    """
    names = set(names)
    meaning = {name: EXPRESSION_WORDS.get(name.casefold(), "") for name in names}
    if all(meaning.values()):
        labels = LabelSet(sorted(set(meaning.values()), key=FERPLUS.index))
        return labels, {name: labels.index(meaning[name]) for name in names}
    labels = LabelSet(sorted(names, key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)))
    return labels, {name: labels.index(name) for name in names}


def decode(data: bytes) -> np.ndarray:
    """Decode an image file that stands in a row.

    Raises:
        MienError: if it is no image; as a reason to stand behind the name of the row, not as a sentence.
    """
    from mien.images import read_image

    try:
        return read_image(data)
    except MienError as error:
        raise MienError(str(error).removeprefix("The image in these bytes ").partition("; ")[0].rstrip(".")) from error
