"""One folder with every odd file that people have, and the table that one command makes of it."""

import importlib.util
import json
import struct
import zlib
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pytest
from PIL import Image

from mien.cli import main
from mien.images import read_image

HEIC_PLUGIN = importlib.util.find_spec("pillow_heif") is not None
TURNS = {
    1: lambda seen: seen,
    2: lambda seen: seen[:, ::-1],
    3: lambda seen: seen[::-1, ::-1],
    4: lambda seen: seen[::-1],
    5: lambda seen: seen.transpose(1, 0, 2),
    6: lambda seen: seen.transpose(1, 0, 2)[::-1],
    7: lambda seen: seen.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda seen: seen.transpose(1, 0, 2)[:, ::-1],
}
"""What a camera stores under each EXIF orientation (TIFF 6.0, tag 274) so that a person sees the same."""


def claiming(width, height):
    """A PNG that claims to be of this size and holds next to nothing."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = (header, b"IDAT" + zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder: a photo of Grace Hopper, 256 x 300, in every way in which a file can be odd."""
    folder = tmp_path_factory.mktemp("files") / "odd"
    folder.mkdir()
    photo = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    picture = cv2.resize(read_image(photo), (256, 300), interpolation=cv2.INTER_AREA)
    image = Image.fromarray(picture)
    gray = np.asarray(image.convert("L"))
    image.convert("CMYK").save(folder / "01 cmyk.jpg", quality=95)
    Image.fromarray(gray.astype(np.uint16) * 257).save(folder / "02 16-bit.png")
    image.quantize(256).save(folder / "03 palette.png")
    image.resize((1024, 1200)).convert("1").save(folder / "04 1-bit.png")
    image.putalpha(Image.new("L", image.size, 200))
    image.save(folder / "05 alpha.png")
    still = Image.fromarray(picture)
    still.save(folder / "06 animated.gif", save_all=True, append_images=[Image.new("RGB", still.size)])
    still.save(folder / "07 pages.tif", save_all=True, append_images=[Image.new("RGB", still.size)])
    for orientation, turn in TURNS.items():
        exif = Image.Exif()
        exif[274] = orientation
        stored = Image.fromarray(np.ascontiguousarray(turn(picture)))
        stored.save(folder / f"08 exif {orientation}.jpg", quality=95, exif=exif)
    whole = (folder / "08 exif 1.jpg").read_bytes()
    (folder / "09 truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "10 empty.jpg").write_bytes(b"")
    still.save(folder / "11 a png.jpg", "PNG")
    (folder / "12 words.jpg").write_text("Dear me")
    big = Image.new("1", (10_000, 10_000))
    big.paste(still.resize((7000, 8203)).convert("1"), (1000, 1000))
    big.save(folder / "13 100 megapixels.png", compress_level=1)
    (folder / "14 402 megapixels.png").write_bytes(claiming(20_100, 20_000))
    still.save(folder / "15 line\nbreak.png")
    still.save(folder / "16 лицо 顔 وجه.png")
    still.save(folder / "17 #50% [off]?.png")
    Image.new("RGB", (300, 200), "green").save(folder / "18 meadow.png")
    if HEIC_PLUGIN:
        read_image(folder / "01 cmyk.jpg")  # the plug-in is registered by the first image
        still.save(folder / "19 phone.heic", "HEIF")
    else:
        (folder / "19 phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    (folder / ".hidden.jpg").write_bytes(b"")
    (folder / "notes.txt").write_text("no image, and not said to be one")
    return folder


FACES = [
    *("01 cmyk.jpg", "02 16-bit.png", "03 palette.png", "04 1-bit.png", "05 alpha.png", "06 animated.gif", "07 pages.tif"),
    *(f"08 exif {orientation}.jpg" for orientation in TURNS),
    *("11 a png.jpg", "13 100 megapixels.png", "15 line\nbreak.png", "16 лицо 顔 وجه.png", "17 #50% [off]?.png"),
]
ERRORS = {
    "09 truncated.jpg": "is damaged (image file is truncated",
    "10 empty.jpg": "is empty (0 bytes); copy or download it again.",
    "12 words.jpg": "is not in a format that can be read; save it as JPEG or PNG.",
    "14 402 megapixels.png": "has 402 megapixels and the limit is 400; make it smaller, or set MIEN_MAX_MEGAPIXELS.",
    "19 phone.heic": "is not in a format that can be read (it is HEIC: pip install pillow-heif); save it as JPEG or PNG.",
}
NOTES = {"06 animated.gif": "the first of several frames", "07 pages.tif": "the first of several pages"}
LARGER = {"04 1-bit.png": (4, 0), "13 100 megapixels.png": (7000 / 256, 1000)}
"""Scale and offset of the picture in files that show it larger."""


def answer(folder, model, capsys, *more):
    words = ["predict", str(folder), "--model", str(model), *more]
    status = main(words)
    return status, capsys.readouterr()


def test_the_table_has_a_line_for_every_odd_file(folder, model, capsys, monkeypatch):
    monkeypatch.chdir(folder.parent)
    status, (out, err) = answer("odd", model, capsys)
    assert status == 1
    header, *lines = out.splitlines()
    assert header.split()[:5] == ["source", "face", "box", "label", "confidence"]
    files = sorted(path.name for path in folder.iterdir() if path.suffix != ".txt" and path.name[0] != ".")
    assert len(lines) == len(files)
    kinds = {}
    for name, line in zip(files, lines, strict=True):
        assert line.startswith(tuple(f"{start}/{name}".replace("\n", r"\n") for start in ("odd", "…"))), line
        kinds[name] = "error" if "  error: " in line else "no face" if "  no face" in line else int(line[26:].split()[0])
        assert (f"({NOTES[name]})" in line) if name in NOTES else "(the first of" not in line
        if kinds[name] == "error":
            assert ERRORS[name] in line
    without_plugin = [] if HEIC_PLUGIN else ["19 phone.heic"]
    assert [name for name, kind in kinds.items() if kind == "error"] == [*list(ERRORS)[:4], *without_plugin]
    assert [name for name, kind in kinds.items() if kind == 0] == [*FACES, *(["19 phone.heic"] if HEIC_PLUGIN else [])]
    assert [name for name, kind in kinds.items() if kind == "no face"] == ["18 meadow.png"]
    faces, failed = len(FACES) + HEIC_PLUGIN, 5 - HEIC_PLUGIN
    assert err.startswith(f"mien: {len(files)} images: {faces} faces")
    assert err.endswith(f"1 without a face, {failed} failed\n")


def test_the_face_lies_at_the_same_place_in_all_of_them(folder, model, capsys):
    _, (out, _) = answer(folder, model, capsys, "--format", "jsonl")
    rows = {row["source"].removeprefix(f"{folder}/"): row for row in map(json.loads, out.splitlines())}
    wanted = np.array(rows["11 a png.jpg"]["box"])
    for name in FACES:
        scale, offset = LARGER.get(name, (1, 0))
        off = np.abs((np.array(rows[name]["box"]) - offset) / scale - wanted)
        assert off.max() < 0.15 * (wanted[2] - wanted[0]), name
    probabilities = [list(rows[name]["probabilities"].values()) for name in ("11 a png.jpg", "15 line\nbreak.png")]
    np.testing.assert_allclose(*probabilities, atol=1e-6)


def test_the_limit_can_be_raised_as_the_sentence_says(folder, model, capsys, monkeypatch):
    monkeypatch.setenv("MIEN_MAX_MEGAPIXELS", "50")
    status, (out, _) = answer(folder / "13 100 megapixels.png", model, capsys)
    assert status == 2
    assert "has 100 megapixels and the limit is 50" in out
    monkeypatch.setenv("MIEN_MAX_MEGAPIXELS", "101")
    assert answer(folder / "13 100 megapixels.png", model, capsys)[0] == 0
