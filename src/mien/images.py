"""Image files: their names, their place in folders and zips, their pixels, and the only preparation of a face."""

import base64
import errno
import glob
import io
import math
import os
import re
import stat
import threading
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, TypeAlias

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from mien.errors import MESSAGES, MienError, load_table, shortened
from mien.inputs import IN_FLIGHT, check_pixels, failure, open_file, pixels_in_flight

ImageSource: TypeAlias = str | Path | bytes | Image.Image | np.ndarray  # bytes: those of an image file
FORMATS: dict[str, Any] = load_table(__file__, "formats")
IMAGE_SUFFIXES = frozenset(FORMATS["suffixes of images"].split())  # what counts as an image, in training and prediction alike
HEAD_BYTES = 512  # bytes of a file that `content_kind` needs
_KINDS = {kind: re.compile("|".join(forms.values()).encode(), re.DOTALL) for kind, forms in FORMATS["signatures"].items()}
_CONTAINERS = tuple(start.encode() for start in FORMATS["images that hold others: ICO, CUR, ICNS, BLP"])
_PART = re.compile(r"\[!?(\]?[^]]*)]|.", re.DOTALL)  # of a pattern: a set of characters, or a character
CHANNELS = ((1,), (2,), (3,), (4,))  # lengths of an axis that is one of channels: gray, gray with alpha, RGB, RGBA
LIMITS = FORMATS["limits"]
LARGEST_FACE = 4096  # side in pixels of a prepared or drawn face: four times that of the largest recipe
BAND = 2**18  # pixels that are converted at a time: copies of a whole image take several times its memory, and longer
# by EXIF orientation (TIFF 6.0, tag 274): whether the axes of the stored image are swapped, and its steps down and across
_ORIENTATIONS = {2: (0, 1, -1), 3: (0, -1, -1), 4: (0, -1, 1), 5: (1, 1, 1), 6: (1, -1, 1), 7: (1, -1, -1), 8: (1, 1, -1)}
_PILLOW_LIMIT = threading.Lock()  # guards Pillow's limit, a global

with suppress(ImportError):
    import pillow_heif  # type: ignore[import-not-found, unused-ignore]

    pillow_heif.register_heif_opener()


def suffix_of(name: str) -> str:
    """Return the suffix of a file name in lower case; objects of pathlib take much longer."""
    return os.path.splitext(name)[1].lower().rstrip(".")  # noqa: PTH122


def is_image_name(name: str) -> bool:
    """Return whether a file of this name counts as an image."""
    return suffix_of(name) in IMAGE_SUFFIXES


def content_kind(head: bytes) -> str:
    """Return what the first bytes of a file are the start of: an "image", a "video", a "zip", or "" if they do not say."""
    return next((kind for kind, pattern in _KINDS.items() if pattern.match(head)), "")


def _is_ignored(name: str) -> bool:
    return name in FORMATS["ignored"] or (name.startswith(".") and name not in (".", ".."))


def walk(folder: str, key: Callable[[str], Any] = str) -> Iterator[tuple[str, os.stat_result | OSError | None]]:
    """List all below a folder except hidden and ignored names, each with its status (None: a link to nowhere) or error."""
    visits: Counter[tuple[int, int]] = Counter()
    # the folders being listed: names that are left, and the folders above
    open_folders: list[tuple[Iterator[str], frozenset[tuple[int, int]]]] = [(iter([""]), frozenset())]
    while open_folders:
        names, above = open_folders[-1]
        if (name := next(names, None)) is None:
            open_folders.pop()
            continue
        path = os.path.join(folder, name) if name else folder  # noqa: PTH118 - a million paths as objects take seconds
        try:
            status = os.stat(path)  # noqa: PTH116
        except OSError as error:
            yield name, None if name and error.errno in (errno.ENOENT, errno.ELOOP) else error
            continue
        if name:
            yield name, status
        here = status.st_dev, status.st_ino
        if here in above or (name and not stat.S_ISDIR(status.st_mode)):  # a link to a folder above, or a file
            continue
        visits[here] += 1
        try:
            with os.scandir(path) as entries:  # sorted by name: entries take five times the memory
                found = sorted((entry.name for entry in entries if not _is_ignored(entry.name)), key=key)
        except OSError as error:
            yield name, error  # after its status
            continue
        if visits[here] <= LIMITS["visits"] or not os.path.islink(path):  # noqa: PTH114
            open_folders.append((map((f"{name}/" if name else "").__add__, found), above | {here}))


