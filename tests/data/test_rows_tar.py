"""Class folders in tar archives, packed or not."""

import io
import tarfile

import pytest

from mien.data import rows
from mien.data.reading import read_faces
from mien.data.rows import open_tree
from mien.errors import MienError


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
        with tarfile.open(tmp_path / name, mode) as archive:
            archive.add(folder, ".")
    monkeypatch.setattr(rows, "_TAR_MEMORY", 20_000)
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
