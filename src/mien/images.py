"""Image files: their names, their place in folders and zips, their pixels, and the only preparation of a face."""

import base64
import functools
import io
import os
import re
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from stat import S_ISDIR
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from mien.errors import MienError, shortened

ImageSource: TypeAlias = str | Path | bytes | Image.Image | np.ndarray
"""What `read_image` takes: a path, the bytes of an image file, a Pillow image, or an array."""

_COMMON = ".jpg .jpeg .jpe .jfif .png .apng .gif .webp .tif .tiff .bmp .dib .tga"
IMAGE_SUFFIXES = frozenset(f"{_COMMON} .heic .heif .avif .jp2 .j2k .ppm .pgm .pbm .pnm".split())
"""The files of a folder or zip that count as images, for training and prediction alike, in upper or lower case."""

HEAD_BYTES = 512  # bytes of a file that `content_kind` needs
HEIC = (b"ftypheic", b"ftypheix", b"ftypmif1")  # bytes 4 to 12 of a HEIC file

_KINDS = {
    "image": re.compile(
        rb"\xff\xd8\xff|\x89PNG\r\n|GIF8[79]a|BM.{4}\0{4}|II[*+]\0|MM\0[*+]|RIFF.{4}WEBP|\xff\x4f\xff\x51|P[1-7fF]\s|8BPS"
        rb"|\0{3}\x0c(jP  |JXL )|.{4}ftyp(he[iv][cxms]|mi[af][f1-9]|msf1|avi[fs]|crx )",
        re.DOTALL,
    ),
    "zip": re.compile(rb"PK(\x03\x04|\x05\x06)"),
    "video": re.compile(
        rb".{4}(moov|mdat)|\0.{3}(ftyp|moof|wide|free|skip|styp)|RIFF.{4}AVI |\x1aE\xdf\xa3|FLV\x01|OggS|0&\xb2u\x8ef\xcf\x11"
        rb"|DKIF|\0\0\x01[\xb3\xba]|\0{3}\x01[\x09\x27\x40\x46\x67]|nut/|G.{187}G.{187}G|.{4}G.{191}G|\x06\x0e\+4|\.RMF|YUV4",
        re.DOTALL,
    ),
}
"""How files begin: the formats of Pillow that have a signature, zips, and the containers of videos."""

_NOISE = {"__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir"}  # created by macOS, Windows and network drives

CHANNELS = ((1,), (2,), (3,), (4,))  # lengths of an axis that is one of channels: gray, gray with alpha, RGB, RGBA

OVERSHOOT = 0.05  # floats may exceed their scale by this share of it, since cubic resizing overshoots; they are clipped
BLACK = 16 / 255  # brightest black, as a share of the scale (ITU-R BT.601): so dark an array probably has another scale
LARGEST_FACE = 4096  # side in pixels of a prepared or drawn face: four times that of the largest recipe
MAX_MEGAPIXELS = 400  # a small file can claim to be larger and fill the memory; MIEN_MAX_MEGAPIXELS sets another limit
LARGE_MEGAPIXELS = 50  # larger images are decoded one at a time: decoding takes several times their size

_PILLOW_LIMIT = threading.Lock()
_LARGE = threading.Lock()


def suffix_of(name: str) -> str:
    """Return the suffix of a file name in lower case; objects of pathlib take much longer."""
    return os.path.splitext(name)[1].lower().rstrip(".")  # noqa: PTH122


def is_image_name(name: str) -> bool:
    """Return whether a file of this name counts as an image."""
    return suffix_of(name) in IMAGE_SUFFIXES


def content_kind(head: bytes) -> str:
    """Return what the first bytes of a file are the start of: an "image", a "video", a "zip", or "" if they do not say."""
    return next((kind for kind, pattern in _KINDS.items() if pattern.match(head)), "")


def _is_noise(name: str) -> bool:
    return name in _NOISE or (name.startswith(".") and name not in (".", ".."))


def walk(
    folder: str, key: Callable[[str], Any] = str, prefix: str = "", above: frozenset[str] = frozenset()
) -> Iterator[tuple[str, os.stat_result | OSError | None]]:
    """List everything below a folder; hidden files, files of the operating system and links to a folder above are skipped.

    Yields `prefix` and the name relative to the folder, with slashes, and its status: None for a link that leads nowhere. A
    folder comes before its contents; one that cannot be listed also comes with the error. `key` sorts the names of a folder.
    """
    here = os.path.realpath(folder)
    if here in above:
        return
    try:
        with os.scandir(folder) as entries:  # sorted by name: entries take five times the memory
            names = sorted((entry.name for entry in entries if not _is_noise(entry.name)), key=key)
    except OSError as error:
        yield prefix.rstrip("/"), error
        return
    for name in names:
        path = os.path.join(folder, name)  # noqa: PTH118 - a million paths as objects take seconds
        try:
            status = os.stat(path)  # noqa: PTH116
        except OSError:
            status = None
        yield prefix + name, status
        if status and S_ISDIR(status.st_mode):
            yield from walk(path, key, f"{prefix}{name}/", above | {here})


