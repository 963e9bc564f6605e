"""Outputs that replace only what mien wrote and are complete whenever they exist, paths that do not exist, the cache folder."""

import errno
import os
import re
import shutil
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import starmap
from pathlib import Path
from platform import node
from typing import Any, NamedTuple, TypeVar

from mien.errors import MESSAGES, MienError, load_table, suggestion
from mien.inputs import open_file, read_json, reason_of, special_kind

Result = TypeVar("Result")

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
HEAD, TAIL = 16384, 65536  # bytes at both ends of a file in which a kind is recognised; a Parquet footer has some 10,000
STDIN = "/dev/stdin"
_HOST = f"{zlib.crc32(node().encode()):08x}"
_TEMPORARY = re.compile(r"\.(?P<name>.*)\.mien-(?P<host>[0-9a-f]{8})-(?P<process>\d{1,9})-\d+\.part", re.DOTALL)


class FileKind(NamedTuple):
    """A kind of file that mien writes, which only mien may replace."""

    name: str  # in error messages
    pattern: str  # found in the first HEAD or the last TAIL bytes of each file of the kind, and of no other

    def matches(self, path: Path) -> bool:
        """Tell whether a path is a file of this kind."""
        with suppress(OSError, MienError), open_file(path) as file:
            ends = file.read(HEAD)
            file.seek(max(len(ends), file.seek(0, os.SEEK_END) - TAIL))
            return re.search(self.pattern.encode(), ends + file.read(), re.DOTALL) is not None
        return False


class FolderKind(NamedTuple):
    """A kind of folder that mien writes: a JSON file identifies it, and lists its files."""

    record: str  # name of the JSON file
    name: str  # in error messages
    made_by: str  # the same key of the JSON file
    patterns: Mapping[str, str] = {}  # of files in it, as for `FileKind`
    format: int = 1  # version of the schema; it rises when a field is removed or changes its meaning, but not for new fields

    def read(self, path: Path) -> dict[str, Any]:
        """Read the JSON file; MienError if it cannot be read, mien did not write it, or its format is newer than this mien."""
        record = read_json(path, f"{path} of a mien {self.name}")
        if not isinstance(record, dict) or record.get("made_by") != self.made_by:
            raise MienError(f"{path} is not the {path.name} of a mien {self.name}.")
        if not isinstance(record.get("format"), int) or record["format"] > self.format:
            raise MienError(MESSAGES["newer format"].format(path, record.get("format"), self.format))
        return record


_KINDS = load_table(__file__, "kinds")
REPORT, AUDIT = starmap(FolderKind, _KINDS["folders"])
INT8_MODEL, EXCLUDED_ROWS, COMPARISON, PREDICTIONS, EXPLAINED, DRAWN = starmap(FileKind, _KINDS["files"])
HUB_FILES = dict(zip(_KINDS["hub"], starmap(FileKind, _KINDS["hub"].values()), strict=True))


def named_files(*inputs: object) -> Iterator[Path]:
    """Yield the existing files and folders that inputs name: paths, "-" for stdin, and sequences of these."""
    for item in inputs:
        if isinstance(item, str | Path):
            with suppress(OSError, ValueError, RuntimeError):  # without permission to look at it, it is not read either
                path = Path(STDIN if item == "-" else item).expanduser()
                yield from [path] if path.exists() else []
        elif isinstance(item, Sequence) and not isinstance(item, bytes | bytearray | memoryview):
            yield from named_files(*item)


def identity(path: Path) -> tuple[int, int] | None:
    """Return what all names of a file or folder share, such as links and relative paths; None if there is nothing."""
    with suppress(OSError, ValueError):
        status = path.stat()
        return status.st_dev, status.st_ino
    return None


