import gzip
import tarfile
import zipfile

import numpy as np
import pytest

from mien.data.reading import read_faces
from mien.data.source import DataSource
from mien.errors import MienError

DIALECTS = {
    "fer2013.csv": {},
    "icml_face_data.csv": {"header": "emotion, Usage, pixels", "line": "{label},{usage},{pixels}"},
    "quoted": {"header": '"emotion","pixels","Usage"', "line": '{label},"{pixels}",{usage}'},
    "with Windows line ends": {"end": "\r\n"},
    "with a byte-order mark": {"header": "\ufeffemotion,pixels,Usage"},
    "with semicolons": {"header": "emotion;pixels;Usage", "line": "{label};{pixels};{usage}"},
    "with tabs": {"header": "emotion\tpixels\tUsage", "line": "{label}\t{pixels}\t{usage}"},
    "with blank lines": {"end": "\n\n"},
    "in other letters": {"header": "Emotion,Pixels,USAGE"},
    "with blanks around the names": {"header": " emotion , Usage , pixels ", "line": "{label} , {usage} , {pixels}"},
    "with pandas' index": {"header": ",emotion,pixels,Usage", "line": "7,{label},{pixels},{usage}"},
    "with a named index": {"header": "Unnamed: 0,emotion,pixels,Usage", "line": "7,{label},{pixels},{usage}"},
    "with float labels": {"line": "{label}.0,{pixels},{usage}"},
    "of a German spreadsheet": {"header": "emotion;pixels;Usage", "line": '{label},0;"{pixels}";{usage}', "end": "\r\n"},
    "with the separator named": {"header": "sep=;\nUsage;emotion;pixels", "line": "{usage};{label};{pixels}"},
    "with empty columns": {"header": "emotion;pixels;Usage;;", "line": "{label};{pixels};{usage};;"},
    "all quoted": {"header": '"emotion","pixels","Usage"', "line": '"{label}","{pixels}","{usage}"'},
    "with other names of splits": {"line": "{label},{pixels},{split}"},
    "with other columns": {"header": "label,pixels,split", "line": "{label},{pixels},{usage}"},
    "with names of labels": {"line": "{name},{pixels},{usage}"},
    "with lists": {"line": '{label},"[{commas}]",{usage}'},
    "with printed arrays": {"line": "{label},[ {pixels}],{usage}"},
}


@pytest.fixture
def spoil(write):
    """Write the CSV with one text replaced by another, once."""

    def spoil_csv(old, new):
        path = write["fer2013-csv"]()
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        return path

    return spoil_csv


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_gives_the_same_faces(dialect, write, sample):
    faces = read_faces(write["fer2013-csv"](**DIALECTS[dialect]))
    assert np.array_equal(faces.images, sample.images)
    assert faces.classes.tolist() == sample.classes
    assert [faces.split(name).id(0) for name in ("train", "validation", "test")] == ["0", "14", "21"]


def test_unicode_text_of_a_spreadsheet_is_read(write, sample):
    path = write["fer2013-csv"](header="emotion\tpixels\tUsage", line="{label}\t{pixels}\t{usage}")
    path.write_bytes(path.read_text().encode("utf-16"))
    assert np.array_equal(read_faces(path).images, sample.images)


@pytest.mark.parametrize("name", ["fer2013/fer2013.csv", "data/FER2013.CSV", "my_faces.csv"])
@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tgz", "tar.bz2", "zip"])
def test_it_is_read_out_of_any_archive(kind, name, write, sample, tmp_path):
    path = write["fer2013-csv"]()
    archive = tmp_path / f"fer2013.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as file:
            file.write(path, name)
    else:
        mode = {"tar": "w", "tar.bz2": "w:bz2"}.get(kind, "w:gz")
        with tarfile.open(archive, mode) as file:
            file.add(path, name)
            file.addfile(tarfile.TarInfo("fer2013/README"))
    faces = read_faces(archive)
    assert np.array_equal(faces.images, sample.images)
    assert faces.split_names == ("train", "validation", "test")


@pytest.mark.parametrize("split", ["train", "test"])
def test_one_split_alone_is_read(split, write, sample):
    path = write["fer2013-csv"]()
    header, *rows = path.read_text().splitlines()
    usage = {"train": "Training", "test": "PrivateTest"}[split]
    path.write_text("\n".join([header, *(row for row in rows if row.endswith(usage))]))
    assert read_faces(path).split_names == (split,)


def test_the_contest_s_train_csv_has_no_splits(write, sample):
    faces = read_faces(write["fer2013-csv"](header="emotion,pixels", line="{label},{pixels}"))
    assert faces.split_names == ("none",)
    assert np.array_equal(faces.images, sample.images)


def test_rows_in_any_order_come_split_by_split(write, sample):
    path = write["fer2013-csv"]()
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *rows[::-1]]))
    faces = read_faces(path)
    assert faces.splits.tolist() == [1] * 14 + [2] * 7 + [3] * 7
    assert np.array_equal(faces.images, sample.images[[*range(13, -1, -1), *range(20, 13, -1), *range(27, 20, -1)]])
    assert faces.id(0) == "14"  # its row in this file


