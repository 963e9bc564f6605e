import io
import os
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from mien.errors import MienError
from mien.images import prepare, read_image, read_with_note

RAMP = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (48, 1))  # (48, 64) gray, dark at the left
COLOURS = np.stack([RAMP, RAMP[:, ::-1], np.full_like(RAMP, 90)], axis=2)


def saved(path, image, **options):
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
    return path


def png_claiming(width, height):
    """A PNG that claims to be of this size and holds next to nothing."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = (header, b"IDAT" + zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)


def test_a_gray_png_comes_back_pixel_for_pixel(tmp_path):
    assert np.array_equal(read_image(saved(tmp_path / "gray.png", RAMP)), RAMP)


def test_a_colour_png_comes_back_as_rgb_from_path_text_bytes_and_pillow(tmp_path):
    path = saved(tmp_path / "colour.png", COLOURS)
    for source in (path, str(path), path.read_bytes(), Image.open(path)):
        assert np.array_equal(read_image(source), COLOURS)


def test_names_with_spaces_newlines_and_other_scripts_are_read(tmp_path):
    for name in ("two words.png", "line\nbreak.png", "лицо 顔 وجه.png", "#50% off?.png"):
        assert np.array_equal(read_image(saved(tmp_path / name, RAMP)), RAMP)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_applied(tmp_path, orientation):
    # What the camera must have stored so that, seen under this orientation, it is COLOURS (TIFF 6.0, tag 274).
    seen = COLOURS
    stored = {
        1: seen,
        2: seen[:, ::-1],
        3: seen[::-1, ::-1],
        4: seen[::-1],
        5: seen.transpose(1, 0, 2),
        6: seen.transpose(1, 0, 2)[::-1],
        7: seen.transpose(1, 0, 2)[::-1, ::-1],
        8: seen.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    assert np.array_equal(read_image(saved(tmp_path / "turned.png", np.ascontiguousarray(stored), exif=exif)), COLOURS)


def test_cmyk_becomes_rgb(tmp_path):
    picture = read_image(saved(tmp_path / "print.jpg", Image.fromarray(COLOURS).convert("CMYK"), quality=98))
    assert picture.shape == COLOURS.shape
    assert np.abs(picture.astype(int) - COLOURS).mean() < 4


def test_sixteen_bits_are_scaled_not_cut(tmp_path):
    deep = RAMP.astype(np.uint16) * 257
    for name in ("deep.png", "deep.tif"):
        assert np.array_equal(read_image(saved(tmp_path / name, deep)), RAMP)
    assert np.array_equal(read_image(Image.fromarray(deep.astype(np.int32))), RAMP)


def test_palette_and_one_bit_are_spread_out(tmp_path):
    palette = Image.fromarray(COLOURS).quantize(256)
    assert np.array_equal(read_image(saved(tmp_path / "palette.png", palette)), np.asarray(palette.convert("RGB")))
    black_and_white = RAMP > 127
    assert np.array_equal(read_image(saved(tmp_path / "bit.png", black_and_white)), black_and_white * np.uint8(255))


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
def test_transparency_is_laid_over_white(tmp_path, mode):
    opaque = np.zeros((8, 8, 4), np.uint8)
    opaque[:, 4:, 3] = 255  # black, transparent at the left
    image = Image.fromarray(opaque)
    image = image.quantize(8) if mode == "P" else image.convert(mode)
    picture = read_image(saved(tmp_path / "alpha.png", image))
    assert picture.ndim == (2 if mode == "LA" else 3)
    assert (picture[:, :4] == 255).all()
    assert (picture[:, 4:] == 0).all()


def test_of_an_animation_the_first_frame_is_taken(tmp_path):
    frames = [Image.fromarray(RAMP), Image.fromarray(255 - RAMP)]
    for name in ("moving.gif", "moving.png", "moving.tif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        picture = read_image(tmp_path / name)
        assert np.abs(picture.reshape(48, 64, -1)[..., 0].astype(int) - RAMP).mean() < 2


def test_what_was_left_out_of_a_file_is_said(tmp_path):
    more = [Image.fromarray(255 - RAMP)]
    for name, note in (("moving.gif", "frames"), ("moving.png", "frames"), ("moving.webp", "frames"), ("pages.tif", "pages")):
        Image.fromarray(RAMP).save(tmp_path / name, save_all=True, append_images=more)
        assert read_with_note(tmp_path / name)[1] == f"the first of several {note}"
    for name in ("still.gif", "still.png", "still.tif", "still.jpg"):
        assert read_with_note(saved(tmp_path / name, RAMP))[1] == ""
    Image.fromarray(RAMP).save(tmp_path / "phone.jpg", "MPO", save_all=True, append_images=more)
    assert read_with_note(tmp_path / "phone.jpg")[1] == "", "a phone's second picture is a thumbnail or a depth"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_named_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(MienError, match=r"pipe\.png' is a named pipe"):
        read_image(tmp_path / "pipe.png")


def test_bytes_that_have_a_name_are_called_by_it():
    with pytest.raises(MienError, match=r"^The image 'a\.zip/b\.png' is empty"):
        read_with_note(b"", "a.zip/b.png")


def test_float_and_lab_tiffs_are_read(tmp_path):
    assert np.array_equal(read_image(saved(tmp_path / "float.tif", (RAMP / 255).astype(np.float32))), RAMP)
    lightness = Image.merge("LAB", [Image.fromarray(RAMP)] * 3)
    assert np.array_equal(read_image(saved(tmp_path / "lab.tif", lightness)), RAMP)


def test_a_wrong_extension_does_not_matter(tmp_path):
    assert np.array_equal(read_image(saved(tmp_path / "really_a_png.jpg", RAMP, format="PNG")), RAMP)


def test_arrays_of_every_kind_become_bytes():
    assert read_image(RAMP) is RAMP
    assert np.array_equal(read_image(RAMP[:, :, None]), RAMP)
    for array in (RAMP / 255, RAMP / 255 * 65535, RAMP.astype(np.int64), RAMP.astype(np.uint16) * 257):
        assert np.array_equal(read_image(array), RAMP)
    assert np.array_equal(read_image(RAMP > 99), (RAMP > 99) * np.uint8(255))
    assert (read_image(np.zeros((4, 4, 4), np.uint8)) == 255).all()


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((3, 48, 48), np.uint8), r"\(3, 48, 48\)"),
        (np.zeros((0, 48), np.uint8), "with pixels"),
        (np.full((4, 4), -3), "from -3 to -3"),
        (np.full((4, 4), np.nan), "nan"),
        (np.full((4, 4), 700), "0 to 255"),
        (np.full((4, 4), "face"), "numbers"),
    ],
)
def test_an_array_that_is_no_image_says_why(array, says):
    with pytest.raises(MienError, match=says):
        read_image(array)


def test_files_that_are_no_images_say_their_name_and_what_to_do(tmp_path):
    whole = saved(tmp_path / "whole.jpg", COLOURS).read_bytes()
    whole_png = saved(tmp_path / "whole.png", COLOURS).read_bytes()
    bad = {
        "empty.jpg": (b"", "empty"),
        "text.jpg": (b"I am not a picture.\n" * 50, "not in a format"),
        "short.jpg": (whole[: len(whole) // 2], "damaged"),
        "short.png": (whole_png[: len(whole_png) // 2], "damaged"),
        "head.png": (whole_png[:20], "damaged|not in a format"),
        "mixed.png": (whole_png[:60] + bytes(40) + whole_png[100:], "damaged"),
        "phone.heic": (b"\0\0\0\x18ftypheic" + bytes(99), "pillow-heif|damaged"),
        "drawing.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "EPS"),
    }
    for name, (content, says) in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(MienError, match=f"'.*{name}'.*({says}).*(save|copy)"):
            read_image(tmp_path / name)
    with pytest.raises(MienError, match=r"these bytes is empty"):
        read_image(b"")


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path):
    with pytest.raises(MienError, match=r"no image .*gone\.jpg"):
        read_image(tmp_path / "gone.jpg")
    with pytest.raises(MienError, match="is a folder"):
        read_image(tmp_path)
    with pytest.raises(MienError, match="not int"):
        read_image(3)  # type: ignore[arg-type]


def test_an_image_above_the_limit_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    claim = png_claiming(30_000, 20_000)
    with pytest.raises(MienError, match=r"600 megapixels and the limit is 400.*MIEN_MAX_MEGAPIXELS"):
        read_image(claim)
    monkeypatch.setenv("MIEN_MAX_MEGAPIXELS", "0.001")
    with pytest.raises(MienError, match=r"limit is 0.001"):
        read_image(saved(tmp_path / "small.png", RAMP))
    monkeypatch.setenv("MIEN_MAX_MEGAPIXELS", "many")
    with pytest.raises(MienError, match="must be a number"):
        read_image(tmp_path / "small.png")


def test_a_hundred_megapixels_are_read_without_a_warning():
    buffer = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(buffer, "PNG")
    limit = Image.MAX_IMAGE_PIXELS
    assert read_image(buffer.getvalue()).shape == (10_000, 10_000)
    assert limit == Image.MAX_IMAGE_PIXELS


def test_a_face_of_the_right_shape_is_not_copied_and_costs_microseconds():
    gray, colour = np.zeros((48, 48), np.uint8), np.zeros((64, 64, 3), np.uint8)
    assert prepare(gray, 48, 1) is gray
    assert prepare(colour, 64, 3) is colour
    start = time.perf_counter()
    for _ in range(32_000):
        prepare(gray, 48, 1)
    assert (time.perf_counter() - start) / 32_000 < 20e-6


def test_gray_is_the_luma_of_itu_601():
    luma = COLOURS @ np.array([0.299, 0.587, 0.114])
    square = np.ascontiguousarray(COLOURS[:, :48])
    assert np.abs(prepare(square, 48, 1) - luma[:, :48]).max() <= 1


def test_resizing_averages_and_does_not_skip_pixels():
    stripes = np.zeros((480, 480), np.uint8)
    stripes[:, ::2] = 200  # a resize without antialiasing would give 0 or 200
    assert np.abs(prepare(stripes, 48, 1).astype(int) - 100).max() <= 3


def test_any_face_becomes_a_square_of_the_wanted_channels():
    for face in (RAMP, COLOURS, RAMP[:1, :1], COLOURS.repeat(3, axis=0)):
        assert prepare(face, 48, 1).shape == (48, 48)
        assert prepare(face, 40, 3).shape == (40, 40, 3)
        assert prepare(face, 40, 3).dtype == np.uint8
    gray_as_colour = prepare(RAMP, 48, 3)
    assert (gray_as_colour == prepare(RAMP, 48, 1)[:, :, None]).all()


def test_what_is_no_face_is_refused():
    for face in (np.zeros((48, 48)), np.zeros((48, 48, 4), np.uint8), np.zeros((0, 9), np.uint8)):
        with pytest.raises(MienError, match="uint8"):
            prepare(face, 48, 1)