def check_place(out: str | Path, inputs: object = (), flag: str = "--out", contents: str = "output") -> Path:
    """Return `out` as a path; MienError if nothing can be written there, or one of the inputs is there."""
    path = Path(out)
    if not str(out):
        raise MienError(f"{flag} is empty; give it a path.")
    try:
        with suppress(FileNotFoundError):
            path.lstat()
        above = next(folder for folder in path.absolute().parents if os.path.lexists(folder))
        if not above.is_dir():
            raise ValueError(f"{str(above)!r} is not a folder")
        if blocked := [place for place in (above, path) if place.exists() and not os.access(place, os.W_OK)]:
            raise ValueError(f"{str(blocked[0])!r} is not writable")
    except (OSError, ValueError) as error:
        raise MienError(MESSAGES["no place"].format(contents, str(out), reason_of(error), flag)) from None
    if (own := identity(path)) and own in map(identity, named_files(inputs)):
        raise MienError(f"{str(out)!r} is one of the inputs; choose another {flag}.")
    return path


def check_file(out: str | Path, kind: FileKind, inputs: object = (), flag: str = "--out") -> Path:
    """Return `out` as a path; MienError if a file cannot be written there, or would replace an input or one of another kind."""
    if str(out) == "-" or str(out).startswith(("/dev/", "/proc/")):
        raise MienError(MESSAGES["no file"].format(str(out), flag))
    if os.path.isdir(out) or str(out).endswith(("/", os.sep)):  # noqa: PTH112 - which raises if a name is too long
        raise MienError(f"{str(out)!r} is a folder; name a file in it with {flag}.")
    path = check_place(out, inputs, flag)
    if path.exists() and not kind.matches(path) and not (path.is_file() and path.stat().st_size == 0):
        raise MienError(f"{str(out)!r} exists and is not {kind.name}, so it is not replaced; choose another {flag}.")
    return path


def files_in(out: Path, contents: str = "output", inputs: object = ()) -> list[Path]:
    """List what a folder to write holds; MienError if nothing can be written there, it is a file, or one of the inputs."""
    check_place(out, inputs, contents=contents)
    if out.exists() and not out.is_dir():
        raise MienError(f"{str(out)!r} is a file; name a folder with --out.")
    return sorted(path for path in out.rglob("*") if path.is_symlink() or not path.is_dir())


def check_folder(out: Path, kind: FolderKind, inputs: object = ()) -> bool:
    """Return True for an earlier folder of this kind, False for none; MienError if `out` holds anything else, or an input."""
    if not (present := files_in(out, kind.name, inputs)):
        return False
    if not (out / kind.record).is_file():
        raise MienError(f"{str(out)!r} exists and is no {kind.name} of {kind.made_by}; choose another folder, or empty it.")
    files = kind.read(out / kind.record).get("files")
    for path in present:
        name = path.relative_to(out).as_posix()
        is_own = isinstance(files, list) and name in files and path.is_file() and not path.is_symlink()
        if not is_own or not FileKind(name, kind.patterns.get(name, "")).matches(path):
            raise MienError(f"{out} holds {name!r}, which is not part of the {kind.name}; move it or choose another --out.")
    for path in named_files(inputs):
        if identity(out) in map(identity, Path(os.path.realpath(path)).parents):
            raise MienError(f"{out} holds the input {str(path)!r}; choose another --out.")
    return True


