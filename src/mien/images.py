"""Image files: their names, their place in folders and zips, their pixels, and the only preparation of a face."""

import functools
import io
import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path, PurePath
from stat import S_ISDIR
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from mien.errors import MienError

ImageSource: TypeAlias = str | Path | bytes | Image.Image | np.ndarray
"""What `read_image` takes: a path, the bytes of an image file, a Pillow image, or an array."""

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".webp", ".tif", ".tiff", ".bmp", ".dib", ".tga"}
    | {".heic", ".heif", ".avif", ".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm"}
)
"""The files of a folder or zip that count as images, for training and prediction alike, in upper or lower case."""

_NOISE = {"__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir"}  # created by macOS, Windows and network drives

MAX_MEGAPIXELS = 400
"""Larger images are rejected: a small file can claim to be one and fill the memory. MIEN_MAX_MEGAPIXELS sets another limit."""

LARGE_MEGAPIXELS = 50
"""Larger images are decoded one at a time, whatever the number of threads: decoding takes several times their size."""

_PILLOW_LIMIT = threading.Lock()
_LARGE = threading.Lock()


def is_image_name(name: str) -> bool:
    """Return whether a file of this name counts as an image."""
    return PurePath(name).suffix.lower() in IMAGE_SUFFIXES


def _is_noise(name: str) -> bool:
    return name in _NOISE or (name.startswith(".") and name not in (".", ".."))


