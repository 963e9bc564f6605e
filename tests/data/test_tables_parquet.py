import io
import json

import numpy as np
import pytest
from PIL import Image

from mien.data.reading import read_faces
from mien.data.source import DataSource
from mien.errors import MienError
from mien.labels import FER2013

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def png(sample):
    def encode(number):
        file = io.BytesIO()
        Image.fromarray(sample.images[number]).save(file, "png")
        return file.getvalue()

    return encode


@pytest.fixture
def table(tmp_path):
    def write(records, name="faces.parquet", metadata=None):
        made = pa.Table.from_pylist(records)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(made.replace_schema_metadata(metadata or {}), path)
        return path

    return write


def test_the_columns_of_the_shared_fer2013_are_read(table, png, sample):
    def record(row, label, usage):
        return {"row": row, "image": png(row), "label": label, "usage": usage, "file": f"{usage}_{row}.jpg"}

    table([record(2, 6, "PublicTest"), record(3, 1, "PublicTest")], "fer/public_test.parquet")
    path = table([record(0, 0, "Training"), record(1, 3, "Training")], "fer/training.parquet").parent
    faces = read_faces(path)
    assert faces.labels == FER2013
    assert faces.split_names == ("train", "validation")
    assert [faces.id(row) for row in range(4)] == ["0", "1", "2", "3"]
    assert faces.classes.tolist() == [0, 3, 6, 1]
    assert np.array_equal(faces.images, sample.images[:4])


def test_hugging_face_s_struct_label_names_and_file_names_are_understood(table, png, sample):
    features = {"info": {"features": {"label": {"names": ["happy", "anger"], "_type": "ClassLabel"}}}}
    for split, numbers in [("train", [0, 1]), ("test", [2, 3])]:
        records = [{"image": {"bytes": png(i), "path": f"{i}.png"}, "label": i % 2} for i in numbers]
        path = table(records, f"hub/data/{split}-00000-of-00001.parquet", {"huggingface": json.dumps(features)}).parent
    faces = read_faces(path)
    assert faces.labels.names == ("angry", "happy")
    assert faces.split("test").classes.tolist() == [1, 0]
    assert np.array_equal(faces.split("test").images, sample.images[2:4])
    assert faces.split("train").id(1) == "1.png"


def test_paths_are_relative_to_the_table_and_watched(table, save, sample):
    save("1.png", 1), save("2.png", 2)
    path = table([{"path": "1.png", "label": "a"}, {"path": "2.png", "label": "b"}])
    assert np.array_equal(read_faces(path).images, sample.images[1:3])
    save("2.png", 7)
    assert np.array_equal(read_faces(path).images, sample.images[[1, 7]])


def test_one_column_of_numbers_per_label_gives_distributions(table, png):
    records = [
        {"image": png(0), "happy": 3.0, "sad": 1.0, "remark": "x"},
        {"image": png(1), "happy": 0.0, "sad": 2.0, "remark": "y"},
    ]
    faces = read_faces(table(records))
    assert faces.labels.names == ("happy", "sad")
    assert faces.targets.tolist() == [[0.75, 0.25], [0, 1]]


def test_bad_rows_are_named_and_can_be_skipped(table, png):
    good = [{"image": png(0), "label": "a"}, {"image": png(1), "label": "b"}]
    path = table([*good, {"image": b"text", "label": "a"}, {"image": None, "label": "a"}, {"image": png(2), "label": None}])
    with pytest.raises(
        MienError,
        match=r"3 of 5 .*row 2: is not in a format that can be read; row 3: there is no image; row 4: there is no label",
    ):
        read_faces(path)
    assert len(read_faces(DataSource(path, skip_bad=True))) == 2


def test_a_number_outside_the_label_names_is_named(table, png):
    records = [{"image": png(i), "label": label, "usage": "Training"} for i, label in enumerate([0, 6, 7])]
    with pytest.raises(MienError, match=r"row 2: the label '7' is none of angry, disgust"):
        read_faces(table(records))


def test_wrong_columns_are_named(table, png):
    with pytest.raises(MienError, match=r"has the columns image, mood\."):
        read_faces(table([{"image": png(0), "mood": "happy"}]))


def test_tables_with_other_columns_are_named(table, png):
    table([{"image": png(0), "label": "a", "split": "train"}], "fer/a.parquet")
    path = table([{"image": png(0), "label": "a"}], "fer/b.parquet").parent
    with pytest.raises(MienError, match=r"b\.parquet lacks the columns split that .*a\.parquet has"):
        read_faces(path)


def test_a_damaged_table_is_refused(table, png):
    path = table([{"image": png(0), "label": "a"}])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(MienError, match=r"faces\.parquet is not a Parquet file, or it is damaged"):
        read_faces(path)


def test_a_text_file_named_parquet_is_refused(tmp_path):
    (tmp_path / "faces.parquet").write_text("text")
    with pytest.raises(MienError, match="is not a Parquet file"):
        read_faces(tmp_path / "faces.parquet")


@pytest.mark.parametrize("form", ["text", "list", "printed", "rows"])
def test_pixels_in_a_column_are_read_as_pandas_writes_them(form, table, sample):
    def cell(image):
        numbers = image.ravel().tolist()
        texts = {"text": " ".join(map(str, numbers)), "printed": str(numbers)}
        return texts.get(form) or (image.tolist() if form == "rows" else numbers)

    usage = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}
    path = table(
        [{"emotion": label, "pixels": cell(image), "Usage": usage[split]} for _, image, label, split in sample],
    )
    faces = read_faces(path)
    assert faces.labels == FER2013
    assert faces.classes.tolist() == sample.classes
    assert np.array_equal(faces.images, sample.images)
    assert faces.split_names == ("train", "validation", "test")


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        ([1, 2, 3], "3 pixels, not 1"),
        ([1, 2, 3, 256], "the pixel value 256 is not"),
        ([-1, 2, 3, 4], "the pixel value -1 is not"),
    ],
)
def test_pixels_that_are_no_face_are_a_bad_row(pixels, reason, table):
    rows = [{"emotion": label, "pixels": [1, 2, 3, 4]} for label in (0, 3)]
    with pytest.raises(MienError, match=f"row 2: {reason}"):
        read_faces(table([*rows, {"emotion": 1, "pixels": pixels}]), size=2)


def test_the_hub_s_images_have_the_names_of_their_numbers(table, png):
    names = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
    features = {"info": {"features": {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}}}
    records = [{"image": {"bytes": png(i), "path": None}, "label": 6 - i} for i in range(7)]
    faces = read_faces(table(records, metadata={"huggingface": json.dumps(features)}))
    assert faces.labels == FER2013
    assert faces.classes.tolist() == [6, 5, 4, 3, 2, 1, 0]
