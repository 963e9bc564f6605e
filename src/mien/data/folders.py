"""Images in one folder per class, with or without train, validation and test; the Kaggle folders of FER-2013 among them."""

import io
import re
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import PurePosixPath

import numpy as np

from mien.data.faceset import SPLITS
from mien.data.rows import ARCHIVE_SUFFIXES, KNOWN, MISTAKES, BadRow, Row, Rows, Tree, labels_from, numbers_of, split_word
from mien.errors import MienError
from mien.images import is_image_name
from mien.labels import meaning

CLASS_FOLDERS = "one folder per class"  # the kind of such data, in words
_ANNOTATION = "_exp.npy"  # ends the name of a file with the number of a label, of AffectNet
_Image = tuple[str, str, str]  # split, label and file of a labelled image


def read(tree: Tree) -> Rows:
    """Read one folder per class, or one per split with one per class in it; images at any depth belong to the class."""
    top = _top(tree)
    files = _image_files(tree, top)
    images: list[_Image] = []
    for data_set, code in KNOWN["codes"].items():
        codes = [re.fullmatch(code, PurePosixPath(file).name, re.IGNORECASE) for file in files]
        if files and all(codes):
            images = [("none", meaning(match[1]), file) for match, file in zip(codes, files, strict=True) if match]
            return _rows(tree, f"{data_set}, labels from the file names", images)
    if any(file.endswith(_ANNOTATION) for file in tree.files):
        return _read_annotated(tree, files)
    has_splits = any(_folder_split(name) for name in _folders_in(tree, top))
    left_out: dict[str, None] = {}  # files and folders, in order
    for file in files:
        *folders, last = file[len(top) :].split("/")
        part = _folder_split(folders[0]) if has_splits and folders else "none"
        if part and (classes := folders[has_splits:]):
            images.append((part, classes[0], file))
        else:
            left_out[f"{folders[0]}/" if folders else last] = None
    if not images:
        archives = ", ".join(map(tree.place, tree.named(ARCHIVE_SUFFIXES)[:5]))
        mistake = "no folders" if files else "only archives" if archives else "no images"
        raise MienError(MISTAKES[mistake].format(tree.path, len(files) or archives))
    depth = top.count("/") + (2 if has_splits else 1)
    filled = {"/".join(file.split("/")[:depth]) for _, _, file in images}
    parents = {name.rpartition("/")[0] for name in filled}
    empty = [name for name in tree.folders if name.rpartition("/")[0] in parents and name not in filled]
    splits = [top + name for name in _folders_in(tree, top) if has_splits and _folder_split(name)]
    empty += [name for name in splits if not any(file.startswith(f"{name}/") for file in files)]
    if empty:
        raise MienError(MISTAKES["empty folders"].format(", ".join(map(tree.place, empty[:5]))))
    by_name = {file: KNOWN["Kaggle files"].get(PurePosixPath(file).name.partition("_")[0]) for _, _, file in images}
    kind = "the Kaggle folders of FER-2013" if any(by_name.values()) else CLASS_FOLDERS
    if left_out:
        kind += f" (left out, not in a class folder: {', '.join(list(left_out)[:3])}{', ...' if len(left_out) > 3 else ''})"
    # File names split what folders do not: both tests in one folder, or no split folders.
    held_out = {split for split, _, _ in images} - {"train"}
    words = {by_name[file] for split, _, file in images if split != "train"}
    if len(held_out) == 1 and None not in words and ("train" not in words or held_out == {"none"}):
        images = [(split if split == "train" else by_name[file] or "none", label, file) for split, label, file in images]
    numbered, table = numbers_of(str(tree.path), by_name, {label for _, label, _ in images})
    images = [(split, name, file) for split, label, file in images if (name := table.get(label, label))]
    return _rows(tree, kind + numbered, images)


def _rows(tree: Tree, kind: str, images: list[_Image]) -> Rows:
    labels, index = labels_from({label for _, label, _ in images})
    images.sort(key=lambda image: (SPLITS.index(image[0]), index[image[1]], image[2]))
    rows = (Row(file, split, index[label], partial(tree.read_image, file)) for split, label, file in images)
    return Rows(kind=kind, labels=labels, rows=rows, count=len(images))