def walk(
    folder: str, key: Callable[[str], Any] = str, prefix: str = "", above: frozenset[str] = frozenset()
) -> Iterator[tuple[str, os.stat_result | OSError | None]]:
    """List everything below a folder; hidden files, files of the operating system and links to a folder above are skipped.

    Yields the name relative to the folder, with slashes, and its status: None for a link that leads nowhere. A folder comes
    before its contents; one that cannot be listed also comes with the error. `key` sorts the names of each folder; `prefix` is
    put before every name; `above` are the real paths of the parent folders.
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


def zip_members(archive: zipfile.ZipFile, key: Callable[[str], Any] = str) -> dict[str, zipfile.ZipInfo]:
    """List the members of a zip by name, sorted, without what `walk` skips; the names of folders end with a slash."""
    members = {info.filename.replace("\\", "/").removeprefix("./"): info for info in archive.infolist()}
    return {name: members[name] for name in sorted(members, key=key) if not any(map(_is_noise, name.split("/")))}


def read_image(source: ImageSource) -> np.ndarray:
    """Read an image as a person sees it.

    The EXIF orientation is applied, transparency is blended with white, 16 bits are scaled to 8, and the first frame of an
    animation is used. A float array or TIFF has the range 0 to 1, 0 to 255 or 0 to 65535, the first that fits its maximum.

    Args:
        source: a path, the bytes of a file in any format Pillow reads (HEIC where pillow-heif is installed), a Pillow image,
            or an array: (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA.

    Returns:
        uint8, (H, W) for a gray image and (H, W, 3) RGB for any other; a decoded one is read-only.

    Raises:
        MienError: if there is no such file, it is not an image, is damaged, or is larger than the limit.
    """
    return read_with_note(source)[0]


def read_with_note(source: ImageSource, name: str = "") -> tuple[np.ndarray, str]:
    """Read an image as `read_image` does, and note what was left out: "the first of several frames" (or pages), or "".

    `name` is the name of bytes in error messages.
    """
    if isinstance(source, np.ndarray):
        try:
            return _from_array(source), ""
        except MienError as error:
            raise MienError(f"The image array: {error}") from None
    if isinstance(source, Image.Image):
        return _decode(source, "The Pillow image"), ""
    if isinstance(source, bytes):
        return _from_file(io.BytesIO(source), f"The image {name!r}" if name else "The image in these bytes")
    if not isinstance(source, str | Path):
        raise MienError(f"An image is a path, bytes, a Pillow image or an array, not {type(source).__name__}.")
    name = f"The image {str(source)!r}"
    if Path(source).is_fifo():  # opening it would block until something is written
        raise MienError(f"{name} is a named pipe; save its output to a file.")
    try:
        file = Path(source).open("rb")  # noqa: SIM115 - closed below; only opening may raise here
    except FileNotFoundError:
        raise MienError(f"There is no image {str(source)!r}; check the path.") from None
    except IsADirectoryError:
        raise MienError(f"{str(source)!r} is a folder, not an image.") from None
    except (OSError, ValueError) as error:
        raise MienError(f"{name} cannot be opened: {getattr(error, 'strerror', None) or error}.") from None
    with file:
        return _from_file(file, name)


def prepare(image: np.ndarray, size: int, channels: int) -> np.ndarray:
    """Prepare a face for the network: the only preprocessing outside the model file, for training and prediction alike.

    Colour becomes gray by the luma of ITU-R BT.601 (0.299 R + 0.587 G + 0.114 B), gray becomes colour by repetition, and
    the picture is stretched to a square with an antialiased triangle filter, which does not ring.

    Args:
        image: uint8, (H, W) gray or (H, W, 3) RGB, as `read_image` gives it.
        size: height and width of the result in pixels.
        channels: 1 for gray, 3 for RGB.

    Returns:
        uint8, (size, size) or (size, size, 3): the image itself, not a copy, where it already has that shape.

    Raises:
        MienError: if the image is none of these.
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


def _from_file(file: BinaryIO, name: str) -> tuple[np.ndarray, str]:
    if not file.read(1):
        raise MienError(f"{name} is empty (0 bytes); copy or download it again.")
    file.seek(0)
    try:
        with _open(file) as image:
            return _decode(image, name), _left_out(image)
    except MienError:
        raise
    except UnidentifiedImageError:
        raise MienError(f"{name} is not in a format that can be read{_heic_hint(file)}; save it as JPEG or PNG.") from None
    except Exception as error:  # parsers of damaged headers raise many types
        raise MienError(f"{name} is damaged ({reason_of(error)}); save or download it again.") from None


def _left_out(image: Image.Image) -> str:
    """Return a note where the file holds more than its first picture; the others of an MPO are thumbnails and depths."""
    with suppress(Exception):  # what follows the first picture may be damaged
        if image.format != "MPO" and getattr(image, "is_animated", False):
            return f"the first of several {'pages' if image.format == 'TIFF' else 'frames'}"
    return ""


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


def _heic_hint(file: BinaryIO) -> str:
    file.seek(4)
    return " (it is HEIC: pip install pillow-heif)" if file.read(8) in (b"ftypheic", b"ftypheix", b"ftypmif1") else ""


def _decode(image: Image.Image, name: str) -> np.ndarray:
    text, megapixels = os.environ.get("MIEN_MAX_MEGAPIXELS") or MAX_MEGAPIXELS, image.width * image.height / 1e6
    try:
        limit = float(text)
    except ValueError:
        raise MienError(f"MIEN_MAX_MEGAPIXELS must be a number of megapixels, not {text!r}.") from None
    if megapixels > limit:
        raise MienError(
            f"{name} has {megapixels:.3g} megapixels and the limit is {limit:g}; make it smaller, or set MIEN_MAX_MEGAPIXELS."
        )
    if image.format == "EPS":  # Pillow would pass the file to Ghostscript, which executes it
        raise MienError(f"{name} is an EPS drawing; save it as JPEG or PNG.")
    try:
        with _LARGE if megapixels > LARGE_MEGAPIXELS else nullcontext():
            image.load()
            with suppress(Exception):  # a broken EXIF block does not spoil the picture
                image = ImageOps.exif_transpose(image) if image.getexif().get(ExifTags.Base.Orientation, 1) != 1 else image
            return _pixels(image)
    except MienError as error:
        raise MienError(f"{name}: {error}") from None
    except MemoryError:
        raise MienError(f"{name} does not fit into memory ({image.width}x{image.height}); make it smaller.") from None
    except Exception as error:  # OSError, SyntaxError, ValueError, struct.error, EOFError and more
        raise MienError(f"{name} is damaged ({reason_of(error)}); save or download it again.") from None


def reason_of(error: Exception) -> str:
    """Return the message of an exception in one line, or its type where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def _pixels(image: Image.Image) -> np.ndarray:
    """Convert an image of any Pillow mode to uint8 gray or RGB."""
    if image.mode.startswith("I"):
        return _to_bytes(np.asarray(image), 65535)  # 16 bits, which Pillow holds in 16 or in 32
    if image.mode == "F":
        return _to_bytes(np.asarray(image))
    if image.mode == "LAB":
        return np.asarray(image.getchannel("L"))  # Pillow cannot convert it to RGB; lightness is enough for a face
    gray = image.mode in ("1", "L", "LA", "La")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        rgba = image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    wanted = "L" if gray else "RGB"
    return np.asarray(image if image.mode == wanted else image.convert(wanted))


def _from_array(array: np.ndarray) -> np.ndarray:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))) or not array.size:
        raise MienError(f"its shape must be (H, W), (H, W, 3) or (H, W, 4) with pixels in it, not {array.shape}.")
    pixels = array if array.dtype == np.uint8 else _to_bytes(array, 65535 if array.dtype == np.uint16 else None)
    return _pixels(Image.fromarray(pixels)) if pixels.ndim == 3 and pixels.shape[2] == 4 else pixels


def _to_bytes(values: np.ndarray, full: int | None = None) -> np.ndarray:
    """Scale values from 0 to `full` (default: the smallest usual maximum of their type that fits) to uint8."""
    if values.dtype.kind not in "buif":
        raise MienError(f"an image holds numbers, not {values.dtype}.")
    low, high = float(values.min()), float(values.max())
    if full is None:
        scales = {"b": (1,), "f": (1, 255, 65535)}.get(values.dtype.kind, (255,))
        full = next((scale for scale in scales if high <= scale), 0)
    if not 0 <= low <= high <= full:
        raise MienError(f"its values run from {low:g} to {high:g}; give 0 to 255.")
    pixels: np.ndarray = np.rint(np.multiply(values, 255 / full, dtype=np.float32)).astype(np.uint8)
    return pixels
