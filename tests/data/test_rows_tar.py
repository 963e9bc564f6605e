"""Class folders in tar archives, packed or not."""

import gzip
import io
import lzma
import tarfile
import tracemalloc
import zipfile

import pytest

from mien.data import rows
from mien.data.reading import read_faces
from mien.data.rows import open_tree
from mien.errors import MienError
from mien.inputs import BoundedReader, unpack


@pytest.fixture(params=["tar", "tar.gz", "tgz", "tar.xz"])
def packed(request, tmp_path):
    """Pack a folder: packed(folder, prefix)."""

    def pack(folder, prefix="", extra=()):
        path = tmp_path / f"faces.{request.param}"
        mode = {"tar": "w", "tar.xz": "w:xz"}.get(request.param, "w:gz")
        with tarfile.open(path, mode) as archive:
            archive.add(folder, prefix or ".")
            for member in extra:
                archive.addfile(member)
        return path

    return pack


@pytest.mark.parametrize("prefix", ["", "faces", "archive/faces"])
def test_a_tar_gives_what_the_folder_gives(prefix, packed, write):
    folder = write["folders"]()
    assert read_faces(packed(folder, prefix)).fingerprint() == read_faces(folder).fingerprint()


def test_links_devices_and_hidden_files_are_passed_over(packed, write, tmp_path):
    folder = write["folders"]()
    extra = [tarfile.TarInfo(name) for name in ("train/happy/link.png", "train/happy/pipe.png", "train/happy/._1.png")]
    extra[0].type, extra[0].linkname, extra[1].type = tarfile.SYMTYPE, "/etc/passwd", tarfile.FIFOTYPE
    assert len(read_faces(packed(folder, extra=extra))) == 28


def test_names_lead_to_nothing_outside_the_archive(packed, write, tmp_path):
    outside = tmp_path / "outside.png"
    outside.write_bytes((write["folders"]() / "train/happy/03.png").read_bytes())
    (tmp_path / "faces/manifest.csv").write_text(f"path,label\ntrain/happy/03.png,a\n../outside.png,b\n{outside},b\n")
    with pytest.raises(MienError, match=r"2 of 3 images cannot be read: row 1 \(\.\./outside\.png\): there is no such file"):
        read_faces(packed(tmp_path / "faces"))


def test_a_packed_tar_is_held_in_memory_up_to_a_bound(write, tmp_path, monkeypatch):
    folder = write["folders"]()
    for name, mode in (("small.tar", "w"), ("large.tar.gz", "w:gz")):
        with tarfile.open(tmp_path / name, mode, format=tarfile.USTAR_FORMAT) as archive:
            archive.add(folder, ".")
    monkeypatch.setattr(rows, "_TAR_MEMORY", 30_000)
    assert len(read_faces(tmp_path / "small.tar")) == 28  # read from the file, image by image
    with pytest.raises(MienError, match=r"large\.tar\.gz is too large to read; unpack it \(tar xf "):
        read_faces(tmp_path / "large.tar.gz")


@pytest.mark.parametrize("keep", [0.5, 0.1])
def test_a_tar_cut_short_is_one_sentence(keep, write, tmp_path):
    folder = write["folders"]()
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        archive.add(folder, ".")
    path = tmp_path / "faces.tar.gz"
    path.write_bytes(data.getvalue()[: int(keep * len(data.getvalue()))])
    with pytest.raises(MienError, match=r"^Cannot read .*faces\.tar\.gz: .*\.$"):
        read_faces(path)


def test_names_of_members_are_relative_with_slashes(tmp_path):
    path = tmp_path / "faces.tar"
    with tarfile.open(path, "w") as archive:
        for name in ("/happy/1.png", "./sad\\2.png", "__MACOSX/3.png"):
            archive.addfile(tarfile.TarInfo(name))
    assert open_tree(path).files == ("happy/1.png", "sad/2.png")


HEADERS = {
    "name": [(tarfile.GNUTYPE_LONGNAME, 2**26)],
    "link": [(tarfile.GNUTYPE_LONGLINK, 2**26)],
    "pax": [(tarfile.XHDTYPE, 2**26)],
    "global": [(tarfile.XGLTYPE, 2**26)],
    "many globals": [(tarfile.XGLTYPE, 2**19)] * 64,
    "endless name": [(tarfile.GNUTYPE_LONGNAME, 2**62)],
}


@pytest.mark.parametrize("opener", [gzip.open, lzma.open, open], ids=["gz", "xz", "plain"])
@pytest.mark.parametrize("case", HEADERS)
def test_a_name_or_attribute_without_end_is_a_sentence_and_not_read(case, opener, tmp_path):
    with opener(tmp_path / "faces.tar.gz", "wb") as file:
        for kind, size in HEADERS[case]:
            entry = tarfile.TarInfo("x")
            entry.type, entry.size = kind, size
            file.write(entry.tobuf(tarfile.GNU_FORMAT))
            file.write(b"10 a=bcdef\n".ljust(min(size, 2**26), b"\0"))
    tracemalloc.start()
    try:
        with pytest.raises(MienError, match=r"^Cannot read .*faces\.tar\.gz: .*\.$"):
            read_faces(tmp_path / "faces.tar.gz")
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_the_headers_of_a_tar_are_bounded_together(tmp_path, monkeypatch):
    with tarfile.open(tmp_path / "many.tar.gz", "w:gz") as archive:
        for number in range(100):
            archive.addfile(tarfile.TarInfo(f"{number}.txt"))
    assert len(open_tree(tmp_path / "many.tar.gz").files) == 100
    monkeypatch.setattr(rows, "_TAR_MEMORY", 20_000)
    with pytest.raises(MienError, match=r"many\.tar\.gz is too large to read"):
        open_tree(tmp_path / "many.tar.gz")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["happy/1.png", "faces.parquet"])
@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED])
def test_a_member_of_a_zip_unpacks_up_to_the_limit(method, name, tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "_LARGEST_FILE", 2**20)
    monkeypatch.setattr(rows, "unpack", lambda file, limit=2**20: unpack(file, min(limit, 2**20)))
    with zipfile.ZipFile(tmp_path / "faces.zip", "w", method) as archive, archive.open(name, "w") as file:
        for _ in range(320):
            file.write(bytes(2**20))
    tree = open_tree(tmp_path / "faces.zip")
    tracemalloc.start()
    try:
        with pytest.raises(MienError, match="would unpack to more than"):
            tree.read(name)
        assert tracemalloc.get_traced_memory()[1] < 300 * 2**20
    finally:
        tracemalloc.stop()


def test_the_index_of_a_zip_is_bounded_for_faces_too(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
        for number in range(100):
            archive.writestr(f"happy/{number}.png", b"")
    assert len(open_tree(tmp_path / "faces.zip").files) == 100
    monkeypatch.setattr(BoundedReader, "left", 2000)
    with pytest.raises(MienError, match="its index or a header is too large"):
        open_tree(tmp_path / "faces.zip")