def check_empty(out: Path) -> None:
    """Raise a MienError if nothing can be written at `out`, or it is a file or a folder with anything in it."""
    check_place(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise MienError(f"{out} exists and is not an empty folder; name another one, or remove it first.")


def write_whole(path: Path, write: Callable[[Path], Result], kind: FileKind | None = None, durable: bool = True) -> Result:
    """Return what `write` gives for a temporary path, then rename it; a link stays, `durable` outlasts a power failure."""
    temporary = temporary_path(path)
    if special_kind(path):  # also through a link: the rename would replace a device
        raise MienError(f"{str(path)!r} is a pipe or a device; name a file.")
    try:
        result = write(temporary)
        if durable:
            _flush(temporary)
        if kind is not None:
            check_file(path, kind, flag="output")
            sweep(temporary.parent)
        temporary.replace(os.path.realpath(path))
        if durable:
            _flush(temporary.parent)
        return result
    except OSError as error:
        if error.errno is None or str(error.filename or temporary) != str(temporary):
            raise  # about another file, or without its parts
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        with suppress(OSError):  # does not exist, or its folder is not one
            temporary.unlink()


def temporary_path(path: Path) -> Path:
    """Name a temporary file beside a file, or beside the target of a link, which `sweep` finds if this process is killed."""
    path = Path(os.path.realpath(path))
    name = os.fsdecode(os.fsencode(path.name)[:150])  # file systems take names of 255 bytes
    return path.with_name(f".{name}.mien-{_HOST}-{os.getpid()}-{threading.get_ident()}.part")


def _flush(path: Path) -> None:
    """Wait until a file or folder is on the disk; otherwise a power failure could leave a renamed file empty."""
    if os.name == "posix":
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno in (*FULL_DISK, errno.EIO):
                raise  # others: not every file system can do this
        finally:
            os.close(descriptor)


def sweep(folder: Path) -> None:
    """Remove temporary files and folders that killed processes left in a folder; a report that one was replacing comes back."""
    with suppress(OSError):  # another process may remove them first
        for path in [Path(entry) for entry in os.scandir(folder) if ".mien-" in entry.name]:
            if (found := _TEMPORARY.fullmatch(path.name)) is None or _is_in_use(path, found["host"], int(found["process"])):
                continue
            if (path / "old").is_dir() and not os.path.lexists(folder / found["name"]):
                (path / "old").rename(folder / found["name"])
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def _is_in_use(path: Path, host: str, process: int) -> bool:
    if host != _HOST or os.name != "posix":
        return time.time() - path.lstat().st_mtime < 86400  # a day, since processes of another machine cannot be looked up
    try:
        os.kill(process, 0)  # sends nothing
    except OSError as error:
        return error.errno != errno.ESRCH
    return True


@contextmanager
def written_folder(
    out: Path, contents: str, check: Callable[[Path], object] = check_empty, part: Path | None = None
) -> Iterator[Path]:
    """Give a new folder, or `part`, to write into; it replaces `out` if the block succeeds and `check` agrees."""
    check(out)
    place, scratch = Path(os.path.realpath(out)), temporary_path(out)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        sweep(place.parent)
        scratch.mkdir(mode=0o700)
        whole, old = part or scratch / "new", scratch / "old"
        whole.mkdir(exist_ok=True)  # with the usual permissions; the scratch folder is closed to others
        yield whole
        for path in (*whole.iterdir(), whole):  # not thousands of pictures in folders below: 7 ms each on one machine
            _flush(path)
        check(out)
        if place.exists():
            place.rename(old)
        try:
            whole.rename(place)
        except BaseException:  # Ctrl-C too: the earlier folder must not be deleted with the scratch folder
            if old.exists():
                old.rename(place)
            raise
        _flush(place.parent)
    except OSError as error:
        problem = "full disk" if error.errno in FULL_DISK else "no folder"
        raise MienError(MESSAGES[problem].format(contents, out, reason_of(error))) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def missing_path(path: Path) -> str:
    """Describe a path that is no file or does not exist, with the most similar name in the nearest folder that does."""
    if path.exists():
        return f"{str(path)!r} is a pipe or a device; save what comes from it to a file, and name that."
    if re.match(r"[a-z][a-z0-9+.-]+:/", str(path)):  # Path has merged the slashes
        return f"There is nothing at {str(path)!r}. An address is not a path: download it first, and give the path of the file."
    missing, parent, names = path, path.parent, list[str]()
    with suppress(OSError):
        while not parent.is_dir() and parent != parent.parent:
            missing, parent = parent, parent.parent
        names = sorted(entry.name for entry in parent.iterdir())
    near = suggestion(missing.name, names, phrase="{}", cutoff=0.75)
    hint = f"Did you mean {str(parent / near)!r}?" if near else f"The folder {str(parent)!r} has no {missing.name!r}."
    return f"There is nothing at {str(path)!r}. {hint}"


def cache_folder() -> Path:
    """Make and return the folder for what can be made or downloaded again: MIEN_CACHE, else the system's cache folder."""
    import platformdirs

    named = os.environ.get("MIEN_CACHE")
    folder = Path(named).expanduser() if named else platformdirs.user_cache_path("mien")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MienError(f"The cache folder {str(folder)!r} cannot be made ({error.strerror}); set MIEN_CACHE.") from None
    return folder
