"""The entry point for labelled faces: detects the format of a path, packs its rows once, and groups and leaves out rows."""

import operator
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from mien import __version__
from mien.data import fer2013, folders, pack, tables
from mien.data.copies import likeness_groups
from mien.data.faceset import SPLITS, FaceSet, Origin, Pairs
from mien.data.pack import OpenCrop, Progress, is_pack, open_pack, pack_stamp, write_pack
from mien.data.rows import MISTAKES, Rows, Tree, digest, labels_from, open_tree, split_of, stamp_of
from mien.data.source import DataSource, as_source
from mien.errors import MienError, first_line, say, shortened
from mien.files import cache_folder, sweep
from mien.images import check_faces_shape, is_image_name, prepare, read_image
from mien.inputs import csv_rows

FORMATS: dict[str, tuple[Callable[[Tree], object], Callable[..., Rows]]] = {  # checks and readers, tried in this order
    "pack": (lambda tree: is_pack(tree.path), pack.read),
    "fer2013-csv": (lambda tree: "pixels" in fer2013.find(tree)[1], fer2013.read),
    "parquet": (lambda tree: tree.named(tables.PARQUET) and not any(map(is_image_name, tree.files)), tables.read_parquet),
    "manifest": (tables.find_csv, tables.read_csv),
    "folders": (lambda tree: not tree.is_single_file, folders.read),  # which checks what is in them
}

AnySource = DataSource | str | Path
AUTO, PATTERN = "auto", "re:"  # values of `DataSource.group` that are not the name of a column
LIKENESS = 0.75  # least correlation of the details of neighbours; at 0.6, chains join 251 of FER-2013's 3,589 PublicTest faces
MOST_SHOWN, LARGE = 6, 0.2  # groups that are named; share of the faces above which a group makes splits uneven
_READERS = "6"  # raise it when a reader makes other rows of the same files


def read_faces(
    source: AnySource, size: int = 48, channels: int = 1, progress: Progress | None = None, open_crop: OpenCrop | None = None
) -> FaceSet:
    """Read labelled faces as `mien.read_faces` does; `open_crop` makes the function that crops faces of the detector's name."""
    source = as_source(source)
    if source.group and source.group != AUTO and not source.group.startswith(PATTERN):
        source = replace(source, columns=list(dict.fromkeys([*(source.columns or []), source.group])))
    faces = _read_all(source, size, channels, progress, open_crop)
    if source.drop is not None:
        # votes that replace the labels leave rows out too, and one list must work with and without them
        faces = drop_rows(faces, _expanded(source.drop), source.votes is not None and source.votes_as != "beside")
    used = np.flatnonzero(faces.targets.any(axis=0))
    if len(used) < 2:
        raise MienError(MISTAKES["one label"].format(len(faces), faces.origin.path, shortened(faces.labels[used[0]])))
    return faces if source.group is None else with_groups(faces, source.group)


def faces_of_pairs(data: Pairs | Mapping[str, Pairs], size: int, channels: int) -> FaceSet:
    """Prepare the images of pairs in memory; `Dataset.classes`, as torchvision's have them, name labels that are numbers."""
    images, words, splits, ids = list[np.ndarray](), list[str](), list[str](), list[str]()
    for split, pairs in (data if isinstance(data, Mapping) else {"none": data}).items():
        if isinstance(pairs, type) or not (hasattr(pairs, "__len__") and hasattr(pairs, "__getitem__")):
            raise MienError(MISTAKES["no pair"].format("the data", f"a {type(pairs).__name__} without len and index"))
        inner = getattr(pairs, "dataset", None) or next(iter(getattr(pairs, "datasets", ())), None)  # Subset, ConcatDataset
        names = getattr(pairs, "classes", None) or getattr(inner, "classes", None) or range(sys.maxsize)
        for row in range(len(pairs)):
            place = f"row {row}" + (f" of {split}" if isinstance(data, Mapping) else "")
            try:
                pair = pairs[row]
                image, label = (pair["image"], pair["label"]) if isinstance(pair, Mapping) else pair
                ids.append(str(image) if isinstance(image, str | Path) else place.removeprefix("row "))
                if hasattr(image, "permute"):  # a torch tensor, whose channels come first
                    image = np.asarray(image)
                    image = image.transpose(1, 2, 0) if image.ndim == 3 else image
                images.append(prepare(read_image(image), size, channels))
                words.append(label if isinstance(label, str) else str(names[range(len(names)).index(operator.index(label))]))
            except Exception as problem:  # whatever a Dataset raises
                kind = "" if isinstance(problem, MienError) else f"{type(problem).__name__}, "
                raise MienError(MISTAKES["no pair"].format(place, kind + first_line(problem))) from problem
            splits.append(split_of(split))
    if not images:
        raise MienError("The data are empty; give pairs of an image and a label.")
    labels, index = labels_from(words)
    faces = FaceSet.from_arrays(np.stack(images), [index[word] for word in words], labels, splits, ids)
    return replace(faces, origin=Origin("pairs of an image and a label"))


