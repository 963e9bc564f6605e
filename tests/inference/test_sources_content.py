"""What a file or bytes hold decides how they are read, not their name."""

import base64
import io
import zipfile
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from mien.images import HEAD_BYTES, IMAGE_SUFFIXES, content_kind
from mien.inference.sources import check_names, inline_bytes
from reading import frames

GRAY = np.random.default_rng(0).integers(0, 256, (20, 30)).astype(np.uint8)


def encoded(form="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(GRAY).save(buffer, form, **options)
    return buffer.getvalue()


def zip_of(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
def clip(tmp_path, write_video):
    return write_video(tmp_path / "clip.mp4", count=5, codec="libx264")


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, io.BytesIO])
def test_the_bytes_of_a_video_are_a_video(clip, wrap):
    for source in (wrap(clip.read_bytes()), [wrap(clip.read_bytes())]):
        found = list(frames(source, every=2))
        assert [(frame.source, frame.frame, frame.error) for frame in found] == [("image 0", n, "") for n in (0, 2, 4)]
        np.testing.assert_allclose([frame.time for frame in found], [0, 0.2, 0.4], atol=0.001)


def test_an_open_video_is_read_and_keeps_its_name(clip):
    with clip.open("rb") as file:
        assert [(frame.source, frame.frame) for frame in frames(file)] == [(str(clip), number) for number in range(5)]


def test_an_open_file_is_read_from_its_start():
    buffer = io.BytesIO()
    Image.fromarray(GRAY).save(buffer, "PNG")
    (frame,) = frames(buffer)
    assert np.array_equal(frame.image, GRAY)


def test_the_bytes_of_a_zip_are_its_images():
    found = list(frames([zip_of(**{"b/2.png": encoded(), "b/10.png": encoded(), "notes.txt": b"words"})]))
    assert [(frame.source, frame.error) for frame in found] == [("image 0/b/2.png", ""), ("image 0/b/10.png", "")]


@pytest.mark.parametrize("name", ["clip.jpg", "clip.dat", "clip", "clip.zip", "clip.png.part", "клип"])
def test_a_video_of_any_name_is_a_video(clip, name):
    found = list(frames(clip.rename(clip.with_name(name))))
    assert [(frame.frame, frame.error) for frame in found] == [(number, "") for number in range(5)]


@pytest.mark.parametrize("name", ["photo.mp4", "photo.zip", "photo", "photo.txt", "photo.avi", "photo.jpg_large"])
@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_an_image_of_any_name_is_an_image(tmp_path, name, form):
    (tmp_path / name).write_bytes(encoded(form))
    (frame,) = frames(tmp_path / name)
    assert (frame.error, frame.frame, frame.image.shape[:2]) == ("", None, (20, 30))


@pytest.mark.parametrize("name", ["photos", "photos.jpg", "photos.mp4", "photos.docx"])
def test_a_zip_of_any_name_is_a_zip(tmp_path, name):
    (tmp_path / name).write_bytes(zip_of(**{"a.png": encoded()}))
    (frame,) = frames(tmp_path / name)
    assert (frame.source, frame.error) == (str(tmp_path / name / "a.png"), "")


def test_images_without_suffix_are_read_from_folders_and_other_files_without_suffix_are_not(tmp_path, clip):
    members = {"IMG_2": encoded("JPEG"), "IMG_10": encoded(), "README": b"words", "empty": b"", "core": bytes(99)}
    members |= {"clip": clip.read_bytes(), "script.py": encoded(), "b/f81d4fae": encoded("WEBP")}
    (tmp_path / "photos" / "b").mkdir(parents=True)
    for name, content in members.items():
        (tmp_path / "photos" / name).write_bytes(content)
    found = [(frame.source.removeprefix(f"{tmp_path}/photos/"), frame.error) for frame in frames(tmp_path / "photos")]
    assert found == [("b/f81d4fae", ""), ("IMG_2", ""), ("IMG_10", "")]


