"""The verbs, the same in Python and on the command line: each reads its data, does the work and reports what it did."""

from pathlib import Path
from typing import TYPE_CHECKING

from mien.errors import MienError, progress, say

if TYPE_CHECKING:
    from mien.data.faceset import Data, FaceSet
    from mien.data.pack import Progress
    from mien.data.source import DataSource

LOOSE, SAMPLE, LARGE = 0.7, 16, 64
"""Images of at least LARGE pixels look like photos if the face's square fills less than LOOSE of the shorter side in half of a
SAMPLE. Medians of 32: 0.82 to 1.02 on PublicTest and drawn faces, 0.40 to 0.66 on looser crops and drawn photos of a person."""


def require(extra: str, *modules: str) -> None:
    """Raise a MienError if one of these optional modules is not installed; it names the extra that installs them."""
    from importlib.util import find_spec

    if missing := [name for name in modules if find_spec(name) is None]:
        raise MienError(f"Not installed, and needed for this: {', '.join(missing)}; run: pip install 'mien[{extra}]'")


def read_faces(
    source: "DataSource | str | Path", size: int = 48, channels: int = 1, progress: "Progress | None" = None
) -> "FaceSet":
    """Read labelled faces in any known format, without the rows that `source.drop` names.

    The first time they are packed into the cache folder; as long as neither the source nor the options change, later calls
    open that pack and read nothing else.

    Args:
        source: a path, or a path with options, such as a detector for the faces of photos.
        size: height and width of the faces in pixels.
        channels: 1 for gray, 3 for RGB.
        progress: called while packing, now and then, with the rows done and all rows (None where that is not known).

    Returns:
        The faces, memory-mapped and read-only; `origin` has the detected kind of data, and what was left out.

    Raises:
        MienError: if there is nothing at the path, it has none of the formats, its rows cannot be read, all rows have the same
            label, or rows to leave out do not exist.
    """
    from mien.data import reading
    from mien.inference.detection import FaceCropper

    return reading.read_faces(source, size, channels, progress, lambda detector: FaceCropper(detector).largest)


def inputs_of(data: "Data", out: Path | None = None) -> list[Path | str | None]:
    """List the files and folders that faces are read from, for `check_place`; MienError if `out` is below class folders."""
    from mien.data import faceset, folders, reading, rows, source as sources

    if isinstance(data, faceset.FaceSet):
        return [data.origin.path]
    if not isinstance(data, sources.DataSource | str | Path):
        return []
    source = sources.as_source(data)
    path = source.path.expanduser()
    is_within = out is not None and path.resolve() in (out.resolve(), *out.resolve().parents)
    if is_within and reading.read_rows(rows.open_tree(path), source).kind.startswith(folders.CLASS_FOLDERS):
        raise MienError(f"{out} lies in the data {path}, where it would count as a label; choose another --out.")
    return [source.path, source.votes, source.drop, source.detector]


def read_data(data: "Data", size: int, channels: int, quiet: bool) -> "FaceSet":
    """Read labelled faces in a model's size and channels, and print to stderr which format they were read as."""
    import numpy as np

    from mien.data.faceset import SPLITS, FaceSet
    from mien.data.reading import describe_groups, faces_of_pairs
    from mien.data.source import DataSource, as_source
    from mien.inference.detection import FaceCropper

    if isinstance(data, FaceSet):
        for line in describe_groups(data):
            say(line, quiet)
        return data
    with progress("faces", quiet=quiet) as bar:

        def show(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        if isinstance(data, DataSource | str | Path):
            faces = read_faces(source := as_source(data), size, channels, show)
        else:
            faces, source = faces_of_pairs(data, size, channels), None
    if quiet:
        return faces
    counts = [(name, int((faces.splits == SPLITS.index(name)).sum())) for name in faces.split_names]
    splits = ", ".join("not divided" if name == "none" else f"{name} {count:,}" for name, count in counts)
    say(f"reading {faces.origin.path or 'the data'} as {faces.origin.kind}: {len(faces):,} faces ({splits})")
    for line in (f"labels: {', '.join(faces.labels.names)}", *describe_groups(faces)):
        say(line)
    if all(name.isdecimal() for name in faces.labels):
        say('the labels are numbers; name them: --labels \'{"0": "neutral", ...}\'')
    if missed := faces.origin.without_face:
        say(f"no face was found in {len(missed):,}, left out: {', '.join(missed[:5])}{', ...' if len(missed) > 5 else ''}")
    if source and source.detector == "none" and faces.sizes is not None and np.median(faces.sizes.min(axis=1)) >= LARGE:
        cropper, rows = FaceCropper("yunet"), np.linspace(0, len(faces) - 1, min(SAMPLE, len(faces))).astype(int)
        crops = [cropper.largest(faces.images[row]) for row in rows]
        if np.median([0 if crop is None else len(crop) / faces.size for crop in crops]) < LOOSE:
            say("these look like photos, not like cropped faces: add --data.detector auto to find and crop the faces")
    return faces
