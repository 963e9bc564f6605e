import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from mien.inference import sources as archive
from reading import frames

GRAY = np.random.default_rng(0).integers(0, 256, (20, 30)).astype(np.uint8)


def png():
    buffer = io.BytesIO()
    Image.fromarray(GRAY).save(buffer, "PNG")
    return buffer.getvalue()


def zipped(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


@pytest.fixture
def photos(tmp_path):
    names = ["inner/a10.png", "inner/a2.png", "лицо 顔.png", "inner/.hidden.png", "__MACOSX/inner/._a2.png", "notes.txt"]
    return zipped(tmp_path / "photos.zip", **{name: png() for name in names})


def test_the_images_of_a_zip_come_in_natural_order_under_its_name(photos):
    found = list(frames(photos))
    assert [frame.source for frame in found] == [
        f"{photos}/{name}" for name in ("inner/a2.png", "inner/a10.png", "лицо 顔.png")
    ]
    assert all(np.array_equal(frame.image, GRAY) for frame in found)


def encrypt(path):
    """Set the flag that says a member needs a password, in both places where a zip has it (APPNOTE 4.3.7 and 4.3.12)."""
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x03\x04") + 6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    return path


def test_a_member_that_wants_a_password_says_so(tmp_path):
    (frame,) = frames(encrypt(zipped(tmp_path / "secret.zip", **{"a.png": png()})))
    assert frame.source.endswith("secret.zip/a.png")
    assert "needs a password" in frame.error


def test_a_broken_member_is_an_error_among_the_others(tmp_path):
    path = zipped(tmp_path / "half.zip", **{"1.png": png(), "2.png": png(), "3.png": b"no image", "4.png": b""})
    content = bytearray(path.read_bytes())
    start = content.index(b"1.png") + 40
    content[start : start + 20] = bytes(20)
    path.write_bytes(content)
    found = list(frames(path))
    assert [bool(frame.error) for frame in found] == [True, False, True, True]
    assert "half.zip/1.png' cannot be unpacked" in found[0].error
    assert "half.zip/3.png' is not in a format" in found[2].error
    assert "half.zip/4.png' is empty" in found[3].error


def test_a_member_that_claims_to_be_huge_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "LARGEST_MEMBER", 100)
    (frame,) = frames(zipped(tmp_path / "bomb.zip", **{"a.png": bytes(101)}))
    assert "would unpack to" in frame.error


def test_a_zip_that_cannot_be_read_is_one_error(tmp_path):
    (tmp_path / "text.zip").write_text("no zip")
    (tmp_path / "empty.zip").write_bytes(b"")
    cut = zipped(tmp_path / "cut.zip", **{"a.png": png()})
    cut.write_bytes(cut.read_bytes()[:100])
    zipped(tmp_path / "notes.zip", **{"notes.txt": "words"})
    for name, says in (
        ("text.zip", "damaged or no zip"),
        ("empty.zip", "damaged or no zip"),
        ("cut.zip", "damaged or no zip"),
        ("notes.zip", "holds no images"),
        ("gone.zip", "There is no zip"),
    ):
        (frame,) = frames(tmp_path / name)
        assert says in frame.error
        assert name in frame.error
        assert frame.source == str(tmp_path / name)
