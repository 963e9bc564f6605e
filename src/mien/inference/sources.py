"""Images from any source: path, folder, pattern, zip, video, camera or address, an image in memory, or many of these."""

import base64
import codecs
import glob
import io
import os
import re
import sys
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path, PurePath
from stat import S_ISDIR
from typing import Any, BinaryIO, TypeAlias, cast
from urllib.parse import quote, unquote, unquote_to_bytes

import numpy as np
from PIL import Image

from mien import images
from mien.errors import LOGGER, MienError, check_number
from mien.files import missing_path
from mien.inference.prediction import Frame, Unread
from mien.inference.video import FETCH_ADVICE, camera_frames, frame_count, stream_frames, video_frames
from mien.inputs import LARGEST_MEMBER, MOST_PIXELS, BoundedReader, failure, open_file, reason_of, unpack

Item: TypeAlias = images.ImageSource | int | Frame | Unread  # an image, folder, pattern, zip, video or camera
Source: TypeAlias = Item | Iterable[Item]  # the sources of `predict`: an item, or an iterable of items
Skip: TypeAlias = Callable[[str], bool]  # whether to leave out the file of a name
SINGLE = (str, os.PathLike, bytes, bytearray, memoryview, Mapping, Image.Image)  # one input although some can be iterated
VIDEO_SUFFIXES = frozenset(images.FORMATS["suffixes of videos"].split())  # of files whose content is nothing else
ZIP_SUFFIX = ".zip"
LONGEST_LINE = 2**28  # bytes of a line on standard input, which may be a photo or video in base64
FETCH_SECONDS, LARGEST_DOWNLOAD = 30.0, 100 * 2**20  # for one photo: seconds, and bytes


def listed(source: Source, every: int = 1, skip: Skip = lambda _: False, fetch: bool = False) -> Iterator[Frame | Unread]:
    """List the images of a source on demand, those of videos and cameras already read, without the files to `skip` by name."""
    check_number("`every`", every, 1)
    if hasattr(source, "requires_grad"):
        raise MienError(images.FORMATS["tensor"])
    return _list_images(source, every, skip, fetch)


def _list_images(source: Source, every: int, skip: Skip, fetch: bool) -> Iterator[Frame | Unread]:
    number = -1
    try:
        for number, item in enumerate(_split(source)):
            name = f"image {number}"
            try:
                for found in _list_item(item, name, every, skip, fetch):
                    if getattr(found, "frame", None) is not None or not skip(found.source):
                        yield found
            except Exception as problem:  # whatever a file or an object raises concerns this input only
                place = str(item) if isinstance(item, str | Path) and exists(Path(item)) else name  # not base64
                yield Frame(place, error=failure(f"input {place!r}", problem))
    except Exception as problem:
        reason = f"{type(problem).__name__} ({reason_of(problem)}); the {number + 1:,} before were read."
        yield Frame(f"image {number + 1}", error=f"The iterable of inputs raised {reason}")


def _split(source: Source) -> Iterable[Item]:
    if isinstance(source, SINGLE) or hasattr(source, "read"):
        return [cast(Item, source)]
    array = _as_array(source)
    if not isinstance(array, np.ndarray):
        return source if isinstance(source, Iterable) else [source]
    if array.dtype.kind in "SUT" or (array.dtype.kind == "O" and array.ndim < 2):  # paths
        return cast(list[Item], array.ravel().tolist())
    has_channels = array.shape[-1:] in images.CHANNELS
    if array.ndim == 3 and not has_channels and len(array) != 3:
        note = f"one of the gray images of an array {array.shape}"
        return (Unread(f"image {number}", image, note) for number, image in enumerate(array))
    return array if array.ndim == 4 and has_channels else [array]


def _as_array(item: Any) -> Any:
    return np.asarray(item) if hasattr(item, "__array__") or hasattr(item, "__array_interface__") else item


