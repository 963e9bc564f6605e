"""Draw the pictures that the README and the docs show: run `python benchmarks/pictures.py`."""

from pathlib import Path

import numpy as np
from PIL import Image

from mien.data.drawn import draw_face, draw_photo
from mien.labels import FER2013

IMAGES = Path(__file__).parent.parent / "docs" / "images"


def main() -> None:
    """Write a sheet of drawn faces, a column per expression, and a drawn photo."""
    IMAGES.mkdir(exist_ok=True)
    rows = [np.concatenate([draw_face(label, seed, 128) for label in FER2013], axis=1) for seed in (1, 6, 13)]
    Image.fromarray(np.concatenate(rows)).save(IMAGES / "drawn-faces.jpg", quality=88)
    Image.fromarray(draw_photo(["happy", "surprise", "sad", "angry"], seed=5)[0]).save(IMAGES / "drawn-photo.jpg", quality=88)


if __name__ == "__main__":
    main()
