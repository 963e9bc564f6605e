"""What the arrays of labelled faces must be to fit each other."""

from collections.abc import Mapping, Sequence

import numpy as np

from mien.errors import MienError


def check_images(images: np.ndarray) -> None:
    """Refuse arrays that are no faces.

    Args:
        images: wanted as uint8, (N, H, W) or (N, H, W, 3), H equal to W.

    Raises:
        MienError: if they are something else.
    """
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise MienError(f"Images must be uint8 (N, H, W) or (N, H, W, 3), not {images.dtype} {images.shape}.")
    if images.ndim == 4 and images.shape[3] != 3:
        raise MienError(f"Colour images must be (N, H, W, 3), not {images.shape}.")
    if images.shape[1] != images.shape[2]:
        raise MienError(f"Images must be square, not {images.shape[1]} pixels high and {images.shape[2]} wide.")


def check_rows(
    count: int,
    splits: np.ndarray,
    split_names: Sequence[str],
    ids: np.ndarray,
    sizes: np.ndarray | None,
    columns: Mapping[str, np.ndarray],
) -> None:
    """Refuse what does not describe so many rows.

    Args:
        count: N.
        splits: wanted as uint8, (N,), indices into `split_names`.
        split_names: the names of the splits.
        ids: wanted as bytes, (N,).
        sizes: wanted as (N, 2), or None.
        columns: each wanted as text, (N,).

    Raises:
        MienError: if one of them is something else.
    """
    if sizes is not None and sizes.shape != (count, 2):
        raise MienError(f"{count} images need as many sizes, height and width, not {sizes.shape}.")
    if splits.shape != (count,) or ids.shape != (count,):
        raise MienError(f"{count} images need {count} splits and ids, not {splits.shape} and {ids.shape}.")
    if splits.dtype != np.uint8 or (splits >= len(split_names)).any():
        raise MienError(f"Splits must be uint8 indices into {', '.join(split_names)}.")
    if ids.dtype.kind != "S":
        raise MienError(f"Ids must be UTF-8 bytes, not {ids.dtype}.")
    for name, values in columns.items():
        if values.shape != (count,) or values.dtype.kind != "U":
            raise MienError(f"{count} images need {count} texts in the column {name!r}, not {values.dtype} {values.shape}.")