def _read_all(source: DataSource, size: int, channels: int, progress: Progress | None, open_crop: OpenCrop | None) -> FaceSet:
    detector = (os.environ.get("MIEN_DETECTOR") or "yunet") if source.detector == "auto" else source.detector
    path, votes = _expanded(source.path), _expanded(source.votes) if source.votes else None
    check_faces_shape(size, channels)
    if source.format in ("auto", "pack") and votes is None and detector == "none" and is_pack(path):
        faces = open_pack(path)
        if (faces.size, faces.channels) == (size, channels):
            return replace(faces, origin=replace(faces.origin, path=str(path)))
    options = [str(path.resolve()), source.format, str(size), str(channels), str(votes), source.votes_as, detector]
    options += source.columns or []
    cached = cache_folder() / "faces" / f"{path.resolve().name[:40]}-{digest(options)[:16]}.safetensors"
    stamp = digest([__version__, _READERS, pack.FORMAT, stamp_of([path, Path(detector), *([votes] if votes else [])])])
    earlier, made_of, reason = None, pack_stamp(cached), ""
    if os.path.lexists(cached):  # pathlib has no lexists
        try:
            earlier, reason = open_pack(cached), "it or mien has changed since it was packed"
        except MienError as damage:
            reason = str(damage).removesuffix(" Make it again.").rstrip(".")
    has_all = earlier and (source.skip_bad or len(earlier.origin.skipped) == len(earlier.origin.without_face))
    if not has_all or made_of != stamp:
        rows = read_rows(open_tree(path), source)
        stamp = digest([stamp, stamp_of(rows.files)]) if rows.files else stamp  # the images of a manifest may be anywhere
    if earlier and has_all and made_of == stamp:
        return earlier
    if votes:
        rows = fer2013.with_votes(rows, votes, source.votes_as)
    crop = None
    if detector != "none":
        if open_crop is None:
            raise MienError("The detector is opened by mien.read_faces; call that.")
        crop = open_crop(detector)
        rows = replace(rows, kind=f"{rows.kind}, faces found by {Path(detector).name}")
    sweep(cached.parent)
    if not cached.is_file() and (cached.is_symlink() or not cached.is_dir()):
        cached.unlink(missing_ok=True)  # a pipe, or a link that may lead to a device
    if reason and not (earlier and made_of == stamp):
        say(f"packing {path} again: {reason}")
    write_pack(cached, rows, size, channels, str(path), stamp, source.skip_bad, progress, crop)
    return open_pack(cached)


def _expanded(path: Path) -> Path:
    try:
        path.expanduser().resolve().exists()
        return path.expanduser()
    except (OSError, RuntimeError, ValueError) as error:  # too long, a loop of links, an unknown user, or a NUL
        raise MienError(f"Cannot read {shortened(path)}: {getattr(error, 'strerror', None) or first_line(error)}.") from None


def recognise(tree: Tree) -> str:
    """Return the name of the first format that recognises a tree, or an empty one."""
    return next((name for name, (recognises, _) in FORMATS.items() if recognises(tree)), "")


def read_rows(tree: Tree, source: DataSource) -> Rows:
    """Read a tree with the first format that recognises it, or with the given one."""
    if source.format == "auto":
        folders.check_single(tree)
    name: str = recognise(tree) if source.format == "auto" else source.format
    if not name:
        raise MienError(MISTAKES["no format"].format(tree.path))
    if name not in FORMATS:
        raise MienError(f"There is no data format {name!r}; there are auto, {', '.join(FORMATS)}.")
    _, read = FORMATS[name]
    if not source.columns or name == "pack":  # a pack has the columns that it was made with
        return read(tree)
    if name not in ("parquet", "manifest"):
        raise MienError(MISTAKES["no columns"].format(tree.path, source.columns[0]))
    return read(tree, source.columns)