def _read_annotated(tree: Tree, files: list[str]) -> Rows:
    """Read AffectNet as published: the number of the label of images/0.jpg is in annotations/0_exp.npy."""
    numbers: dict[str, str] = {}
    bad = []
    for file in files:
        folder, _, name = file.rpartition("images/")
        annotation = f"{folder}annotations/{PurePosixPath(name).stem}{_ANNOTATION}"
        try:
            value = int(float(np.load(io.BytesIO(tree.read(annotation)), allow_pickle=False).item()))
            numbers[file] = str(range(11).index(value))
        except Exception as error:  # whatever NumPy raises if the file is damaged
            reason = error if isinstance(error, MienError) else "it is not a number from 0 to 10 in NumPy's format"
            bad.append(BadRow(file, f"of its annotation {annotation}: {reason}"))
    said, table = numbers_of("affectnet", (), set(numbers.values()))
    splits = {file: next(filter(None, map(_folder_split, file.split("/"))), "none") for file in numbers}
    images = [(splits[file], label, file) for file, number in numbers.items() if (label := table.get(number))]
    if not images:
        raise MienError(f"{tree.path} has AffectNet's annotations (*{_ANNOTATION}), but none with an expression, 0 to 7.")
    rows = _rows(tree, f"AffectNet's annotations{said}", images)
    return replace(rows, rows=chain(rows.rows, bad), count=len(images) + len(bad))


def check_single(tree: Tree, top: str = "") -> None:
    """Reject a folder of several data sets, in files that hold or list them, or of one beside other images."""
    tables: dict[str, str] = {}  # by the name of a folder: a file that holds or lists a data set
    folders: dict[str, set[tuple[str, ...]]] = {}  # by the same: the folders below it that hold images
    lists = {name for kind in ("manifest", "list", "AffectNet") for name in KNOWN["tables"][kind]}
    known = {*KNOWN["tables"]["FER-2013"][:2], *lists}
    for file in tree.files:
        if file.startswith(top):
            *path, name = file[len(top) :].split("/")
            is_table = name.lower() in known or name.lower().endswith(".parquet")
            if is_table and not path:
                return
            if is_table:
                tables.setdefault(path[0], name)
            elif path and is_image_name(name):
                folders.setdefault(path[0], set()).add(tuple(path[1:]))
    # a list may be in a folder of its own, beside that of its images
    found = {child: name for child, name in tables.items() if name.lower() not in lists or child in folders}
    children = {*found, *folders}
    if splits := children if len(children) == 1 else set(filter(_folder_split, children)):
        for child in splits:
            check_single(tree, f"{top}{child}/")
        return
    for child, inside in folders.items():
        words = sorted({name for path in inside for name in path if meaning(name)})
        inner = sorted({name for path in inside for name in path[:-1] if _folder_split(name)})
        if not meaning(child) and (inner or len(set(map(meaning, words))) > 1):
            found.setdefault(child, f"split folders ({', '.join(inner)})" if inner else f"class folders ({', '.join(words)})")
    if found and len(children) > 1:
        places = ", ".join(f"{tree.place(top + child)} holds {what}" for child, what in sorted(found.items())[:5])
        raise MienError(MISTAKES["several sets"].format(tree.path, places))


def _top(tree: Tree) -> str:
    """Find the prefix below folders that only hold one other folder with images, as archives often have."""
    top = ""
    while len(inside := {file[len(top) :].partition("/")[0] for file in _image_files(tree, top)}) == 1:
        (folder,) = inside
        deeper = f"{top}{folder}/"
        if meaning(folder) or _folder_split(folder) or not _folders_in(tree, deeper):
            break
        top = deeper
    return top


def _folders_in(tree: Tree, top: str) -> list[str]:
    return [name[len(top) :] for name in tree.folders if name.startswith(top) and "/" not in name[len(top) :]]


def _folder_split(folder: str) -> str | None:
    return None if (split := split_word(folder)) == "none" else split  # "none" may be a class


def _image_files(tree: Tree, top: str) -> list[str]:
    return [file for file in tree.files if file.startswith(top) and is_image_name(file)]
