"""The one place where inputs are opened, with limits on their size: images, archives, and the text of tables and settings."""

import codecs
import csv
import io
import json
import os
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import IO, Any, Literal, cast, get_args, get_origin

import yaml

from mien.errors import KINDS, MienError, first_line, shortened

IN_FLIGHT = 100e6  # pixels of the images that are decoded and searched at the same time; decoding takes about 8 bytes for each
SMALL = 1e6  # pixels of images that are not counted
LARGEST_MEMBER = 2**29  # bytes of a file in an archive, above 100 megapixels with alpha: it is unpacked in memory
LONGEST_LINE = 1 << 24  # characters: the pixels of a face of 2048 x 2048
MOST_CELLS = 20_000  # of a row; FER-2013's pixels in a column each are 2,304
LARGEST_YAML = 1 << 16  # bytes; mien's recipes have at most 2 KB
MOST_PIXELS = ContextVar("MOST_PIXELS", default=float("inf"))  # of an image, where a service sets a lower limit
_CHANGED = threading.Condition()  # guards what follows
_ALL, _HELD = {"pixels": 0}, threading.local()  # pixels in flight, of all threads and of this one


def special_kind(path: str | Path) -> str:
    """Name what may block or have no end when it is read, such as "a named pipe"; empty for files, folders and nothing."""
    kinds = {stat.S_IFREG: "", stat.S_IFDIR: "", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
    with suppress(OSError, ValueError):  # not by opening it, which a device or the writer of a pipe would notice
        return kinds.get(stat.S_IFMT(os.stat(path).st_mode), "a device")  # noqa: PTH116
    return ""


def open_file(path: str | Path) -> io.BufferedReader:
    """Open a file to read it; a MienError, to follow its name, for a pipe, a socket or a device."""
    if kind := special_kind(path):
        raise MienError(f"is {kind}, not a file; save its content to a file, then give its path.")
    try:
        # without waiting, for /proc/kmsg and the like count as files
        return io.open(path, "rb", opener=lambda path, flags: os.open(path, flags | getattr(os, "O_NONBLOCK", 0)))  # noqa: UP020
    except ValueError as error:
        raise MienError(f"cannot be opened: {error}.") from None


def unpack(file: IO[bytes], limit: int = LARGEST_MEMBER) -> bytes:
    """Read a file of an archive up to a limit, whatever size its header states."""
    content = io.BytesIO()
    while piece := file.read(2**14):  # zipfile unpacks as many bytes of a member at once, which LZMA makes 115 MB at most
        content.write(piece)
        if content.tell() > limit:
            raise MienError(f"would unpack to more than {limit / 2**30:.2g} GB; unpack it, and make it smaller.")
    return content.getvalue()


class BoundedReader(io.BufferedReader):
    """A file of which no more than `left` bytes are read, whatever sizes it states, unless `left` is set anew."""

    left = 10**8  # the index of a zip of a million files; zipfile holds up to 15 times as many bytes

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as a file does, or raise a ValueError."""
        content = super().read(self.left + 1 if size is None or size < 0 else min(size, self.left + 1))
        self.left -= len(content)
        if self.left < 0:
            raise ValueError("its index or a header is too large")
        return content

    def __del__(self) -> None:
        self.close()  # without the warning of a file that nothing closed, which a zip reads until its faces are dropped


def failure(what: str, error: Exception, fault: str = "cannot be read", remedy: str = "") -> str:
    """Say in a sentence why an input, such as "image 'a.jpg'", cannot be read, whatever was raised; for every kind of input."""
    if isinstance(error, MienError):  # begins with a verb
        return f"The {what} {error}"
    if isinstance(error, FileNotFoundError):
        return f"There is no {what}; check the path."
    if isinstance(error, IsADirectoryError):
        return f"The {what} is a folder, not a file."
    if isinstance(error, OSError) and error.errno and error.strerror:
        return f"The {what} cannot be opened: {error.strerror}."
    return f"The {what} {fault} ({reason_of(error)}){remedy and f'; {remedy}'}."


@contextmanager
def pixels_in_flight() -> Iterator[None]:
    """Count the images that this thread reads in the block against `IN_FLIGHT`, until the end of the outermost block."""
    if hasattr(_HELD, "pixels"):
        yield
        return
    _HELD.pixels = 0
    try:
        yield
    finally:
        with _CHANGED:
            _ALL["pixels"] -= _HELD.pixels
            del _HELD.pixels
            _CHANGED.notify_all()


def pixel_limit() -> float:
    """Return how many pixels an image may have."""
    text = os.environ.get("MIEN_MAX_MEGAPIXELS") or 400  # a small file can claim to be larger and fill the memory
    with suppress(ValueError):
        if (limit := float(text)) >= 0:
            return min(limit * 1e6, MOST_PIXELS.get())
    raise MienError(f"cannot be read: MIEN_MAX_MEGAPIXELS must be a number of megapixels, not {text!r}.")


def check_pixels(width: int, height: int, share: float = 1.0) -> None:
    """Raise a MienError if an image is empty or exceeds this share of the limit; wait until there is room for its pixels."""
    pixels, limit = width * height, pixel_limit() * share
    if not pixels:
        raise MienError(f"has no pixels ({width}x{height}); give another.")
    if pixels > limit:
        advice = "" if MOST_PIXELS.get() < float("inf") else ", or set MIEN_MAX_MEGAPIXELS"
        raise MienError(f"has {pixels / 1e6:.3g} megapixels and the limit is {limit / 1e6:g}; make it smaller{advice}.")
    if pixels > SMALL and hasattr(_HELD, "pixels"):
        with _CHANGED:
            # a larger image waits until it is alone; a thread that holds pixels does not wait, or two could wait for each other
            _CHANGED.wait_for(lambda: _HELD.pixels or not _ALL["pixels"] or _ALL["pixels"] + pixels <= IN_FLIGHT)
            _HELD.pixels += pixels
            _ALL["pixels"] += pixels


def reason_of(error: Exception) -> str:
    """Return the message of an exception in one line, without number and path, or its type where it has none."""
    text = "out of memory" if isinstance(error, MemoryError) else str(getattr(error, "strerror", None) or error)
    return shortened(" ".join(text.split()), 200) or type(error).__name__


def text_lines(file: IO[bytes]) -> Iterator[tuple[int, str]]:
    """Decode and number the lines of UTF-8, or UTF-16 with a byte order mark; ValueError for a line that no table has."""
    # "Unicode text" of a spreadsheet is UTF-16; files, gzipped ones and members of archives all have `peek`
    is_wide = cast(io.BufferedReader, file).peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    text = io.TextIOWrapper(file, "utf-16" if is_wide else "utf-8-sig", "surrogateescape")
    try:
        for number, line in enumerate(iter(lambda: text.readline(LONGEST_LINE), ""), start=1):
            if len(line) == LONGEST_LINE:
                raise ValueError(f"line {number} has {LONGEST_LINE:,} characters or more")
            if "\0" in line:
                raise ValueError(f"line {number} has a NUL character; save the table as UTF-8")
            yield number, line.rstrip("\n")
    finally:
        with suppress(ValueError):  # closed already, where reading was broken off
            text.detach()  # does not close the file


@contextmanager
def opened(path: Path, name: str) -> Iterator[IO[bytes]]:
    """Open a file that `name` describes in errors; pipes and devices, which may block or never end, are refused."""
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is a folder, a pipe or a device, not a file")
        with path.open("rb") as file:
            yield file
    except (OSError, ValueError, csv.Error, RecursionError) as error:
        raise MienError(f"Cannot read {name}: {getattr(error, 'strerror', None) or first_line(error)}.") from None


def read_text(path: Path, name: str, most: int) -> str:
    """Read a file of at most so many bytes of UTF-8, with or without a byte order mark."""
    with opened(path, name) as file:
        data = file.read(most + 1)
        if len(data) > most:
            raise ValueError(f"it is larger than {most:,} bytes")
        return data.decode("utf-8-sig")


def read_json(path: Path, name: str) -> Any:
    """Read a JSON file."""
    with opened(path, name):
        return json.loads(read_text(path, name, 2**26))  # bytes; the metrics.json of seven labels has 0.1 MB


def csv_rows(path: Path, name: str) -> Iterator[tuple[int, list[str]]]:
    """Read the rows of a CSV file, the header first, each with the number of its last line; all have as many cells."""
    width = 0
    with opened(path, name) as file:
        reader = csv.reader(line + "\n" for _, line in text_lines(file))
        for cells in filter(None, reader):
            width = width or len(cells)
            if len(cells) != width:
                raise ValueError(f"it breaks off in line {reader.line_num}, which has {len(cells)} cells, not {width}")
            yield reader.line_num, cells


class _Loader(yaml.SafeLoader):
    def __init__(self, text: str) -> None:
        if len(text) > LARGEST_YAML:
            raise yaml.YAMLError(f"it has more than {LARGEST_YAML:,} characters")
        super().__init__(text)

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):  # a few could stand for endless values
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not read", problem_mark=self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        return super().compose_node(parent, index)

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value} occurs twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return node


def check_yaml(text: str) -> None:
    """Raise a yaml.YAMLError for YAML that is too long, or has aliases or a key that occurs twice, without loading it."""
    yaml.compose(text, _Loader)


def parse_yaml(text: str, name: str) -> dict[Any, Any]:
    """Parse a YAML mapping that `check_yaml` would accept."""
    try:
        content = yaml.load(text, _Loader)
    except Exception as problem:  # of numbers with thousands of digits, and impossible dates, too
        mark = getattr(problem, "problem_mark", None)
        where, reason = f" in line {mark.line + 1}" if mark else "", getattr(problem, "problem", None) or first_line(problem)
        raise MienError(f"{name} is not valid YAML{where}: {reason}.") from None
    if not isinstance(content, dict):
        raise MienError(f"{name} must contain keys and values, such as `epochs: 30`.")
    return content


def wrong_value(value: Any, kind: Any, name: str = "") -> str:
    """Say which part of a value, as JSON has it, is not of the type that an annotation asks for; empty if all are."""
    origin, options = get_origin(kind) or kind, get_args(kind)
    if is_dataclass(kind) and isinstance(value, Mapping):
        for each in fields(kind):
            part = f"{name}.{each.name}".lstrip(".")
            missing = f"{part} is missing" if each.default is each.default_factory is MISSING else ""
            if problem := wrong_value(value[each.name], each.type, part) if each.name in value else missing:
                return problem
        return ""
    if origin in (dict, list, tuple) and isinstance(value, Mapping if origin is dict else list | tuple):
        inner, of_inner = (value.values(), options[1]) if isinstance(value, Mapping) else (value, options[0])
        return next(filter(None, (wrong_value(each, of_inner, name) for each in inner)), "")
    if origin is UnionType:
        fits = any(not wrong_value(value, each) for each in options)
    elif origin is Literal:
        fits = any(type(value) is type(each) and value == each for each in options)
    else:  # exactly: neither bool for int, nor numbers of NumPy, which YAML does not write
        fits = kind is Any or type(value) in ((int, float) if kind is float else (origin,))
    kinds = [get_origin(each) or each for each in (options if origin is UnionType else [kind])]
    expected = " or ".join(KINDS.get(getattr(each, "__name__", ""), str(each)) for each in kinds)
    return "" if fits else f"{name}: expected {expected}, not {shortened(value)}"