def drop_rows(faces: FaceSet, path: Path, some_are_gone: bool = False) -> FaceSet:
    """Leave out the rows that a CSV file with the column id names; `some_are_gone`: it may also name rows left out before."""
    table = csv_rows(path, f"the list of rows to leave out, {path}")
    _, header = next(table, (0, []))
    if "id" not in header:
        raise MienError(f"{path} has no column 'id'; give a CSV file that mien audit --write made.")
    listed = {cells[header.index("id")].encode(errors="backslashreplace") for _, cells in table}
    excluded = np.array(sorted(listed - {b""}), dtype=bytes)
    unknown = excluded[~np.isin(excluded, faces.ids)]
    if len(unknown) and (not some_are_gone or len(unknown) == len(excluded)):
        rows, first = "row" if len(unknown) == 1 else "rows", shortened(bytes(unknown[0]).decode(errors="replace"))
        raise MienError(MISTAKES["other rows"].format(path, len(unknown), rows, faces.origin.path or "the data", first))
    stays = ~np.isin(faces.ids, excluded)
    if not stays.any():
        raise MienError(f"{path} lists all {len(faces):,} rows of the data; nothing would be left.")
    kind = f"{faces.origin.kind}, without {int((~stays).sum()):,} rows that {path.name} lists"
    return replace(faces.take(stays), origin=replace(faces.origin, kind=kind))


def with_groups(faces: FaceSet, how: str) -> FaceSet:
    """Give every row its group, as `DataSource.group` says; MienError if a row has none."""
    ids = [faces.id(row) for row in range(len(faces))]
    if how == AUTO:
        named = [ids[row] for row in likeness_groups(faces.images, LIKENESS)]
    elif how.startswith(PATTERN):
        pattern = how.removeprefix(PATTERN)
        try:
            compiled = re.compile(pattern)
        except re.error as error:
            raise MienError(f"'{pattern}' in --data.group is not a regular expression: {error}.") from None
        if not compiled.groups:
            raise MienError(MISTAKES["no parentheses"].format(pattern))
        found = [compiled.search(each if "/" in pattern else PurePosixPath(each).name) for each in ids]
        named = ["" if each is None else "-".join(filter(None, each.groups())) for each in found]
    elif how in faces.columns:
        named = np.char.strip(faces.columns[how]).tolist()
    else:
        raise MienError(MISTAKES["no group column"].format(shortened(how), ", ".join(faces.columns) or "no columns"))
    if gaps := [row for row, name in enumerate(named) if not name]:
        mistake = "group column with gaps" if how in faces.columns else "no group in names"
        raise MienError(MISTAKES[mistake].format(how, len(gaps), len(named), shortened(ids[gaps[0]])))
    classes = faces.classes.tolist()
    if how != AUTO and len(set(named)) == len(set(classes)) == len(set(zip(named, classes, strict=True))) < len(faces):
        raise MienError(MISTAKES["groups are labels"].format(how))
    kind = f"{faces.origin.kind}, grouped by {'likeness' if how == AUTO else how}"
    return replace(faces, groups=np.array(named, dtype=str), origin=replace(faces.origin, kind=kind))


def describe_groups(faces: FaceSet) -> list[str]:
    """Say how many groups there are and how large, and which splits share some."""
    if faces.groups is None:
        return []
    names, group, sizes = np.unique(faces.groups, return_inverse=True, return_counts=True)
    order = np.argsort(-sizes, kind="stable")[:MOST_SHOWN]
    largest = ", ".join(f"{shortened(str(names[each]), 40)} {sizes[each]:,}" for each in order)
    alone = f"; {(sizes == 1).sum():,} of a single face" if (sizes == 1).any() else ""
    lines = [f"{len(names):,} groups; faces in the largest: {largest}{', ...' if len(names) > len(order) else ''}{alone}"]
    if sizes.max() > LARGE * len(faces):
        lines.append(MISTAKES["large group"].format(shortened(str(names[order[0]]), 40), sizes.max(), len(faces)))
    present = np.zeros((len(names), len(SPLITS)), dtype=bool)
    present[group, faces.splits] = True
    if len(shared := np.flatnonzero(present.sum(axis=1) > 1)):
        splits = " and ".join(SPLITS[each] for each in np.flatnonzero(present[shared].any(axis=0)))
        lines.append(MISTAKES["groups in several splits"].format(len(shared), splits, names[shared[0]]))
    return lines