def matching(pattern: str, key: Callable[[str], Any] = str) -> list[str]:
    """List the files that a pattern matches, sorted; parts of it that exist as they are written are no patterns."""
    parts, base = pattern.replace(os.sep, "/").split("/"), ""
    while len(parts) > 1 and (not glob.has_magic(parts[0]) or os.path.lexists(base + parts[0])):
        base += parts.pop(0) + "/"
    if "**" not in parts:
        found = glob.glob(glob.escape(base) + "/".join(parts))  # noqa: PTH207 - Path.glob takes no absolute pattern
        return sorted((path for path in found if not os.path.isdir(path)), key=key)  # noqa: PTH112
    # by the walker, since glob follows links to folders above for ever
    wanted = "".join("([^/]+/)*" if part == "**" else f"{_PART.sub(_as_regex, part)}/" for part in parts)
    wanted = wanted.removesuffix("/") if parts[-1] != "**" else f"{wanted}[^/]+"
    return [
        base + name
        for name, status in walk(base or ".", key)
        if isinstance(status, OSError) or (re.fullmatch(wanted, name) and not (status and stat.S_ISDIR(status.st_mode)))
    ]


def _as_regex(part: re.Match[str]) -> str:
    if part[1] is not None:
        return f"[{'^' if part[0][1] == '!' else ''}{re.escape(part[1])}]".replace(r"\-", "-")
    return {"*": "[^/]*", "?": "[^/]"}.get(part[0]) or re.escape(part[0])


def member_name(name: str) -> str:
    """Return the name of a member of an archive with slashes, or nothing for what `walk` skips."""
    name = name.replace("\\", "/").removeprefix("./").lstrip("/")
    return "" if any(map(_is_ignored, name.split("/"))) else name


def zip_members(archive: zipfile.ZipFile, key: Callable[[str], Any] = str) -> dict[str, zipfile.ZipInfo]:
    """List the members of a zip by name, sorted, without what `walk` skips; the names of folders end with a slash."""
    members = {name: info for info in archive.infolist() if (name := member_name(info.filename))}
    return {name: members[name] for name in sorted(members, key=key)}


class _SmallPieces(io.RawIOBase):
    """A member of a zip read 64 bytes at a time: zipfile unpacks all it has read, and bzip2 makes 46 MB of 45 bytes."""

    def __init__(self, member: Any) -> None:
        self.member = member
        member.MIN_READ_SIZE = 64

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        return int(self.member.readinto(memoryview(buffer)[:64]))


def open_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
    """Open a member of a zip so that it is unpacked no faster than it is read."""
    member = archive.open(info)
    return io.BufferedReader(_SmallPieces(member)) if info.compress_type == zipfile.ZIP_BZIP2 else member


def read_image(source: ImageSource) -> np.ndarray:
    """Read an image as a person sees it: uint8, gray (H, W) or RGB (H, W, 3), maybe read-only; docs/predict.md has rules."""
    return read_with_note(source)[0]


@pixels_in_flight()
def read_with_note(source: ImageSource, name: str = "") -> tuple[np.ndarray, str]:
    """Read an image as `read_image` does, and note what was left out or inferred; `name` is that of bytes in errors."""
    if not isinstance(source, ImageSource):
        raise MienError(f"An image is a path, bytes, a Pillow image or an array, not {type(source).__name__}.")
    what, remedy = f"image {name!r}" if name else "image in these bytes", "save or download it again"
    try:
        if isinstance(source, np.ndarray):
            what = "image array"
            return _from_array(np.asarray(source))
        if isinstance(source, Image.Image):
            what, remedy = "Pillow image", "load it before its file is closed, or save it again"
            return _decode(source)
        if isinstance(source, bytes):
            return _from_file(io.BytesIO(source))
        what = f"image {str(source)!r}"
        with open_file(source) as file:
            return _from_file(file)
    except Exception as error:  # parsers of damaged files raise OSError, SyntaxError, ValueError, struct.error and more
        raise MienError(failure(what, error, "is damaged", remedy)) from None