def member_name(name: str) -> str:
    """Return the name of a member of an archive with slashes, or nothing for what `walk` skips."""
    name = name.replace("\\", "/").removeprefix("./").lstrip("/")
    return "" if any(map(_is_noise, name.split("/"))) else name


def zip_members(archive: zipfile.ZipFile, key: Callable[[str], Any] = str) -> dict[str, zipfile.ZipInfo]:
    """List the members of a zip by name, sorted, without what `walk` skips; the names of folders end with a slash."""
    members = {name: info for info in archive.infolist() if (name := member_name(info.filename))}
    return {name: members[name] for name in sorted(members, key=key)}


def read_image(source: ImageSource) -> np.ndarray:
    """Read an image as a person sees it: uint8, (H, W) for a gray one and (H, W, 3) RGB for any other, maybe read-only.

    The formats are those of Pillow, and HEIC where pillow-heif is installed. The EXIF orientation is applied, transparency is
    blended with white, 16 bits are scaled to 8, and the first frame of an animation is used. An array is (H, W), (H, W, 1),
    (H, W, 2) gray with alpha, (H, W, 3) RGB or (H, W, 4) RGBA. A float array or TIFF has the range 0 to 1, 0 to 255 or 0 to
    65535, the first that fits its maximum; a uint16 array 0 to 255 or 0 to 65535; other integers 0 to 255.
    """
    return read_with_note(source)[0]


def read_with_note(source: ImageSource, name: str = "") -> tuple[np.ndarray, str]:
    """Read an image as `read_image` does, and note what was left out or inferred; `name` is that of bytes in errors."""
    if not isinstance(source, ImageSource):
        raise MienError(f"An image is a path, bytes, a Pillow image or an array, not {type(source).__name__}.")
    label, remedy = "The image array", "save or download it again"
    if isinstance(source, Image.Image):
        label, remedy = "The Pillow image", "load it before its file is closed, or save it again"
    elif isinstance(source, bytes):
        label = f"The image {name!r}" if name else "The image in these bytes"
    elif not isinstance(source, np.ndarray):
        label = f"The image {str(source)!r}"
    try:
        if isinstance(source, np.ndarray):
            return _from_array(np.asarray(source))
        if isinstance(source, Image.Image):
            return _decode(source)
        with io.BytesIO(source) if isinstance(source, bytes) else _opened(Path(source)) as file:
            return _from_file(file)
    except FileNotFoundError:
        raise MienError(f"There is no image {str(source)!r}; check the path.") from None
    except MienError as error:
        raise MienError(f"{label} {error}") from None
    except Exception as error:  # parsers of damaged files raise OSError, SyntaxError, ValueError, struct.error and more
        raise MienError(f"{label} is damaged ({reason_of(error)}); {remedy}.") from None


def check_faces_shape(size: int, channels: int) -> None:
    """Raise a MienError unless faces can have this side in pixels and this number of channels."""
    whole = all(isinstance(value, int | np.integer) and not isinstance(value, bool) for value in (size, channels))
    if not whole or not 1 <= size <= LARGEST_FACE or channels not in (1, 3):
        need = f"a size of at least 1 and at most {LARGEST_FACE:,} pixels, and 1 or 3 channels"
        raise MienError(f"Faces need {need}, not {shortened(size)} and {shortened(channels)}.")


