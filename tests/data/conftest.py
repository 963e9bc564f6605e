"""Generated examples of every data format: 28 faces in three splits, written as users hold them."""

import csv
import io
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
from PIL import Image

from mien.data.pack import write_pack
from mien.data.rows import Row, Rows
from mien.labels import FER2013

OFFICIAL = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}


@dataclass(frozen=True)
class Sample:
    images: np.ndarray  # (28, 48, 48), uint8
    classes: list[int]
    splits: list[str]

    def __iter__(self):
        return zip(range(len(self.images)), self.images, self.classes, self.splits, strict=True)


@pytest.fixture(scope="session")
def sample():
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (28, 48, 48)).astype(np.uint8)
    images[0, 0, :4] = [0, 9, 10, 255]
    return Sample(images, [i % 7 for i in range(28)], ["train"] * 14 + ["validation"] * 7 + ["test"] * 7)


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "png")
    return file.getvalue()


def write_fer2013_csv(folder, sample, header="emotion,pixels,Usage", line="{label},{pixels},{usage}", end="\n"):
    path = folder / "fer2013.csv"
    rows = [
        line.format(
            label=label,
            name=FER2013[label],
            pixels=" ".join(map(str, image.ravel())),
            commas=", ".join(map(str, image.ravel())),
            usage=OFFICIAL[split],
            split=split,
        )
        for _, image, label, split in sample
    ]
    path.write_bytes(end.join([header, *rows, ""]).encode())
    return path


def write_folders(folder, sample):
    for i, image, label, split in sample:
        path = folder / "faces" / split / FER2013[label] / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(image))
    return folder / "faces"


def write_manifest(folder, sample):
    with (folder / "table.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", "split"])
        for i, image, label, split in sample:
            (folder / f"{i:02}.png").write_bytes(png(image))
            table.writerow([f"{i:02}.png", FER2013[label], split])
    return folder / "table.csv"


def write_parquet(folder, sample):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    records = [{"image": png(image), "label": FER2013[label], "split": split} for _, image, label, split in sample]
    parquet.write_table(pa.Table.from_pylist(records), folder / "faces.parquet")
    return folder / "faces.parquet"


def write_a_pack(folder, sample):
    rows = (Row(str(i), split, label, lambda image=image: image) for i, image, label, split in sample)
    write_pack(folder / "faces.safetensors", Rows("test faces", FER2013, rows), 48, 1)
    return folder / "faces.safetensors"


WRITERS = {
    "pack": write_a_pack,
    "fer2013-csv": write_fer2013_csv,
    "parquet": write_parquet,
    "manifest": write_manifest,
    "folders": write_folders,
}


@pytest.fixture
def write(tmp_path, sample):
    """Write the sample in one of the formats: write["folders"]()."""
    return {name: partial(writer, tmp_path, sample) for name, writer in WRITERS.items()}


@pytest.fixture
def save(tmp_path, sample):
    """Save a face of the sample under a name: save("happy/1.png")."""

    def save_face(name, number=0):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(sample.images[number]).save(path)
        return path

    return save_face