def check_faces_shape(size: int, channels: int) -> None:
    """Raise a MienError unless faces can have this side in pixels and this number of channels."""
    whole = all(isinstance(value, int | np.integer) and not isinstance(value, bool) for value in (size, channels))
    if not whole or not 1 <= size <= LARGEST_FACE or channels not in (1, 3):
        raise MienError(MESSAGES["shape of faces"].format(LARGEST_FACE, shortened(size), shortened(channels)))


def prepare(image: np.ndarray, size: int, channels: int) -> np.ndarray:
    """Prepare a face for the network: the only preprocessing outside the model file, for training and prediction alike.

    Colour becomes gray by the luma of ITU-R BT.601, and the picture is stretched to a square by an antialiased triangle filter,
    which does not ring. Returns uint8, (size, size) or (size, size, 3): the image itself, not a copy, if it has that shape.
    """
    shape = (size, size) if channels == 1 else (size, size, 3)
    if image.shape == shape and image.dtype == np.uint8:
        return image
    if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)) or not image.size:
        raise MienError(f"A face must be uint8 (H, W) or (H, W, 3) with pixels in it, not {image.dtype} {image.shape}.")
    # Luma before resizing (a third of the work), repetition after it.
    picture = Image.fromarray(image).convert("L" if channels == 1 or image.ndim == 2 else "RGB")
    if picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(picture)
    return pixels if pixels.shape == shape else np.repeat(pixels[:, :, None], 3, axis=2)


def _from_file(file: BinaryIO) -> tuple[np.ndarray, str]:
    head = file.read(HEAD_BYTES)
    file.seek(0)
    if not head:
        raise MienError("is empty (0 bytes); copy or download it again.")
    is_container = head.startswith(_CONTAINERS)
    try:
        # Pillow's own limit is of 89 megapixels and warns; `_decode` checks the size that a header states.
        with _pillow_limit(LIMITS["contained"] if is_container else None):
            image = Image.open(file)
            if is_container:
                image.load()
    except UnidentifiedImageError:
        if (kind := content_kind(head)) in ("zip", "video"):
            raise MienError(f"is a {kind}, which is not read here; name it itself, or unpack it first.") from None
        is_heic = head[4:12].decode("latin-1") in FORMATS["bytes 4 to 12 of HEIC"]
        hint = " (it is HEIC: pip install pillow-heif)" if is_heic else ""
        hint = " (it is a table of Parquet: predict reads one with --engine ray)" if head.startswith(b"PAR1") else hint
        raise MienError(f"is not in a format that can be read{hint}; save it as JPEG or PNG.") from None
    with image:
        pixels, note = _decode(image)
        with suppress(Exception):  # what follows the first picture may be damaged; in an MPO it is thumbnails and depths
            if image.format != "MPO" and getattr(image, "is_animated", False):
                note = note or f"the first of several {'pages' if image.format == 'TIFF' else 'frames'}"
        return pixels, note


@contextmanager
def _pillow_limit(pixels: int | None) -> Iterator[None]:
    with _PILLOW_LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, pixels
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _decode(image: Image.Image) -> tuple[np.ndarray, str]:
    tile = [getattr(image, "tag_v2", {}).get(tag, 0) for tag in (ExifTags.Base.TileWidth, ExifTags.Base.TileLength)]
    check_pixels(*max(image.size, tile, key=math.prod))  # each tile of a TIFF is decoded whole
    # Pillow hands these to other programs (Ghostscript would execute EPS), or unpacks them without a limit
    if image.format in FORMATS["Pillow's rejected"]:
        raise MienError(f"is a file of the format {image.format}; save it as JPEG or PNG.")
    try:
        # Pillow checks the tiles of a TIFF, and takes it whole for one
        with _pillow_limit(None) if image.format == "TIFF" and math.prod(image.size) > IN_FLIGHT / 2 else nullcontext():
            image.load()
        orientation = 1
        with suppress(Exception):  # a broken EXIF block does not spoil the picture
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        return _pixels(image, orientation)
    except MemoryError:
        raise MienError(f"does not fit into memory ({image.width}x{image.height}); make it smaller.") from None


