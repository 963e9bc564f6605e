"""Read the images of a source at once, for tests."""

from mien.inference.prediction import read
from mien.inference.sources import listed


def frames(source, every=1):
    """Read the images of a source one by one, on demand."""
    return map(read, listed(source, every))
