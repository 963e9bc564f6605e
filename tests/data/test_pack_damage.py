"""Damaged packs: in the cache they are packed again with one line on stderr; given as data they are refused."""

import json
import os
import random
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from mien.cli import main
from mien.data.pack import open_pack, read_header
from mien.data.reading import read_faces
from mien.errors import MienError


def flipped(data, place, bit=0):
    return data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]


def rewritten(data, change):
    """Change the header of a pack, and leave its length."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    change(header)
    return data[:8] + json.dumps(header).encode().ljust(length) + data[8 + length :]


def with_shape(header):
    header["images"]["shape"] = [28, 96, 24]


def with_dtype(header):
    header["targets"]["dtype"] = "U32"


def of_an_older_mien(header):
    header["__metadata__"] |= {"mien.format": "0", "mien.stamp": "old"}


DAMAGE = {
    "first byte": lambda data: flipped(data, 0),
    "in a label": lambda data: data.replace(b"happy", b"hAppy", 1),
    "in the name of the checksum": lambda data: data.replace(b"mien.checksum", b"mien.chEcksum", 1),
    "in a pixel": lambda data: flipped(data, 5000),
    "last byte": lambda data: flipped(data, len(data) - 1, 7),
    "empty": lambda data: b"",
    "cut in the header": lambda data: data[:300],
    "cut in the images": lambda data: data[:20_000],
    "one byte short": lambda data: data[:-1],
    "one byte more": lambda data: data + b"\0",
    "shape": lambda data: rewritten(data, with_shape),
    "dtype": lambda data: rewritten(data, with_dtype),
    "older mien": lambda data: rewritten(data, of_an_older_mien),
    "a picture": lambda data: b"\x89PNG\r\n\x1a\n" + data,
    "deep": lambda data: (50_000).to_bytes(8, "little") + b"[" * 50_000,
    "a list": lambda data: (2).to_bytes(8, "little") + b"[]",
    "endless header": lambda data: b"\xff" * 8 + data,
}


@pytest.fixture
def packed(write, cache):
    source = write["folders"]()
    faces = read_faces(source)
    (pack,) = (cache / "faces").iterdir()
    return source, pack, faces.fingerprint()


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_pack_in_the_cache_is_made_again_with_a_line(damage, packed, capsys):
    source, pack, fingerprint = packed
    whole = pack.read_bytes()
    pack.write_bytes(damage(whole))
    assert read_faces(source).fingerprint() == fingerprint
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"packing {source} again: ")
    read_faces(source)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("kind", ["fifo", "link to a device", "folder"])
def test_what_is_no_file_under_the_name_of_a_pack_is_replaced_or_told(kind, packed, capsys):
    source, pack, fingerprint = packed
    pack.unlink()
    if kind == "folder":
        pack.mkdir()
        with pytest.raises(MienError, match="Cannot write the packed faces"):
            read_faces(source)
        return
    os.mkfifo(pack) if kind == "fifo" else pack.symlink_to("/dev/zero")
    assert read_faces(source).fingerprint() == fingerprint
    assert "again: " in capsys.readouterr().err


def test_any_flipped_bit_of_a_pack_is_noticed(packed):
    _, pack, fingerprint = packed
    whole, dice = pack.read_bytes(), random.Random(0)
    header, _ = read_header(pack)
    used = 8 + len(json.dumps(header))  # blanks follow
    places = [*range(used), *(dice.randrange(4096, len(whole)) for _ in range(300))]
    for place in places:
        pack.write_bytes(flipped(whole, place, dice.randrange(8)))
        try:
            faces = open_pack(pack)
        except MienError:
            continue
        pytest.fail(f"byte {place} of {len(whole)}: {faces.fingerprint() == fingerprint}")


@pytest.mark.parametrize("damage", [name for name in DAMAGE if name not in ("a picture",)])
def test_a_damaged_pack_given_as_data_is_told(damage, packed, tmp_path, capsys):
    given = tmp_path / "given.safetensors"
    given.write_bytes(DAMAGE[damage](packed[1].read_bytes()))
    assert main(["audit", "--data", str(given), "--out", str(tmp_path / "audit")]) == 2
    complaint = capsys.readouterr().err
    assert "Traceback" not in complaint
    assert f"{given} is not a pack of labelled faces, or it is damaged" in complaint
    assert len(complaint.splitlines()) == 1


def test_a_source_of_equal_size_and_time_is_noticed(write, sample):
    path = write["fer2013-csv"]()
    before, status = read_faces(path), path.stat()
    path.write_bytes(path.read_bytes().replace(b"\n1,", b"\n2,"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert read_faces(path).counts()[1] == 0 != before.counts()[1]


def test_a_source_replaced_by_another_file_of_equal_size_and_time_is_noticed(write):
    path = write["fer2013-csv"]()
    read_faces(path)
    status, other = path.stat(), path.with_name("other")
    other.write_bytes(path.read_bytes().replace(b"\n1,", b"\n2,"))
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)
    assert read_faces(path).counts()[1] == 0


def test_two_processes_make_the_same_pack(write, cache):
    path = write["fer2013-csv"]()
    with ProcessPoolExecutor(2) as pool:
        first, second = pool.map(_fingerprint, [path] * 2)
    assert first == second == read_faces(path).fingerprint()
    assert len(list((cache / "faces").iterdir())) == 1


def _fingerprint(path):
    return read_faces(path).fingerprint()


def test_a_cache_that_can_only_be_read_still_serves_what_is_in_it(packed, monkeypatch, capsys):
    source, pack, fingerprint = packed
    monkeypatch.setattr("mien.data.reading.write_pack", None)  # nothing is written
    assert read_faces(source).fingerprint() == fingerprint
    assert np.array_equal(open_pack(pack).images, read_faces(source).images)
    assert capsys.readouterr().err == ""
