"""Tables of any content: a sentence with file and line, or a row, in bounded memory."""

import gzip
import os
import zipfile

import pytest

from mien.data.reading import read_faces
from mien.data.source import DataSource
from mien.errors import MienError

GOOD = "path,label\n00.png,happy\n01.png,sad\n"
PIXELS = " ".join(["7"] * 2304)


@pytest.fixture
def table(tmp_path, save):
    """Write a table of two faces: table("path,label\\n...")."""
    for number in range(2):
        save(f"{number:02}.png", number)

    def write_table(content, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode(errors="surrogateescape"))
        return path

    return write_table


READ = {
    "UTF-8 with a mark": b"\xef\xbb\xbf" + GOOD.encode(),
    "UTF-16": GOOD.encode("utf-16"),
    "UTF-16, big end first": b"\xfe\xff" + GOOD.encode("utf-16-be"),
    "old Macintosh": GOOD.replace("\n", "\r"),
    "Windows, twice": GOOD.replace("\n", "\r\r\n"),
    "shares": "path,happy,sad\n00.png,1e29,0\n01.png,0,1e-320\n",
    "a row number of thousands of digits": f"path,label,row\n00.png,happy,{'9' * 9999}\n01.png,sad,1\n",
    "labels of thousands of digits": f"path,label\n00.png,{'1' * 5000}\n01.png,2\n",
}


@pytest.mark.parametrize("content", READ.values(), ids=READ)
def test_an_odd_table_is_read(content, table):
    assert len(read_faces(table(content))) == 2


REFUSED = {
    "a long line": ("path,label\n" + "x" * (20 << 20), "line 2 has 16,777,216 characters or more"),
    "a long field of pixels": (f"emotion,pixels\n3,{'7 ' * (10 << 20)}\n", "line 2 has 16,777,216 characters"),
    "a million columns": (",".join(map(str, range(1_000_000))), "line 1 has more than 20,000 cells"),
    "NUL": ("path,label\n0\0.png,happy\n", "line 2 has a NUL character"),
    "UTF-16 without a mark": (GOOD.encode("utf-16-le"), "line 1 has a NUL character; save the table as UTF-8"),
    "UTF-32": (GOOD.encode("utf-32"), "line 1 has a NUL character"),
    "UTF-16 cut short": (GOOD.encode("utf-16")[:-1], "damaged or cut short"),
    "several encodings": ("path,label\n00.png,h\udce4ppy\n01.png,säd\n", "is not UTF-8"),
    "an open quote": ('path,label\n"00.png,happy\n01.png,sad\n', r"row 0 .*there is no label"),
    "infinity": ("path,a,b\n00.png,1e999,0\n01.png,0,1\n", r"row 0 \(00.png\): inf in the column a"),
    "NaN": ("path,a,b\n00.png,nan,0\n01.png,0,1\n", r"row 0 \(00.png\): nan in the column a"),
    "a negative share": ("path,a,b\n00.png,-1,0\n01.png,0,1\n", r"-1.0 in the column a"),
    "a share too large to add": ("path,a,b\n00.png,1e300,1e300\n01.png,0,1\n", r"1e\+300 in the column a"),
    "a label of 100,000 digits": (f"emotion,pixels\n{'9' * 100_000},{PIXELS}\n", "is not a number from 0 to 6"),
    "pixels out of range": (f"emotion,pixels\n1,{PIXELS.replace('7', '9' * 30, 1)}\n", "not a number from 0 to 255"),
    "an infinite pixel": (f"emotion,pixels\n1,{PIXELS.replace('7', '1e999', 1)}\n", "'1e999' among the pixels"),
    "nothing": ("\n" * 1000, "is empty"),
}


@pytest.mark.parametrize(("content", "sentence"), REFUSED.values(), ids=REFUSED)
def test_a_table_that_is_none_is_refused_with_its_line(content, sentence, table):
    with pytest.raises(MienError, match=sentence) as told:
        read_faces(table(content))
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 1000


def test_archives_that_unpack_to_endless_lines_are_refused(table, tmp_path):
    path = table(gzip.compress(b"path,label\n" + b"x" * (40 << 20)), "table.csv.gz")
    with pytest.raises(MienError, match=r"table.csv.gz .* line 2 has 16,777,216"):
        read_faces(path)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.csv", b"\xff\xfe" + bytes(60 << 20))
    with pytest.raises(MienError, match=r"manifest.csv in .*bomb.zip is not a table"):
        read_faces(tmp_path / "bomb.zip")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
@pytest.mark.parametrize("name", ["/dev/zero", "fifo.csv", "link.csv", "link.safetensors"])
@pytest.mark.parametrize("place", ["path", "votes", "drop"])
def test_pipes_and_devices_are_refused_without_waiting(name, place, table, tmp_path):
    os.mkfifo(tmp_path / "fifo.csv")
    (tmp_path / "link.csv").symlink_to("/dev/zero")
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "fifo.csv")
    source = DataSource(**{"path": table(GOOD), place: tmp_path / name})
    with pytest.raises(MienError, match="a pipe or a device"):
        read_faces(source)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
def test_a_manifest_that_names_no_files_has_a_row_for_each(table, tmp_path):
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "folder.png").mkdir()
    names = ["/dev/zero", "fifo.png", "zero.png", "folder.png", "x" * 5000 + ".png"]
    path = table(GOOD + "".join(f"{name},happy\n" for name in names))
    with pytest.raises(MienError, match=r"5 of 7 images cannot be read: .*a named pipe, not a file.*File name too long"):
        read_faces(path)
    faces = read_faces(DataSource(path, skip_bad=True))
    assert (len(faces), len(faces.origin.skipped)) == (2, 5)


@pytest.mark.parametrize("path", ["a\0b", "~nobody-of-this-name/x", "x" * 5000, "loop"])
def test_a_path_that_cannot_be_one_is_refused(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(MienError) as told:
        read_faces(path)
    assert len(str(told.value)) < 200


PIXEL_CELLS = [["a"] * 2304, [None] * 2304, [[1, 2], [1]], None, float("nan"), [float("nan")] * 2304, [], {"bytes": {"x": 1}}]


@pytest.mark.parametrize("cell", PIXEL_CELLS, ids=lambda cell: str(cell)[:12])
def test_odd_pixels_of_parquet_are_rows(cell, tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pa.table({"pixels": [cell, cell], "emotion": [1, 2]}), tmp_path / "faces.parquet")
    with pytest.raises(MienError, match="2 of 2 images cannot be read"):
        read_faces(tmp_path / "faces.parquet")