def test_gzip_and_zip_are_read_as_they_are(write, sample):
    path = write["fer2013-csv"]()
    packed = path.with_name("fer2013.csv.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    archive = path.with_name("archive.zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.write(path, "fer2013/fer2013.csv")
        file.writestr("__MACOSX/fer2013/._fer2013.csv", "noise")
    for source in (packed, archive):
        assert np.array_equal(read_faces(source).images, sample.images)


def test_of_the_contest_s_files_the_one_with_all_rows_is_taken(write, tmp_path):
    write["fer2013-csv"]().rename(tmp_path / "icml_face_data.csv")
    (tmp_path / "train.csv").write_text("emotion,pixels\n0,1 2 3 4\n")
    (tmp_path / "test.csv").write_text("pixels\n1 2 3 4\n")
    assert len(read_faces(tmp_path)) == 28


def test_faces_of_another_size_are_read_too(tmp_path):
    path = tmp_path / "small.csv"
    path.write_text("emotion,pixels\n0,0 1 2 3\n1,4 5 6 255\n")
    faces = read_faces(path, size=2)
    assert faces.images.tolist() == [[[0, 1], [2, 3]], [[4, 5], [6, 255]]]
    assert faces.origin.kind == "FER-2013 as CSV without splits, 2 x 2 pixels"


def test_wrong_columns_are_named_with_those_wanted(spoil):
    with pytest.raises(MienError, match=r"columns emotion, pixels and, optionally, Usage; it has mood, pixels, usage"):
        read_faces(spoil("emotion", "mood"))


def test_the_contest_s_test_csv_is_refused_for_it_has_no_labels(tmp_path):
    (tmp_path / "test.csv").write_text("pixels\n1 2 3 4\n")
    with pytest.raises(MienError, match=r"no labels; take icml_face_data\.csv"):
        read_faces(tmp_path / "test.csv")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("0 9 10 255 ", "0 9 10 ", r"row 0 \(line 2\): 2303 pixels, not 2304 \(48 x 48\)"),
        ("0 9 10 255 ", "0 9 10 256 ", r"row 0 \(line 2\): the pixel value 256 is not"),
        ("0 9 10 255 ", "0 9 10 99999999999999999999 ", r"row 0 \(line 2\): the pixel value \d+ is not"),
        ("0 9 10 255 ", "0 9 10 -5 ", r"row 0 \(line 2\): '-5' among the pixels"),
        ("0 9 10 255 ", "0 9 10 2x5 ", r"row 0 \(line 2\): '2x5' among the pixels"),
        ("0 9 10 255 ", "0 9 10\t255 ", r"row 0 \(line 2\): '10\\t255' among the pixels"),
        ("\n6,", "\n7,", r"row 6 \(line 8\): the label '7' is not a number from 0 to 6"),
        ("\n6,", "\n-1,", r"row 6 \(line 8\): the label '-1' is not"),
        ("\n6,", "\n,", r"row 6 \(line 8\): the label '' is not"),
        ("\n6,", "\n", r"row 6 \(line 8\): 2 columns, not 3"),
        ("PublicTest", "PubTest", r"row 14 \(line 16\): the split 'PubTest' is none of"),
    ],
)
def test_a_bad_row_is_named_with_its_number_and_can_be_skipped(old, new, reason, spoil):
    path = spoil(old, new)
    with pytest.raises(MienError, match=rf"1 of 28 images cannot be read: {reason}.*skip_bad"):
        read_faces(path)
    faces = read_faces(DataSource(path, skip_bad=True))
    assert len(faces) == 27
    assert len(faces.origin.skipped) == 1
    with pytest.raises(MienError, match="cannot be read"):  # the pack without them is not taken for all
        read_faces(path)


def test_a_file_cut_short_is_told_by_its_last_row(write):
    path = write["fer2013-csv"]()
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(MienError, match=r"1 of 28 images cannot be read: row 27 \(line 29\): 2 columns"):
        read_faces(path)


@pytest.mark.parametrize(
    ("text", "format_", "sentence"),
    [
        ("", "auto", r"fer2013\.csv is empty"),
        ("", "fer2013-csv", r"fer2013\.csv is empty"),
        ("emotion,pixels,Usage\n", "auto", r"no rows in .*fer2013\.csv, read as FER-2013 as CSV; check"),
    ],
)
def test_a_file_without_rows_is_refused_by_its_name(text, format_, sentence, tmp_path, cache):
    (tmp_path / "fer2013.csv").write_text(text)
    with pytest.raises(MienError, match=sentence):
        read_faces(DataSource(tmp_path / "fer2013.csv", format=format_))
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_archives_cut_short_are_refused(write):
    path = write["fer2013-csv"]()
    packed = path.with_name("fer2013.csv.gz")
    packed.write_bytes(gzip.compress(path.read_bytes())[:-5000])
    with pytest.raises(MienError, match="damaged or cut short"):
        read_faces(packed)
    archive = path.with_name("fer2013.zip")
    with zipfile.ZipFile(archive, "w") as file:
        file.write(path, "fer2013.csv")
    archive.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(MienError, match="Cannot read"):
        read_faces(archive)


def test_a_file_named_as_a_tar_archive_that_is_none_is_refused(tmp_path):
    (tmp_path / "fer2013.tar.gz").write_bytes(gzip.compress(b"anything"))
    with pytest.raises(MienError, match=r"fer2013\.tar\.gz: it is not an archive, or it is damaged"):
        read_faces(tmp_path / "fer2013.tar.gz")