def _list_item(item: Any, name: str, every: int, skip: Skip, fetch: bool) -> Iterator[Frame | Unread]:
    if isinstance(item, Frame | Unread):
        yield item
    elif isinstance(item, int | np.integer) and not isinstance(item, bool):
        yield from camera_frames(int(item), every)
    elif isinstance(item, str | os.PathLike):
        path = os.fsdecode(item)
        content = inline_bytes(path)
        if content == b"":
            yield Frame(name, error="The data URI is empty, or no valid base64; encode the photo again.")
        else:
            yield from _list_name(path, every, skip, fetch) if content is None else _list_file(name, content, every, skip)
    elif hasattr(item, "requires_grad"):
        yield Frame(name, error=images.FORMATS["tensor"])
    else:
        own_name = getattr(item, "filename", "") or getattr(item, "name", "")
        if hasattr(item, "read"):
            item = item.file if hasattr(getattr(item, "file", None), "read") else item  # of FastAPI's UploadFile
            with suppress(AttributeError, OSError):
                item.seek(0)  # as Pillow does: what was just written to a file leaves it at its end
            item = item.read()
            if not isinstance(item, bytes | bytearray | memoryview):
                raise MienError(f"gives {type(item).__name__}, not bytes; open it in binary mode, 'rb'.")
        if isinstance(item, bytearray | memoryview):
            item = bytes(item)
        elif not isinstance(item, Image.Image):
            item = _as_array(item)
        yield from _list_file(own_name if own_name and isinstance(own_name, str) else name, item, every, skip)


def inline_bytes(text: str) -> bytes | None:
    """Decode a data URI (RFC 2397), or an image, video or zip in base64 of either alphabet; None if the text is neither."""
    header, comma, data = text.partition(",")
    is_uri = bool(comma) and header[:5].lower() == "data:" and not exists(Path(text))
    if is_uri and not header.lower().endswith(";base64"):
        return unquote_to_bytes(data)
    data = (unquote(data) if is_uri else text).replace("-", "+").replace("_", "/")
    if not is_uri:
        with suppress(ValueError):
            is_uri = images.content_kind(base64.b64decode(data[: images.HEAD_BYTES] + "==")) != "" and not exists(Path(text))
    return base64.b64decode(data + "==") if is_uri else None


def _list_name(name: str, every: int, skip: Skip, fetch: bool) -> Iterator[Frame | Unread]:
    if is_stream(name) and not _is_photo_address(name, fetch):
        if not skip(name):
            yield from stream_frames(name, every)
    elif fetch and is_stream(name):
        yield Unread(name, partial(_download, name))
    elif error := not_a_file_reason(name):
        yield Frame(name, error=error)
    elif (camera := camera_number(name)) is not None:
        yield from camera_frames(camera, every)
    elif os.path.isdir(name):  # noqa: PTH112 - Path.is_dir raises an error where a path may not be examined
        for image in folder_files(Path(name)):
            yield from [image] if isinstance(image, Frame) else _list_file(image, image, every, skip)
    elif glob.has_magic(name) and not exists(Path(name)):
        found = images.matching(name, natural)
        for file in found:
            yield from _list_file(file, file, every, skip)
        if not found:
            yield Frame(name, error=f"Nothing matches {name!r}.")
    else:
        yield from _list_file(str(Path(name)), str(Path(name)), every, skip)


def _list_file(name: str, file: images.ImageSource, every: int, skip: Skip) -> Iterator[Frame | Unread]:
    kind = images.content_kind(file) if isinstance(file, bytes) else _kind(file) if isinstance(file, str) else "image"
    try:
        if kind == "zip":
            yield from zipped(name, io.BytesIO(file) if isinstance(file, bytes) else name)
        elif kind != "video":
            yield Unread(name, file)
        elif not skip(name):
            yield from video_frames(name, every, file if isinstance(file, bytes) else None)
    except Exception as problem:  # whatever is wrong with a file concerns only this one
        yield Frame(name, error=failure(f"{kind} {name!r}", problem, **images.FORMATS["faults"][kind]))


def _kind(path: str) -> str:  # "image", "video", "zip" or ""
    kind, suffix = "", images.suffix_of(path)
    with suppress(OSError, MienError), open_file(path) as file:
        kind = images.content_kind(file.read(images.HEAD_BYTES))
    return kind or ("zip" if suffix == ZIP_SUFFIX else "video" if suffix in VIDEO_SUFFIXES else "")


