"""How a pack lies in its file: a safetensors header with room to spare, then the tensors one after another.

Source: github.com/huggingface/safetensors, "Format": 8 bytes of length, JSON that may end in spaces, data without gaps.
"""

import json
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

TENSORS = {
    "images": np.uint8,
    "targets": np.float32,
    "votes": np.float32,
    "sizes": np.uint32,
    "splits": np.uint8,
    "ids": np.uint8,
    "columns": np.uint8,
    "skipped": np.uint8,
}
"""The tensors in the order in which they lie; "votes", "sizes" and "columns" are left out where there are none."""

_CODES = {np.uint8: "U8", np.uint32: "U32", np.float32: "F32"}
_BLOCK = 4096  # the header fills whole blocks, so that the images begin at a page


def header_room(metadata: dict[str, str], labels: int, shape: tuple[int, ...]) -> int:
    """Tell how many bytes to leave free for the header, before the rows are known.

    Args:
        metadata: as it will be written.
        labels: K.
        shape: of one image.
    """
    most = 10**12  # more rows, and longer ids, than there will be
    shapes = {
        "images": (most, *shape),
        "targets": (most, labels),
        "votes": (most, labels),
        "sizes": (most, 2),
        "splits": (most,),
        "ids": (most, most),
        "columns": (most,),
        "skipped": (most,),
    }
    return -(-len(header_bytes(metadata, shapes)) // _BLOCK) * _BLOCK


def header_bytes(metadata: dict[str, str], shapes: dict[str, tuple[int, ...]], room: int = 0) -> bytes:
    """Write the header of tensors of these shapes, filled up with spaces to `room` bytes."""
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, dtype in TENSORS.items():
        if name not in shapes:
            continue
        begin, end = end, end + prod(shapes[name]) * np.dtype(dtype).itemsize
        header[name] = {"dtype": _CODES[dtype], "shape": list(shapes[name]), "data_offsets": [begin, end]}
    text = json.dumps(header).encode().ljust(room - 8)
    return len(text).to_bytes(8, "little") + text


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """Read the header of a safetensors file.

    Returns:
        The header, and where the data begin.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is not a safetensors file.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            raise ValueError("it does not begin as a safetensors file does")
        return json.loads(file.read(length)), 8 + length


def view(path: Path, start: int, header: dict[str, Any], name: str) -> np.ndarray:
    """Map one tensor into memory, read-only.

    Raises:
        ValueError: if the header contradicts itself.
    """
    (begin, end), shape = header[name]["data_offsets"], tuple(header[name]["shape"])
    if prod(shape) * np.dtype(TENSORS[name]).itemsize != end - begin:
        raise ValueError("its header contradicts itself")
    return np.memmap(path, TENSORS[name], "r", start + begin, shape)
