"""`mien crop`: photos to cropped faces, framed as for predictions, with a manifest and a page to check them."""

import csv
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path, PurePath
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image

from mien.data import pack, reading
from mien.data.faceset import NO_FACE
from mien.data.rows import BadRow, Row, Rows, open_tree
from mien.data.source import DataSource
from mien.errors import MienError, check_number, load_templates, printable, progress, say, spreadsheet_safe
from mien.files import check_empty, check_place, written_folder
from mien.images import LARGEST_FACE, as_data_uri, is_image_name, prepare
from mien.inference import output, sources
from mien.inference.detection import FaceCropper
from mien.inference.output import RowLog, log_path
from mien.inference.prediction import Frame, Unread, read
from mien.inputs import pixels_in_flight, reason_of
from mien.labels import LabelSet

SHOWN, TILE = 120, 96  # most faces of a label on the page, and their longest side in pixels
LONGEST = 200  # bytes of a file name without number and suffix; file systems take 255
SEVERAL = "several faces were found"
LOG = "photos.jsonl"  # of an unfinished run: a line with its settings, then one for each photo
Photo = tuple[Row | BadRow, str, str]  # with its label and the place of its faces


class Cropped(NamedTuple):
    """What was found in a photo; a line of the log."""

    photo: str
    frame: str = ""  # its number in a video
    label: str = ""
    split: str = "none"
    remark: str = ""  # NO_FACE, SEVERAL, an error or nothing
    found: int = 0  # faces in the photo
    faces: Sequence[Mapping[str, Any]] = ()  # rows of the manifest
    picture: str = ""  # of a photo of which no face was cropped, as a data URI


Section = tuple[int, str]  # of the page: 0 with a label, else 1 to 3, why photos were left out
Tile = tuple[tuple[bool, float], Cropped, Mapping[str, Any]]  # first what sorts it; its face, empty if none was cropped


@dataclass(frozen=True)
class Crops:
    """What `mien.crop` wrote; the last three are photos with no face, with several, and that could not be read."""

    folder: Path
    photos: int
    faces: int
    no_face: int
    several: int
    failed: int

    def table(self) -> str:
        """Describe it in a line."""
        found = f"{self.photos:,} photo{'s' * (self.photos != 1)}: {self.faces:,} face{'s' * (self.faces != 1)} cropped"
        return f"{found}; no face in {self.no_face:,}, several in {self.several:,}, {self.failed:,} could not be read"


def crop(
    photos: Sequence[str | Path],
    out: str | Path,
    several: Literal["largest", "all", "skip"] = "largest",
    detector: str = "auto",
    margin: float = 0.0,
    min_size: float = 0.0,
    min_score: float | None = None,
    size: int | None = None,
    every: int = 1,
    quiet: bool = False,
    resume: bool = False,
    csv_safe: bool = False,
) -> Crops:
    """Find the faces of photos, and write them as PNG files in a folder per label, framed as for predictions.

    Args:
        photos: one folder or zip with a folder per label (also below train, validation and test), or one manifest; or photos
            without labels: files, folders, patterns, zips and videos, as for `mien predict`.
        out: the folder to make: the faces; manifest.csv, a row for each face, which `mien train --data` reads; photos.csv, a
            row for each photo; index.html, which shows the faces by label. It may exist if it is empty.
        several: of a photo with several faces, crop the largest, crop all, or skip it.
        detector: auto, yunet, none, or a YuNet .onnx file.
        margin: extra room on every side, as a share of the side of the face's square; negative for less.
        min_size: smallest size of a face: the shorter side of its box in pixels of the photo.
        min_score: smallest score of a face, above 0 and below 1.
        size: height and width in pixels to resize the faces to; if not given, they keep the resolution of the photo.
        every: of videos, use every N-th frame.
        quiet: print no progress to stderr.
        resume: continue an interrupted run with the same options, whose faces are in a folder with .part after its name.
        csv_safe: in photos.csv, an apostrophe before text that a spreadsheet would run as a formula; manifest.csv stays exact.

    Raises:
        MienError: if the folder is not empty, lies in the photos or cannot be written, a number is out of range, or there is no
            face at all.
    """
    if size is not None:
        check_number("The size of the faces", size, 1, LARGEST_FACE)
    names = [str(photos)] if isinstance(photos, str | Path) else [str(name) for name in photos]
    out = check_place(out, contents="faces")
    output.check_draw(out, names, "--out")
    part = log_path(out if out.name else out.absolute())  # "." has no name
    if resume and not part.exists() and (out / "photos.csv").is_file():
        say(f"mien: {str(out)!r} is whole, there is nothing to resume")
        return _count(out)
    check_empty(out)
    if part.exists() and not resume:
        raise MienError(f"{str(part)!r} holds an unfinished run; add --resume, or remove that folder.")
    cropper = FaceCropper(detector, margin, min_size, min_score)
    rows = _read(names, every)
    say(f"reading {', '.join(names)[:200]} as {rows.kind}", quiet)
    say(f"labels: {', '.join(rows.labels)}", quiet)
    settings = {"photos": names, "labels": rows.labels.names, "several": several, "detector": detector, "margin": margin}
    settings |= {"min_size": min_size, "min_score": min_score, "size": size, "every": every}
    left = _with_paths(rows)
    log = RowLog(part / LOG, settings)
    count = _skip_logged(log, left)
    work = partial(_crop, labels=rows.labels, folder=part, cropper=cropper, several=several, size=size)
    try:
        with written_folder(out, "the faces", part=part) as folder:
            with progress("photos", rows.count, quiet, initial=count) as bar:
                log.write(_reported(pack.in_threads(work, left, 1), bar))
            _write(folder, log, several, csv_safe)
            crops = replace(_count(folder), folder=out)
            if not crops.faces:
                log.place = (0, 0)
                raise MienError(f"There is no face to crop, and nothing was written. {crops.table()}.")
            log.path.unlink()
    except BaseException:
        if log.place == (0, 0):
            shutil.rmtree(part, ignore_errors=True)
        raise
    say(f"faces   {out / 'manifest.csv'}", quiet)
    say(f"page    {out / 'index.html'}", quiet)
    return crops