def test_a_video_in_a_folder_that_is_named_as_an_image_is_read(tmp_path, clip):
    folder = tmp_path / "photos"
    folder.mkdir()
    clip.rename(folder / "b.jpg")
    for name in ("a.png", "c.png"):
        (folder / name).write_bytes(encoded())
    assert [(frame.source[-5:], frame.frame) for frame in frames(folder)] == [
        ("a.png", None), *(("b.jpg", number) for number in range(5)), ("c.png", None),
    ]  # fmt: skip


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES - {".heic", ".heif", ".tga", ".dib"}))
def test_an_image_of_every_format_with_a_signature_is_known(suffix):
    form = Image.registered_extensions()[suffix]
    image = Image.fromarray(GRAY).convert("1") if suffix == ".pbm" else Image.fromarray(GRAY)
    buffer = io.BytesIO()
    image.convert("RGB" if form == "AVIF" else image.mode).save(buffer, form)
    assert content_kind(buffer.getvalue()) == "image"


@pytest.mark.parametrize(
    "text",
    [b"", b"\0" * 600, b"Good morning", b"PK", b"GIF", b"MM", b"BMW and others", b"you're free to go", b"RIFF1234WAVEfmt "],
)
def test_what_is_neither_is_not_taken_for_it(text):
    assert content_kind(text) == ""


def as_base64(content):
    return base64.b64encode(content).decode()


@pytest.mark.parametrize(
    "uri",
    [
        lambda data: f"data:image/png;base64,{as_base64(data)}",
        lambda data: f"data:image/png;name=a.png;base64,{as_base64(data)}",
        lambda data: f"data:;base64,{as_base64(data)}",
        lambda data: f"DATA:application/octet-stream;BASE64,{quote(as_base64(data))}",
        lambda data: f"data:image/png,{quote(data)}",
        lambda data: f"data:image/jpeg;base64,{as_base64(data).rstrip('=')}",
        lambda data: as_base64(data),
        lambda data: as_base64(data).rstrip("="),
        lambda data: base64.urlsafe_b64encode(data).decode(),
        lambda data: base64.encodebytes(data).decode(),
        lambda data: base64.encodebytes(data).decode().replace("\n", "\r\n"),
    ],
)
def test_data_uris_and_base64_are_images(uri):
    for source in (uri(encoded()), [uri(encoded()), uri(encoded("GIF"))][:1]):
        (frame,) = frames(source)
        assert (frame.source, frame.error) == ("image 0", "")
        assert np.array_equal(frame.image, GRAY)
    check_names([uri(encoded())])


def test_a_video_may_be_base64_too(clip):
    text = as_base64(clip.read_bytes())
    for source in (text, f"data:video/mp4;base64,{text}"):
        assert [frame.frame for frame in frames([GRAY, source])] == [None, *range(5)]


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("data:text/plain,hello", "is not in a format"),
        ("data:image/png;base64,", "is empty"),
        ("data:image/png;base64,!!!!", "is empty"),
        ("data:,", "is empty"),
        ("data:image/png", "no image 'data:image/png'"),
        (f"data:image/png;base64,{as_base64(encoded()[:60])}", "is damaged"),
        (f"data:image/svg+xml,{quote('<svg/>')}", "is not in a format"),
        (as_base64(encoded()[:60]), "is damaged"),
        (f"data:image/png;base64,{as_base64(encoded()[:60])}A", "'image 0' cannot be read (Invalid base64"),
        (f"{as_base64(encoded()[:60].ljust(HEAD_BYTES + 1))}A", "'image 0' cannot be read (Invalid base64"),
        ("iVBORw", "no image"),
        (as_base64(b"Good morning to all of you"), "no image"),
    ],
)
def test_data_that_is_no_image_is_one_error(uri, says):
    bad, good = frames([uri, GRAY])
    assert says in bad.error
    assert not good.error


def test_a_file_is_preferred_to_base64(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = as_base64(encoded("GIF"))[:40]
    assert inline_bytes(name) is not None
    (tmp_path / name).write_bytes(encoded())
    assert inline_bytes(name) is None
    (frame,) = frames(name)
    assert frame.source == name
