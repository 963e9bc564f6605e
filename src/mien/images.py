"""Pixels from any image a person has, and the one preparation of a face for the network."""

import functools
import io
import os
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mien.errors import MienError

ImageSource: TypeAlias = str | Path | bytes | Image.Image | np.ndarray
"""What `read_image` takes: a path, the bytes of an image file, a Pillow image, or an array."""

MAX_MEGAPIXELS = 400
"""Larger images are refused: a small file can claim to be one and fill the memory. MIEN_MAX_MEGAPIXELS sets another limit."""

LARGE_MEGAPIXELS = 50
"""Larger images are decoded one at a time, whatever the number of threads: decoding takes several times their size."""

_PILLOW_LIMIT = threading.Lock()
_LARGE = threading.Lock()


def read_image(source: ImageSource) -> np.ndarray:
    """Read an image as a person sees it.

    The EXIF orientation is applied, transparency is laid over white, 16 bits become 8 by scale, and of an animation the
    first frame is taken. A float array or TIFF counts as 0 to 1, 0 to 255 or 0 to 65535, whichever its largest value fits.

    Args:
        source: a path, the bytes of a file in any format Pillow reads (HEIC where pillow-heif is installed), a Pillow image,
            or an array: (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA.

    Returns:
        uint8, (H, W) for a gray image and (H, W, 3) RGB for any other. An array that already is so comes back as it
        is; one that was decoded is read-only.

    Raises:
        MienError: if there is no such file, it is not an image, is damaged, or is larger than the limit.
    """
    return read_with_note(source)[0]


def read_with_note(source: ImageSource, name: str = "") -> tuple[np.ndarray, str]:
    """Read an image as `read_image` does, and say what of its file was left out.

    Args:
        source: as for `read_image`.
        name: what a sentence about bytes shall call them.

    Returns:
        The image, and "the first of several frames" or "the first of several pages" where its file holds more, else "".

    Raises:
        MienError: as `read_image` does.
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
    if Path(source).is_fifo():  # opening it would wait for somebody to write
        raise MienError(f"{name} is a named pipe and no file; save what comes out of it to a file.")
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
    """Make a face what the network takes: the only preprocessing outside the model file, for training and prediction alike.

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
        image = _open(file)
    except UnidentifiedImageError:
        raise MienError(f"{name} is not in a format that can be read{_heic_hint(file)}; save it as JPEG or PNG.") from None
    except Exception as error:  # a damaged header raises whatever the format's parser stumbles over
        raise MienError(f"{name} is damaged ({_reason(error)}); save or download it again.") from None
    with image:
        return _decode(image, name), _left_out(image)


def _left_out(image: Image.Image) -> str:
    """Say of an opened file whether it holds more than its first picture; an MPO's others are its thumbnails and depths."""
    try:
        several = image.format != "MPO" and getattr(image, "is_animated", False)
    except Exception:  # what follows the first picture may be damaged
        return ""
    return f"the first of several {'pages' if image.format == 'TIFF' else 'frames'}" if several else ""


def _open(file: BinaryIO) -> Image.Image:
    _register_heic()
    # Pillow's own limit is a global of 89 megapixels that warns, so it steps aside for the header; `_decode` has the limit.
    with _PILLOW_LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


@functools.cache
def _register_heic() -> None:
    try:
        import pillow_heif  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return
    pillow_heif.register_heif_opener()


def _heic_hint(file: BinaryIO) -> str:
    file.seek(4)
    return " (it is HEIC: pip install pillow-heif)" if file.read(8) in (b"ftypheic", b"ftypheix", b"ftypmif1") else ""


def _decode(image: Image.Image, name: str) -> np.ndarray:
    limit = _megapixel_limit()
    if image.width * image.height > limit * 1e6:
        megapixels = image.width * image.height / 1e6
        raise MienError(
            f"{name} has {megapixels:.3g} megapixels and the limit is {limit:g}; make it smaller, or set MIEN_MAX_MEGAPIXELS."
        )
    if image.format == "EPS":  # Pillow would hand the file to Ghostscript, which runs what stands in it
        raise MienError(f"{name} is an EPS drawing; save it as JPEG or PNG.")
    try:
        with _LARGE if image.width * image.height > LARGE_MEGAPIXELS * 1e6 else nullcontext():
            image.load()
            return _pixels(_upright(image))
    except MienError as error:
        raise MienError(f"{name}: {error}") from None
    except MemoryError:
        raise MienError(f"{name} does not fit into memory ({image.width}x{image.height}); make it smaller.") from None
    except Exception as error:  # as above: decoders raise OSError, SyntaxError, ValueError, struct.error, EOFError and more
        raise MienError(f"{name} is damaged ({_reason(error)}); save or download it again.") from None


def _megapixel_limit() -> float:
    text = os.environ.get("MIEN_MAX_MEGAPIXELS", "")
    try:
        return float(text) if text else MAX_MEGAPIXELS
    except ValueError:
        raise MienError(f"MIEN_MAX_MEGAPIXELS must be a number of megapixels, not {text!r}.") from None


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a broken EXIF block is no reason to lose the picture
        return image


def _pixels(image: Image.Image) -> np.ndarray:
    """Turn any of Pillow's modes into uint8 gray or RGB."""
    if image.mode.startswith("I"):
        return _to_bytes(np.asarray(image), 65535)  # 16 bits, which Pillow holds in 16 or in 32
    if image.mode == "F":
        return _to_bytes(np.asarray(image))
    if image.mode == "LAB":
        return np.asarray(image.getchannel("L"))  # Pillow has no direct way to RGB; lightness is all a face needs
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
    """Scale numbers from 0 to `full`, or to the largest value their kind suggests, to uint8."""
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