def _reported(photos: Iterable[Cropped], bar: Any) -> Iterator[Cropped]:
    for each in photos:
        yield each
        if each.remark not in ("", NO_FACE, SEVERAL):
            say(f"mien: {each.photo}: {each.remark}")
        bar.update()


def _skip_logged(log: RowLog, photos: Iterator[Photo]) -> int:
    settings = log.header
    try:
        header, *done = (list(log.lines()) if log.path.exists() else []) or [{}]
        changed = [name for name in settings if done and header[name] != settings[name]]
        problem = f"has {changed[0]} {header[changed[0]]}, not {settings[changed[0]]}; use the same options" if changed else ""
        for photo, *_ in done:
            now = _name(next(photos, (BadRow("", ""), "", ""))[0])
            problem = problem or (f"has {photo!r} where there is {now!r} now" if now != photo else "")
    except (ValueError, KeyError, TypeError):
        problem = "is not the log of an unfinished run, or damaged"
    if problem:
        raise MienError(f"{str(log.path)!r} {problem}, or remove its folder.")
    if not done:
        log.place = (0, 0)  # a header alone is written again
    return len(done)


def _count(folder: Path) -> Crops:
    with (folder / "photos.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    remarks = Counter(row["remark"] for row in rows)
    failed = len(rows) - remarks[NO_FACE] - remarks[SEVERAL] - remarks[""]
    return Crops(folder, len(rows), sum(int(row["cropped"]) for row in rows), remarks[NO_FACE], remarks[SEVERAL], failed)


def _read(names: Sequence[str], every: int) -> Rows:
    """Read labelled photos, if the names are one path with labels; otherwise list photos without labels."""
    frames = sources.listed(names, every)
    if len(names) == 1 and ((path := Path(names[0])).is_file() or path.is_dir()):
        tree = open_tree(path)
        format = reading.recognise(tree)
        if format and (format != "folders" or any("/" in file for file in filter(is_image_name, tree.files))):
            return reading.read_rows(tree, DataSource(path))
    sources.check_names(names)
    return Rows("photos without labels", LabelSet(["unlabelled"]), map(_unlabelled, frames))


def _unlabelled(item: Frame | Unread) -> Row:
    def load() -> np.ndarray:
        frame = read(item)
        if frame.image is None:
            raise MienError(frame.error)
        return frame.image

    number = "" if isinstance(item, Unread) or item.frame is None else str(item.frame)
    return Row(item.source, "none", 0, load, columns={"frame": number})


def _name(row: Row | BadRow) -> str:
    return printable(row.id) if isinstance(row, Row) else row.place


def _with_paths(rows: Rows) -> Iterator[Photo]:
    taken: Counter[str] = Counter()
    for row in rows.rows:
        label = place = ""
        if isinstance(row, Row):
            label = rows.labels[int(row.target if isinstance(row.target, int) else row.target.argmax())]
            name = "-".join(part for part in (PurePath(row.id).stem, row.columns.get("frame")) if part)
            place = _unique_path([label, name] if row.split == "none" else [row.split, label, name], taken)
        yield row, label, place


def _unique_path(names: Sequence[str], taken: Counter[str]) -> str:
    """Join names to a path that every file system takes, with a number if it was given before, in upper or lower case."""
    cleaned = (re.sub(r'[<>:"/\\|?*\x00-\x1f\x7f]', "_", name.encode("utf-8", "replace").decode()) for name in names)
    first = path = "/".join(name.encode()[:LONGEST].decode(errors="ignore").strip(" .") or "_" for name in cleaned)
    while path.casefold() in taken:
        taken[first.casefold()] += 1
        path = f"{first}-{taken[first.casefold()]}"
    taken[path.casefold()] = 1
    return path


@pixels_in_flight()
def _crop(photo: Photo, labels: LabelSet, folder: Path, cropper: FaceCropper, several: str, size: int | None) -> Cropped:
    row, label, place = photo
    if isinstance(row, BadRow):
        return Cropped(row.place, remark=row.reason)
    done = Cropped(_name(row), row.columns.get("frame", ""), label, row.split)
    try:
        image = row.load()
        faces = cropper.faces(image)
    except Exception as error:  # whatever a detector raises concerns this photo only
        return done._replace(remark=reason_of(error))
    chosen = faces[: {"all": len(faces), "largest": 1, "skip": int(len(faces) == 1)}[several]]
    if not chosen:
        picture = as_data_uri(Image.fromarray(image), TILE, "jpeg")
        return done._replace(remark=SEVERAL if faces else NO_FACE, found=len(faces), picture=picture)
    # a distribution over the labels has a column for each
    target = {"label": label} if isinstance(row.target, int) else dict(zip(labels, row.target.round(6).tolist(), strict=True))
    written = []
    for number, (face, pixels) in enumerate(chosen):
        path = f"{place}-{number}.png" if several == "all" else f"{place}.png"
        pixels = pixels if size is None else prepare(pixels, size, 1 if pixels.ndim == 2 else 3)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / path, compress_level=1)  # 5 ms for 244 pixels, and 18 ms for a file 13% smaller
        score = 1.0 if face.score is None else round(face.score, 4)
        box = zip(("x1", "y1", "x2", "y2"), face.clipped(*image.shape[1::-1]), strict=True)
        cells = {"split": row.split, "photo": done.photo, **row.columns, "face": number, "score": score}
        written.append({"path": path, **target, **cells, **{edge: round(pixel, 1) for edge, pixel in box}})
    return done._replace(remark=SEVERAL if len(faces) > 1 else "", found=len(faces), faces=written)