def _pixels(image: Image.Image, orientation: int = 1) -> tuple[np.ndarray, str]:
    """Convert an image of any Pillow mode to uint8 gray or RGB, upright, and note the scale if it was inferred."""
    note = ""
    if image.mode.startswith("I"):  # 16 bits, which Pillow holds in 16 or in 32
        image = Image.fromarray(_to_bytes(np.asarray(image), (65535,))[0])
    elif image.mode == "F":
        values, note = _to_bytes(np.asarray(image))
        image = Image.fromarray(values)
    elif image.mode == "LAB":
        image = image.getchannel("L")  # Pillow cannot convert it to RGB; lightness is enough for a face
    wanted = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    has_alpha = image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
    is_swapped, down, across = _ORIENTATIONS.get(orientation, (0, 1, 1))
    size = image.size if is_swapped else image.size[::-1]
    pixels = np.empty(size if wanted == "L" else (*size, 3), np.uint8)
    stored, rows = (pixels.swapaxes(0, 1) if is_swapped else pixels)[::down, ::across], max(1, BAND // image.width)
    for top in range(0, image.height, rows):
        part = image if rows >= image.height else image.crop((0, top, image.width, min(top + rows, image.height)))
        if has_alpha:
            part = (part.convert("LA") if part.mode == "La" else part).convert("RGBA")
            part = Image.alpha_composite(Image.new("RGBA", part.size, "white"), part)
        stored[top : top + rows] = np.asarray(part if part.mode == wanted else part.convert(wanted))
    return pixels, note


def _from_array(array: np.ndarray) -> tuple[np.ndarray, str]:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (2, 3, 4))) or not array.size:
        order = {3: "1, 2, 0", 4: "0, 2, 3, 1"}.get(array.ndim, "") if array.shape[-3:-2] in CHANNELS else ""
        advice = f"; write array.transpose({order}) if its channels come first" if order else ""
        advice += f"{', or' if order else '; write'} list(array) if it holds several images" if array.ndim > 2 else ""
        raise MienError(f"must be (H, W), (H, W, 3) or (H, W, 4) with pixels in it, not {array.shape}{advice}.")
    check_pixels(array.shape[1], array.shape[0])
    pixels, note = (array, "") if array.dtype == np.uint8 else _to_bytes(array)
    if pixels.ndim == 2 or pixels.shape[2] == 3:
        return pixels, note
    if pixels.shape[2] == 2:
        note = ", ".join(filter(None, ("two channels read as gray with alpha", note)))
    return _pixels(Image.fromarray(pixels))[0], note


def _to_bytes(values: np.ndarray, scales: tuple[int, ...] = ()) -> tuple[np.ndarray, str]:
    """Scale values to uint8 from the first of the scales (by default those usual for their type) that fits, and note it."""
    kind = values.dtype.kind
    if kind == "b":
        return values * np.uint8(255), ""
    if kind not in "uif":
        raise MienError(f"must hold numbers, not {values.dtype}.")
    low, high = float(values.min()), float(values.max())
    scales = scales or ((1, 255, 65535) if kind == "f" else (255, 65535) if values.dtype.str[1:] == "u2" else (255,))
    slack = LIMITS["overshoot"] if kind == "f" else 0
    scale = next((scale for scale in scales if high <= scale * (1 + slack)), 0)
    if not scale or not -slack * scale <= low or (scale != scales[0] and high <= LIMITS["black"] / 255 * scale):
        usual = " or ".join(f"0 to {scale}" for scale in scales)
        raise MienError(f"has values from {low:g} to {high:g}; scale them to {usual}.")
    pixels = np.empty(values.shape, np.uint8)
    rows = max(1, BAND // values[0].size)
    for top in range(0, len(values), rows):
        scaled = np.multiply(values[top : top + rows], 255 / scale, dtype=np.float32)
        pixels[top : top + rows] = np.rint(scaled.clip(0, 255))
    return pixels, f"{values.dtype} values from {low:.3g} to {high:.3g} read as 0 to {scale}"


def as_data_uri(picture: Image.Image, longest: int, format: str) -> str:
    """Shrink a picture so that its longest side has at most so many pixels, and write it as a data URI for a page."""
    buffer = io.BytesIO()
    picture.thumbnail((longest, longest))
    picture.save(buffer, format, quality=85)  # which PNG ignores
    return f"data:image/{format};base64,{base64.b64encode(buffer.getvalue()).decode()}"
