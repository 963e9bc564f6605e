"""Further columns of a manifest, from the file to the faces."""

import numpy as np
import pytest

from mien.data.faceset import FaceSet
from mien.data.pack import read, write_pack
from mien.data.reading import read_faces
from mien.data.rows import open_tree
from mien.data.source import DataSource
from mien.errors import MienError
from mien.labels import LabelSet

TABLE = "path,label,split,age,Group\nf/0.png,happy,test,20-29,a\nf/1.png,sad,train,,b\nf/2.png,sad,train, 3 ,a\n"


@pytest.fixture
def manifest(tmp_path, save):
    for number in range(3):
        save(f"f/{number}.png", number)
    (tmp_path / "labels.csv").write_text(TABLE)
    return tmp_path / "labels.csv"


def columns(faces):
    return {name: values.tolist() for name, values in faces.columns.items()}


def test_columns_that_are_asked_for_come_along_row_by_row(manifest):
    faces = read_faces(DataSource(manifest, columns=["age", "Group"]))
    assert [faces.id(row) for row in range(3)] == ["f/1.png", "f/2.png", "f/0.png"]  # split by split
    assert columns(faces) == {"age": ["", "3", "20-29"], "Group": ["b", "a", "a"]}
    assert columns(read_faces(manifest)) == {}


def test_a_second_reading_has_other_columns(manifest):
    assert list(read_faces(DataSource(manifest, columns=["age"])).columns) == ["age"]
    assert list(read_faces(DataSource(manifest, columns=["Group"])).columns) == ["Group"]


def test_they_stay_with_their_rows_through_every_change(manifest):
    faces = read_faces(DataSource(manifest, columns=["age"]))
    assert columns(faces.split("train")) == {"age": ["", "3"]}
    assert columns(faces.keep(["happy"])) == {"age": ["20-29"]}
    assert columns(faces.merge({"any": ["happy", "sad"]})) == {"age": ["", "3", "20-29"]}
    assert columns(faces.take(np.array([2, 0]))) == {"age": ["20-29", ""]}
    assert faces.fingerprint() == read_faces(manifest).fingerprint()


def test_judging_by_votes_keeps_them():
    votes = np.array([[1, 0], [0, 0], [0, 1]], dtype=np.float32)
    made = FaceSet.from_arrays(np.zeros((3, 4, 4), dtype=np.uint8), [0, 1, 1], LabelSet(("a", "b")))
    faces = FaceSet(
        made.images, made.targets, made.labels, made.splits, made.ids, votes=votes, columns={"age": np.array(["1", "2", "3"])}
    )
    assert columns(faces.judged_by_votes()) == {"age": ["1", "3"]}


def test_a_column_that_is_not_there_is_said_with_those_that_are(manifest):
    with pytest.raises(
        MienError, match=r"no column 'ages'; besides the images it has label, split, age, Group\. Did you mean 'age'"
    ):
        read_faces(DataSource(manifest, columns=["ages"]))


def test_a_column_that_is_carried_holds_no_shares_of_labels(tmp_path, manifest):
    (tmp_path / "shares.csv").write_text("path,happy,sad,age\nf/0.png,1,0,20-29\nf/1.png,1,3,3-9\n")
    faces = read_faces(DataSource(tmp_path / "shares.csv", columns=["age"]))
    assert (faces.labels.names, columns(faces)) == (("happy", "sad"), {"age": ["20-29", "3-9"]})


def test_parquet_carries_them_too(tmp_path, manifest):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    records = [{"path": f"f/{i}.png", "label": "ab"[i % 2], "age": age} for i, age in enumerate([30, None, 7])]
    parquet.write_table(pa.Table.from_pylist(records), tmp_path / "faces.parquet")
    (tmp_path / "alone").mkdir()
    faces = read_faces(DataSource(tmp_path / "faces.parquet", columns=["age"]))
    assert columns(faces) == {"age": ["30", "", "7"]}
    with pytest.raises(MienError, match="has no column 'sex'; besides the images it has label, age"):
        read_faces(DataSource(tmp_path / "faces.parquet", columns=["sex"]))


def test_data_without_columns_say_that_a_manifest_is_needed(write):
    for name in ("fer2013-csv", "folders"):
        with pytest.raises(MienError, match=r"has no columns to group by .* such as 'age': put its images .* into a manifest"):
            read_faces(DataSource(write[name](), columns=["age"]))


def test_a_pack_keeps_them_at_any_size(manifest, tmp_path):
    from mien.data import tables as reader

    write_pack(tmp_path / "pack", reader.read_csv(open_tree(manifest), ["age"]), 48, 1)
    write_pack(tmp_path / "smaller", read(open_tree(tmp_path / "pack")), 24, 1)
    for path, size in (("pack", 48), ("smaller", 24)):
        assert columns(read_faces(DataSource(tmp_path / path, columns=["age"]), size)) == {"age": ["", "3", "20-29"]}


def test_columns_that_do_not_fit_the_rows_are_refused():
    made = FaceSet.from_arrays(np.zeros((3, 4, 4), dtype=np.uint8), [0, 1, 1], LabelSet(("a", "b")))
    for values in (np.array(["1", "2"]), np.array([1, 2, 3])):
        with pytest.raises(MienError, match="3 images need 3 texts in the column 'age'"):
            FaceSet(made.images, made.targets, made.labels, made.splits, made.ids, columns={"age": values})