def _write(folder: Path, log: RowLog, several: str, csv_safe: bool) -> None:
    tiles: dict[Section, list[Tile]] = defaultdict(list)
    counts: Counter[Section] = Counter()
    as_text = partial(Path.open, mode="w", encoding="utf-8", newline="")
    with as_text(folder / "manifest.csv") as manifest, as_text(folder / "photos.csv") as table:
        faces, photos = csv.writer(manifest), csv.writer(table)
        photos.writerow(("photo", "frame", "label", "split", "cropped", "remark"))
        for each in (Cropped(*line) for line in islice(log.lines(), 1, None)):
            cells = (*each[:4], len(each.faces), each.remark)
            photos.writerow(map(spreadsheet_safe, cells) if csv_safe else cells)
            if each.faces and not manifest.tell():
                faces.writerow(each.faces[0])
            faces.writerows(face.values() for face in each.faces)
            section = (0, each.label) if each.faces else (1 if each.found > 1 else 2 if each.picture else 3, "")
            shown = [((each.found == 1, face.get("score", 0.0)), each, face) for face in each.faces or [{}]]
            counts[section] += len(shown)
            tiles[section] = sorted([*tiles[section], *shown], key=lambda tile: tile[0])[:SHOWN]
    sections, draw = sorted(tiles.items(), key=lambda section: section[0][0]), partial(_draw, folder)
    given = {"found": _count(folder).table(), "several": several, "counts": counts, "PurePath": PurePath}
    page = load_templates(__file__).get_template("crop.html").render(given, sections=sections, draw=draw)
    (folder / "index.html").write_text(page + "\n", encoding="utf-8")


def _draw(folder: Path, photo: Cropped, face: Mapping[str, Any]) -> str:
    if not face:
        return photo.picture
    with Image.open(folder / face["path"]) as image:
        return as_data_uri(image, TILE, "jpeg")
