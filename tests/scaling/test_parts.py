"""The inputs of a job: listed as `mien predict` lists them, divided the same way each time, and read again by a worker."""

import json

import pyarrow
import pytest
from pyarrow import fs, parquet

from mien.errors import MienError
from mien.inference.pipeline import predict
from mien.inference.sources import listed
from mien.scaling.parts import Files, list_inputs, opened_inputs, part_name, split_parts


def sources(names, files=None, size=4):
    """The names of all inputs, and the reasons of those that cannot be read."""
    files = files or Files()
    frames = [each for text in split_parts(list_inputs(names, files, size), size) for each in opened(text, files)]
    return [name for name, _ in frames], {name: error for name, error in frames if error}


def opened(text, files):
    for found in opened_inputs(json.loads(text), files):
        yield (found, "") if isinstance(found, str) else (found.source, getattr(found, "error", ""))


def test_a_folder_is_listed_as_predict_lists_it(photos):
    names, errors = sources([str(photos)])
    assert names == [found.source for found in listed(str(photos))]
    assert len(names) == 12
    assert errors == {}


def test_patterns_files_and_missing_names_are_inputs(photos):
    names, errors = sources([str(photos / "*.png"), str(photos / "bad.jpg"), str(photos / "nothing*.png")])
    assert names == [*(str(photos / f"{name}.png") for name in (0, 2, 4, 6, 8, "meadow")), str(photos / "bad.jpg"), *errors]
    assert list(errors.values()) == [f"Nothing matches {str(photos / 'nothing*.png')!r}."]


def test_parts_are_the_same_each_time_and_their_names_tell_their_inputs(photos):
    first, again = (list(split_parts(list_inputs([str(photos)], Files(), 5), 5)) for _ in range(2))
    assert first == again
    assert [len(json.loads(text)) for text in first] == [5, 5, 2]
    assert part_name(0, first[0]) == part_name(0, again[0])
    assert len({part_name(number, text) for number in (0, 1) for text in first}) == 6


def test_listing_is_on_demand(photos):
    def endless():
        while True:
            yield str(photos)

    parts = split_parts(list_inputs(endless(), Files(), 5), 5)
    assert [len(json.loads(next(parts))) for _ in range(100)] == [5] * 100


@pytest.mark.parametrize("form", ["bytes", "struct", "large"])
def test_images_in_parquet_are_read_by_their_place(photos, tmp_path, form):
    data = [path.read_bytes() for path in sorted(photos.glob("*.png"))]
    cells = {"struct": [{"path": f"{number}.png", "bytes": each} for number, each in enumerate(data)]}.get(form, data)
    kind = {"large": pyarrow.large_binary(), "bytes": pyarrow.binary()}.get(form)
    table = pyarrow.table({"number": range(len(data)), "image": pyarrow.array(cells, kind)})
    parquet.write_table(table, tmp_path / "faces.parquet", row_group_size=4)
    files, name = Files(), str(tmp_path / "faces.parquet")
    inputs = [each for text in split_parts(list_inputs([name], files, 3), 3) for each in json.loads(text)]
    assert [each[4] for each in inputs] == [3, 1, 2]
    found = list(opened_inputs(inputs, files))
    assert [each.image for each in found] == data
    expected = [f"{number}.png" if form == "struct" else f"{name}/row {number}" for number in range(len(data))]
    assert [each.source for each in found] == expected


def test_paths_in_parquet_are_relative_to_it(photos, tmp_path):
    cells = ["0.png", str(photos / "2.png"), "", None, "rtsp://camera/live", "sub/1.png"]
    parquet.write_table(pyarrow.table({"file": cells, "label": ["x"] * 6}), photos / "list.parquet")
    try:
        names, errors = sources([str(photos / "list.parquet")])
    finally:
        (photos / "list.parquet").unlink()
    assert names[:2] == [str(photos / "0.png"), str(photos / "2.png")]
    assert names[5] == str(photos / "sub" / "1.png")
    assert list(errors) == [*(f"{photos / 'list.parquet'}/row {row}" for row in (2, 3)), "rtsp://camera/live"]


def test_what_is_no_table_is_a_row_with_the_reason(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 or so")
    parquet.write_table(pyarrow.table({"number": [1]}), tmp_path / "b.parquet")
    _, errors = sources([str(tmp_path / "*.parquet")])
    damaged, other = errors.values()
    assert "is damaged or no Parquet" in damaged
    assert "neither a column of images (bytes) nor one of paths" in other


def test_a_bucket_is_walked_as_a_folder_and_its_photos_read_through_its_file_system(photos):
    bucket = Files(fs.SubTreeFileSystem(str(photos.parent), fs.LocalFileSystem()))
    names, errors = sources(["photos"], bucket)
    assert names == [found.source.removeprefix(f"{photos.parent}/") for found in listed(str(photos))]
    assert errors == {}
    rows = [row.to_dict() for row in predict(opened_inputs(list_inputs(["photos"], bucket, 4), bucket))]
    local = [row.to_dict() for row in predict(str(photos))]
    prefix = f"{photos.parent}/"
    assert rows == [
        json.loads(json.dumps(row).replace(prefix, "").replace("bad.jpg' is not", "bad.jpg' is not")) for row in local
    ]


class Refusing(fs.FileSystemHandler):
    """A bucket that tells nobody what it has."""

    def _refuse(self, *_, **__):
        raise PermissionError(13, "ACCESS_DENIED")

    get_file_info = get_file_info_selector = open_input_stream = open_input_file = _refuse
    create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = delete_file = move = copy_file = _refuse
    open_output_stream = open_append_stream = normalize_path = _refuse

    def get_type_name(self):
        return "refusing"


def test_a_bucket_without_rights_is_one_sentence():
    files = Files(fs.PyFileSystem(Refusing()))
    with pytest.raises(MienError, match=r"^'bucket/faces' cannot be read \(ACCESS_DENIED\); check that the credentials .*\.$"):
        files.check(["bucket/faces"], fetch=False)
    _, errors = sources(["bucket/faces"], files)
    assert "ACCESS_DENIED" in errors["bucket/faces"]


def test_a_file_of_a_bucket_that_cannot_be_read_is_a_row(photos):
    bucket = Files(fs.SubTreeFileSystem(str(photos), fs.LocalFileSystem()))
    (row,) = predict(opened_inputs([["object", "away.png"]], bucket))
    assert row.source == "away.png"
    assert row.error.startswith("The image 'away.png' cannot be read (")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("-", "is a list of paths; write it into a Parquet file"),
        ("0", "is a camera or stream"),
        ("rtsp://camera/live", "is a camera or stream"),
        ("https://example.org/a.jpg", "is a camera or stream"),
        ("nothing", "There is nothing at 'nothing'"),
        ("nowhere://bucket/faces", "'nowhere://bucket/faces' cannot be opened"),
        ("file:///nothing/at/all", "There is nothing at 'file:///nothing/at/all'"),
    ],
)
def test_what_cannot_be_divided_is_refused(name, sentence):
    with pytest.raises(MienError, match=sentence):
        Files().check([name], fetch=False)


def test_an_address_of_a_file_system_opens_it(photos):
    files, name = Files(), f"file://{photos}"
    files.check([name], fetch=False)
    names, errors = sources([name], files)
    assert names == [f"file://{found.source}" for found in listed(str(photos))]
    assert errors == {}
    assert files.read(f"{name}/bad.jpg") == b"Dear me"