def folder_files(folder: Path) -> Iterator[str | Frame]:
    """List the images below a folder in natural order, and a frame with an error for what cannot be examined."""
    left_out: list[str] = []
    is_empty, start = True, str(folder / "x")[:-1]  # joined as text, since paths as objects take half of the time
    for name, status in images.walk(str(folder), natural):
        path = start + name.replace("/", os.sep)
        suffix = images.suffix_of(name)
        if isinstance(status, OSError):
            is_empty = False
            noun = "image" if suffix in images.IMAGE_SUFFIXES else "folder"
            yield Frame(path, error=f"The {noun} {path!r} cannot be read ({status.strerror}).")
        elif status and S_ISDIR(status.st_mode):
            continue
        elif suffix in images.IMAGE_SUFFIXES or (not suffix and _kind(path) == "image"):
            is_empty = False
            yield path
        elif suffix in (*VIDEO_SUFFIXES, ZIP_SUFFIX):
            left_out.append(path)
    yield from _report_left_out("folder", str(folder), is_empty, left_out, "; give one that does, or name videos and zips")


def count_images(name: str, every: int = 1) -> int:
    """Count the images of a folder, or every N-th frame of a video by its header; 0 where neither is known."""
    return sum(1 for _ in folder_files(Path(name))) if Path(name).is_dir() else -(-frame_count(name) // every)


def _report_left_out(kind: str, name: str, is_empty: bool, left_out: list[str], advice: str) -> Iterator[Frame]:
    if is_empty:
        yield Frame(name, error=f"The {kind} {name!r} holds no images (.jpg, .png or the like){advice}.")
    elif left_out:
        LOGGER.warning(images.FORMATS["left out"].format(kind, name, len(left_out), left_out[0]))


def zipped(name: str, file: str | BinaryIO) -> Iterator[Frame | Unread]:
    """List the images in a zip in natural order, such as "photos.zip/inner/a.jpg"; each is unpacked on demand."""
    raw: Any = open_file(file).detach() if isinstance(file, str) else file
    with BoundedReader(raw) as opened, zipfile.ZipFile(opened) as archive:
        opened.left = sys.maxsize
        members = images.zip_members(archive, natural)
        most = int(min(LARGEST_MEMBER, 4 * MOST_PIXELS.get()))  # four bytes for each pixel
        found = [member for member in members if not member.endswith("/") and images.is_image_name(member)]
        for member in found:
            source, info = f"{name}/{member}", members[member]
            try:
                if info.flag_bits & 0x1:  # encrypted (PKWARE's APPNOTE, 4.4.4)
                    raise MienError("needs a password; unpack the zip first, then give its folder.")
                if info.file_size > most:
                    raise MienError(f"would unpack to {info.file_size / 2**30:.1f} GB; unpack it, and make it smaller.")
                with images.open_member(archive, info) as content:
                    image: Frame | Unread = Unread(source, unpack(content, most))
            except Exception as problem:  # each compression raises its own
                image = Frame(source, error=failure(f"image {source!r}", problem, "cannot be unpacked", "zip it again"))
            yield image
    left_out = [member for member in members if images.suffix_of(member) in (*VIDEO_SUFFIXES, ZIP_SUFFIX)]
    advice = f", but videos or zips, such as {left_out[0]!r}; unpack it" if left_out else "; give one that does"
    yield from _report_left_out("zip", name, not found, left_out, advice)


def is_stream(name: str) -> bool:
    """Tell whether a name is the address of a stream, or the device file of a camera."""
    return name.lower().startswith(tuple(images.FORMATS["streams"]))


def _is_photo_address(name: str, fetch: bool = False) -> bool:
    path = PurePath(re.split("[?#]", name)[0])
    suffix = path.suffix.lower() if len(path.parts) > 2 else ""  # without a path there is none
    may_be_photo = fetch and name[:4].lower() == "http" and suffix not in (*VIDEO_SUFFIXES, ".m3u8")
    return may_be_photo or suffix in images.IMAGE_SUFFIXES


def _download(address: str) -> bytes:
    from http.client import HTTPException
    from urllib.request import Request, urlopen  # imported here because it takes 30 ms

    content, deadline = bytearray(), time.monotonic() + FETCH_SECONDS
    try:
        request = Request(quote(address, safe="%/:=&?~#+!$,;'@()*[]"), headers={"User-Agent": "mien"})
        with urlopen(request, timeout=FETCH_SECONDS) as response:
            if response.headers.get_content_maintype() in ("audio", "multipart", "video"):
                raise ValueError("it is a stream; leave out --fetch to read it")
            while piece := response.read1(2**16):
                content += piece
                if len(content) > LARGEST_DOWNLOAD or time.monotonic() > deadline:
                    raise ValueError(f"more than {LARGEST_DOWNLOAD / 2**20:.0f} MB or {FETCH_SECONDS:.0f} seconds")
    except (OSError, ValueError, HTTPException) as problem:
        reason = reason_of(problem if hasattr(problem, "code") else getattr(problem, "reason", problem))
        raise MienError(f"The photo {address!r} cannot be downloaded ({reason}); check the address and the network.") from None
    return bytes(content)


def natural(name: str) -> list[tuple[bool, int, str]]:
    """Sort key with the numbers in a name as numbers, 2 before 10, and numbers before letters."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name.casefold())  # by their length: Python converts no long ones
    return [(False, len(part.lstrip("0")), part.lstrip("0")) if part[0] in "0123456789" else (True, 0, part) for part in parts]


def check_names(names: Sequence[str], fetch: bool = False) -> None:
    """Raise a `MienError` if there is nothing under any of the names, with the most similar path to the first."""
    for name in names:
        is_address = is_stream(name) and (fetch or not _is_photo_address(name))
        try:
            if is_address or camera_number(name) is not None or inline_bytes(name) is not None:
                return
        except ValueError:  # damaged base64, which its row says
            return
        if not not_a_file_reason(name) and (exists(Path(name)) or (glob.has_magic(name) and images.matching(name, natural))):
            return
    raise MienError(not_a_file_reason(names[0]) or missing_path(Path(names[0])))


def not_a_file_reason(name: str) -> str:
    """Return what to do about a name that cannot be a file, such as an address; empty where it may be one."""
    if re.match(r"[a-z][a-z0-9+.-]+://", name, re.IGNORECASE):
        advice = FETCH_ADVICE if name[:4].lower() == "http" else "download the photos, or read a bucket with --engine ray"
        return f"{name!r} is an address, not a path; {advice}."
    if name == "-" or (name.startswith(("/dev/", "/proc/self/fd/")) and not name.startswith("/dev/shm/")):
        return str(images.FORMATS["stdin"].format(name))
    return "" if name else "An empty name is not a path; give the path of a photo."


def camera_number(name: str) -> int | None:
    """Return the number of the camera, where the name is one and not an existing file."""
    return int(name) if re.fullmatch(r"[0-9]{1,2}", name) and not exists(Path(name)) else None


def exists(path: Path) -> bool:
    """Return whether a path exists; one that may not be examined counts, and reading it reports why not."""
    try:
        return path.exists()
    except OSError as problem:
        return isinstance(problem, PermissionError)  # not a name that is too long


def read_paths(stream: BinaryIO, null: bool = False) -> Iterator[str]:
    """Read paths, one a line or, with `null`, up to a zero byte, each as soon as it is complete."""
    end, line = b"\0" if null else b"\n", bytearray()
    for number, piece in enumerate(chain(iter(partial(stream.read, 65536), b""), [end])):
        text = piece if number else piece.removeprefix(codecs.BOM_UTF8)  # PowerShell begins with a byte-order mark
        for position, part in enumerate(text.split(end)):
            if position:
                if name := bytes(line if null else line.rstrip(b"\r")):
                    yield os.fsdecode(name)
                line.clear()
            line += part
        if len(line) > LONGEST_LINE:
            raise MienError(f"a line on standard input has more than {LONGEST_LINE / 2**20:.0f} MB; give a path in each")