def prepare(image: np.ndarray, size: int, channels: int) -> np.ndarray:
    """Prepare a face for the network: the only preprocessing outside the model file, for training and prediction alike.

    The image is as `read_image` gives it. Colour becomes gray by the luma of ITU-R BT.601 (0.299 R + 0.587 G + 0.114 B), gray
    becomes colour by repetition, and the picture is stretched to a square with an antialiased triangle filter, which does not
    ring. Returns uint8, (size, size) for one channel or (size, size, 3): the image itself, not a copy, if it has that shape.
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


def _opened(path: Path) -> BinaryIO:
    try:
        if path.is_fifo():  # opening it would block until something is written
            raise MienError("is a named pipe; save its output to a file.")
        return path.open("rb")
    except FileNotFoundError:
        raise
    except IsADirectoryError:
        raise MienError("is a folder, not an image.") from None
    except (OSError, ValueError) as error:
        raise MienError(f"cannot be opened: {getattr(error, 'strerror', None) or error}.") from None


def _from_file(file: BinaryIO) -> tuple[np.ndarray, str]:
    if not file.read(1):
        raise MienError("is empty (0 bytes); copy or download it again.")
    file.seek(0)
    try:
        image = _open(file)
    except UnidentifiedImageError:
        file.seek(4)
        hint = " (it is HEIC: pip install pillow-heif)" if file.read(8) in HEIC else ""
        raise MienError(f"is not in a format that can be read{hint}; save it as JPEG or PNG.") from None
    with image:
        pixels, note = _decode(image)
        with suppress(Exception):  # what follows the first picture may be damaged; in an MPO it is thumbnails and depths
            if image.format != "MPO" and getattr(image, "is_animated", False):
                note = note or f"the first of several {'pages' if image.format == 'TIFF' else 'frames'}"
        return pixels, note


def _open(file: BinaryIO) -> Image.Image:
    _register_heic()
    # Pillow's own limit, a global of 89 megapixels that warns, is off while the header is read; `_decode` checks the size.
    with _PILLOW_LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


@functools.cache
def _register_heic() -> None:
    with suppress(ImportError):
        import pillow_heif  # type: ignore[import-not-found, unused-ignore]

        pillow_heif.register_heif_opener()


def _decode(image: Image.Image) -> tuple[np.ndarray, str]:
    text, size = os.environ.get("MIEN_MAX_MEGAPIXELS") or MAX_MEGAPIXELS, image.width * image.height / 1e6
    try:
        limit = float(text)
    except ValueError:
        raise MienError(f"cannot be read: MIEN_MAX_MEGAPIXELS must be a number of megapixels, not {text!r}.") from None
    if not size:
        raise MienError(f"has no pixels ({image.width}x{image.height}); give another.")
    if size > limit:
        raise MienError(f"has {size:.3g} megapixels and the limit is {limit:g}; make it smaller, or set MIEN_MAX_MEGAPIXELS.")
    if image.format == "EPS":  # Pillow would pass the file to Ghostscript, which executes it
        raise MienError("is an EPS drawing; save it as JPEG or PNG.")
    try:
        with _LARGE if size > LARGE_MEGAPIXELS else nullcontext():
            image.load()
            with suppress(Exception):  # a broken EXIF block does not spoil the picture
                image = ImageOps.exif_transpose(image) if image.getexif().get(ExifTags.Base.Orientation, 1) != 1 else image
            return _pixels(image)
    except MemoryError:
        raise MienError(f"does not fit into memory ({image.width}x{image.height}); make it smaller.") from None


def reason_of(error: Exception) -> str:
    """Return the message of an exception in one line, or its type where it has none."""
    return "out of memory" if isinstance(error, MemoryError) else " ".join(str(error).split()) or type(error).__name__


def _pixels(image: Image.Image) -> tuple[np.ndarray, str]:
    """Convert an image of any Pillow mode to uint8 gray or RGB, and note the scale if it was inferred."""
    if image.mode.startswith("I"):
        return _to_bytes(np.asarray(image), (65535,))[0], ""  # 16 bits, which Pillow holds in 16 or in 32
    if image.mode == "F":
        return _to_bytes(np.asarray(image))
    if image.mode == "LAB":
        return np.asarray(image.getchannel("L")), ""  # Pillow cannot convert it to RGB; lightness is enough for a face
    gray = image.mode in ("1", "L", "LA", "La")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        rgba = image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    wanted = "L" if gray else "RGB"
    return np.asarray(image if image.mode == wanted else image.convert(wanted)), ""


def _from_array(array: np.ndarray) -> tuple[np.ndarray, str]:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (2, 3, 4))) or not array.size:
        order = {3: "1, 2, 0", 4: "0, 2, 3, 1"}.get(array.ndim, "") if array.shape[-3:-2] in CHANNELS else ""
        advice = f"; write array.transpose({order}) if its channels come first" if order else ""
        advice += f"{', or' if order else '; write'} list(array) if it holds several images" if array.ndim > 2 else ""
        raise MienError(f"must be (H, W), (H, W, 3) or (H, W, 4) with pixels in it, not {array.shape}{advice}.")
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
    slack = OVERSHOOT if kind == "f" else 0
    scale = next((scale for scale in scales if high <= scale * (1 + slack)), 0)
    if not scale or not -slack * scale <= low or (scale != scales[0] and high <= BLACK * scale):
        usual = " or ".join(f"0 to {scale}" for scale in scales)
        raise MienError(f"has values from {low:g} to {high:g}; scale them to {usual}.")
    pixels = np.rint(np.clip(np.multiply(values, 255 / scale, dtype=np.float32), 0, 255))
    return pixels.astype(np.uint8), f"{values.dtype} values from {low:.3g} to {high:.3g} read as 0 to {scale}"


def as_data_uri(picture: Image.Image, longest: int, format: str) -> str:
    """Shrink a picture so that its longest side has at most so many pixels, and write it as a data URI for a page."""
    buffer = io.BytesIO()
    picture.thumbnail((longest, longest))
    picture.save(buffer, format, quality=85)  # which PNG ignores
    return f"data:image/{format};base64,{base64.b64encode(buffer.getvalue()).decode()}"
